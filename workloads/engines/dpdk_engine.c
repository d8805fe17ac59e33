/* DPDK's librte_bpf: `--object FILE --engine dpdk-jit|dpdk-interpreter`. */
#include "dpdk_program.h"
#include "elf_program.h"
#include "engine.h"
#include "rounds.h"
#include "sizes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t memory[MEMORY] __attribute__((aligned(64)));
static uint64_t values[ENTRIES] __attribute__((aligned(64)));
static const struct dpdk_map maps[] = {
	{ memory, MEMORY, 1 },
	{ (uint8_t *)values, sizeof(uint64_t), ENTRIES },
};

static const char *path, *engine;
static struct dpdk_code code;
static uint64_t context;

static int is_interpreter(void)
{
	return !strcmp(engine, "dpdk-interpreter");
}

const char *engine_start(int argc, char **argv)
{
	if (argc != 5 || strcmp(argv[1], "--object") || strcmp(argv[3], "--engine"))
		return "usage: dpdk --object FILE --engine dpdk-jit|dpdk-interpreter";
	path = argv[2];
	engine = argv[4];
	dpdk_let_loops_through = 1;
	return is_interpreter() || !strcmp(engine, "dpdk-jit") ? NULL : "there is no such engine";
}

static int map_number(const char *name)
{
	return !strcmp(name, "memory") ? 0 : !strcmp(name, "values") ? 1 : -1;
}

const char *engine_load(const char *name, struct loaded *loaded, int *unsupported)
{
	struct elf_program program;
	char full[80];
	const char *wrong;
	uint64_t start;

	snprintf(full, sizeof(full), "run_%s", name);
	dpdk_free(&code);
	wrong = elf_program_read(path, full, map_number, &program);
	if (wrong)
		return wrong;
	start = clock_ns();
	wrong = dpdk_load(program.insns, program.count, (struct dpdk_maps){ maps, 2 }, &code);
	loaded->compile_ns = clock_ns() - start;
	free(program.insns);
	*unsupported = 1;
	if (wrong)
		return wrong;
	if (!is_interpreter() && !code.jit)
		return "its compiler cannot do it";
	loaded->objection = code.objection;
	loaded->engine = is_interpreter() ? "dpdk-interpreter" : "dpdk-jit";
	loaded->code_size = is_interpreter() ? -1 : (int64_t)code.size;
	return NULL;
}

void engine_put(const uint8_t *from, const uint64_t *wanted)
{
	memcpy(memory, from, MEMORY);
	memcpy(values, wanted, sizeof(values));
}

void engine_get(uint8_t *to)
{
	memcpy(to, memory, MEMORY);
}

uint64_t engine_hits(void)
{
	return NOT_COUNTED;
}

uint64_t engine_run(uint64_t calls)
{
	uint64_t (*jit)(void *) = is_interpreter() ? NULL : code.jit;
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < calls; i++)
		if (jit)
			jit(&context);
		else
			dpdk_interpret(&code, &context);
	return clock_ns() - start;
}
