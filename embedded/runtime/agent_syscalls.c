/*
 * Links to system calls: sys_enter_* and sys_exit_* of one call, raw_syscalls and raw tracepoints of all. Programs get the
 * context that the kernel's tracepoints have.
 */
#include "common/log.h"
#include "hook/hook.h"
#include "runtime/agent.h"
#include "runtime/mpk.h"
#include "runtime/syscall_names.h"
#include "runtime/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALLS 512
#define ALL CALLS /* where those are that want every call */

struct list {
	unsigned n;
	struct item {
		const struct agent_link *link;
		const struct eb_attachment *attachment;
		int raw; /* a raw tracepoint's context */
	} items[];
};

/* Replaced as a whole, never changed: a thread may be going through one. */
static struct list *lists[2][CALLS + 1];
static unsigned total;

/* What a tracepoint's program sees: its format file says so. */
struct tracepoint_context {
	uint16_t type;
	uint8_t flags, preempt_count;
	int32_t pid;
	int64_t nr;
	uint64_t values[6]; /* arguments; or the result */
};

struct raw_context {
	uint64_t regs, value; /* entry: number of the call; exit: result */
	struct eb_regs image;
};

static void skip_call(struct eb_hit *hit, uint64_t result)
{
	hit->skipped = 1;
	hit->result = result;
}

static void fill_raw(struct raw_context *raw, long nr, const uint64_t args[6], uint64_t value)
{
	eb_zero(&raw->image, sizeof(raw->image));
	raw->image.di = args[0];
	raw->image.si = args[1];
	raw->image.dx = args[2];
	raw->image.r10 = args[3];
	raw->image.r8 = args[4];
	raw->image.r9 = args[5];
	raw->image.orig_ax = (unsigned long)nr;
	raw->image.ax = value;
	raw->regs = (uint64_t)&raw->image;
	raw->value = value;
}

static void fill(struct tracepoint_context *context, long nr)
{
	context->type = 0;
	context->flags = context->preempt_count = 0;
	context->pid = (int32_t)(uint32_t)eb_thread.pid_tgid;
	context->nr = nr;
}

/* 1: a program wants the call skipped, with *result. */
static int run_list(const struct list *list, struct tracepoint_context *context, const uint64_t args[6], uint64_t raw_value,
		    int64_t *result)
{
	int skipped = 0;

	for (unsigned i = 0; i < list->n; i++) {
		const struct item *item = &list->items[i];
		struct raw_context raw;
		struct eb_hit hit;

		if (item->raw)
			fill_raw(&raw, context->nr, args, raw_value);
		eb_program_run(item->attachment, item->raw ? (void *)&raw : (void *)context, result ? skip_call : NULL, &hit);
		if (hit.skipped) {
			*result = (int64_t)hit.result;
			skipped = 1;
		}
	}
	return skipped;
}

static int enter_call(void *user, long nr, uint64_t args[6], int64_t *result)
{
	const struct list *one = (unsigned long)nr < CALLS ? eb_load(&lists[0][nr]) : NULL, *all = eb_load(&lists[0][ALL]);
	struct tracepoint_context context;
	int skipped = 0;

	(void)user;
	if (!one && !all)
		return 0;
	fill(&context, nr);
	for (int i = 0; i < 6; i++)
		context.values[i] = args[i];
	if (all)
		skipped |= run_list(all, &context, args, (uint64_t)nr, result);
	if (one)
		skipped |= run_list(one, &context, args, (uint64_t)nr, result);
	return skipped;
}

static void exit_call(void *user, long nr, const uint64_t args[6], int64_t result)
{
	const struct list *one = (unsigned long)nr < CALLS ? eb_load(&lists[1][nr]) : NULL, *all = eb_load(&lists[1][ALL]);
	struct tracepoint_context context;

	(void)user;
	if (!one && !all)
		return;
	fill(&context, nr);
	context.values[0] = (uint64_t)result;
	if (all)
		run_list(all, &context, args, (uint64_t)result, NULL);
	if (one)
		run_list(one, &context, args, (uint64_t)result, NULL);
}

/* The same with the segment behind a key. */

static int enter_call_opened(void *user, long nr, uint64_t args[6], int64_t *result)
{
	uint32_t closed = eb_mpk_open();
	int skipped = enter_call(user, nr, args, result);

	eb_mpk_close(closed);
	return skipped;
}

static void exit_call_opened(void *user, long nr, const uint64_t args[6], int64_t result)
{
	uint32_t closed = eb_mpk_open();

	exit_call(user, nr, args, result);
	eb_mpk_close(closed);
}

static int divert_calls(char *error, size_t size)
{
	return eb_hook_syscalls(eb_mpk_key ? enter_call_opened : enter_call, eb_mpk_key ? exit_call_opened : exit_call, NULL, error,
				size);
}

/* Which list; NULL: a tracepoint that is not one of system calls. */
static struct list **list_of(const struct eb_object *event)
{
	const char *name = eb_object_memory(event), *at = strchr(name, '/');
	int is_exit, nr;

	at = at ? at + 1 : name;
	is_exit = !strncmp(at, "sys_exit", 8);
	if (!is_exit && strncmp(at, "sys_enter", 9))
		return NULL;
	at += is_exit ? 8 : 9;
	if (!*at)
		return &lists[is_exit][ALL];
	nr = *at == '_' ? eb_syscall_number(at + 1) : -1;
	return nr < 0 || nr >= CALLS ? NULL : &lists[is_exit][nr];
}

static struct list *with(const struct list *old, const struct item *item)
{
	unsigned n = old ? old->n : 0;
	struct list *new = malloc(sizeof(*new) + sizeof(*item) * (n + 1));

	if (!new)
		return NULL;
	new->n = n + 1;
	if (n)
		memcpy(new->items, old->items, sizeof(*item) * n);
	new->items[n] = *item;
	return new;
}

int agent_attach_syscall(struct agent_link *link, const struct eb_object *event, char *error, size_t size)
{
	struct list **place = list_of(event), *old, *new;
	struct item item = { link, &link->attachment, event->event.kind == EB_EVENT_RAW_TRACEPOINT };

	if (!place) {
		snprintf(error, size, "%s: only system calls are traced in user space", (const char *)eb_object_memory(event));
		return -EOPNOTSUPP;
	}
	old = *place;
	new = with(old, &item);
	if (!new) {
		snprintf(error, size, "no memory");
		return -ENOMEM;
	}
	eb_store(place, new); /* the old list stays: a thread may be in it */
	if (!total++ && divert_calls(error, size)) {
		total--;
		eb_store(place, old);
		return -EOPNOTSUPP;
	}
	return 0;
}

static void without(struct list **place, const struct agent_link *link)
{
	const struct list *old = *place;
	struct list *new = NULL;

	for (unsigned i = 0; old && i < old->n; i++)
		if (old->items[i].link == link)
			goto found;
	return;
found:
	for (unsigned i = 0; i < old->n; i++)
		if (old->items[i].link != link)
			new = with(new, &old->items[i]);
	eb_store(place, new);
}

int agent_detach_syscall(struct agent_link *link)
{
	for (unsigned side = 0; side < 2; side++)
		for (unsigned i = 0; i <= ALL; i++)
			without(&lists[side][i], link);
	/* while others remain we cannot know that nobody is in this one */
	return --total ? 1 : eb_unhook_syscalls();
}
