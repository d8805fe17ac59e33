/*
 * What an engine is for runner.c: it has one program at a time, and memory for it. One file implements this for each engine.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct loaded {
	const char *engine;  /* what executes the program, as the engine itself says */
	uint64_t compile_ns; /* until it can be executed */
	int64_t code_size;   /* bytes of machine code; −1: not known, or there is none */
	const char *objection; /* what the engine itself has against a program that it was made to take; NULL: nothing */
};

/* Takes the engine's own options; returns NULL or what is wrong with them. */
const char *engine_start(int argc, char **argv);
/* Loads the program `run_NAME`, in place of the one before; returns NULL or why not, and whether this engine cannot have it. */
const char *engine_load(const char *name, struct loaded *loaded, int *unsupported);
/* The program's MEMORY bytes, and the map's ENTRIES values, as they are to be before a run. */
void engine_put(const uint8_t *memory, const uint64_t *values);
/* As they are after a run. */
void engine_get(uint8_t *memory);
#define NOT_COUNTED UINT64_MAX
/* How often the program says that it was executed since this was last asked; NOT_COUNTED: it does not say. */
uint64_t engine_hits(void);
/* Executes the program that many times and returns the nanoseconds. */
uint64_t engine_run(uint64_t calls);
