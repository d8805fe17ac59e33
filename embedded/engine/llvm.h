/*
 * The translation into LLVM's intermediate representation. Registers of the program are variables on LLVM's stack, which its first
 * pass turns into values. Internal; only in builds with LLVM.
 */
#ifndef EB_LLVM_H
#define EB_LLVM_H

#include "program.h"

#include <llvm-c/Core.h>

struct translation {
	const struct program *program;
	const struct function *function;
	LLVMContextRef context;
	LLVMModuleRef module;
	LLVMBuilderRef build;
	LLVMTypeRef i8, i16, i32, i64, helper; /* helper: uint64_t (uint64_t, …) with five arguments */
	LLVMTypeRef local; /* the program's functions: the same, and where tail calls are counted if there are any */
	LLVMValueRef *functions;
	LLVMBasicBlockRef *blocks; /* of the instructions at which one begins */
	LLVMValueRef registers[ISA_REGISTERS], stack, counter;
};

/* Fills the module: the program's functions, and "run", which C calls. */
void llvm_translate(struct translation *translation);

void llvm_alu(struct translation *translation, const struct bpf_insn *insn);
void llvm_memory(struct translation *translation, const struct bpf_insn *insn);
void llvm_call(struct translation *translation, const struct bpf_insn *insn);

LLVMValueRef llvm_register(struct translation *translation, int reg);
void llvm_set_register(struct translation *translation, int reg, LLVMValueRef value);
LLVMValueRef llvm_constant(struct translation *translation, uint64_t value);
/* Address of a register plus an offset, as a pointer to that type. */
LLVMValueRef llvm_address(struct translation *translation, int reg, int32_t offset, LLVMTypeRef type);
LLVMBasicBlockRef llvm_new_block(struct translation *translation);

#endif
