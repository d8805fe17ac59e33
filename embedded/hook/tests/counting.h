/* For test programs: handlers that count, checks that say where they failed, and a table of cases to choose from. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "hook/hook.h"

struct counts {
	unsigned long entries, returns;
};

/* counting.c, which is compiled without SSE as handlers must be; `user` is a struct counts. */
eb_handler count_entry, count_return;
/* Hooks both with them, or ends the program. */
struct eb_hook *count_calls(void *function, struct counts *counts);
struct eb_hook *must_hook(void *function, eb_handler *entry, eb_handler *ret, void *user);

#ifdef __cplusplus
}
#endif

static inline void check(int is_so, const char *file, int line, const char *what)
{
	if (is_so)
		return;
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	fflush(NULL);
	_exit(1);
}

static inline void check_equal(long a, long b, const char *file, int line, const char *what)
{
	if (a == b)
		return;
	fprintf(stderr, "%s:%d: %s is %ld (0x%lx), not %ld (0x%lx)\n", file, line, what, a, a, b, b);
	fflush(NULL);
	_exit(1);
}

#define CHECK(condition) check(!!(condition), __FILE__, __LINE__, #condition)
#define CHECK_EQUAL(a, b) check_equal((long)(a), (long)(b), __FILE__, __LINE__, #a)

#define NOINLINE __attribute__((noinline, noipa))

struct test_case {
	const char *name;
	void (*run)(void);
};

/* `program CASE` runs it and says OK; `program` lists them. */
static inline int run_case(const struct test_case *cases, size_t n, int argc, char **argv)
{
	for (size_t i = 0; i < n; i++)
		if (argc < 2) {
			puts(cases[i].name);
		} else if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			puts("OK");
			return 0;
		}
	return argc >= 2;
}
