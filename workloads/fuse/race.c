/*
 * One process changes a file again and again, by a number that grows, and writes down which change it begins and which has returned.
 * Another asks for that number all the time: it must be at least that of the last change that had returned before it asked, and at most that
 * of the last that was begun before it had its answer.
 */
#include "race.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct progress {
	uint64_t begun, done;
};

/* Both see the same page of a file that is not on the file system in question. */
static struct progress *share(const char *path)
{
	int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct progress *progress = MAP_FAILED;

	if (file >= 0 && !ftruncate(file, sizeof(*progress)))
		progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (progress == MAP_FAILED)
		fail_options("%s: %s", path, strerror(errno));
	close(file);
	return progress;
}

static uint64_t load(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static void store(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_SEQ_CST);
}

static void change(struct progress *progress, const char *path, uint64_t changes)
{
	struct json reply;
	uint64_t failed = 0;

	for (uint64_t i = 1; i <= changes; i++) {
		const struct timespec times[2] = { { (time_t)i, 0 }, { (time_t)i, 0 } };

		store(&progress->begun, i);
		failed += utimensat(AT_FDCWD, path, times, 0) != 0;
		store(&progress->done, i);
	}
	reply = reply_begin("CHANGED");
	json_number(&reply, "failed", failed);
	reply_end(&reply);
}

static void follow(struct progress *progress, int at, const char *name, uint64_t changes)
{
	uint64_t asked = 0, early = 0, late = 0, failed = 0, done;
	struct json reply;

	do {
		struct stat status;
		uint64_t found;

		done = load(&progress->done);
		failed += fstatat(at, name, &status, 0) != 0;
		found = (uint64_t)status.st_mtime;
		late += found < done;
		early += found > load(&progress->begun);
		asked++;
	} while (done < changes);
	reply = reply_begin("FOLLOWED");
	json_number(&reply, "asked", asked);
	json_number(&reply, "late", late);
	json_number(&reply, "early", early);
	json_number(&reply, "failed", failed);
	reply_end(&reply);
}

int race_obey(const char *line)
{
	char what[16], shared[256], directory[256], name[256], path[600];
	unsigned long changes;
	int at;

	if (sscanf(line, "%15s %255s %255s %255s %lu", what, shared, directory, name, &changes) != 5)
		return 0;
	if (!strcmp(what, "change")) {
		snprintf(path, sizeof(path), "%s/%s", directory, name);
		change(share(shared), path, changes);
		return 1;
	}
	if (strcmp(what, "follow"))
		return 0;
	at = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0 || fstat(at, &(struct stat){}))
		fail_options("%s: %s", directory, strerror(errno));
	follow(share(shared), at, name, changes);
	close(at);
	return 1;
}
