#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct name {
	struct name *next;
	enum name_operation operation;
	uint64_t value;
	char *path, *other;
};

/* Data that one file has and durable has not. Neighbouring ranges are one: a log that only grows has one range. */
struct range {
	struct range *next;
	ino_t inode;
	off_t start, end;
};

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
/* One flush after the other, as on one device. Taken before `state`, and held while the device is busy. */
static pthread_mutex_t device = PTHREAD_MUTEX_INITIALIZER;
static int live_directory, durable_directory, dropped;
static uint64_t latency;
static struct name *names, **last_name = &names;
static struct range *ranges;
/* What the flush that is under way has found pending. */
static struct name *taken_names;
static struct range *taken_ranges;
static struct durable_counts counts;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void durable_start(int live, int durable, uint64_t latency_ns)
{
	live_directory = live;
	durable_directory = durable;
	latency = latency_ns;
}

void durable_set_latency(uint64_t latency_ns)
{
	pthread_mutex_lock(&state);
	latency = latency_ns;
	pthread_mutex_unlock(&state);
}

struct durable_counts durable_counts(void)
{
	struct durable_counts copy;

	pthread_mutex_lock(&state);
	copy = counts;
	pthread_mutex_unlock(&state);
	return copy;
}

void durable_drop(void)
{
	pthread_mutex_lock(&state);
	dropped = 1;
	pthread_mutex_unlock(&state);
}

/* --- names --- */

static int create(int directory, const char *path, uint64_t mode)
{
	int file = openat(directory, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);

	return file < 0 ? -1 : close(file);
}

static int resize(int directory, const char *path, uint64_t size)
{
	int file = openat(directory, path, O_WRONLY | O_CLOEXEC), result;

	if (file < 0)
		return -1;
	result = ftruncate(file, (off_t)size);
	close(file);
	return result;
}

static int apply(int directory, const struct name *name)
{
	switch (name->operation) {
	case NAME_CREATE:
		return create(directory, name->path, name->value);
	case NAME_DIRECTORY:
		return mkdirat(directory, name->path, (mode_t)name->value);
	case NAME_REMOVE:
		return unlinkat(directory, name->path, 0);
	case NAME_REMOVE_DIRECTORY:
		return unlinkat(directory, name->path, AT_REMOVEDIR);
	case NAME_RENAME:
		return renameat(directory, name->path, directory, name->other);
	case NAME_LINK:
		return linkat(directory, name->path, directory, name->other, 0);
	case NAME_SYMLINK:
		return symlinkat(name->other, directory, name->path);
	case NAME_MODE:
		return fchmodat(directory, name->path, (mode_t)name->value, 0);
	case NAME_SIZE:
		return resize(directory, name->path, name->value);
	}
	abort();
}

static void free_name(struct name *name)
{
	free(name->path);
	free(name->other);
	free(name);
}

static struct name *remember(const struct name *what)
{
	struct name *name = malloc(sizeof(*name));

	if (!name)
		return NULL;
	*name = *what;
	name->next = NULL;
	name->path = strdup(what->path);
	name->other = what->other ? strdup(what->other) : NULL;
	if (name->path && (name->other || !what->other))
		return name;
	free_name(name);
	return NULL;
}

/* What lies behind a file's new end is gone, and so is the need to write it. */
static void forget_behind(struct range *of, ino_t inode, off_t size)
{
	for (struct range *range = of; range; range = range->next) {
		if (range->inode != inode || range->end <= size)
			continue;
		counts.pending_bytes -= (uint64_t)(range->end - (range->start > size ? range->start : size));
		range->end = size;
		if (range->start > size)
			range->start = size;
	}
}

static int name_now(const struct name *what)
{
	struct name *name = remember(what);
	struct stat status;

	if (!name)
		return -ENOMEM;
	if (apply(live_directory, name) < 0) {
		int error = -errno;

		free_name(name);
		return error;
	}
	if (what->operation == NAME_SIZE && fstatat(live_directory, what->path, &status, 0) == 0) {
		forget_behind(ranges, status.st_ino, (off_t)what->value);
		forget_behind(taken_ranges, status.st_ino, (off_t)what->value);
	}
	*last_name = name;
	last_name = &name->next;
	counts.pending_names++;
	return 0;
}

int durable_name(enum name_operation operation, const char *path, const char *other, uint64_t value)
{
	const struct name what = { .operation = operation, .path = (char *)path, .other = (char *)other, .value = value };
	int result;

	pthread_mutex_lock(&state);
	result = dropped ? -EIO : name_now(&what);
	pthread_mutex_unlock(&state);
	return result;
}

static int flush_names(void)
{
	int result = 0;

	while (taken_names) {
		struct name *name = taken_names;

		/* Both trees had the same names before, so what live allowed durable allows too. */
		if (apply(durable_directory, name) < 0 && !result) {
			result = -errno;
			fprintf(stderr, "flushfs: names of %s: %s\n", name->path, strerror(errno));
		}
		taken_names = name->next;
		counts.pending_names--;
		free_name(name);
	}
	return result;
}

/* --- data --- */

static int add_range(ino_t inode, off_t start, off_t end)
{
	struct range *range;

	for (range = ranges; range; range = range->next)
		if (range->inode == inode && start <= range->end && end >= range->start)
			break;
	if (!range) {
		range = malloc(sizeof(*range));
		if (!range)
			return -ENOMEM;
		*range = (struct range){ ranges, inode, start, start };
		ranges = range;
	}
	counts.pending_bytes -= (uint64_t)(range->end - range->start);
	if (start < range->start)
		range->start = start;
	if (end > range->end)
		range->end = end;
	counts.pending_bytes += (uint64_t)(range->end - range->start);
	return 0;
}

ssize_t durable_write(int file, const void *data, size_t size, off_t offset)
{
	struct stat status;
	ssize_t written = -EIO;
	int error = 0;

	pthread_mutex_lock(&state);
	if (!dropped) {
		written = pwrite(file, data, size, offset);
		if (written < 0 || fstat(file, &status) < 0)
			written = -errno;
		else
			error = add_range(status.st_ino, offset, offset + written);
		counts.writes++;
		counts.written_bytes += written > 0 ? (uint64_t)written : 0;
	}
	pthread_mutex_unlock(&state);
	return error ? error : written;
}

static int copy(int from, int to, off_t start, off_t end)
{
	char buffer[65536];

	while (start < end) {
		size_t wanted = (size_t)(end - start) < sizeof(buffer) ? (size_t)(end - start) : sizeof(buffer);
		ssize_t got = pread(from, buffer, wanted, start);

		if (got == 0)
			return 0; /* the file has become shorter; that is in the names */
		if (got < 0 || pwrite(to, buffer, (size_t)got, start) != got)
			return -1;
		start += got;
		counts.flushed_bytes += (uint64_t)got;
	}
	return 0;
}

static int flush_ranges(int from, int to)
{
	int result = 0;

	while (taken_ranges) {
		struct range *range = taken_ranges;

		if (to >= 0 && copy(from, to, range->start, range->end) < 0)
			result = -errno;
		counts.pending_bytes -= (uint64_t)(range->end - range->start);
		taken_ranges = range->next;
		free(range);
	}
	return result;
}

/* Sets aside what is pending now: all names, and the data of the file behind `file` if that is not −1. */
static void take(int file)
{
	struct range **link = &ranges;
	struct stat status;

	counts.begun++;
	taken_names = names;
	names = NULL;
	last_name = &names;
	if (file < 0 || fstat(file, &status) < 0)
		return;
	while (*link) {
		struct range *range = *link;

		if (range->inode != status.st_ino) {
			link = &range->next;
			continue;
		}
		*link = range->next;
		range->next = taken_ranges;
		taken_ranges = range;
	}
}

/* `path` is where durable has the file now that the names are as they were when the flush began. */
static int flush_data(int from, const char *path)
{
	int to = openat(durable_directory, path, O_WRONLY | O_CLOEXEC), result;

	if (to < 0) {
		fprintf(stderr, "flushfs: %s: %s\n", path, strerror(errno));
		flush_ranges(from, to);
		return -EIO;
	}
	result = flush_ranges(from, to);
	close(to);
	return result;
}

static void work(uint64_t nanoseconds)
{
	struct timespec left = { (time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u) };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* The device has done its time: what it took in is durable now, unless the power has gone. */
static int finish(int file, const char *path, uint64_t begun)
{
	int result, error;

	if (dropped)
		return -EIO;
	result = flush_names();
	error = path ? flush_data(file, path) : 0;
	counts.flushes++;
	counts.flush_ns += now() - begun;
	return result ? result : error;
}

int durable_flush(const char *path)
{
	uint64_t begun = now(), needed;
	int file = path ? openat(live_directory, path, O_RDONLY | O_CLOEXEC) : -1, result;

	if (path && file < 0)
		return -errno;
	pthread_mutex_lock(&device);
	pthread_mutex_lock(&state);
	needed = latency;
	take(file);
	pthread_mutex_unlock(&state);
	/* First the time, then the effect: whoever loses power in between has not been promised anything. */
	work(needed);
	pthread_mutex_lock(&state);
	result = finish(file, path, begun);
	pthread_mutex_unlock(&state);
	pthread_mutex_unlock(&device);
	if (file >= 0)
		close(file);
	return result;
}
