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

#define STEP 16
#define EACH(byte) (0x0101010101010101ull * (byte)), (0x0101010101010101ull * (byte))

/*
 * A bit for each of the 16 bytes where a jmp or a jcc may begin; reads 17. By hand, because nothing here is compiled for vector
 * registers; whoever hooks a function has called us and keeps nothing in them.
 */
static inline uint32_t branches_at(const unsigned char *at)
{
	static const uint64_t bytes[] __attribute__((aligned(16))) = { EACH(0xe9), EACH(0x0f), EACH(0xf0), EACH(0x80) };
	uint32_t found;

	__asm__("movdqu (%1), %%xmm0\n\t"
		"movdqu 1(%1), %%xmm1\n\t"
		"movdqa %%xmm0, %%xmm2\n\t"
		"pcmpeqb (%2), %%xmm0\n\t"
		"pcmpeqb 16(%2), %%xmm2\n\t"
		"pand 32(%2), %%xmm1\n\t"
		"pcmpeqb 48(%2), %%xmm1\n\t"
		"pand %%xmm1, %%xmm2\n\t"
		"por %%xmm2, %%xmm0\n\t"
		"pmovmskb %%xmm0, %0"
		: "=r"(found)
		: "r"(at), "r"(bytes)
		: "memory");
	return found;
}

/* All of a text is looked at when the first probe is put into it: this is most of what the start of a short process costs. */
static void collect(struct targets *targets)
{
	const unsigned char *at = targets->module.text.start, *end = targets->module.text.end - 6;

	for (; at + STEP < targets->module.text.end; at += STEP)
		for (uint32_t found = branches_at(at); found; found &= found - 1) {
			const unsigned char *opcode = at + __builtin_ctz(found);

			if (opcode < end)
				mark(targets, opcode + (*opcode == 0xe9 ? 1 : 2));
		}
	for (; at < end; at++)
		if (at[0] == 0xe9 || (at[0] == 0x0f && (at[1] & 0xf0) == 0x80))
			mark(targets, at + (*at == 0xe9 ? 1 : 2));
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
