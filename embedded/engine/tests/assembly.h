/*
 * Programs as text, one instruction a line: see tests/cases/README.md. All instructions of the set can be written; print_program()
 * writes what assemble_line() reads.
 */
#ifndef ASSEMBLY_H
#define ASSEMBLY_H

#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>

#define ASSEMBLY_MOST 1024
#define ASSEMBLY_LABELS 64

struct assembly {
	struct bpf_insn insns[ASSEMBLY_MOST];
	uint32_t count;
	struct {
		char name[32];
		uint32_t at;
	} labels[ASSEMBLY_LABELS], uses[ASSEMBLY_LABELS]; /* at: the instruction that is named, or that names one */
	uint32_t label_count, use_count;
};

/* One instruction or "label:". Returns 0, or -1 if the line cannot be understood. */
int assemble_line(struct assembly *assembly, const char *line);

/* Sets the distances to labels. Returns NULL, or the name of one that is nowhere. */
const char *assemble_end(struct assembly *assembly);

void print_program(FILE *to, const struct bpf_insn *insns, uint32_t count);

#endif
