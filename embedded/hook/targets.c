#include "hook/targets.h"
#include "common/common.h"

#include <stdlib.h>
#include <string.h>

struct targets {
	struct targets *next;
	struct eb_module module;
	char *path;
	unsigned char bits[]; /* one for each byte of the text */
};

static struct targets *known;

static void mark(struct targets *targets, const unsigned char *displacement)
{
	const unsigned char *target = displacement + 4 + (int32_t)*(const eb_u32 *)displacement;
	size_t offset = (size_t)(target - targets->module.text.start);

	if (target >= targets->module.text.start && target < targets->module.text.end)
		targets->bits[offset / 8] |= (unsigned char)(1u << offset % 8);
}

#define STEP 8
#define EACH(byte) (0x0101010101010101ull * (byte))

/* The highest bit of each byte that is equal to `byte`; bytes above one that is may be marked without being so. */
static inline uint64_t equal(uint64_t word, uint64_t byte)
{
	uint64_t other = word ^ EACH(byte);

	return (other - EACH(0x01)) & ~other & EACH(0x80);
}

/* A jmp or a jcc begins here: mark where it goes. */
static inline void look_at(struct targets *targets, const unsigned char *at)
{
	if (at[0] == 0xe9)
		mark(targets, at + 1);
	else if (at[0] == 0x0f && (at[1] & 0xf0) == 0x80)
		mark(targets, at + 2);
}

/*
 * All of a text is looked at when the first probe is put into it: this is most of what the start of a short process costs. Eight bytes
 * at a time, and without vector registers, which our code leaves alone everywhere.
 */
static void collect(struct targets *targets)
{
	const unsigned char *at = targets->module.text.start, *end = targets->module.text.end - 6;

	for (; at + STEP < end; at += STEP) {
		uint64_t word = *(const eb_u64 *)at, next = *(const eb_u64 *)(at + 1);
		uint64_t found = equal(word, 0xe9) | (equal(word, 0x0f) & equal(next & EACH(0xf0), 0x80));

		for (; found; found &= found - 1)
			look_at(targets, at + __builtin_ctzll(found) / 8);
	}
	for (; at < end; at++)
		look_at(targets, at);
}

/* Of the same text: another object may have been loaded in its place. */
static int is_of(const struct targets *targets, const struct eb_module *module)
{
	return targets->module.text.start == module->text.start && targets->module.text.end == module->text.end &&
	       targets->module.unwind == module->unwind && !strcmp(targets->path, module->path);
}

static struct targets *targets_of(const struct eb_module *module)
{
	size_t size = (size_t)(module->text.end - module->text.start);
	struct targets *targets;

	for (targets = known; targets; targets = targets->next)
		if (is_of(targets, module))
			return targets;
	targets = calloc(1, sizeof(*targets) + size / 8 + 1);
	if (!targets)
		return NULL;
	targets->module = *module;
	targets->path = strdup(module->path);
	if (!targets->path) {
		free(targets);
		return NULL;
	}
	if (size > 8)
		collect(targets);
	targets->next = known;
	return known = targets;
}

int eb_targets_between(const struct eb_module *module, const unsigned char *from, const unsigned char *to)
{
	struct targets *targets = targets_of(module);

	if (!targets)
		return 1;
	for (const unsigned char *at = from + 1; at < to && at < module->text.end; at++) {
		size_t offset = (size_t)(at - module->text.start);

		if (targets->bits[offset / 8] >> offset % 8 & 1)
			return 1;
	}
	return 0;
}
