/* Asks the environment for everything that a program refers to. Values of registers are followed along straight code. */
#include "program.h"

#include <errno.h>
#include <stdlib.h>

struct maps {
	bool known[ISA_REGISTERS];
	uint64_t map[ISA_REGISTERS];
};

static bool is_map_load(const struct bpf_insn *insn)
{
	return insn->src_reg == BPF_PSEUDO_MAP_FD || insn->src_reg == BPF_PSEUDO_MAP_IDX;
}

static int resolve_load(struct program *program, uint32_t at, const struct report *report)
{
	const struct eb_environment *environment = program->environment;
	struct bpf_insn *insn = &program->insns[at];
	uint64_t value = 0;

	if (!insn->src_reg || insn->src_reg == BPF_PSEUDO_FUNC)
		return 0;
	if (!environment->resolve || environment->resolve(environment->user, insn, &value))
		return report_at(report, at, "cannot resolve the 64-bit load of kind %d, value %d, %d", insn->src_reg, insn[0].imm,
				 insn[1].imm);
	insn[0].imm = (int32_t)value;
	insn[1].imm = (int32_t)(value >> 32);
	return 0;
}

/* Whether the numbers fit the instructions that an inlined look-up is made of. */
static bool is_sound(const struct eb_array *array)
{
	if (!array->stride || array->stride > INT32_MAX)
		return false;
	return !array->cpus || (array->cpus <= INT32_MAX && array->cpu_stride <= INT32_MAX &&
				array->cpu_tls == (int32_t)array->cpu_tls);
}

/* What can be done better than to call. */
static void find_hint(const struct eb_environment *environment, struct call *call)
{
	if (environment->options & EB_OPTION_NO_INLINE)
		return;
	if (call->id == BPF_FUNC_map_lookup_elem && call->map && environment->array &&
	    environment->array(environment->user, call->map, &call->array) && is_sound(&call->array))
		call->kind = CALL_ARRAY;
	else if (environment->inlined && environment->inlined(environment->user, call->id, &call->hint) &&
		 call->hint.kind != EB_INLINE_NONE &&
		 (call->hint.kind != EB_INLINE_TLS || call->hint.value == (uint64_t)(int64_t)(int32_t)call->hint.value))
		call->kind = CALL_INLINE;
}

static int refuse_helper(const struct program *program, uint32_t at, uint32_t id, const struct report *report)
{
	const struct eb_environment *environment = program->environment;
	const char *name = environment->helper_name ? environment->helper_name(environment->user, id) : NULL;

	report_at(report, at, "helper %u%s%s%s is not supported", id, name ? " (" : "", name ? name : "", name ? ")" : "");
	return -ENOTSUP;
}

static int resolve_call(struct program *program, uint32_t at, uint64_t map, const struct report *report)
{
	const struct eb_environment *environment = program->environment;
	struct bpf_insn *insn = &program->insns[at];
	struct call call = { .id = (uint32_t)insn->imm, .map = map };
	uint32_t i;

	for (i = 0; i < program->call_count; i++)
		if (program->calls[i].id == call.id && program->calls[i].map == call.map)
			break;
	insn->imm = (int32_t)i;
	if (i < program->call_count)
		return 0;
	if (call.id == BPF_FUNC_tail_call) {
		call.kind = CALL_TAIL;
		if (!environment->tail_call)
			return refuse_helper(program, at, call.id, report);
	} else {
		call.function = environment->helper ? environment->helper(environment->user, call.id, map) : NULL;
		if (!call.function)
			return refuse_helper(program, at, call.id, report);
		find_hint(environment, &call);
	}
	program->calls[program->call_count++] = call;
	return 0;
}

/* What is known of the registers after an instruction. */
static void follow(struct maps *maps, const struct bpf_insn *insn)
{
	if (isa_is_ld_imm64(insn)) {
		maps->known[insn->dst_reg] = is_map_load(insn);
		maps->map[insn->dst_reg] = isa_imm64(insn);
	} else if (insn->code == (BPF_ALU64 | BPF_MOV | BPF_X) && !insn->off) {
		maps->known[insn->dst_reg] = maps->known[insn->src_reg];
		maps->map[insn->dst_reg] = maps->map[insn->src_reg];
	} else if (isa_is_any_call(insn)) {
		for (int i = 0; i <= 5; i++)
			maps->known[i] = false;
	} else if (isa_is_atomic(insn)) {
		maps->known[0] = maps->known[insn->src_reg] = maps->known[insn->dst_reg] = false;
	} else if (isa_is_alu(insn) || isa_class(insn) == BPF_LDX) {
		maps->known[insn->dst_reg] = false;
	}
}

static uint32_t count_calls(const struct program *program)
{
	uint32_t count = 0;

	for (uint32_t at = 0; at < program->count; at++)
		count += !(program->at[at] & AT_SECOND) && isa_is_helper_call(&program->insns[at]);
	return count;
}

int resolve(struct program *program, const struct report *report)
{
	uint32_t count = count_calls(program);
	struct maps maps = { 0 };
	int result = 0;

	program->calls = calloc(count ? count : 1, sizeof(*program->calls));
	if (!program->calls)
		return report_error(report, -ENOMEM, "no memory for %u calls", count);
	for (uint32_t at = 0; at < program->count && !result; at++) {
		const struct bpf_insn *insn = &program->insns[at];

		if (program->at[at] & AT_SECOND)
			continue;
		if (program->at[at] & (AT_TARGET | AT_FUNCTION))
			maps = (struct maps){ 0 };
		if (isa_is_ld_imm64(insn))
			result = resolve_load(program, at, report);
		else if (isa_is_helper_call(insn))
			result = resolve_call(program, at, maps.known[1] ? maps.map[1] : 0, report);
		follow(&maps, insn);
	}
	return result;
}
