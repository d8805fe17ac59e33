/* The engines of the embedded runtime, and the kernel as it is: jit, interpreter, llvm, kernel. */
#include "conform.h"

#include "engine/tests/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum machine_kind chosen;

const char *conform_start(const char *engine, const char **wrong)
{
	static const enum machine_kind kinds[] = { MACHINE_JIT, MACHINE_INTERPRETER, MACHINE_LLVM, MACHINE_KERNEL };
	static char why[512];
	const char *library = getenv("EMBEDDED_LLVM");
	unsigned i;

	kernel_as_it_is = true;
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds) && strcmp(machine_name(kinds[i]), engine); i++)
		;
	if (i == sizeof(kinds) / sizeof(*kinds)) {
		*wrong = "there is no such engine";
		return NULL;
	}
	chosen = kinds[i];
	if (chosen == MACHINE_LLVM && library && eb_engine_load(library, why, sizeof(why))) {
		*wrong = why;
		return NULL;
	}
	*wrong = machine_missing(chosen);
	return *wrong ? NULL : chosen == MACHINE_KERNEL ? "kernel-jit" : machine_name(chosen);
}

int conform_run(const struct bpf_insn *insns, uint32_t count, struct image *image, char *error, size_t size)
{
	static struct bpf_insn wrapped[MACHINE_MOST];
	int result;

	if (chosen != MACHINE_KERNEL)
		return machine_run(chosen, insns, count, image, error, size);
	if (count + KERNEL_WRAPPING > MACHINE_MOST) {
		snprintf(error, size, "the program is too long");
		return -1;
	}
	result = machine_run(chosen, wrapped, kernel_wrap(wrapped, insns, count), image, error, size);
	memcpy(&image->r0, image->data + KERNEL_RESULT_AT, 8);
	return result;
}
