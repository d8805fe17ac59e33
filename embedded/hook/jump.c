#include "hook/jump.h"
#include "hook/decode.h"
#include "hook/targets.h"
#include "hook/text.h"
#include "common/common.h"

void eb_put_jump(unsigned char *to, const unsigned char *from, const unsigned char *target)
{
	int32_t distance = (int32_t)(target - (from + LONG_JUMP));

	to[0] = 0xe9;
	eb_copy(to + 1, &distance, 4);
}

void eb_patch_fill(struct eb_patch *patch, unsigned char *at, unsigned size)
{
	patch->at = at;
	patch->size = (unsigned char)size;
	patch->displaced = (unsigned char)size;
	patch->starts = 1;
	eb_copy(patch->original, at, sizeof(patch->original));
}

/* Padding behind the piece of code: nobody falls into it or jumps there. */
static int is_hole(const struct eb_module *module, const struct eb_extent *function, const unsigned char *end)
{
	struct eb_instruction last = { .kind = EB_UNKNOWN };
	const unsigned char *at;

	for (at = function->start; at < function->end; at += last.length)
		last = eb_decode(at, function->end);
	if (at != function->end || (last.kind != EB_JUMP && last.kind != EB_JUMP_INDIRECT && last.kind != EB_RETURN &&
				    last.kind != EB_STOP && last.kind != EB_CALL))
		return 0;
	for (; at < end; at += last.length) {
		last = eb_decode(at, end);
		if (last.kind != EB_NOP && last.kind != EB_BREAKPOINT)
			return 0;
	}
	return at == end && !eb_targets_between(module, function->end - 1, end);
}

unsigned char *eb_hole_near(const struct eb_module *module, unsigned char *at)
{
	const unsigned char *low = at + SHORT_JUMP - 128, *high = at + SHORT_JUMP + 127;
	struct eb_extent function, next;
	size_t i = eb_function_index(module, low);

	for (; eb_function_at(module, i, &function) && eb_function_at(module, i + 1, &next); i++) {
		unsigned char *hole = (unsigned char *)(function.end < low ? low : function.end);

		if (function.end > high)
			return NULL;
		if (next.start - function.end > 64 || next.start < hole || !is_hole(module, &function, next.start))
			continue;
		/* others may have been here */
		while (hole + LONG_JUMP <= next.start && hole <= high && eb_text_overlapping(hole, LONG_JUMP, NULL))
			hole++;
		if (hole + LONG_JUMP <= next.start && hole <= high)
			return hole;
	}
	return NULL;
}

void eb_hop_fill(struct eb_patch *patch, struct eb_patch *hop, unsigned char *at, unsigned char *hole, unsigned char *stub)
{
	eb_patch_fill(hop, hole, LONG_JUMP);
	eb_put_jump(hop->jump, hole, stub);
	hop->stub = hop->body = stub;
	eb_patch_fill(patch, at, SHORT_JUMP);
	patch->jump[0] = 0xeb;
	patch->jump[1] = (unsigned char)(hole - (at + SHORT_JUMP));
	patch->stub = stub;
}

int eb_hop_switch(struct eb_patch *patch, struct eb_patch *hop, int on, char *error, size_t size)
{
	/* the hop stays when the patch goes: a thread may be about to come there; but not when its library goes */
	if (on && hop->at && hop->on && !eb_text_holds(hop, hop->jump))
		eb_store(&hop->on, 0);
	if (on && hop->at && !hop->on && eb_text_switch(hop, 1, error, size))
		return -1;
	return patch->on == on ? 0 : eb_text_switch(patch, on, error, size);
}
