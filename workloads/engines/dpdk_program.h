/*
 * A program in DPDK's librte_bpf. What libbpf's instructions call maps and helpers becomes what that library knows: variables and
 * functions with described arguments. Its validator has the first word: whatever it does not take is refused in its own words.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

struct rte_bpf;

/* An array map. Loads with BPF_PSEUDO_MAP_FD and _MAP_VALUE have its number as their constant. */
struct dpdk_map {
	uint8_t *values;
	uint32_t value_size, entries;
};

struct dpdk_maps {
	const struct dpdk_map *maps;
	uint32_t count;
};

struct dpdk_code {
	struct rte_bpf *bpf;
	uint64_t (*jit)(void *); /* NULL: its compiler could not do it */
	size_t size;		 /* bytes of machine code */
	const char *objection;	 /* what the validator said, if it was overruled */
};

/*
 * The validator refuses every program with a loop, though both engines can run it. With this set, a program with which nothing else is
 * wrong is let through: so that engines can be compared that would be given such programs in vain.
 */
extern int dpdk_let_loops_through;

/* Returns NULL, or why the library does not take the program. */
const char *dpdk_load(const struct bpf_insn *insns, uint32_t count, struct dpdk_maps maps, struct dpdk_code *code);
uint64_t dpdk_interpret(const struct dpdk_code *code, void *context);
void dpdk_free(struct dpdk_code *code);
