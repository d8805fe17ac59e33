#include "hook/tasks.h"
#include "hook/internal.h"
#include "hook/raw.h"
#include "common/common.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define TASKS "/proc/self/task"
#define PATIENCE 4000 /* naps */
#define MOVED_NS 10000

typedef int visit(long tid, void *data);

static void nap(long ns)
{
	struct timespec time = { 0, ns };

	raw(SYS_nanosleep, &time, 0);
}

struct entry { /* of getdents64 */
	uint64_t inode;
	int64_t next;
	uint16_t length;
	uint8_t type;
	char name[];
};

static long number(const char *text)
{
	long value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (*text - '0');
	return value;
}

/* Calls `visit` for every other thread until it gives something else than 0, which is the result; −errno on failure. */
static int for_each_task(visit *visit, void *data)
{
	char buffer[4096] __attribute__((aligned(8)));
	long self = raw(SYS_gettid), fd = raw(SYS_open, TASKS, O_RDONLY | O_DIRECTORY | O_CLOEXEC), size = 0;
	int result = fd < 0 ? (int)fd : 0;

	while (!result && (size = raw(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0)
		for (char *at = buffer; !result && at < buffer + size; at += ((struct entry *)at)->length) {
			long tid = number(((struct entry *)at)->name);

			if (tid && tid != self)
				result = visit(tid, data);
		}
	if (fd >= 0)
		raw(SYS_close, fd);
	return result ? result : (int)size;
}

/* Reads a file of a thread as text. Its length, or −errno. */
static long read_of(long tid, const char *file, char *text, size_t size)
{
	char path[64] = TASKS "/", digits[20];
	size_t at = strlen(path), n = 0;
	long fd, length;

	for (long rest = tid; rest; rest /= 10)
		digits[n++] = (char)('0' + rest % 10);
	while (n)
		path[at++] = digits[--n];
	while (*file)
		path[at++] = *file++;
	path[at] = 0;
	fd = raw(SYS_open, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fd;
	length = raw(SYS_read, fd, text, size - 1);
	raw(SYS_close, fd);
	text[length < 0 ? 0 : length] = 0;
	return length;
}

static int one(long tid, void *data)
{
	(void)tid, (void)data;
	return 1;
}

int eb_tasks_alone(void)
{
	return for_each_task(one, NULL) == 0;
}

static uint64_t hexadecimal(const char *text)
{
	uint64_t value = 0;

	for (;; text++) {
		if (*text >= '0' && *text <= '9')
			value = value << 4 | (uint64_t)(*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			value = value << 4 | (uint64_t)(*text - 'a' + 10);
		else
			return value;
	}
}

static int blocks_trap(long tid, void *data)
{
	char text[4096];
	const char *line;

	(void)data;
	if (read_of(tid, "/status", text, sizeof(text)) <= 0)
		return 0;
	line = strstr(text, "\nSigBlk:\t");
	return line && hexadecimal(line + 9) >> (SIGTRAP - 1) & 1 ? (int)tid : 0;
}

int eb_tasks_wait_trap(char *error, size_t size)
{
	int tid = 0;

	for (int i = 0; i < 100; i++) {
		tid = for_each_task(blocks_trap, NULL);
		if (tid <= 0)
			return 0;
		nap(500000);
	}
	return eb_refuse(error, size, "thread %d blocks SIGTRAP, and would die of the breakpoint that patching needs", tid);
}

/* CPU time that a thread has had, in ns, up to now. */
static int64_t ran(long tid)
{
	struct timespec time;

	if (raw(SYS_clock_gettime, ~tid << 3 | 6, &time))
		return -1;
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

struct region {
	const unsigned char *from, *to;
};

/* It sleeps in the kernel, and what it will go on with is outside. */
static int sleeps_outside(long tid, const struct region *region)
{
	char text[256];
	const char *last;
	uint64_t ip;

	if (read_of(tid, "/syscall", text, sizeof(text)) <= 0)
		return 0;
	last = strrchr(text, ' ');
	if (!last || text[0] == 'r' || strncmp(last, " 0x", 3))
		return 0;
	ip = hexadecimal(last + 3);
	return ip < (uint64_t)region->from || ip >= (uint64_t)region->to;
}

/*
 * A thread inside that runs meets a breakpoint at its next instruction: so one that has run since they were put there
 * is outside. (A little longer than the way back from the kernel takes, on which it might have been sent away again.)
 */
static int wait_for(long tid, void *data)
{
	int64_t start = ran(tid);

	for (int i = 0; i < PATIENCE; i++) {
		int64_t now = ran(tid);

		if (now < 0 || now - start > MOVED_NS || sleeps_outside(tid, data))
			return 0;
		nap(i < 20 ? 20000 : 500000);
	}
	return (int)tid;
}

int eb_tasks_wait_outside(const unsigned char *from, const unsigned char *to, char *error, size_t size)
{
	struct region region = { from, to };
	int tid = for_each_task(wait_for, &region);

	if (!tid)
		return 0;
	if (tid < 0)
		return eb_refuse(error, size, "the threads of the process cannot be listed in %s", TASKS);
	return eb_refuse(error, size, "thread %d has not run for two seconds, and may be in the bytes to be patched", tid);
}
