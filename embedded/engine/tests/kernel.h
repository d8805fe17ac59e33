/* The kernel as one more machine: its verifier, its JIT and BPF_PROG_TEST_RUN. */
#ifndef KERNEL_H
#define KERNEL_H

#include "machine.h"

/* See machine_run(), machine_missing() and machine_time(). */
int kernel_run(const struct bpf_insn *insns, uint32_t count, struct image *image, char *error, size_t size);
const char *kernel_missing(void);
double kernel_time(const struct bpf_insn *insns, uint32_t count, uint32_t times, char *error, size_t size);

#endif
