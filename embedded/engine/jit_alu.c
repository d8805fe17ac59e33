/* Arithmetic: one x86 instruction each where there is one, and one for two or three that belong together. */
#include "jit.h"

static bool is_wide(const struct bpf_insn *insn)
{
	return isa_class(insn) == BPF_ALU64;
}

/* A 64-bit `op` on the same destination, with an immediate or a register operand. */
static bool is_alu64(const struct bpf_insn *insn, unsigned op, unsigned source, int dst)
{
	return insn->code == (BPF_ALU64 | op | source) && insn->dst_reg == dst && !insn->off;
}

/* dst = src, dst += something: a sum of two registers, or of a register and a constant. */
static bool fuse_add(struct jit *jit, const struct bpf_insn *insn)
{
	const struct bpf_insn *next = insn + 1;
	struct place sum = jit_place(jit, insn->src_reg, 0);
	int64_t offset = sum.offset;

	if (is_alu64(next, BPF_ADD, BPF_X, insn->dst_reg) && next->src_reg != insn->dst_reg && next->src_reg != ISA_FP) {
		sum.index = jit->map[next->src_reg];
	} else if (is_alu64(next, BPF_ADD, BPF_K, insn->dst_reg)) {
		offset += next->imm;
	} else if (is_alu64(next, BPF_SUB, BPF_K, insn->dst_reg)) {
		offset -= next->imm;
	} else {
		return false;
	}
	if (offset != (int32_t)offset)
		return false;
	sum.offset = (int32_t)offset;
	x86_rm(&jit->x, true, X86_LEA, jit->map[insn->dst_reg], sum);
	return true;
}

/* dst = src, then a multiplication or shift that has a form with three operands. */
static bool fuse_three_operands(struct jit *jit, const struct bpf_insn *insn)
{
	const struct bpf_insn *next = insn + 1;
	int op = isa_op(next) == BPF_LSH ? X86_SHL : isa_op(next) == BPF_RSH ? X86_SHR : X86_SAR;
	bool shift = isa_op(next) == BPF_LSH || isa_op(next) == BPF_RSH || isa_op(next) == BPF_ARSH;

	if (!isa_is_alu(next) || !isa_is_x(next) || !shift || !jit->bmi2 || next->dst_reg != insn->dst_reg ||
	    next->src_reg == insn->dst_reg || next->src_reg == ISA_FP || insn->src_reg == ISA_FP)
		return false;
	if (!is_wide(insn) && is_wide(next))
		return false; /* the move cuts to 32 bits what the shift then takes for 64 */
	x86_shift_by(&jit->x, is_wide(next), (unsigned)op, jit->map[insn->dst_reg], jit->map[insn->src_reg],
		     jit->map[next->src_reg]);
	return true;
}

static bool fuse_move(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];

	if (!isa_is_x(insn) || insn->off || !jit_straight(jit, at, 1))
		return false;
	return (is_wide(insn) && fuse_add(jit, insn)) || fuse_three_operands(jit, insn);
}

/* dst = src + index, then one access to memory at dst, which nobody needs afterwards. */
static uint32_t fuse_indexed(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	bool move = insn->code == (BPF_ALU64 | BPF_MOV | BPF_X) && !insn->off;
	const struct bpf_insn *add = insn + move;
	struct place place;

	if (!jit_straight(jit, at, 1u + move) || !is_alu64(add, BPF_ADD, BPF_X, insn->dst_reg) || add->src_reg == ISA_FP ||
	    (move && add->src_reg == insn->dst_reg))
		return 0;
	place = jit_place(jit, move ? insn->src_reg : insn->dst_reg, 0);
	place.index = jit->map[add->src_reg];
	return jit_fuse_memory(jit, at + 1u + move, place) ? 2u + move : 0;
}

static void move_extending(struct jit *jit, const struct bpf_insn *insn)
{
	int dst = jit->map[insn->dst_reg], src = jit_source(jit, insn->src_reg);

	if (insn->off == 32)
		x86_rr(&jit->x, true, X86_MOVSXD, dst, src);
	else if (insn->off == 16)
		x86_rr(&jit->x, is_wide(insn), X86_MOVSX16, dst, src);
	else
		x86_rr_byte(&jit->x, is_wide(insn), X86_MOVSX8, dst, src);
}

static uint32_t move(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	int dst = jit->map[insn->dst_reg];

	if (fuse_move(jit, at))
		return 2;
	if (!isa_is_x(insn))
		x86_constant(&jit->x, dst, is_wide(insn) ? (uint64_t)(int64_t)insn->imm : (uint32_t)insn->imm);
	else if (insn->off)
		move_extending(jit, insn);
	else if (insn->src_reg == ISA_FP && is_wide(insn))
		jit_source_in(jit, ISA_FP, dst);
	else
		x86_move(&jit->x, is_wide(insn), dst, jit_source(jit, insn->src_reg));
	return 1;
}

static void swap(struct jit *jit, const struct bpf_insn *insn)
{
	int dst = jit->map[insn->dst_reg];
	bool swaps = is_wide(insn) || isa_is_x(insn);

	if (swaps && insn->imm == 16) {
		x86_byte(&jit->x, 0x66);
		x86_shift(&jit->x, false, X86_ROL, dst, 8);
	} else if (swaps) {
		x86_rex(&jit->x, insn->imm == 64, 0, 0, dst, false);
		x86_byte(&jit->x, 0x0f);
		x86_byte(&jit->x, 0xc8u | (unsigned)(dst & 7));
		return;
	}
	if (insn->imm == 16)
		x86_rr(&jit->x, false, X86_MOVZX16, dst, dst);
	else if (insn->imm == 32)
		x86_move(&jit->x, false, dst, dst);
}

static void shift_by_constant(struct jit *jit, uint32_t at, unsigned op)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	int dst = jit->map[insn->dst_reg];
	bool wide = is_wide(insn);
	unsigned count = (unsigned)insn->imm & (wide ? 63 : 31);

	if (!count) {
		x86_move(&jit->x, wide, dst, dst);
		return;
	}
	x86_shift(&jit->x, wide, op, dst, count);
	jit_set_flags(jit, at + 1, insn->dst_reg, wide, false);
}

/* Without BMI2 the count has to be in cl. */
static void shift_by_cl(struct jit *jit, const struct bpf_insn *insn, unsigned op, int count)
{
	int dst = jit->map[insn->dst_reg];
	bool wide = is_wide(insn);

	if (count == RCX && dst != RCX) {
		x86_shift_cl(&jit->x, wide, op, dst);
		return;
	}
	x86_move(&jit->x, true, SCRATCH, RCX);
	if (count != RCX)
		x86_move(&jit->x, true, RCX, count);
	x86_shift_cl(&jit->x, wide, op, dst == RCX ? SCRATCH : dst);
	x86_move(&jit->x, true, RCX, SCRATCH);
}

/* Both halves of an extension from 32 bits by shifting up and down. */
static bool fuse_extension(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at], *next = insn + 1;
	int dst = jit->map[insn->dst_reg];

	if (!is_alu64(insn, BPF_LSH, BPF_K, insn->dst_reg) || insn->imm != 32 || !jit_straight(jit, at, 1) || next->imm != 32)
		return false;
	if (is_alu64(next, BPF_RSH, BPF_K, insn->dst_reg))
		x86_move(&jit->x, false, dst, dst);
	else if (is_alu64(next, BPF_ARSH, BPF_K, insn->dst_reg))
		x86_rr(&jit->x, true, X86_MOVSXD, dst, dst);
	else
		return false;
	return true;
}

static uint32_t shift(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	unsigned op = isa_op(insn) == BPF_LSH ? X86_SHL : isa_op(insn) == BPF_RSH ? X86_SHR : X86_SAR;
	int dst = jit->map[insn->dst_reg], count;

	if (fuse_extension(jit, at))
		return 2;
	if (!isa_is_x(insn)) {
		shift_by_constant(jit, at, op);
		return 1;
	}
	count = jit_source(jit, insn->src_reg);
	if (jit->bmi2)
		x86_shift_by(&jit->x, is_wide(insn), op, dst, dst, count);
	else
		shift_by_cl(jit, insn, op, count);
	return 1;
}

static void multiply(struct jit *jit, const struct bpf_insn *insn)
{
	int dst = jit->map[insn->dst_reg];
	bool wide = is_wide(insn);
	uint32_t by = (uint32_t)insn->imm;

	if (isa_is_x(insn)) {
		x86_rr(&jit->x, wide, X86_IMUL, dst, jit_source(jit, insn->src_reg));
	} else if (insn->imm > 1 && !(by & (by - 1))) {
		x86_shift(&jit->x, wide, X86_SHL, dst, (unsigned)__builtin_ctz(by));
	} else if (by == 3 || by == 5 || by == 9) {
		x86_rm(&jit->x, wide, X86_LEA, dst, (struct place){ dst, dst, by == 3 ? 1 : by == 5 ? 2 : 3, 0 });
	} else {
		bool small = insn->imm == (int8_t)insn->imm;

		x86_rr(&jit->x, wide, small ? 0x6b : 0x69, dst, dst);
		if (small)
			x86_byte(&jit->x, by & 0xff);
		else
			x86_word(&jit->x, by);
	}
}

/* dst = a mask's worth of itself: moves with zero extension say it in fewer bytes. */
static bool mask(struct jit *jit, const struct bpf_insn *insn)
{
	int dst = jit->map[insn->dst_reg];

	if (isa_is_x(insn) || (insn->imm != 0xff && insn->imm != 0xffff))
		return false;
	if (insn->imm == 0xff)
		x86_rr_byte(&jit->x, false, X86_MOVZX8, dst, dst);
	else
		x86_rr(&jit->x, false, X86_MOVZX16, dst, dst);
	return true;
}

static void simple(struct jit *jit, uint32_t at, unsigned op)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	int dst = jit->map[insn->dst_reg];
	bool wide = is_wide(insn), logical = op != X86_ADD && op != X86_SUB;
	int32_t imm = insn->imm;

	if (op == X86_AND && mask(jit, insn))
		return;
	if (isa_is_x(insn)) {
		x86_rr(&jit->x, wide, op, jit_source(jit, insn->src_reg), dst);
	} else if (imm == 128 && !logical) { /* -128 fits a byte */
		x86_immediate(&jit->x, wide, op ^ X86_ADD ^ X86_SUB, dst, -128);
	} else {
		/* what is not negative has no upper bits to keep */
		x86_immediate(&jit->x, wide && !(op == X86_AND && imm >= 0), op, dst, imm);
	}
	jit_set_flags(jit, at + 1, insn->dst_reg, wide, logical);
}

uint32_t jit_alu(struct jit *jit, uint32_t at)
{
	static const uint8_t simple_ops[16] = {
		[BPF_ADD >> 4] = X86_ADD, [BPF_SUB >> 4] = X86_SUB, [BPF_OR >> 4] = X86_OR,
		[BPF_AND >> 4] = X86_AND, [BPF_XOR >> 4] = X86_XOR,
	};
	const struct bpf_insn *insn = &jit->program->insns[at];
	uint32_t fused;

	switch (isa_op(insn)) {
	case BPF_MOV:
		fused = fuse_indexed(jit, at);
		return fused ? fused : move(jit, at);
	case BPF_LSH:
	case BPF_RSH:
	case BPF_ARSH:
		return shift(jit, at);
	case BPF_MUL:
		multiply(jit, insn);
		return 1;
	case BPF_DIV:
	case BPF_MOD:
		jit_divide(jit, insn);
		return 1;
	case BPF_END:
		swap(jit, insn);
		return 1;
	case BPF_NEG:
		x86_unary(&jit->x, is_wide(insn), X86_NEG, jit->map[insn->dst_reg]);
		jit_set_flags(jit, at + 1, insn->dst_reg, is_wide(insn), false);
		return 1;
	}
	fused = isa_op(insn) == BPF_ADD ? fuse_indexed(jit, at) : 0;
	if (fused)
		return fused;
	simple(jit, at, simple_ops[isa_op(insn) >> 4]);
	return 1;
}
