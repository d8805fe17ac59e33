/* Division: x86 has it in rax and rdx only, traps where BPF has a result, and needs help with constants. */
#include "jit.h"

struct division {
	int dst, divisor;
	bool wide, is_signed, modulo;
	bool keep_rax, keep_rdx;
};

/* x / 0 = 0; x % 0 = x, cut to 32 bits if the operation is. */
static void write_by_zero(struct jit *jit, const struct cold *cold)
{
	x86_rr(&jit->x, false, X86_XOR, cold->reg, cold->reg);
	jit_jump(jit, ALWAYS, cold->back);
}

static void write_by_zero_modulo(struct jit *jit, const struct cold *cold)
{
	x86_move(&jit->x, cold->wide, cold->reg, cold->reg);
	jit_jump(jit, ALWAYS, cold->back);
}

/* x / -1 = -x without the overflow that traps; x % -1 = 0. */
static void write_by_minus_one(struct jit *jit, const struct cold *cold)
{
	x86_unary(&jit->x, cold->wide, X86_NEG, cold->reg);
	jit_jump(jit, ALWAYS, cold->back);
}

static struct cold *leave(struct jit *jit, int condition, const struct division *division,
			  void (*write)(struct jit *, const struct cold *))
{
	struct cold *cold = jit_cold(jit, condition, write);

	cold->reg = division->dst;
	cold->wide = division->wide;
	return cold;
}

static void write_quotient(struct jit *jit, const struct division *division)
{
	int divisor = division->divisor, result = division->modulo ? RDX : RAX;
	struct x86 *x = &jit->x;

	if (division->keep_rdx || divisor == RDX)
		x86_move(x, true, SCRATCH2, RDX);
	if (division->keep_rax || divisor == RAX)
		x86_move(x, true, SCRATCH, RAX);
	x86_move(x, true, RAX, division->dst);
	divisor = divisor == RDX ? SCRATCH2 : divisor == RAX ? SCRATCH : divisor;
	if (!division->is_signed) {
		x86_rr(x, false, X86_XOR, RDX, RDX);
	} else {
		x86_rex(x, division->wide, 0, 0, 0, false);
		x86_byte(x, 0x99); /* sign of rax into rdx */
	}
	x86_unary(x, division->wide, division->is_signed ? X86_IDIV : X86_DIV, divisor);
	x86_move(x, true, division->dst, result);
	if (division->keep_rax)
		x86_move(x, true, RAX, SCRATCH);
	if (division->keep_rdx)
		x86_move(x, true, RDX, SCRATCH2);
}

/* Unsigned division by a power of two. */
static bool divide_by_power(struct jit *jit, const struct division *division, uint64_t by)
{
	int shift = by ? __builtin_ctzll(by) : 0;

	if (division->is_signed || !by || by & (by - 1))
		return false;
	if (!division->modulo && shift)
		x86_shift(&jit->x, division->wide, X86_SHR, division->dst, (unsigned)shift);
	else if (!division->modulo)
		x86_move(&jit->x, division->wide, division->dst, division->dst);
	else /* an immediate is 2^31 at most: with a sign it is no power of two */
		x86_immediate(&jit->x, false, X86_AND, division->dst, (int32_t)(by - 1));
	return true;
}

/*
 * x / by is the upper half of x * factor, shifted; with `more` the factor has a 65th bit, which is added by hand (Granlund and
 * Montgomery 1994). A value of 32 bits needs neither: the error of the factor is too small to show.
 */
struct reciprocal {
	uint64_t factor;
	unsigned shift;
	bool more;
};

static struct reciprocal reciprocal_of(uint64_t by, bool wide)
{
	unsigned shift = wide ? 63u - (unsigned)__builtin_clzll(by) : 0;
	uint64_t factor, rest;
	struct reciprocal found;

	/* 2^(64 + shift) by `by`, which is more than 2^shift; the compiler would call a function that uses vector registers. */
	__asm__("divq %4" : "=a"(factor), "=d"(rest) : "a"(0UL), "d"(1UL << shift), "r"(by) : "cc");
	found = (struct reciprocal){ factor + 1, shift, wide && by - rest >= (uint64_t)1 << shift };
	if (found.more) /* one bit more of the quotient */
		found.factor = 2 * factor + (rest >= by - rest) + 1;
	return found;
}

/* The quotient into SCRATCH; needs all scratch registers. */
static void write_product(struct jit *jit, const struct division *division, struct reciprocal reciprocal)
{
	struct x86 *x = &jit->x;
	int dst = division->dst;

	x86_constant(x, SCRATCH_FP, reciprocal.factor);
	if (division->keep_rdx)
		x86_move(x, true, SCRATCH2, RDX);
	if (dst != RDX || !division->wide)
		x86_move(x, division->wide, RDX, dst);
	x86_multiply_high(x, SCRATCH, SCRATCH_FP);
	if (reciprocal.more) {
		x86_move(x, true, SCRATCH_FP, RDX);
		x86_rr(x, true, X86_SUB, SCRATCH, SCRATCH_FP);
		x86_shift(x, true, X86_SHR, SCRATCH_FP, 1);
		x86_rr(x, true, X86_ADD, SCRATCH_FP, SCRATCH);
	}
	if (reciprocal.shift)
		x86_shift(x, true, X86_SHR, SCRATCH, reciprocal.shift);
	if (division->keep_rdx)
		x86_move(x, true, RDX, SCRATCH2);
}

/* Unsigned division by a constant that is no power of two, as a multiplication. */
static bool multiply_instead(struct jit *jit, const struct division *division, uint64_t by)
{
	struct x86 *x = &jit->x;

	if (division->is_signed || !jit->bmi2 || by >> 63)
		return false;
	write_product(jit, division, reciprocal_of(by, division->wide));
	if (!division->modulo) {
		x86_move(x, division->wide, division->dst, SCRATCH);
		return true;
	}
	x86_rr(x, division->wide, 0x69, SCRATCH, SCRATCH); /* times the immediate that follows */
	x86_word(x, (uint32_t)by);
	x86_rr(x, division->wide, X86_SUB, SCRATCH, division->dst);
	return true;
}

static void divide_by_constant(struct jit *jit, struct division *division, int32_t imm)
{
	uint64_t by = division->wide ? (uint64_t)(int64_t)imm : (uint32_t)imm;

	if (!by) {
		if (division->modulo)
			x86_move(&jit->x, division->wide, division->dst, division->dst);
		else
			x86_rr(&jit->x, false, X86_XOR, division->dst, division->dst);
	} else if (division->is_signed && imm == -1) {
		if (division->modulo)
			x86_rr(&jit->x, false, X86_XOR, division->dst, division->dst);
		else
			x86_unary(&jit->x, division->wide, X86_NEG, division->dst);
	} else if (!divide_by_power(jit, division, by) && !multiply_instead(jit, division, by)) {
		division->divisor = SCRATCH_FP;
		x86_constant(&jit->x, SCRATCH_FP, by);
		write_quotient(jit, division);
	}
}

static void divide_by_register(struct jit *jit, const struct division *division)
{
	uint32_t zero, minus_one = 0;

	x86_rr(&jit->x, division->wide, X86_TEST, division->divisor, division->divisor);
	zero = leave(jit, CC_E, division, division->modulo ? write_by_zero_modulo : write_by_zero)->back;
	if (division->is_signed) {
		x86_immediate(&jit->x, division->wide, X86_CMP, division->divisor, -1);
		minus_one = leave(jit, CC_E, division, division->modulo ? write_by_zero : write_by_minus_one)->back;
	}
	write_quotient(jit, division);
	if (jit->no_memory)
		return;
	jit_place_label(jit, zero);
	if (division->is_signed)
		jit_place_label(jit, minus_one);
}

void jit_divide(struct jit *jit, const struct bpf_insn *insn)
{
	uint32_t at = (uint32_t)(insn - jit->program->insns);
	struct division division = {
		.dst = jit->map[insn->dst_reg],
		.wide = isa_class(insn) == BPF_ALU64,
		.is_signed = insn->off == 1,
		.modulo = isa_op(insn) == BPF_MOD,
	};

	division.keep_rax = division.dst != RAX && !jit_dead_after(jit, at, 0);
	division.keep_rdx = division.dst != RDX && !jit_dead_after(jit, at, 3);
	if (!isa_is_x(insn)) {
		divide_by_constant(jit, &division, insn->imm);
		return;
	}
	division.divisor = jit_source(jit, insn->src_reg);
	divide_by_register(jit, &division);
}
