/* Which registers hold something that will still be read: backwards over each function until nothing changes. */
#include "program.h"

#include <errno.h>
#include <stdlib.h>

#define BIT(r) (1u << (r))
#define ARGUMENTS 0x3eu /* r1 … r5 */
#define CLOBBERED 0x3fu /* r0 … r5 */

struct effect {
	uint16_t reads, writes;
};

static struct effect effect_of_alu(const struct bpf_insn *insn)
{
	uint16_t dst = (uint16_t)BIT(insn->dst_reg), src = isa_is_x(insn) && isa_op(insn) != BPF_END ? (uint16_t)BIT(insn->src_reg) : 0;

	return (struct effect){ isa_op(insn) == BPF_MOV ? src : src | dst, dst };
}

static struct effect effect_of_atomic(const struct bpf_insn *insn)
{
	uint16_t dst = (uint16_t)BIT(insn->dst_reg), src = (uint16_t)BIT(insn->src_reg);

	if (insn->imm == BPF_LOAD_ACQ)
		return (struct effect){ src, dst };
	if (insn->imm == BPF_CMPXCHG)
		return (struct effect){ src | dst | BIT(0), BIT(0) };
	return (struct effect){ src | dst, insn->imm != BPF_STORE_REL && insn->imm & BPF_FETCH ? src : 0 };
}

/* What is certainly not called reads no more than it needs. */
static struct effect effect_of_call(const struct program *program, const struct bpf_insn *insn)
{
	const struct call *call = isa_is_helper_call(insn) ? &program->calls[insn->imm] : NULL;

	if (call && call->kind == CALL_ARRAY && !call->array.cpus)
		return (struct effect){ BIT(2), CLOBBERED };
	if (call && call->kind == CALL_INLINE && call->hint.kind != EB_INLINE_TLS)
		return (struct effect){ 0, CLOBBERED };
	return (struct effect){ ARGUMENTS, CLOBBERED };
}

static struct effect effect_of_jmp(const struct program *program, const struct bpf_insn *insn)
{
	if (isa_is_any_call(insn))
		return effect_of_call(program, insn);
	if (isa_is_exit(insn))
		return (struct effect){ BIT(0), 0 };
	if (isa_is_ja(insn))
		return (struct effect){ 0, 0 };
	return (struct effect){ BIT(insn->dst_reg) | (isa_is_x(insn) ? BIT(insn->src_reg) : 0), 0 };
}

static struct effect effect_of(const struct program *program, const struct bpf_insn *insn)
{
	if (isa_is_alu(insn))
		return effect_of_alu(insn);
	if (isa_is_jmp(insn))
		return effect_of_jmp(program, insn);
	if (isa_class(insn) == BPF_LDX)
		return (struct effect){ BIT(insn->src_reg), BIT(insn->dst_reg) };
	if (isa_is_atomic(insn))
		return effect_of_atomic(insn);
	if (isa_class(insn) == BPF_STX)
		return (struct effect){ BIT(insn->src_reg) | BIT(insn->dst_reg), 0 };
	if (isa_class(insn) == BPF_ST)
		return (struct effect){ BIT(insn->dst_reg), 0 };
	return (struct effect){ 0, BIT(insn->dst_reg) }; /* 64-bit load */
}

uint16_t live_after(const struct program *program, uint32_t at)
{
	const struct bpf_insn *insn = &program->insns[at];
	uint32_t next = at + 1 + isa_is_ld_imm64(insn);

	if (isa_is_exit(insn))
		return 0;
	if (isa_is_ja(insn))
		return program->live[target_of(program, at)];
	if (isa_is_branch(insn))
		return program->live[next] | program->live[target_of(program, at)];
	return program->live[next];
}

int find_live(struct program *program, const struct report *report)
{
	bool changed = true;

	program->live = calloc(program->count, sizeof(*program->live));
	if (!program->live)
		return report_error(report, -ENOMEM, "no memory for %u instructions", program->count);
	while (changed) {
		changed = false;
		for (uint32_t at = program->count; at-- > 0;) {
			struct effect effect;
			uint16_t live;

			if (program->at[at] & AT_SECOND)
				continue;
			effect = effect_of(program, &program->insns[at]);
			live = effect.reads | (live_after(program, at) & ~effect.writes);
			/* only what is carried backwards by a jump can need another round */
			changed |= live != program->live[at] && program->at[at] & AT_LOOP;
			program->live[at] = live;
		}
	}
	return 0;
}
