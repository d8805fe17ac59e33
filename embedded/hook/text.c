#include "hook/text.h"
#include "hook/raw.h"
#include "hook/signals.h"
#include "hook/tasks.h"
#include "hook/thread.h"
#include "common/common.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define BUCKETS 4096
#define BREAKPOINT 0xcc

static struct eb_patch *buckets[BUCKETS];
static uint64_t lines[1024]; /* which 64-byte lines may have patches: a bit for all that share it */

static struct eb_patch **bucket(const unsigned char *at)
{
	return &buckets[(uint64_t)at * 0x9e3779b97f4a7c15u >> 52];
}

int eb_text_write(void *at, const void *bytes, size_t size)
{
	/* Opened anew each time: after a fork, an old one is the parent's memory. */
	long fd = raw(SYS_open, "/proc/self/mem", O_RDWR | O_CLOEXEC), done;

	if (fd < 0)
		return (int)fd;
	done = raw(SYS_pwrite64, fd, bytes, size, at);
	raw(SYS_close, fd);
	return done == (long)size ? 0 : done < 0 ? (int)done : -EIO;
}

void eb_text_add(struct eb_patch *patch)
{
	struct eb_patch **head = bucket(patch->at);

	patch->next = *head;
	eb_store(head, patch);
	lines[(uint64_t)patch->at >> 12 & 1023] |= 1ull << ((uint64_t)patch->at >> 6 & 63);
}

static int line_may_have(uint64_t address)
{
	return lines[address >> 12 & 1023] >> (address >> 6 & 63) & 1;
}

const unsigned char *eb_text_pristine(const unsigned char *at, size_t size, unsigned char *copy)
{
	if (!line_may_have((uint64_t)at) && !line_may_have((uint64_t)at - 8) && !line_may_have((uint64_t)at + size))
		return at;
	eb_copy(copy, at, size);
	for (const unsigned char *start = at - 7; start < at + size; start++)
		for (struct eb_patch *patch = *bucket(start); patch; patch = patch->next)
			for (int i = 0; patch->at == start && patch->on && i < patch->size; i++)
				if (start + i >= at && start + i < at + size)
					copy[start + i - at] = patch->original[i];
	return copy;
}

void eb_text_each(void (*visit)(const struct eb_patch *patch, void *data), void *data)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct eb_patch *patch = buckets[i]; patch; patch = patch->next)
			if (patch->on)
				visit(patch, data);
}

struct eb_patch *eb_text_overlapping(const unsigned char *at, size_t size, const struct eb_patch *but)
{
	for (const unsigned char *start = at - 15; start < at + size; start++)
		for (struct eb_patch *patch = eb_load(bucket(start)); patch; patch = patch->next)
			if (patch != but && patch->on && patch->at == start && start + patch->displaced > at)
				return patch;
	return NULL;
}

/*
 * A breakpoint is executed, and then its handler looks for it here: perhaps after the patch has been finished. So
 * patches are found whatever state they are in.
 */
unsigned char *eb_text_elsewhere(unsigned char *at)
{
	for (unsigned char *start = at; start > at - 8; start--)
		for (struct eb_patch *patch = eb_load(bucket(start)); patch; patch = patch->next) {
			if (patch->at != start)
				continue;
			if (start == at)
				return eb_load(&patch->on) ? patch->stub : patch->body;
			for (unsigned i = 1; i < patch->starts; i++)
				if (start + patch->from[i] == at && patch->from[i] < patch->size)
					return patch->body + patch->to[i];
		}
	return NULL;
}

/* Breakpoints on all instructions that the jump will cover, the first one first: nobody comes in any more. */
static int put_breakpoints(const struct eb_patch *patch, int interior)
{
	static const unsigned char breakpoint = BREAKPOINT;
	int failed = eb_text_write(patch->at, &breakpoint, 1);

	for (unsigned i = 1; interior && !failed && i < patch->starts && patch->from[i] < patch->size; i++)
		failed = eb_text_write(patch->at + patch->from[i], &breakpoint, 1);
	return failed;
}

static int switch_live(struct eb_patch *patch, const unsigned char *bytes, int interior, char *error, size_t size)
{
	if (eb_signals_prepare(error, size) || eb_tasks_wait_trap(error, size))
		return -1;
	if (put_breakpoints(patch, interior))
		return eb_refuse(error, size, "/proc/self/mem cannot be written");
	eb_synchronise();
	if (interior && eb_tasks_wait_outside(patch->at + 1, patch->at + patch->size, error, size)) {
		eb_text_write(patch->at + 1, patch->original + 1, patch->size - 1u);
		eb_synchronise();
		eb_text_write(patch->at, patch->original, 1);
		eb_synchronise();
		return -1;
	}
	eb_text_write(patch->at + 1, bytes + 1, patch->size - 1u);
	eb_synchronise();
	eb_text_write(patch->at, bytes, 1);
	eb_synchronise();
	return 0;
}

int eb_text_holds(const struct eb_patch *patch, const unsigned char *bytes)
{
	unsigned char seen[sizeof(patch->jump)];
	long fd = raw(SYS_open, "/proc/self/mem", O_RDONLY | O_CLOEXEC), done;

	if (fd < 0)
		return 0;
	done = raw(SYS_pread64, fd, seen, patch->size, patch->at);
	raw(SYS_close, fd);
	return done == patch->size && eb_equal(seen, bytes, patch->size);
}

int eb_text_switch(struct eb_patch *patch, int on, char *error, size_t size)
{
	const unsigned char *bytes = on ? patch->jump : patch->original;
	int interior = on && patch->starts > 1 && patch->from[1] < patch->size, failed;

	/* its library may have gone, and another one come in its place */
	if (!on && !eb_text_holds(patch, patch->jump)) {
		eb_store(&patch->on, 0);
		return 0;
	}
	if (on && !eb_text_holds(patch, patch->original))
		return eb_refuse(error, size, "the code is another than it was");
	if (on && eb_text_overlapping(patch->at, patch->displaced, patch))
		return eb_refuse(error, size, "another patch is in the way");
	eb_store(&patch->on, (unsigned char)on);
	if (!eb_tasks_alone()) {
		uint64_t trap = 1ull << (SIGTRAP - 1), old = 0;

		raw(SYS_rt_sigprocmask, SIG_UNBLOCK, &trap, &old, 8);
		failed = switch_live(patch, bytes, interior, error, size);
		raw(SYS_rt_sigprocmask, SIG_SETMASK, &old, 0, 8);
	} else {
		failed = eb_text_write(patch->at, bytes, patch->size);
		if (failed)
			eb_refuse(error, size, "/proc/self/mem cannot be written: %s", strerror(-failed));
	}
	if (failed)
		eb_store(&patch->on, (unsigned char)!on);
	return failed ? -1 : 0;
}
