/*
 * A USDT probe is a nop of one byte. Where the next instruction is jumped to, as at the end of an `if`, no jump fits there. But one
 * may fit at the instructions before it: these are executed in a copy, and the hit takes place behind them.
 */
#include "hook/front.h"
#include "hook/arena.h"
#include "hook/internal.h"
#include "hook/jump.h"
#include "hook/scan.h"
#include "hook/text.h"

/* The starts of the last instructions before `place`, the nearest first; how many. */
static unsigned starts_before(const struct eb_extent *function, const unsigned char *place,
			      const unsigned char *starts[EB_MOST_MOVED - 1])
{
	const unsigned char *at = function->start;
	unsigned n = 0;

	while (at < place) {
		for (unsigned i = EB_MOST_MOVED - 2; i > 0; i--)
			starts[i] = starts[i - 1];
		starts[0] = at;
		n += n < EB_MOST_MOVED - 1;
		at += eb_decode(at, function->end).length;
	}
	return at == place ? n : 0;
}

/* A call returns to the text, which is not there any more; and system calls may be hooked themselves. */
static int may_be_before(enum eb_kind kind)
{
	return kind == EB_PLAIN || kind == EB_NOP || kind == EB_BRANCH || kind == EB_LOOP;
}

static int fits(struct eb_front *front, const struct eb_module *module, const struct eb_extent *function,
		const unsigned char *place)
{
	unsigned length = eb_decode(place, function->end).length, before = (unsigned)(place - front->at);
	const unsigned char *end = function->end;
	struct eb_scan scan;
	char ignored[8];

	if (eb_move_choose(&front->before, front->at, before, end, end, ignored, sizeof(ignored)) ||
	    eb_move_choose(&front->whole, front->at, before + length, end, end, ignored, sizeof(ignored)))
		return 0;
	for (unsigned i = 0; i < front->before.count; i++)
		if (!may_be_before(front->before.instructions[i].kind))
			return 0;
	if (front->before.displaced != before || eb_text_overlapping(front->at, front->whole.displaced, NULL))
		return 0;
	/* not even to the place itself: that one would not be a hit */
	eb_scan(module, function, front->at, place + length, &scan);
	return !scan.into;
}

int eb_front_choose(struct eb_front *front, const struct eb_module *module, const struct eb_extent *function,
		    unsigned char *place, unsigned size)
{
	const unsigned char *starts[EB_MOST_MOVED - 1], *end = place + eb_decode(place, function->end).length;
	unsigned n = starts_before(function, place, starts);

	for (unsigned i = 0; i < n; i++) {
		if (starts[i] + size > end)
			continue;
		front->at = (unsigned char *)starts[i];
		return fits(front, module, function, place) ? 0 : -1;
	}
	return -1;
}

static unsigned char *copy(struct eb_moved *moved, const unsigned char *near, const unsigned char *next, char *error, size_t size)
{
	unsigned char *to = eb_arena_take(near, EB_MOVED_SIZE);

	if (!to) {
		eb_refuse(error, size, "there is no free memory within reach of a jump");
		return NULL;
	}
	if (eb_move_write(moved, to, moved->displaced, error, size))
		return NULL;
	if (next) /* it ends with a jump */
		eb_put_jump(moved->code + moved->size - LONG_JUMP, to + moved->size - LONG_JUMP, next);
	if (eb_text_write(to, moved->code, moved->size)) {
		eb_refuse(error, size, "/proc/self/mem cannot be written");
		return NULL;
	}
	return to;
}

int eb_front_write(struct eb_front *front, const unsigned char *stub, unsigned char **before, unsigned char **whole,
		   char *error, size_t size)
{
	*before = copy(&front->before, front->at, stub, error, size);
	*whole = *before ? copy(&front->whole, front->at, NULL, error, size) : NULL;
	return *whole ? 0 : -1;
}
