/*
 * Random programs that the kernel's verifier accepts: registers hold scalars or one pointer each and never mix, everything is
 * written before it is read, loops are bounded. The same seed gives the same program.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#define GENERATE_MOST 2048

struct generated {
	struct bpf_insn insns[GENERATE_MOST];
	uint32_t count;
	bool as_it_is; /* set by the caller: also what verifiers are known to get wrong */
};

/* size: roughly how many statements. */
void generate(struct generated *program, uint64_t seed, uint32_t size);

/* Fills memory with values that arithmetic finds interesting. */
void generate_memory(void *memory, uint32_t size, uint64_t seed);

#endif
