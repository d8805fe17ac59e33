#include "hook/gate.h"
#include "hook/arena.h"
#include "hook/jump.h"
#include "hook/relocate.h"
#include "hook/scan.h"
#include "hook/text.h"
#include "common/common.h"

#include <stdlib.h>

#define CALL_SIZE_ 2 /* of a system call instruction */
#define MOST_BEFORE 12
#define STUB_MOST (2 * EB_MOVED_SIZE + 32)

static struct eb_gate *gates;

struct code {
	unsigned char bytes[STUB_MOST];
	unsigned size;
};

static void put(struct code *code, const void *bytes, unsigned size)
{
	eb_copy(code->bytes + code->size, bytes, size);
	code->size += size;
}

/* mov $gate, %rcx; jmp *GATE_PATH(%rcx) */
static void put_gate(struct code *code, const struct eb_gate *gate)
{
	uint64_t address = (uint64_t)gate;

	put(code, (const unsigned char[]){ 0x48, 0xb9 }, 2);
	put(code, &address, 8);
	put(code, (const unsigned char[]){ 0xff, 0x61, GATE_PATH }, 3);
}

static int through_hole(struct eb_gate *gate, const struct eb_module *module)
{
	unsigned char *at = gate->address, *hole = eb_hole_near(module, at), *stub;
	struct code code = {};

	stub = hole ? eb_arena_take(at, 32) : NULL;
	if (!stub)
		return 0;
	put_gate(&code, gate);
	gate->raw = stub + code.size;
	put(&code, (const unsigned char[]){ 0x0f, 0x05 }, 2);
	eb_put_jump(code.bytes + code.size, stub + code.size, at + CALL_SIZE_);
	code.size += LONG_JUMP;
	gate->next = at + CALL_SIZE_;
	eb_hop_fill(&gate->patch, &gate->hop, at, hole, stub);
	gate->patch.body = gate->raw;
	return !eb_text_write(stub, code.bytes, code.size);
}

static int is_straight(enum eb_kind kind)
{
	return kind == EB_PLAIN || kind == EB_NOP;
}

/* Behind the call there may be branches, but not back into the midst of the window. */
static int may_follow(const struct eb_instruction *instruction, const unsigned char *from, const unsigned char *call)
{
	if (instruction->kind == EB_BRANCH || instruction->kind == EB_JUMP)
		return instruction->target <= from || instruction->target > call;
	return is_straight(instruction->kind) || instruction->kind == EB_RETURN;
}

/*
 * The window: `before` instructions ahead of the call, which the jump takes the place of, and the call, whose bytes stay:
 * a thread that waits in it goes on behind it, or starts it again.
 */
static int choose_window(struct eb_moved *moved, const struct eb_instruction *list, unsigned n, unsigned before,
			 const struct eb_extent *function)
{
	const unsigned char *at = list[n - before].at;
	unsigned ahead = (unsigned)(list[n].at - at);
	char error[8];

	if (ahead < LONG_JUMP || eb_move_choose(moved, at, ahead + CALL_SIZE_, function->end, function->end, error, sizeof(error)) ||
	    moved->displaced > 15)
		return 0;
	for (unsigned i = 0; i < moved->count; i++)
		if (i < before ? !is_straight(moved->instructions[i].kind) :
		    i > before && !may_follow(&moved->instructions[i], at, list[n].at))
			return 0;
	return moved->instructions[before].kind == EB_SYSCALL;
}

/*
 * The window's copy: the moved instructions with the system call in their midst taken for a call of the gate, then, for
 * calls that must be made raw, a second copy from the instruction on.
 */
static int write_window(struct eb_gate *gate, struct eb_moved *moved, unsigned before)
{
	unsigned char *stub = eb_arena_take(gate->address, STUB_MOST);
	struct eb_moved tail = *moved;
	struct code code = {};
	char error[8];

	if (!stub || eb_move_write(moved, stub, LONG_JUMP, error, sizeof(error)))
		return 0;
	put(&code, moved->code, moved->to[before]);
	put_gate(&code, gate);
	/* from the call on, as it was */
	tail.count -= before;
	tail.displaced -= moved->from[before];
	for (unsigned i = 0; i < tail.count; i++) {
		tail.instructions[i] = moved->instructions[i + before];
		tail.from[i] = (unsigned char)(moved->from[i + before] - moved->from[before]);
	}
	gate->raw = stub + code.size;
	if (eb_move_write(&tail, gate->raw, 1, error, sizeof(error)))
		return 0;
	put(&code, tail.code, tail.size);
	gate->next = (unsigned char *)gate->raw + CALL_SIZE_;
	eb_patch_fill(&gate->patch, (unsigned char *)moved->instructions[0].at, LONG_JUMP);
	eb_put_jump(gate->patch.jump, gate->patch.at, stub);
	gate->patch.displaced = (unsigned char)moved->displaced;
	gate->patch.starts = (unsigned char)moved->count;
	for (unsigned i = 0; i < moved->count; i++) {
		gate->patch.from[i] = moved->from[i];
		gate->patch.to[i] = (unsigned char)(i <= before ? moved->to[i] :
							  code.size - tail.size + tail.to[i - before]);
	}
	gate->patch.stub = gate->patch.body = stub;
	return !eb_text_write(stub, code.bytes, code.size);
}

/* The instructions up to the one at `at`: the last few are kept. Their number less one. */
static unsigned decode_up_to(const struct eb_extent *function, const unsigned char *at, struct eb_instruction *list)
{
	unsigned n = 0;

	for (const unsigned char *here = function->start; here <= at;) {
		if (n == MOST_BEFORE) {
			for (unsigned i = 1; i < n; i++)
				list[i - 1] = list[i];
			n--;
		}
		list[n] = eb_decode(here, function->end);
		here += list[n++].length;
	}
	return n - 1;
}

static int through_window(struct eb_gate *gate, const struct eb_module *module, const struct eb_extent *function)
{
	struct eb_instruction list[MOST_BEFORE];
	unsigned n = decode_up_to(function, gate->address, list);

	for (unsigned before = 0; before <= n && before < EB_MOST_MOVED; before++) {
		struct eb_moved moved;
		struct eb_scan scan;

		if (before && !is_straight(list[n - before].kind))
			return 0;
		if (!choose_window(&moved, list, n, before, function) ||
		    eb_text_overlapping(list[n - before].at, moved.displaced, NULL))
			continue;
		eb_scan(module, function, list[n - before].at, list[n - before].at + moved.displaced, &scan);
		if (!scan.into && !scan.unreadable && write_window(gate, &moved, before))
			return 1;
	}
	return 0;
}

int eb_gate_make(const struct eb_module *module, const struct eb_extent *function, unsigned char *at)
{
	struct eb_gate *gate = calloc(1, sizeof(*gate));
	char error[128];

	if (!gate)
		return 0;
	gate->address = at;
	gate->path = eb_gate_path;
	if (eb_text_overlapping(at, CALL_SIZE_, NULL) ||
	    (!through_hole(gate, module) && !through_window(gate, module, function))) {
		free(gate);
		return 0;
	}
	if (gate->hop.at)
		eb_text_add(&gate->hop);
	eb_text_add(&gate->patch);
	gate->next_gate = gates;
	gates = gate;
	return !eb_hop_switch(&gate->patch, &gate->hop, 1, error, sizeof(error));
}

void eb_gates_switch(int on)
{
	char error[128];

	for (struct eb_gate *gate = gates; gate; gate = gate->next_gate)
		eb_hop_switch(&gate->patch, &gate->hop, on, error, sizeof(error));
}
