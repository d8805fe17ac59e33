/*
 * How deep into its stack a function reaches, so that frames are no bigger than needed. Pointers into the stack are followed
 * along straight code; one that escapes (into memory, another block, another function, arithmetic that we do not follow)
 * makes the frame a full one. Also how deeply functions call one another.
 */
#include "program.h"

#include <errno.h>

#define NOT_STACK INT32_MIN
#define FOLLOWED (1 << 20) /* offsets beyond it are nonsense */

struct follow {
	struct program *program;
	int32_t offset[ISA_REGISTERS]; /* from r10, of registers that point into the stack; else NOT_STACK */
	int32_t lowest;
	bool escaped;
};

/* live: registers that go on being used where we cannot follow. */
static void forget_all(struct follow *follow, uint16_t live)
{
	for (int i = 0; i < ISA_FP; i++) {
		if (follow->offset[i] != NOT_STACK && live & 1 << i)
			follow->escaped = true;
		follow->offset[i] = NOT_STACK;
	}
}

static void reach(struct follow *follow, int32_t offset)
{
	if (offset < follow->lowest)
		follow->lowest = offset;
}

static void follow_alu(struct follow *follow, const struct bpf_insn *insn)
{
	int32_t *dst = &follow->offset[insn->dst_reg], source = isa_is_x(insn) ? follow->offset[insn->src_reg] : NOT_STACK;
	bool wide = isa_class(insn) == BPF_ALU64, ends = isa_op(insn) == BPF_END || isa_op(insn) == BPF_NEG;

	if (isa_op(insn) == BPF_MOV && wide && !insn->off) {
		*dst = source;
	} else if (isa_op(insn) == BPF_ADD && wide && !isa_is_x(insn) && *dst != NOT_STACK) {
		int64_t sum = (int64_t)*dst + insn->imm;

		follow->escaped |= sum < -FOLLOWED || sum > FOLLOWED;
		*dst = (int32_t)sum;
		reach(follow, *dst);
	} else {
		follow->escaped |= *dst != NOT_STACK || (!ends && source != NOT_STACK);
		*dst = NOT_STACK;
	}
}

/* Only what a function was given or keeps can be lost: arguments of helpers are used from their address upwards. */
static void follow_call(struct follow *follow, const struct bpf_insn *insn)
{
	for (int i = 0; i <= 5; i++) {
		if (follow->offset[i] != NOT_STACK && (i == 0 || isa_is_local_call(insn) || follow->program->callbacks))
			follow->escaped = true;
		follow->offset[i] = NOT_STACK;
	}
}

static void follow_memory(struct follow *follow, const struct bpf_insn *insn)
{
	bool load = isa_class(insn) == BPF_LDX || (isa_is_atomic(insn) && insn->imm == BPF_LOAD_ACQ);
	int32_t base = follow->offset[load ? insn->src_reg : insn->dst_reg];

	if (base != NOT_STACK)
		reach(follow, base + insn->off);
	if (load)
		follow->offset[insn->dst_reg] = NOT_STACK;
	else if (isa_class(insn) == BPF_STX)
		follow->escaped |= follow->offset[insn->src_reg] != NOT_STACK;
	if (isa_is_atomic(insn))
		follow->escaped |= follow->offset[0] != NOT_STACK;
}

static void follow_one(struct follow *follow, uint32_t at)
{
	const struct bpf_insn *insn = &follow->program->insns[at];

	if (follow->program->at[at] & AT_TARGET)
		forget_all(follow, follow->program->live[at]);
	if (isa_is_alu(insn))
		follow_alu(follow, insn);
	else if (isa_is_any_call(insn))
		follow_call(follow, insn);
	else if (isa_is_jmp(insn))
		forget_all(follow, live_after(follow->program, at));
	else if (isa_is_ld_imm64(insn))
		follow->offset[insn->dst_reg] = NOT_STACK;
	else if (!isa_is_jmp(insn))
		follow_memory(follow, insn);
}

static int measure_stack(struct program *program, struct function *function, const struct report *report)
{
	struct follow follow = { .program = program };

	for (int i = 0; i < ISA_FP; i++)
		follow.offset[i] = NOT_STACK;
	for (uint32_t at = function->first; at < function->end; at++) {
		const struct bpf_insn *insn = &program->insns[at];
		bool load = isa_class(insn) == BPF_LDX;
		int base = load ? insn->src_reg : insn->dst_reg;

		if (program->at[at] & AT_SECOND)
			continue;
		if (!isa_is_alu(insn) && !isa_is_jmp(insn) && base == ISA_FP && !isa_is_ld_imm64(insn) &&
		    !(isa_is_atomic(insn) && insn->imm == BPF_LOAD_ACQ) &&
		    (insn->off < -EB_STACK || insn->off > -isa_bytes(insn)))
			return report_at(report, at, "accesses %d bytes at r10%+d, outside the stack of %d", isa_bytes(insn),
					 insn->off, EB_STACK);
		follow_one(&follow, at);
	}
	if (follow.lowest < -EB_STACK)
		follow.escaped = true; /* an address that nobody may use, but may have been formed */
	function->depth = follow.escaped ? EB_STACK : (uint16_t)((-follow.lowest + 7) & ~7);
	return 0;
}

/*
 * Frames needed below and with a function, by depth-first search; path holds the functions that are being looked at. Callbacks
 * count as called where their address is taken.
 */
static int measure_nesting(struct program *program, struct function *function, unsigned depth, const struct report *report)
{
	uint8_t most = 0;

	if (depth > EB_FRAMES)
		return report_at(report, function->first, "calls nest deeper than %d frames, or without end", EB_FRAMES);
	if (function->nesting)
		return depth + function->nesting - 1 > EB_FRAMES
			       ? report_at(report, function->first, "calls nest deeper than %d frames", EB_FRAMES) : 0;
	for (uint32_t at = function->first; at < function->end; at++) {
		const struct bpf_insn *insn = &program->insns[at];
		struct function *callee;
		int result;

		if (program->at[at] & AT_SECOND ||
		    !(isa_is_local_call(insn) || (isa_is_ld_imm64(insn) && insn->src_reg == BPF_PSEUDO_FUNC)))
			continue;
		callee = &program->functions[insn->imm];
		result = measure_nesting(program, callee, depth + 1, report);
		if (result)
			return result;
		if (callee->nesting > most)
			most = callee->nesting;
	}
	function->nesting = (uint8_t)(most + 1);
	return 0;
}

/* A callback is called by a helper, which keeps no count of tail calls. */
static int check_callback(const struct program *program, const struct function *function, const struct report *report)
{
	if (function->tail_calls)
		return report_at(report, function->first, "tail calls in callbacks are not supported");
	for (uint32_t at = function->first; at < function->end; at++) {
		int result = program->at[at] & AT_SECOND || !isa_is_local_call(&program->insns[at])
				     ? 0 : check_callback(program, &program->functions[program->insns[at].imm], report);

		if (result)
			return result;
	}
	return 0;
}

int measure_functions(struct program *program, const struct report *report)
{
	int result = 0;

	for (uint32_t i = 0; i < program->function_count && !result; i++)
		result = measure_stack(program, &program->functions[i], report);
	if (!result)
		result = measure_nesting(program, &program->functions[0], 1, report);
	for (uint32_t i = 1; i < program->function_count && !result; i++)
		result = measure_nesting(program, &program->functions[i], 1, report);
	for (uint32_t i = 1; i < program->function_count && !result && program->tail_calls; i++)
		if (program->functions[i].callback)
			result = check_callback(program, &program->functions[i], report);
	return result;
}
