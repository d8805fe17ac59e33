/*
 * A program of a BPF object for those who have no kernel below them: its instructions with the functions that it calls behind
 * them, and every reference to a map turned into that map's number.
 */
#pragma once

#include <linux/bpf.h>
#include <stdint.h>

/* The number that a map of that name has with whoever loads the program; negative: it has no such map. */
typedef int elf_map_number(const char *name);

struct elf_program {
	struct bpf_insn *insns;
	uint32_t count;
};

/* Returns NULL, or what is wrong. The instructions are the caller's to free. */
const char *elf_program_read(const char *path, const char *name, elf_map_number *map_number, struct elf_program *program);
