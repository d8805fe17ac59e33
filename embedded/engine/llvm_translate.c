#include "llvm.h"

#include <stdio.h>
#include <string.h>

LLVMValueRef llvm_constant(struct translation *translation, uint64_t value)
{
	return LLVMConstInt(translation->i64, value, false);
}

static LLVMValueRef frame_pointer(struct translation *translation, int32_t offset)
{
	LLVMValueRef index = LLVMConstInt(translation->i32, (uint64_t)(translation->function->depth + offset), true);

	return LLVMBuildInBoundsGEP2(translation->build, translation->i8, translation->stack, &index, 1, "");
}

LLVMValueRef llvm_register(struct translation *translation, int reg)
{
	if (reg == ISA_FP)
		return LLVMBuildPtrToInt(translation->build, frame_pointer(translation, 0), translation->i64, "");
	return LLVMBuildLoad2(translation->build, translation->i64, translation->registers[reg], "");
}

void llvm_set_register(struct translation *translation, int reg, LLVMValueRef value)
{
	LLVMBuildStore(translation->build, value, translation->registers[reg]);
}

LLVMValueRef llvm_address(struct translation *translation, int reg, int32_t offset, LLVMTypeRef type)
{
	LLVMTypeRef pointer = LLVMPointerType(type, 0), bytes = LLVMPointerType(translation->i8, 0);
	LLVMValueRef index = LLVMConstInt(translation->i64, (uint64_t)(int64_t)offset, true), base;

	if (reg == ISA_FP)
		return LLVMBuildBitCast(translation->build, frame_pointer(translation, offset), pointer, "");
	base = LLVMBuildIntToPtr(translation->build, llvm_register(translation, reg), bytes, "");
	return LLVMBuildBitCast(translation->build, LLVMBuildGEP2(translation->build, translation->i8, base, &index, 1, ""), pointer,
				"");
}

LLVMBasicBlockRef llvm_new_block(struct translation *translation)
{
	return LLVMAppendBasicBlockInContext(translation->context,
					     translation->functions[translation->function - translation->program->functions], "");
}

static LLVMIntPredicate predicate(const struct bpf_insn *insn)
{
	switch (isa_op(insn)) {
	case BPF_JEQ:
		return LLVMIntEQ;
	case BPF_JGT:
		return LLVMIntUGT;
	case BPF_JGE:
		return LLVMIntUGE;
	case BPF_JLT:
		return LLVMIntULT;
	case BPF_JLE:
		return LLVMIntULE;
	case BPF_JSGT:
		return LLVMIntSGT;
	case BPF_JSGE:
		return LLVMIntSGE;
	case BPF_JSLT:
		return LLVMIntSLT;
	case BPF_JSLE:
		return LLVMIntSLE;
	}
	return LLVMIntNE;
}

static LLVMValueRef condition(struct translation *translation, const struct bpf_insn *insn)
{
	LLVMTypeRef type = isa_class(insn) == BPF_JMP ? translation->i64 : translation->i32;
	LLVMBuilderRef build = translation->build;
	LLVMValueRef a = LLVMBuildTrunc(build, llvm_register(translation, insn->dst_reg), type, ""), b;

	b = isa_is_x(insn) ? LLVMBuildTrunc(build, llvm_register(translation, insn->src_reg), type, "")
			   : LLVMConstInt(type, (uint64_t)(int64_t)insn->imm, true);
	if (isa_op(insn) != BPF_JSET)
		return LLVMBuildICmp(build, predicate(insn), a, b, "");
	return LLVMBuildICmp(build, LLVMIntNE, LLVMBuildAnd(build, a, b, ""), LLVMConstInt(type, 0, false), "");
}

/* Ends the block; the next instruction begins one. */
static void branch(struct translation *translation, uint32_t at)
{
	const struct bpf_insn *insn = &translation->program->insns[at];
	LLVMBasicBlockRef target = translation->blocks[target_of(translation->program, at)];

	if (isa_is_ja(insn))
		LLVMBuildBr(translation->build, target);
	else
		LLVMBuildCondBr(translation->build, condition(translation, insn), target, translation->blocks[at + 1]);
}

static void load_imm64(struct translation *translation, const struct bpf_insn *insn)
{
	LLVMValueRef value = llvm_constant(translation, isa_imm64(insn));

	if (insn->src_reg == BPF_PSEUDO_FUNC)
		value = LLVMConstPtrToInt(translation->functions[insn->imm], translation->i64);
	llvm_set_register(translation, insn->dst_reg, value);
}

static void translate(struct translation *translation, uint32_t at)
{
	const struct bpf_insn *insn = &translation->program->insns[at];

	if (isa_is_alu(insn))
		llvm_alu(translation, insn);
	else if (isa_is_ld_imm64(insn))
		load_imm64(translation, insn);
	else if (!isa_is_jmp(insn))
		llvm_memory(translation, insn);
	else if (isa_is_any_call(insn))
		llvm_call(translation, insn);
	else if (isa_is_exit(insn))
		LLVMBuildRet(translation->build, llvm_register(translation, 0));
	else
		branch(translation, at);
}

/* A block begins at targets, and after every jump and exit. */
static void make_blocks(struct translation *translation)
{
	const struct function *function = translation->function;
	const struct program *program = translation->program;
	bool begins = true;

	for (uint32_t at = function->first; at < function->end; at++) {
		const struct bpf_insn *insn = &program->insns[at];

		if (program->at[at] & AT_SECOND)
			continue;
		translation->blocks[at] = begins || program->at[at] & AT_TARGET ? llvm_new_block(translation) : NULL;
		begins = isa_is_branch(insn) || isa_is_exit(insn);
	}
}

static void enter_function(struct translation *translation, LLVMValueRef value)
{
	LLVMTypeRef frame = LLVMArrayType(translation->i8, translation->function->depth);
	LLVMValueRef stack;

	LLVMPositionBuilderAtEnd(translation->build, llvm_new_block(translation));
	for (int reg = 0; reg < ISA_FP; reg++) {
		translation->registers[reg] = LLVMBuildAlloca(translation->build, translation->i64, "");
		LLVMBuildStore(translation->build, reg >= 1 && reg <= 5 ? LLVMGetParam(value, (unsigned)reg - 1)
									: llvm_constant(translation, 0),
			       translation->registers[reg]);
	}
	stack = LLVMBuildAlloca(translation->build, frame, "");
	LLVMSetAlignment(stack, 16);
	translation->stack = LLVMBuildBitCast(translation->build, stack, LLVMPointerType(translation->i8, 0), "");
	translation->counter = translation->program->tail_calls ? LLVMGetParam(value, 5) : NULL;
}

static void translate_function(struct translation *translation, uint32_t index)
{
	const struct program *program = translation->program;
	const struct function *function = translation->function = &program->functions[index];

	enter_function(translation, translation->functions[index]);
	make_blocks(translation);
	for (uint32_t at = function->first; at < function->end; at++) {
		LLVMBasicBlockRef block = translation->blocks[at];

		if (program->at[at] & AT_SECOND)
			continue;
		if (block) {
			if (!LLVMGetBasicBlockTerminator(LLVMGetInsertBlock(translation->build)))
				LLVMBuildBr(translation->build, block);
			LLVMPositionBuilderAtEnd(translation->build, block);
		}
		translate(translation, at);
	}
}

/* uint64_t run(void *ctx, const struct eb_code *code) */
static void make_run(struct translation *translation)
{
	LLVMTypeRef types[] = { translation->i64, translation->i64 };
	LLVMValueRef run = LLVMAddFunction(translation->module, "run", LLVMFunctionType(translation->i64, types, 2, false));
	LLVMValueRef arguments[6] = { LLVMGetParam(run, 0) };

	LLVMPositionBuilderAtEnd(translation->build, LLVMAppendBasicBlockInContext(translation->context, run, ""));
	for (int i = 1; i < 5; i++)
		arguments[i] = LLVMGetUndef(translation->i64);
	if (translation->program->tail_calls) {
		arguments[5] = LLVMBuildAlloca(translation->build, translation->i32, "");
		LLVMBuildStore(translation->build, LLVMConstInt(translation->i32, 0, false), arguments[5]);
	}
	LLVMBuildRet(translation->build, LLVMBuildCall2(translation->build, translation->local, translation->functions[0], arguments,
							translation->program->tail_calls ? 6 : 5, ""));
}

static void make_types(struct translation *translation)
{
	LLVMTypeRef types[6];

	translation->i8 = LLVMInt8TypeInContext(translation->context);
	translation->i16 = LLVMInt16TypeInContext(translation->context);
	translation->i32 = LLVMInt32TypeInContext(translation->context);
	translation->i64 = LLVMInt64TypeInContext(translation->context);
	for (int i = 0; i < 5; i++)
		types[i] = translation->i64;
	types[5] = LLVMPointerType(translation->i32, 0);
	translation->helper = LLVMFunctionType(translation->i64, types, 5, false);
	translation->local = LLVMFunctionType(translation->i64, types, translation->program->tail_calls ? 6 : 5, false);
}

static void add_attribute(struct translation *translation, LLVMValueRef function, const char *name)
{
	unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));

	LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(translation->context, kind, 0));
}

/* Library functions that LLVM would make of loops (memset and its like) use registers that are not ours. */
static void forbid_library(struct translation *translation, LLVMValueRef function)
{
	LLVMAddAttributeAtIndex(function, LLVMAttributeFunctionIndex,
				LLVMCreateStringAttribute(translation->context, "no-builtins", 11, "", 0));
}

void llvm_translate(struct translation *translation)
{
	const struct program *program = translation->program;
	char name[32];

	make_types(translation);
	for (uint32_t i = 0; i < program->function_count; i++) {
		snprintf(name, sizeof(name), i ? "function%u" : "body", i);
		translation->functions[i] = LLVMAddFunction(translation->module, name, translation->local);
		add_attribute(translation, translation->functions[i], "nounwind");
		add_attribute(translation, translation->functions[i], "noimplicitfloat");
		forbid_library(translation, translation->functions[i]);
		if (i)
			LLVMSetLinkage(translation->functions[i], LLVMInternalLinkage);
	}
	for (uint32_t i = 0; i < program->function_count; i++)
		translate_function(translation, i);
	make_run(translation);
}
