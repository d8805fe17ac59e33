/* DPDK's librte_bpf, by its own rules: dpdk-jit, dpdk-interpreter. */
#include "conform.h"

#include "dpdk_program.h"

#include <stdio.h>
#include <string.h>

static struct image memory __attribute__((aligned(64)));
static const struct dpdk_map maps[] = {
	{ memory.values[0], MACHINE_VALUE, MACHINE_ENTRIES },
	{ memory.data, MACHINE_VALUE, 1 },
};
static int is_interpreter;

const char *conform_start(const char *engine, const char **wrong)
{
	is_interpreter = !strcmp(engine, "dpdk-interpreter");
	if (is_interpreter || !strcmp(engine, "dpdk-jit"))
		return engine;
	*wrong = "there is no such engine";
	return NULL;
}

int conform_run(const struct bpf_insn *insns, uint32_t count, struct image *image, char *error, size_t size)
{
	struct dpdk_code code;
	const char *wrong = dpdk_load(insns, count, (struct dpdk_maps){ maps, 2 }, &code);
	uint64_t context = 0;

	if (!wrong && !is_interpreter && !code.jit)
		wrong = "its compiler cannot do it";
	if (wrong) {
		snprintf(error, size, "%s", wrong);
		dpdk_free(&code);
		return -1;
	}
	memory = *image;
	memory.r0 = is_interpreter ? dpdk_interpret(&code, &context) : code.jit(&context);
	*image = memory;
	dpdk_free(&code);
	return 0;
}
