#include "llvm.h"

/* One operation: its operands have the operation's width. */
struct operation {
	LLVMBuilderRef build;
	LLVMTypeRef type;
	LLVMValueRef a, b;
	unsigned bits;
	bool is_signed;
};

static LLVMValueRef number(const struct operation *o, uint64_t value)
{
	return LLVMConstInt(o->type, value, false);
}

static LLVMValueRef is(const struct operation *o, LLVMValueRef value, uint64_t what)
{
	return LLVMBuildICmp(o->build, LLVMIntEQ, value, number(o, what), "");
}

/* Division by 0 and of the least number by -1 have results here and none in LLVM: there something harmless is divided by. */
static LLVMValueRef divide(const struct operation *o, bool modulo)
{
	LLVMValueRef zero = is(o, o->b, 0), by_zero = modulo ? o->a : number(o, 0), minus, divisor, result, by_minus;

	divisor = LLVMBuildSelect(o->build, zero, number(o, 1), o->b, "");
	if (!o->is_signed) {
		result = modulo ? LLVMBuildURem(o->build, o->a, divisor, "") : LLVMBuildUDiv(o->build, o->a, divisor, "");
		return LLVMBuildSelect(o->build, zero, by_zero, result, "");
	}
	minus = is(o, o->b, UINT64_MAX);
	by_minus = modulo ? number(o, 0) : LLVMBuildNeg(o->build, o->a, "");
	divisor = LLVMBuildSelect(o->build, minus, number(o, 1), divisor, "");
	result = modulo ? LLVMBuildSRem(o->build, o->a, divisor, "") : LLVMBuildSDiv(o->build, o->a, divisor, "");
	result = LLVMBuildSelect(o->build, minus, by_minus, result, "");
	return LLVMBuildSelect(o->build, zero, by_zero, result, "");
}

static LLVMValueRef shift(const struct operation *o, uint8_t op)
{
	LLVMValueRef count = LLVMBuildAnd(o->build, o->b, number(o, o->bits - 1), "");

	if (op == BPF_LSH)
		return LLVMBuildShl(o->build, o->a, count, "");
	return op == BPF_RSH ? LLVMBuildLShr(o->build, o->a, count, "") : LLVMBuildAShr(o->build, o->a, count, "");
}

static LLVMValueRef compute(const struct operation *o, uint8_t op)
{
	switch (op) {
	case BPF_ADD:
		return LLVMBuildAdd(o->build, o->a, o->b, "");
	case BPF_SUB:
		return LLVMBuildSub(o->build, o->a, o->b, "");
	case BPF_MUL:
		return LLVMBuildMul(o->build, o->a, o->b, "");
	case BPF_OR:
		return LLVMBuildOr(o->build, o->a, o->b, "");
	case BPF_AND:
		return LLVMBuildAnd(o->build, o->a, o->b, "");
	case BPF_XOR:
		return LLVMBuildXor(o->build, o->a, o->b, "");
	case BPF_NEG:
		return LLVMBuildNeg(o->build, o->a, "");
	case BPF_DIV:
	case BPF_MOD:
		return divide(o, op == BPF_MOD);
	case BPF_MOV:
		return o->b;
	}
	return shift(o, op);
}

static LLVMTypeRef type_of_bits(const struct translation *translation, int bits)
{
	return bits == 8 ? translation->i8 : bits == 16 ? translation->i16 : bits == 32 ? translation->i32 : translation->i64;
}

static LLVMValueRef swap_bytes(struct translation *translation, const struct bpf_insn *insn)
{
	LLVMTypeRef type = type_of_bits(translation, insn->imm), swap_type;
	bool swaps = isa_class(insn) == BPF_ALU64 || isa_is_x(insn);
	LLVMValueRef value = LLVMBuildTrunc(translation->build, llvm_register(translation, insn->dst_reg), type, ""), swap;
	unsigned id = LLVMLookupIntrinsicID("llvm.bswap", 10);

	if (swaps) {
		swap = LLVMGetIntrinsicDeclaration(translation->module, id, &type, 1);
		swap_type = LLVMIntrinsicGetType(translation->context, id, &type, 1);
		value = LLVMBuildCall2(translation->build, swap_type, swap, &value, 1, "");
	}
	return LLVMBuildZExt(translation->build, value, translation->i64, "");
}

/* A move's source, extended from its lower bits. */
static LLVMValueRef extend(struct translation *translation, const struct operation *o, int bits)
{
	return LLVMBuildSExt(o->build, LLVMBuildTrunc(o->build, o->b, type_of_bits(translation, bits), ""), o->type, "");
}

void llvm_alu(struct translation *translation, const struct bpf_insn *insn)
{
	bool wide = isa_class(insn) == BPF_ALU64;
	struct operation o = { .build = translation->build, .type = wide ? translation->i64 : translation->i32,
			       .bits = wide ? 64 : 32, .is_signed = insn->off == 1 };
	LLVMValueRef result;

	if (isa_op(insn) == BPF_END) {
		llvm_set_register(translation, insn->dst_reg, swap_bytes(translation, insn));
		return;
	}
	o.a = LLVMBuildTrunc(o.build, llvm_register(translation, insn->dst_reg), o.type, "");
	o.b = isa_is_x(insn) ? LLVMBuildTrunc(o.build, llvm_register(translation, insn->src_reg), o.type, "")
			     : LLVMConstInt(o.type, (uint64_t)(int64_t)insn->imm, true);
	if (isa_op(insn) == BPF_MOV && insn->off)
		o.b = extend(translation, &o, insn->off);
	result = compute(&o, isa_op(insn));
	llvm_set_register(translation, insn->dst_reg, wide ? result : LLVMBuildZExt(o.build, result, translation->i64, ""));
}
