/* The LLVM engine: one ORC JIT a program. */
#include "llvm.h"

#include <errno.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Object.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whoever is hooked has its own values in the registers that these would use. */
#define FEATURES ",-mmx,-x87,-sse,-sse2,-sse3,-ssse3,-sse4.1,-sse4.2,-sse4a,-avx,-avx2,-avx512f,-fma,-f16c,+soft-float"

static int failed(const struct report *report, LLVMErrorRef error)
{
	char *text = LLVMGetErrorMessage(error);
	int result = report_error(report, -ENOTSUP, "LLVM: %s", text);

	LLVMDisposeErrorMessage(text);
	return result;
}

static char *features(void)
{
	char *host = LLVMGetHostCPUFeatures(), *all = NULL;

	if (asprintf(&all, "%s%s", host, FEATURES) < 0)
		all = NULL;
	LLVMDisposeMessage(host);
	return all;
}

static LLVMTargetMachineRef make_machine(const struct report *report)
{
	char *triple = LLVMGetDefaultTargetTriple(), *cpu = LLVMGetHostCPUName(), *with = features(), *error = NULL;
	LLVMTargetMachineRef machine = NULL;
	LLVMTargetRef target;

	LLVMInitializeX86TargetInfo();
	LLVMInitializeX86Target();
	LLVMInitializeX86TargetMC();
	LLVMInitializeX86AsmPrinter();
	if (with && !LLVMGetTargetFromTriple(triple, &target, &error))
		machine = LLVMCreateTargetMachine(target, triple, cpu, with, LLVMCodeGenLevelAggressive, LLVMRelocDefault,
						  LLVMCodeModelJITDefault);
	if (!machine)
		report_error(report, -ENOTSUP, "LLVM cannot generate for this processor: %s", error ? error : "no target machine");
	LLVMDisposeMessage(error);
	LLVMDisposeMessage(triple);
	LLVMDisposeMessage(cpu);
	free(with);
	return machine;
}

static int translate_and_optimise(struct translation *translation, LLVMTargetMachineRef machine, const struct report *report)
{
	const struct program *program = translation->program;
	LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
	LLVMErrorRef error = NULL;
	int result = 0;

	translation->functions = calloc(program->function_count, sizeof(*translation->functions));
	translation->blocks = calloc(program->count, sizeof(*translation->blocks));
	translation->build = LLVMCreateBuilderInContext(translation->context);
	if (translation->functions && translation->blocks) {
		llvm_translate(translation);
		error = LLVMRunPasses(translation->module, "default<O2>", machine, options);
		if (error)
			result = failed(report, error);
	} else {
		result = report_error(report, -ENOMEM, "no memory");
	}
	LLVMDisposeBuilder(translation->build);
	LLVMDisposePassBuilderOptions(options);
	free(translation->functions);
	free(translation->blocks);
	return result;
}

/* Sees the object on its way from the compiler to the linker. `size` is a size_t. */
static LLVMErrorRef add_text_size(void *size, LLVMMemoryBufferRef *object)
{
	char *error = NULL;
	LLVMBinaryRef binary = LLVMCreateBinary(*object, NULL, &error);
	LLVMSectionIteratorRef section = binary ? LLVMObjectFileCopySectionIterator(binary) : NULL;

	for (; section && !LLVMObjectFileIsSectionIteratorAtEnd(binary, section); LLVMMoveToNextSection(section)) {
		const char *name = LLVMGetSectionName(section); /* the first section has none */

		if (name && !strncmp(name, ".text", 5))
			*(size_t *)size += LLVMGetSectionSize(section);
	}
	if (section)
		LLVMDisposeSectionIterator(section);
	if (binary)
		LLVMDisposeBinary(binary);
	LLVMDisposeMessage(error);
	return LLVMErrorSuccess;
}

/* The module goes to the JIT, whose it then is. */
static int add_module(LLVMOrcLLJITRef jit, LLVMOrcThreadSafeContextRef context, LLVMModuleRef module, struct eb_code *code,
		      const struct report *report)
{
	LLVMOrcThreadSafeModuleRef safe = LLVMOrcCreateNewThreadSafeModule(module, context);
	LLVMErrorRef error = LLVMOrcLLJITAddLLVMIRModule(jit, LLVMOrcLLJITGetMainJITDylib(jit), safe);
	LLVMOrcExecutorAddress run, body;

	LLVMOrcObjectTransformLayerSetTransform(LLVMOrcLLJITGetObjTransformLayer(jit), add_text_size, &code->text_size);
	if (error) {
		LLVMOrcDisposeThreadSafeModule(safe);
		return failed(report, error);
	}
	error = LLVMOrcLLJITLookup(jit, &run, "run");
	if (!error)
		error = LLVMOrcLLJITLookup(jit, &body, "body");
	if (error)
		return failed(report, error);
	code->run = (uint64_t (*)(void *, const struct eb_code *))run;
	code->tail_entry = code->text = (const void *)body;
	return 0;
}

static int make_code(const struct program *program, LLVMOrcLLJITRef jit, LLVMTargetMachineRef machine, struct eb_code *code,
		     const struct report *report)
{
	LLVMOrcThreadSafeContextRef context = LLVMOrcCreateNewThreadSafeContext();
	struct translation translation = { .program = program, .context = LLVMOrcThreadSafeContextGetContext(context) };
	char *triple = LLVMGetDefaultTargetTriple();
	int result;

	translation.module = LLVMModuleCreateWithNameInContext(program->name, translation.context);
	LLVMSetTarget(translation.module, triple);
	LLVMSetDataLayout(translation.module, LLVMOrcLLJITGetDataLayoutStr(jit));
	result = translate_and_optimise(&translation, machine, report);
	if (result)
		LLVMDisposeModule(translation.module);
	else
		result = add_module(jit, context, translation.module, code, report);
	LLVMDisposeMessage(triple);
	LLVMOrcDisposeThreadSafeContext(context);
	return result;
}

static LLVMOrcLLJITRef make_jit(const struct report *report)
{
	LLVMTargetMachineRef machine = make_machine(report);
	LLVMOrcLLJITBuilderRef builder = machine ? LLVMOrcCreateLLJITBuilder() : NULL;
	LLVMOrcLLJITRef jit = NULL;
	LLVMErrorRef error;

	if (!builder)
		return NULL;
	LLVMOrcLLJITBuilderSetJITTargetMachineBuilder(builder, LLVMOrcJITTargetMachineBuilderCreateFromTargetMachine(machine));
	error = LLVMOrcCreateLLJIT(&jit, builder);
	if (error)
		failed(report, error);
	return error ? NULL : jit;
}

int llvm_compile(struct program *program, struct eb_code *code, const struct report *report)
{
	LLVMTargetMachineRef machine = make_machine(report);
	LLVMOrcLLJITRef jit = machine ? make_jit(report) : NULL;
	int result = -ENOTSUP;

	if (jit)
		result = make_code(program, jit, machine, code, report);
	if (machine)
		LLVMDisposeTargetMachine(machine);
	if (result && jit)
		LLVMConsumeError(LLVMOrcDisposeLLJIT(jit));
	else
		code->own = jit;
	return result;
}

void llvm_free(struct eb_code *code)
{
	LLVMConsumeError(LLVMOrcDisposeLLJIT(code->own));
}
