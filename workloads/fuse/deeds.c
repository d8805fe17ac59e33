#include "deeds.h"
#include "protocol.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define MOST_WORDS 5
#define DIRECTORIES 16
#define FUSE_MAGIC 0x65735546

static int directories[DIRECTORIES]; /* one more than the descriptor */

struct words {
	unsigned n;
	char *word[MOST_WORDS];
	char text[4096];
};

static int split(const char *line, struct words *words)
{
	char *rest = words->text, *word;

	words->n = 0;
	if (strlen(line) >= sizeof(words->text))
		return 0;
	strcpy(words->text, line);
	while ((word = strsep(&rest, " ")) && words->n < MOST_WORDS)
		words->word[words->n++] = word;
	return !word;
}

static long number(const char *text)
{
	return strtol(text, NULL, 0);
}

static int directory(const char *text)
{
	long index = number(text);

	return index >= 0 && index < DIRECTORIES ? directories[index] - 1 : -1;
}

static void answer(const char *word, long result)
{
	struct json reply = reply_begin(word);

	json_integer(&reply, "result", result < 0 ? -errno : result);
	reply_end(&reply);
}

int deeds_directory(const char *path)
{
	int file = openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat status;

	return file < 0 || fstat(file, &status) ? -1 : file;
}

/* --- saying what is there --- */

static void say_status(int at, const char *name, int flags)
{
	struct stat status = {};
	long result = fstatat(at, name, &status, flags);
	struct json reply;

	result = result ? -errno : 0;
	reply = reply_begin("STATUS");
	json_integer(&reply, "result", result);
	json_hex(&reply, "bytes", &status, result ? 0 : sizeof(status));
	reply_end(&reply);
}

/* From the beginning to the end, each answer by itself. */
static void say_listing(int at)
{
	static char buffer[32768];
	struct json reply;
	ssize_t size = lseek(at, 0, SEEK_SET);

	reply = reply_begin("LISTING");
	json_open(&reply, "answers", '[');
	if (size == 0)
		do {
			size = getdents64(at, buffer, sizeof(buffer));
			json_hex(&reply, NULL, buffer, size > 0 ? (size_t)size : 0);
		} while (size > 0);
	json_close(&reply, ']');
	json_integer(&reply, "result", size < 0 ? -errno : size);
	json_integer(&reply, "position", lseek(at, 0, SEEK_CUR));
	reply_end(&reply);
}

static void say_mounted(const char *path)
{
	struct json reply = reply_begin("MOUNTED");
	struct stat status = {};
	struct statfs kind = {};
	int there = !statfs(path, &kind) && kind.f_type == FUSE_MAGIC && !stat(path, &status);

	json_number(&reply, "fuse", (uint64_t)there);
	json_number(&reply, "device", there ? status.st_dev : 0);
	reply_end(&reply);
}

/* --- opening, by every call there is --- */

static long open_by(const char *call, int at, const char *path)
{
	struct open_how how = { .flags = O_RDONLY };

	if (!strcmp(call, "open"))
		return syscall(SYS_open, path, O_RDONLY);
	if (!strcmp(call, "creat"))
		return syscall(SYS_creat, path, 0644);
	if (!strcmp(call, "openat2"))
		return syscall(SYS_openat2, at, path, &how, sizeof(how));
	if (!strcmp(call, "openat"))
		return openat(at, path, O_RDONLY);
	if (!strcmp(call, "write"))
		return openat(at, path, O_WRONLY);
	if (!strcmp(call, "create"))
		return openat(at, path, O_RDWR | O_CREAT, 0644);
	if (!strcmp(call, "truncate"))
		return openat(at, path, O_WRONLY | O_TRUNC);
	if (!strcmp(call, "nofollow"))
		return openat(at, path, O_RDONLY | O_NOFOLLOW);
	if (!strcmp(call, "directory"))
		return openat(at, path, O_RDONLY | O_DIRECTORY);
	fail_options("%s: no such way to open a file", call);
}

/* A descriptor that gives no access, and then access through that. */
static long reopen(int at, const char *path)
{
	int file = openat(at, path, O_PATH), error;
	char own[64];
	long result;

	if (file < 0)
		return -1;
	snprintf(own, sizeof(own), "/proc/self/fd/%d", file);
	result = open(own, O_RDONLY);
	error = errno;
	close(file);
	errno = error;
	return result;
}

static void say_opened(const char *call, int at, const char *path)
{
	long result = strcmp(call, "reopen") ? open_by(call, at, path) : reopen(at, path);

	if (result >= 0)
		close((int)result);
	answer("OPENED", result < 0 ? result : 0);
}

/* --- changing it --- */

static long write_text(int at, const char *name, const char *text, int flags)
{
	int file = openat(at, name, O_WRONLY | flags, 0644);
	ssize_t written = file < 0 ? -1 : write(file, text, strlen(text));

	if (file >= 0 && close(file))
		return -1;
	return written < 0 ? -1 : 0;
}

static long set_times(int at, const char *name, long seconds)
{
	const struct timespec times[2] = { { seconds, 1 }, { seconds + 1, 2 } };

	return utimensat(at, name, times, AT_SYMLINK_NOFOLLOW);
}

static long cut(int at, const char *name, long length)
{
	int file = openat(at, name, O_WRONLY);
	long result = file < 0 ? -1 : ftruncate(file, length);

	if (file >= 0)
		close(file);
	return result;
}

/* A file that stays open. */
static int held = -1;

static long hold(int at, const char *name)
{
	held = openat(at, name, O_WRONLY | O_APPEND);
	return held < 0 ? -1 : 0;
}

static long add(const char *text)
{
	return write(held, text, strlen(text)) < 0 ? -1 : 0;
}

/* 1: done; 0: no such deed. */
static int change(const struct words *words, int at, long *result)
{
	const char *what = words->word[0], *name = words->word[2], *more = words->n > 3 ? words->word[3] : NULL;

	if (!strcmp(what, "unlink"))
		*result = unlinkat(at, name, 0);
	else if (!strcmp(what, "rmdir"))
		*result = unlinkat(at, name, AT_REMOVEDIR);
	else if (!strcmp(what, "drop"))
		*result = close(held);
	else if (!more)
		return 0;
	else if (!strcmp(what, "hold"))
		*result = hold(at, name);
	else if (!strcmp(what, "add"))
		*result = add(name);
	else if (!strcmp(what, "mkdir"))
		*result = mkdirat(at, name, (mode_t)number(more));
	else if (!strcmp(what, "rename"))
		*result = renameat(at, name, at, more);
	else if (!strcmp(what, "link"))
		*result = linkat(at, name, at, more, 0);
	else if (!strcmp(what, "symlink"))
		*result = symlinkat(more, at, name);
	else if (!strcmp(what, "create"))
		*result = write_text(at, name, more, O_CREAT | O_EXCL);
	else if (!strcmp(what, "append"))
		*result = write_text(at, name, more, O_APPEND);
	else if (!strcmp(what, "replace"))
		*result = write_text(at, name, more, O_TRUNC);
	else if (!strcmp(what, "chmod"))
		*result = fchmodat(at, name, (mode_t)number(more), 0);
	else if (!strcmp(what, "chown"))
		*result = fchownat(at, name, (uid_t)number(more), (gid_t)number(more), AT_SYMLINK_NOFOLLOW);
	else if (!strcmp(what, "utimes"))
		*result = set_times(at, name, number(more));
	else if (!strcmp(what, "cut"))
		*result = cut(at, name, number(more));
	else
		return 0;
	return 1;
}

/* FOLDERS directories of FILES files each. */
static long populate(const char *root, long folders, long files)
{
	int at = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[64];

	for (long i = 0; at >= 0 && i < folders; i++) {
		snprintf(name, sizeof(name), "folder-%04ld", i);
		if (mkdirat(at, name, 0755))
			return -1;
		for (long j = 0; j < files; j++) {
			snprintf(name, sizeof(name), "folder-%04ld/file-%04ld", i, j);
			if (write_text(at, name, "content", O_CREAT | O_EXCL))
				return -1;
		}
	}
	return at < 0 || close(at) ? -1 : 0;
}

static long keep_directory(const char *text, const char *path)
{
	long index = number(text);

	if (index < 0 || index >= DIRECTORIES)
		return errno = EBADF, -1;
	if (directories[index])
		close(directories[index] - 1);
	directories[index] = deeds_directory(path) + 1;
	return directories[index] ? 0 : -1;
}

int deeds_obey(const char *line)
{
	static struct words words;
	const char *what;
	long result;

	if (!split(line, &words) || words.n < 2)
		return 0;
	what = words.word[0];
	if (!strcmp(what, "mounted"))
		say_mounted(words.word[1]);
	else if (!strcmp(what, "list") && words.n == 2)
		say_listing(directory(words.word[1]));
	else if (!strcmp(what, "self") && words.n == 2)
		say_status(directory(words.word[1]), "", AT_EMPTY_PATH);
	else if (!strcmp(what, "directory") && words.n == 3)
		answer("DID", keep_directory(words.word[1], words.word[2]));
	else if (!strcmp(what, "status") && words.n == 4)
		say_status(directory(words.word[1]), words.word[2], (int)number(words.word[3]));
	else if (!strcmp(what, "open") && words.n == 4)
		say_opened(words.word[1], directory(words.word[2]), words.word[3]);
	else if (!strcmp(what, "populate") && words.n == 4)
		answer("DID", populate(words.word[1], number(words.word[2]), number(words.word[3])));
	else if (words.n > 2 && change(&words, directory(words.word[1]), &result))
		answer("DID", result);
	else
		return 0;
	return 1;
}
