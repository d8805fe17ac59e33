/*
 * Where hooked calls return to. Not a stack of its own: it has an entry for every slot of every stack, at a place that
 * follows from the slot's address. So nothing has to be popped when frames are left by longjmp, exceptions or the end of
 * a thread, coroutines and signal stacks need no care, and unwinders can look entries up (path.S).
 *
 * eb_shadow[address >> 26] points to the entries of 64 MiB of address space, two bytes for one; only what is touched takes
 * memory.
 */
#pragma once

#include "hook/internal.h"

struct eb_shadow_entry {
	uint64_t ra;	/* where the function really returns to */
	uint64_t what;	/* its site, or a chain of them (SHADOW_CHAIN set), when one called another as its last act */
};

extern char *eb_shadow[SHADOW_CHUNKS];

/* Arms the return for a call of site's function whose return address is in *slot. 0: memory is out. */
int eb_arm_slowly(struct eb_site *site, uint64_t *slot);

/* Runs the return handlers of the entry's chain, or only takes it away. */
void eb_return_chain(struct eb_regs *regs, struct eb_shadow_entry *entry, int run);
