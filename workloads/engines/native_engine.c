/* The machine itself: a library of compiled programs, `--library FILE`. */
#include "engine.h"
#include "rounds.h"
#include "sizes.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t program(uint8_t *memory);

static void *library;
static program *current;
static uint64_t *map;
static uint8_t memory[MEMORY] __attribute__((aligned(64)));

const char *engine_start(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "--library"))
		return "usage: native --library FILE";
	library = dlopen(argv[2], RTLD_NOW);
	if (!library)
		return dlerror();
	map = dlsym(library, "values");
	return map ? NULL : "the library has no values";
}

const char *engine_load(const char *name, struct loaded *loaded, int *unsupported)
{
	const ElfW(Sym) *symbol = NULL;
	char symbol_name[80];
	Dl_info info;

	(void)unsupported;
	snprintf(symbol_name, sizeof(symbol_name), "run_%s", name);
	current = (program *)dlsym(library, symbol_name);
	if (!current)
		return "the library has no such program";
	loaded->engine = "native";
	if (dladdr1((void *)current, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol)
		loaded->code_size = (int64_t)symbol->st_size;
	return NULL;
}

void engine_put(const uint8_t *from, const uint64_t *values)
{
	memcpy(memory, from, MEMORY);
	memcpy(map, values, ENTRIES * sizeof(*values));
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
	program *code = current;
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < calls; i++) {
		__asm__ volatile("" : "+r"(code) : : "memory");
		code(memory);
	}
	return clock_ns() - start;
}
