/* One program on all engines, and making it smaller while they differ. */
#ifndef REDUCE_H
#define REDUCE_H

#include "../tests/machine.h"

struct trial {
	uint64_t seed; /* of the memory */
	bool use[MACHINE_KINDS];
};

enum trial_result { TRIAL_SAME, TRIAL_DIFFERENT, TRIAL_REFUSED };

/* Runs the program and tells in `error` who refused it or which engines differ, and where. */
enum trial_result try_program(const struct trial *trial, const struct bpf_insn *insns, uint32_t count, char *error, size_t size);

/* Changes insns. Prints a case file to the standard output. */
void reduce_and_print(const struct trial *trial, struct bpf_insn *insns, uint32_t count);

#endif
