/* Which functions a program consists of, whether jumps and calls are sound, and how much stack each function can reach. */
#include "program.h"

#include <errno.h>
#include <stdlib.h>

/* The instruction that a call or a BPF_PSEUDO_FUNC load refers to; -1: this one refers to none. */
static int64_t referred(const struct program *program, uint32_t at)
{
	const struct bpf_insn *insn = &program->insns[at];

	if (isa_is_local_call(insn) || (isa_is_ld_imm64(insn) && insn->src_reg == BPF_PSEUDO_FUNC))
		return (int64_t)at + 1 + insn->imm;
	return -1;
}

static int mark_functions(struct program *program, const struct report *report)
{
	program->at[0] |= AT_FUNCTION;
	for (uint32_t at = 0; at < program->count; at++) {
		int64_t to;

		if (program->at[at] & AT_SECOND)
			continue;
		to = referred(program, at);
		if (to == -1)
			continue;
		if (to <= 0 || to >= program->count || program->at[to] & AT_SECOND)
			return report_at(report, at, "refers to a function at instruction %lld, which cannot be one", (long long)to);
		program->at[to] |= AT_FUNCTION;
	}
	return 0;
}

/* Control must not run out of a function: its last instruction is an exit or a jump. */
static int check_end(const struct program *program, uint32_t end, const struct report *report)
{
	const struct bpf_insn *last = &program->insns[end - 1];

	if (program->at[end - 1] & AT_SECOND || !(isa_is_exit(last) || isa_is_ja(last)))
		return report_at(report, end - 1, "the last one of a function is neither an exit nor a jump");
	return 0;
}

int find_functions(struct program *program, const struct report *report)
{
	uint32_t found = 0;
	int result = mark_functions(program, report);

	if (result)
		return result;
	for (uint32_t at = 0; at < program->count; at++)
		found += (program->at[at] & AT_FUNCTION) != 0;
	program->functions = calloc(found, sizeof(*program->functions));
	if (!program->functions)
		return report_error(report, -ENOMEM, "no memory for %u functions", found);
	for (uint32_t at = 0; at < program->count; at++)
		if (program->at[at] & AT_FUNCTION)
			program->functions[program->function_count++].first = at;
	for (uint32_t i = 0; i < found && !result; i++) {
		program->functions[i].end = i + 1 < found ? program->functions[i + 1].first : program->count;
		result = check_end(program, program->functions[i].end, report);
	}
	return result;
}

static int check_jump(struct program *program, const struct function *function, uint32_t at, const struct report *report)
{
	int64_t to = (int64_t)at + 1 + isa_distance(&program->insns[at]);

	if (to < function->first || to >= function->end)
		return report_at(report, at, "jumps to instruction %lld, out of its function", (long long)to);
	if (program->at[to] & AT_SECOND)
		return report_at(report, at, "jumps into the middle of a 64-bit load");
	program->at[to] |= to <= at ? AT_TARGET | AT_LOOP : AT_TARGET;
	return 0;
}

/* Turns what calls and references say into the function's index. */
static void number_reference(struct program *program, uint32_t at)
{
	int64_t to = referred(program, at);
	struct function *function = to < 0 ? NULL : function_at(program, to);

	if (!function)
		return;
	program->insns[at].imm = (int)(function - program->functions);
	if (isa_is_ld_imm64(&program->insns[at]))
		function->callback = program->callbacks = true;
}

int check_jumps(struct program *program, const struct report *report)
{
	for (uint32_t i = 0; i < program->function_count; i++) {
		struct function *function = &program->functions[i];

		for (uint32_t at = function->first; at < function->end; at++) {
			const struct bpf_insn *insn = &program->insns[at];
			int result;

			if (program->at[at] & AT_SECOND)
				continue;
			function->touched |= (uint16_t)(1 << insn->dst_reg | 1 << insn->src_reg);
			if (isa_is_branch(insn)) {
				result = check_jump(program, function, at, report);
				if (result)
					return result;
			} else if (isa_is_any_call(insn)) {
				function->calls = true;
				function->tail_calls |= isa_is_helper_call(insn) && insn->imm == BPF_FUNC_tail_call;
			}
			number_reference(program, at);
		}
		program->tail_calls |= function->tail_calls;
	}
	return 0;
}
