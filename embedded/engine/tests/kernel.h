/* The kernel as one more machine: its verifier, its JIT and BPF_PROG_TEST_RUN. */
#ifndef KERNEL_H
#define KERNEL_H

#include "machine.h"

/*
 * This verifier (seen on Linux 6.18) forgets to clear the upper half of r0 after a 32-bit compare and exchange where r0 is read as 64
 * bits only behind a point at which it takes the state for one that it has seen; the JIT then leaves what was there. Unless this is
 * set, such instructions are followed by one that clears it, so that other differences can be seen.
 */
extern bool kernel_as_it_is;

/*
 * On the kernel a result has 32 bits: writes to `to` a program around this one that stores all 64 in the data, at KERNEL_RESULT_AT. Returns
 * its length, KERNEL_WRAPPING more.
 */
#define KERNEL_RESULT_AT (MACHINE_VALUE - 8)
#define KERNEL_WRAPPING 6
uint32_t kernel_wrap(struct bpf_insn *to, const struct bpf_insn *insns, uint32_t count);

/* See machine_run(), machine_missing() and machine_time(). */
int kernel_run(const struct bpf_insn *insns, uint32_t count, struct image *image, char *error, size_t size);
const char *kernel_missing(void);
double kernel_time(const struct bpf_insn *insns, uint32_t count, struct machine_rounds rounds, uint32_t *result, char *error,
		   size_t size);

#endif
