/*
 * Runs one program on every engine and on the kernel, each with the same memory, and tells what came out. A program may use two
 * array maps, number 0 of MACHINE_ENTRIES values and number 1 of one; the helpers are those of machine.c. Shared by the tests
 * and the fuzzer.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "../engine.h"

#include <stdbool.h>

#define MACHINE_VALUE 512  /* bytes of a value */
#define MACHINE_ENTRIES 4
#define MACHINE_SEED 50u /* what a socket filter finds there */
#define MACHINE_MOST 4096 /* instructions of a program */

enum machine_kind {
	MACHINE_INTERPRETER,
	MACHINE_JIT,
	MACHINE_JIT_PLAIN, /* without BMI2, inlining and near calls */
	MACHINE_LLVM,
	MACHINE_KERNEL,
	MACHINE_KINDS,
};

/* Content of the maps, and the result. */
struct image {
	uint64_t r0; /* 32 bits of it on the kernel */
	uint8_t values[MACHINE_ENTRIES][MACHINE_VALUE]; /* map 0 */
	uint8_t data[MACHINE_VALUE];			/* map 1 */
};

/*
 * Runs the program on *image and changes it. Loads with BPF_PSEUDO_MAP_FD and _MAP_VALUE (map 1 only) have the
 * map's number as imm. r1 is of no use: contexts differ.
 * Returns 0, or a negative errno with a text: the program was refused, or the machine is not there.
 */
int machine_run(enum machine_kind kind, const struct bpf_insn *insns, uint32_t count, struct image *image, char *error,
		size_t size);

/*
 * Whether what comes out depends on what happens to lie in the stack or in r1: such a program says nothing about engines, though
 * the kernel takes it.
 */
bool machine_is_vague(const struct bpf_insn *insns, uint32_t count, const struct image *image);

const char *machine_name(enum machine_kind kind);

/* NULL if programs can be run on it, else why not. */
const char *machine_missing(enum machine_kind kind);

/* What machine_time() is to do: the fastest of some rounds of so many runs counts. */
struct machine_rounds {
	uint32_t rounds, times;
};

/*
 * Nanoseconds per run of a program that needs no memory; negative: refused. The first word of its context is MACHINE_SEED.
 * *result: what it returned.
 */
double machine_time(enum machine_kind kind, const struct bpf_insn *insns, uint32_t count, struct machine_rounds rounds,
		    uint32_t *result, char *error, size_t size);

#endif
