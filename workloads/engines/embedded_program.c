#include "embedded_program.h"
#include "elf_program.h"
#include "rounds.h"
#include "sizes.h"

#include <stdlib.h>
#include <string.h>

uint8_t embedded_memory[MEMORY] __attribute__((aligned(64)));
uint64_t embedded_values[ENTRIES] __attribute__((aligned(64)));

static struct map {
	const char *name;
	uint8_t *data;
	uint64_t value_size;
	uint32_t entries;
} maps[] = {
	{ "memory", embedded_memory, MEMORY, 1 },
	{ "values", (uint8_t *)embedded_values, sizeof(uint64_t), ENTRIES },
};

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

const char *embedded_load(const char *path, const char *name, enum eb_engine engine, struct eb_code *code, struct loaded *loaded)
{
	const struct eb_environment environment = { .helper = helper, .resolve = resolve, .array = array };
	static char why[256];
	struct elf_program program;
	const char *wrong = elf_program_read(path, name, map_number, &program);
	uint64_t start = clock_ns();
	int failed;

	if (wrong)
		return wrong;
	failed = eb_compile(engine, &(struct eb_program){ program.insns, program.count, name }, &environment, code, why, sizeof(why));
	loaded->compile_ns = clock_ns() - start;
	free(program.insns);
	if (failed)
		return why;
	loaded->engine = eb_engine_name(code->engine);
	loaded->code_size = code->text_size ? (int64_t)code->text_size : -1;
	return NULL;
}

const char *embedded_choose(const char *name, enum eb_engine *engine)
{
	const char *library = getenv("EMBEDDED_LLVM");
	static char why[512];
	int number = eb_engine_of(name);

	if (number < 0)
		return "there is no such engine";
	*engine = (enum eb_engine)number;
	if (eb_engine_available(*engine))
		return NULL;
	if (!library || !*library)
		return "this engine is a library of its own, and EMBEDDED_LLVM does not name it";
	return eb_engine_load(library, why, sizeof(why)) ? why : NULL;
}
