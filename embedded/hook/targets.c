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

static void collect(struct targets *targets)
{
	const unsigned char *end = targets->module.text.end - 6, *at = targets->module.text.start;

	while (at < end && (at = memchr(at, 0xe9, (size_t)(end - at))))
		mark(targets, ++at); /* jmp */
	at = targets->module.text.start;
	while (at < end && (at = memchr(at, 0x0f, (size_t)(end - at))))
		if ((*++at & 0xf0) == 0x80)
			mark(targets, at + 1); /* jcc */
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
