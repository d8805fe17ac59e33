#include "hook/targets.h"
#include "common/branches.h"
#include "hook/hook.h"
#include "hook/text.h"

#include <stdlib.h>
#include <string.h>

struct targets {
	struct targets *next;
	struct eb_module module;
	char *path;
	unsigned char bits[]; /* one for each byte of the text */
};

static struct targets *known;

/* What somebody has found out about one place, in the file that it comes from. */
static struct {
	const unsigned char *at;
	uint32_t targets;
} hint;

void eb_hook_hint(const void *address, uint32_t targets)
{
	hint.at = address;
	hint.targets = targets;
}

/* Of the same text: another object may have been loaded in its place. */
static int is_of(const struct targets *targets, const struct eb_module *module)
{
	return targets->module.text.start == module->text.start && targets->module.text.end == module->text.end &&
	       targets->module.unwind == module->unwind && !strcmp(targets->path, module->path);
}

/* What our own patches cover counts, too. */
static void note_covered(const struct eb_patch *patch, void *data)
{
	struct targets *targets = data;
	size_t offset = (size_t)(patch->at - targets->module.text.start);
	size_t size = (size_t)(targets->module.text.end - targets->module.text.start);

	for (unsigned i = 0; offset < size && i < patch->size; i++)
		eb_note_branch(offset + i, size, patch->original + i, targets->bits);
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
	/* all of a text is looked at when the first probe is put into it: most of what the start of a short process would cost */
	eb_note_branches(module->text.start, size, targets->bits);
	eb_text_each(note_covered, targets);
	targets->next = known;
	return known = targets;
}

int eb_targets_between(const struct eb_module *module, const unsigned char *from, const unsigned char *to)
{
	struct targets *targets;

	if (from == hint.at && to - from <= 32)
		return (hint.targets & ((1ull << (to - from)) - 2)) != 0;
	targets = targets_of(module);
	if (!targets)
		return 1;
	for (const unsigned char *at = from + 1; at < to && at < module->text.end; at++) {
		size_t offset = (size_t)(at - module->text.start);

		if (targets->bits[offset / 8] >> offset % 8 & 1)
			return 1;
	}
	return 0;
}
