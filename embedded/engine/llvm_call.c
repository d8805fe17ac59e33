#include "llvm.h"

#define FS 257 /* the address space that LLVM reaches through the thread pointer */

static LLVMValueRef at_constant(struct translation *translation, uint64_t address, LLVMTypeRef pointee, unsigned space)
{
	return LLVMConstIntToPtr(llvm_constant(translation, address), LLVMPointerType(pointee, space));
}

static void forget_arguments(struct translation *translation)
{
	for (int reg = 1; reg <= 5; reg++)
		llvm_set_register(translation, reg, LLVMGetUndef(translation->i64));
}

static void call_helper(struct translation *translation, const struct call *call)
{
	LLVMValueRef arguments[5];

	for (int i = 0; i < 5; i++)
		arguments[i] = llvm_register(translation, i + 1);
	llvm_set_register(translation, 0,
			  LLVMBuildCall2(translation->build, translation->helper,
					 at_constant(translation, (uint64_t)call->function, translation->helper, 0), arguments, 5, ""));
}

static void call_local(struct translation *translation, uint32_t function)
{
	LLVMValueRef arguments[6];

	for (int i = 0; i < 5; i++)
		arguments[i] = llvm_register(translation, i + 1);
	arguments[5] = translation->counter;
	llvm_set_register(translation, 0,
			  LLVMBuildCall2(translation->build, translation->local, translation->functions[function], arguments,
					 translation->counter ? 6 : 5, ""));
}

/* Begins a block that is left out if the condition holds; returns the one after it. */
static LLVMBasicBlockRef unless(struct translation *translation, LLVMValueRef condition)
{
	LLVMBasicBlockRef next = llvm_new_block(translation), after = llvm_new_block(translation);

	LLVMBuildCondBr(translation->build, condition, after, next);
	LLVMPositionBuilderAtEnd(translation->build, next);
	return after;
}

static void end_unless(struct translation *translation, LLVMBasicBlockRef after)
{
	LLVMBuildBr(translation->build, after);
	LLVMPositionBuilderAtEnd(translation->build, after);
}

/* value + offset of this CPU, or what the helper says where the CPU is unknown */
static void add_cpu(struct translation *translation, const struct call *call, LLVMValueRef value)
{
	const struct eb_array *array = &call->array;
	LLVMBuilderRef build = translation->build;
	LLVMValueRef cpu = LLVMBuildLoad2(build, translation->i32,
					  at_constant(translation, (uint64_t)array->cpu_tls, translation->i32, FS), "");
	LLVMValueRef known = LLVMBuildICmp(build, LLVMIntULT, cpu, LLVMConstInt(translation->i32, array->cpus, false), "");
	LLVMBasicBlockRef after;

	LLVMSetVolatile(LLVMIsALoadInst(cpu), true); /* threads move */
	cpu = LLVMBuildMul(build, LLVMBuildZExt(build, cpu, translation->i64, ""), llvm_constant(translation, array->cpu_stride), "");
	llvm_set_register(translation, 0, LLVMBuildAdd(build, value, cpu, ""));
	after = unless(translation, known);
	call_helper(translation, call);
	end_unless(translation, after);
}

static void look_up(struct translation *translation, const struct call *call)
{
	const struct eb_array *array = &call->array;
	LLVMBuilderRef build = translation->build;
	LLVMValueRef index = LLVMBuildLoad2(build, translation->i32, llvm_address(translation, 2, 0, translation->i32), ""), value, out;
	LLVMBasicBlockRef after;

	LLVMSetAlignment(index, 1);
	out = LLVMBuildICmp(build, LLVMIntUGE, index, LLVMConstInt(translation->i32, array->entries, false), "");
	value = LLVMBuildMul(build, LLVMBuildZExt(build, index, translation->i64, ""), llvm_constant(translation, array->stride), "");
	value = LLVMBuildAdd(build, value, llvm_constant(translation, array->values), "");
	llvm_set_register(translation, 0, llvm_constant(translation, 0));
	after = unless(translation, out);
	if (array->cpus)
		add_cpu(translation, call, value);
	else
		llvm_set_register(translation, 0, value);
	end_unless(translation, after);
}

static void use_hint(struct translation *translation, const struct call *call)
{
	unsigned space = call->hint.kind == EB_INLINE_TLS ? FS : 0;
	LLVMBuilderRef build = translation->build;
	LLVMBasicBlockRef after;
	LLVMValueRef value;

	if (call->hint.kind == EB_INLINE_CONSTANT) {
		llvm_set_register(translation, 0, llvm_constant(translation, call->hint.value));
		return;
	}
	value = LLVMBuildLoad2(build, translation->i64, at_constant(translation, call->hint.value, translation->i64, space), "");
	LLVMSetVolatile(value, true);
	llvm_set_register(translation, 0, value);
	if (!space)
		return;
	after = unless(translation, LLVMBuildICmp(build, LLVMIntNE, value, llvm_constant(translation, 0), ""));
	call_helper(translation, call);
	end_unless(translation, after);
}

/* The other program is called and what it returns is returned; frames of the chain pile up, EB_TAIL_CALLS at most. */
static void enter(struct translation *translation, LLVMValueRef code, LLVMValueRef count)
{
	LLVMBuilderRef build = translation->build;
	LLVMTypeRef pointer = LLVMPointerType(translation->local, 0);
	LLVMValueRef arguments[6] = { llvm_register(translation, 1) }, entry;

	LLVMBuildStore(build, LLVMBuildAdd(build, count, LLVMConstInt(translation->i32, 1, false), ""), translation->counter);
	entry = LLVMBuildAdd(build, code, llvm_constant(translation, offsetof(struct eb_code, tail_entry)), "");
	entry = LLVMBuildLoad2(build, pointer, LLVMBuildIntToPtr(build, entry, LLVMPointerType(pointer, 0), ""), "");
	for (int i = 1; i < 5; i++)
		arguments[i] = LLVMGetUndef(translation->i64);
	arguments[5] = translation->counter;
	LLVMBuildRet(build, LLVMBuildCall2(build, translation->local, entry, arguments, 6, ""));
}

static void tail_call(struct translation *translation)
{
	const struct eb_environment *environment = translation->program->environment;
	LLVMBuilderRef build = translation->build;
	LLVMValueRef most = LLVMConstInt(translation->i32, EB_TAIL_CALLS, false), code, arguments[5];
	LLVMValueRef count = LLVMBuildLoad2(build, translation->i32, translation->counter, "");
	LLVMBasicBlockRef out = unless(translation, LLVMBuildICmp(build, LLVMIntUGE, count, most, "")), none;

	arguments[0] = llvm_constant(translation, (uint64_t)environment->user);
	arguments[1] = llvm_register(translation, 2);
	arguments[2] = llvm_register(translation, 3);
	arguments[3] = arguments[4] = LLVMGetUndef(translation->i64);
	code = LLVMBuildCall2(build, translation->helper,
			      at_constant(translation, (uint64_t)environment->tail_call, translation->helper, 0), arguments, 5, "");
	none = unless(translation, LLVMBuildICmp(build, LLVMIntEQ, code, llvm_constant(translation, 0), ""));
	enter(translation, code, count);
	LLVMPositionBuilderAtEnd(build, none);
	end_unless(translation, out);
}

void llvm_call(struct translation *translation, const struct bpf_insn *insn)
{
	const struct call *call = &translation->program->calls[insn->imm];

	if (isa_is_local_call(insn)) {
		call_local(translation, (uint32_t)insn->imm);
		forget_arguments(translation);
		return;
	}
	switch (call->kind) {
	case CALL_ARRAY:
		look_up(translation, call);
		break;
	case CALL_INLINE:
		use_hint(translation, call);
		break;
	case CALL_TAIL:
		tail_call(translation);
		break;
	case CALL_PLAIN:
		call_helper(translation, call);
	}
	forget_arguments(translation);
}
