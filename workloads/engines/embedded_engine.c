/*
 * An engine of the embedded runtime, linked in and called directly: `--object FILE --engine NAME`. Maps are plain arrays, with the
 * two functions that programs call on them; the engine may put a look-up into the code, as it does in the runtime.
 */
#include "elf_program.h"
#include "engine.h"
#include "rounds.h"
#include "sizes.h"

#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct map {
	const char *name;
	uint8_t *data;
	uint64_t value_size;
	uint32_t entries;
} maps[2];

static uint8_t memory[MEMORY] __attribute__((aligned(64)));
static uint64_t map_values[ENTRIES] __attribute__((aligned(64)));
static const char *path;
static enum eb_engine chosen;
static struct eb_code code;
static char why[256];

const char *engine_start(int argc, char **argv)
{
	int number;

	if (argc != 5 || strcmp(argv[1], "--object") || strcmp(argv[3], "--engine"))
		return "usage: embedded --object FILE --engine NAME";
	number = eb_engine_of(argv[4]);
	if (number < 0 || !eb_engine_available((enum eb_engine)number))
		return "this build has no such engine";
	chosen = (enum eb_engine)number;
	path = argv[2];
	maps[0] = (struct map){ "memory", memory, MEMORY, 1 };
	maps[1] = (struct map){ "values", (uint8_t *)map_values, sizeof(uint64_t), ENTRIES };
	return NULL;
}

static int map_number(const char *name)
{
	for (int i = 0; i < 2; i++)
		if (!strcmp(maps[i].name, name))
			return i;
	return -1;
}

static uint64_t lookup(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	const struct map *map = (const struct map *)r1;
	uint32_t key = *(const uint32_t *)r2;

	(void)r3, (void)r4, (void)r5;
	return key < map->entries ? (uint64_t)(map->data + key * map->value_size) : 0;
}

static uint64_t update(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	const struct map *map = (const struct map *)r1;
	uint32_t key = *(const uint32_t *)r2;

	(void)r4, (void)r5;
	if (key >= map->entries || map->value_size != sizeof(uint64_t))
		return (uint64_t)-22;
	*(uint64_t *)(map->data + key * map->value_size) = *(const uint64_t *)r3;
	return 0;
}

static eb_helper *helper(void *user, uint32_t id, uint64_t map)
{
	(void)user, (void)map;
	return id == BPF_FUNC_map_lookup_elem ? lookup : id == BPF_FUNC_map_update_elem ? update : NULL;
}

static int resolve(void *user, const struct bpf_insn *load, uint64_t *value)
{
	(void)user;
	if (load->src_reg != BPF_PSEUDO_MAP_FD || load->imm < 0 || load->imm > 1)
		return -1;
	*value = (uint64_t)&maps[load->imm];
	return 0;
}

static int array(void *user, uint64_t address, struct eb_array *array)
{
	const struct map *map = (const struct map *)address;

	(void)user;
	*array = (struct eb_array){ .values = (uint64_t)map->data, .stride = map->value_size, .entries = map->entries };
	return 1;
}

static const char *compile(const struct elf_program *program, const char *name, struct loaded *loaded)
{
	const struct eb_program given = { program->insns, program->count, name };
	const struct eb_environment environment = { .helper = helper, .resolve = resolve, .array = array };
	uint64_t start = clock_ns();

	if (eb_compile(chosen, &given, &environment, &code, why, sizeof(why)))
		return why;
	loaded->compile_ns = clock_ns() - start;
	loaded->engine = eb_engine_name(code.engine);
	loaded->code_size = code.text_size ? (int64_t)code.text_size : -1;
	return NULL;
}

const char *engine_load(const char *name, struct loaded *loaded, int *unsupported)
{
	struct elf_program program;
	const char *wrong;
	char full[80];

	(void)unsupported;
	snprintf(full, sizeof(full), "run_%s", name);
	eb_free(&code);
	wrong = elf_program_read(path, full, map_number, &program);
	if (wrong)
		return wrong;
	wrong = compile(&program, full, loaded);
	free(program.insns);
	return wrong;
}

void engine_put(const uint8_t *from, const uint64_t *values)
{
	memcpy(memory, from, MEMORY);
	memcpy(map_values, values, sizeof(map_values));
}

void engine_get(uint8_t *to)
{
	memcpy(to, memory, MEMORY);
}

uint64_t engine_run(uint64_t calls)
{
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < calls; i++)
		eb_run(&code, NULL);
	return clock_ns() - start;
}
