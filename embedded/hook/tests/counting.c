#include "counting.h"

void count_entry(struct eb_regs *regs, void *user)
{
	(void)regs;
	__atomic_fetch_add(&((struct counts *)user)->entries, 1, __ATOMIC_RELAXED);
}

void count_return(struct eb_regs *regs, void *user)
{
	(void)regs;
	__atomic_fetch_add(&((struct counts *)user)->returns, 1, __ATOMIC_RELAXED);
}

struct eb_hook *must_hook(void *function, eb_handler *entry, eb_handler *ret, void *user)
{
	char error[256] = "";
	struct eb_hook *hook = eb_hook_function(function, entry, ret, user, error, sizeof(error));

	if (hook)
		return hook;
	fprintf(stderr, "cannot hook %p: %s\n", function, error);
	exit(1);
}

struct eb_hook *count_calls(void *function, struct counts *counts)
{
	memset(counts, 0, sizeof(*counts));
	return must_hook(function, count_entry, count_return, counts);
}
