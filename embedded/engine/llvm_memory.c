#include "llvm.h"

static LLVMTypeRef type_of(const struct translation *translation, const struct bpf_insn *insn)
{
	int bytes = isa_bytes(insn);

	return bytes == 1 ? translation->i8 : bytes == 2 ? translation->i16 : bytes == 4 ? translation->i32 : translation->i64;
}

static void load(struct translation *translation, const struct bpf_insn *insn)
{
	LLVMTypeRef type = type_of(translation, insn);
	LLVMValueRef address = llvm_address(translation, insn->src_reg, insn->off, type);
	LLVMValueRef value = LLVMBuildLoad2(translation->build, type, address, "");

	if (isa_is_atomic(insn)) {
		LLVMSetAlignment(value, (unsigned)isa_bytes(insn));
		LLVMSetOrdering(value, LLVMAtomicOrderingAcquire);
	} else {
		LLVMSetAlignment(value, 1); /* programs may access memory unaligned */
	}
	value = isa_mode(insn) == BPF_MEMSX ? LLVMBuildSExt(translation->build, value, translation->i64, "")
					    : LLVMBuildZExt(translation->build, value, translation->i64, "");
	llvm_set_register(translation, insn->dst_reg, value);
}

static void store(struct translation *translation, const struct bpf_insn *insn)
{
	LLVMTypeRef type = type_of(translation, insn);
	LLVMValueRef address = llvm_address(translation, insn->dst_reg, insn->off, type), value;

	if (isa_class(insn) == BPF_ST)
		value = LLVMConstInt(type, (uint64_t)(int64_t)insn->imm, true);
	else
		value = LLVMBuildTrunc(translation->build, llvm_register(translation, insn->src_reg), type, "");
	value = LLVMBuildStore(translation->build, value, address);
	LLVMSetAlignment(value, isa_is_atomic(insn) ? (unsigned)isa_bytes(insn) : 1);
	if (isa_is_atomic(insn))
		LLVMSetOrdering(value, LLVMAtomicOrderingRelease);
}

static LLVMAtomicRMWBinOp operation(const struct bpf_insn *insn)
{
	switch (insn->imm & ~BPF_FETCH) {
	case BPF_AND:
		return LLVMAtomicRMWBinOpAnd;
	case BPF_OR:
		return LLVMAtomicRMWBinOpOr;
	case BPF_XOR:
		return LLVMAtomicRMWBinOpXor;
	case BPF_XCHG & ~BPF_FETCH:
		return LLVMAtomicRMWBinOpXchg;
	}
	return LLVMAtomicRMWBinOpAdd;
}

static void atomic(struct translation *translation, const struct bpf_insn *insn)
{
	LLVMTypeRef type = type_of(translation, insn);
	LLVMBuilderRef build = translation->build;
	LLVMValueRef address = llvm_address(translation, insn->dst_reg, insn->off, type);
	LLVMValueRef operand = LLVMBuildTrunc(build, llvm_register(translation, insn->src_reg), type, ""), old;

	if (insn->imm == BPF_CMPXCHG) {
		LLVMValueRef expected = LLVMBuildTrunc(build, llvm_register(translation, 0), type, "");

		old = LLVMBuildAtomicCmpXchg(build, address, expected, operand, LLVMAtomicOrderingSequentiallyConsistent,
					     LLVMAtomicOrderingSequentiallyConsistent, false);
		old = LLVMBuildExtractValue(build, old, 0, "");
		llvm_set_register(translation, 0, LLVMBuildZExt(build, old, translation->i64, ""));
		return;
	}
	old = LLVMBuildAtomicRMW(build, operation(insn), address, operand, LLVMAtomicOrderingSequentiallyConsistent, false);
	if (insn->imm & BPF_FETCH)
		llvm_set_register(translation, insn->src_reg, LLVMBuildZExt(build, old, translation->i64, ""));
}

void llvm_memory(struct translation *translation, const struct bpf_insn *insn)
{
	if (isa_class(insn) == BPF_LDX || (isa_is_atomic(insn) && insn->imm == BPF_LOAD_ACQ))
		load(translation, insn);
	else if (isa_is_atomic(insn) && insn->imm != BPF_STORE_REL)
		atomic(translation, insn);
	else
		store(translation, insn);
}
