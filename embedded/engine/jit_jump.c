/* Jumps and their conditions. */
#include "jit.h"

static int condition_of(const struct bpf_insn *insn)
{
	switch (isa_op(insn)) {
	case BPF_JEQ:
		return CC_E;
	case BPF_JNE:
		return CC_NE;
	case BPF_JGT:
		return CC_A;
	case BPF_JGE:
		return CC_AE;
	case BPF_JLT:
		return CC_B;
	case BPF_JLE:
		return CC_BE;
	case BPF_JSGT:
		return CC_G;
	case BPF_JSGE:
		return CC_GE;
	case BPF_JSLT:
		return CC_L;
	case BPF_JSLE:
		return CC_LE;
	}
	return CC_NE; /* BPF_JSET */
}

static void test_constant(struct jit *jit, const struct bpf_insn *insn, bool wide)
{
	int dst = jit_source(jit, insn->dst_reg);
	struct x86 *x = &jit->x;

	if (insn->imm >= 0 && insn->imm <= 0xff) {
		x86_rr_byte(x, false, 0xf6, 0, dst);
		x86_byte(x, (unsigned)insn->imm);
		return;
	}
	x86_rr(x, wide && insn->imm < 0, 0xf7, 0, dst);
	x86_word(x, (uint32_t)insn->imm);
}

/* Whether the flags already tell how the register compares with 0 under the condition. */
static bool flags_known(const struct jit *jit, uint32_t at, bool wide, int condition)
{
	const struct bpf_insn *insn = &jit->program->insns[at];

	if (jit->flags.at != at || jit->flags.reg != insn->dst_reg || jit->program->at[at] & AT_TARGET)
		return false;
	if (condition == CC_E || condition == CC_NE)
		return jit->flags.wide == wide || wide; /* the upper half of a 32-bit result is 0 */
	return jit->flags.wide == wide && (condition == CC_L || condition == CC_GE || jit->flags.logical);
}

/* Compares with 0; returns the condition to use. */
static int compare_zero(struct jit *jit, uint32_t at, bool wide, int condition)
{
	int dst;

	if (!flags_known(jit, at, wide, condition)) {
		dst = jit_source(jit, jit->program->insns[at].dst_reg);
		x86_rr(&jit->x, wide, X86_TEST, dst, dst);
	}
	/* after an addition the sign is right where overflow makes "less" wrong */
	return condition == CC_L ? CC_S : condition == CC_GE ? CC_NS : condition;
}

static int compare(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	bool wide = isa_class(insn) == BPF_JMP, set = isa_op(insn) == BPF_JSET;
	int condition = condition_of(insn);

	if (isa_is_x(insn)) {
		int src = jit_source(jit, insn->src_reg), dst = jit_source_in(jit, insn->dst_reg, SCRATCH);

		x86_rr(&jit->x, wide, set ? X86_TEST : X86_CMP, src, dst);
		return condition;
	}
	if (set) {
		test_constant(jit, insn, wide);
		return condition;
	}
	if (!insn->imm && condition != CC_B && condition != CC_AE)
		return compare_zero(jit, at, wide, condition);
	x86_immediate(&jit->x, wide, X86_CMP, jit_source(jit, insn->dst_reg), insn->imm);
	return condition;
}

uint32_t jit_branch(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	int condition;

	if (!isa_distance(insn))
		return 1; /* leads to the next one either way */
	condition = isa_is_ja(insn) ? ALWAYS : compare(jit, at);
	jit_jump(jit, condition, target_of(jit->program, at));
	return 1;
}
