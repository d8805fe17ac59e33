/* What injection finds out about its target by reading: where things are, and why it cannot be done. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct target {
	pid_t pid, tid; /* tid: the thread that does it */
	uint64_t dlopen, dlerror;
	uint64_t linker_start, linker_end;
};

/* Says why and ends; what has been stopped goes on. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Fills in the addresses, or fails: no such process, another user's, linked statically, of another architecture. */
void find_target(struct target *target);

/* Fails unless the target sees the same file at this path. */
void check_sees(const struct target *target, const char *path);

/* Why a thread may not be traced. */
const char *why_untraceable(pid_t pid, int error);

/* Address in the target of a function that a loaded library exports; 0: none. */
uint64_t function_of(const struct target *target, const char *library, const char *name);

/* A number of /proc/PID/task/TID/status, of that base; 0 when it is not there. */
uint64_t status_number(pid_t pid, pid_t tid, const char *field, int base);
