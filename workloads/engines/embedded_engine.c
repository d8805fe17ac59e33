/* An engine of the embedded runtime, called directly: `--object FILE --engine NAME`. */
#include "embedded_program.h"
#include "rounds.h"

#include <stdio.h>
#include <string.h>

static const char *path;
static enum eb_engine chosen;
static struct eb_code code;

const char *engine_start(int argc, char **argv)
{
	if (argc != 5 || strcmp(argv[1], "--object") || strcmp(argv[3], "--engine"))
		return "usage: embedded --object FILE --engine NAME";
	path = argv[2];
	return embedded_choose(argv[4], &chosen);
}

const char *engine_load(const char *name, struct loaded *loaded, int *unsupported)
{
	char full[80];

	(void)unsupported;
	snprintf(full, sizeof(full), "run_%s", name);
	eb_free(&code);
	return embedded_load(path, full, chosen, &code, loaded);
}

void engine_put(const uint8_t *memory, const uint64_t *values)
{
	memcpy(embedded_memory, memory, MEMORY);
	memcpy(embedded_values, values, sizeof(embedded_values));
}

void engine_get(uint8_t *memory)
{
	memcpy(memory, embedded_memory, MEMORY);
}

uint64_t engine_hits(void)
{
	return NOT_COUNTED;
}

uint64_t engine_run(uint64_t calls)
{
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < calls; i++)
		eb_run(&code, NULL);
	return clock_ns() - start;
}
