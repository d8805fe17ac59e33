/* Places without room for a jump, which an earlier instruction's has. */
#pragma once

#include "hook/module.h"
#include "hook/relocate.h"

struct eb_front {
	unsigned char *at;	/* where the jump goes */
	struct eb_moved before; /* the instructions from there to the place */
	struct eb_moved whole;	/* the same and the one at the place */
};

/*
 * The nearest instruction before `place` from which a jump of that size ends with the instruction at `place`, if
 * nobody comes to any byte between the two on another way, and all of them can be moved. 0 or −1.
 */
int eb_front_choose(struct eb_front *front, const struct eb_module *module, const struct eb_extent *function,
		    unsigned char *place, unsigned size);

/*
 * Writes copies to memory near the text: of what is before the place, leading to `stub`, and of the whole, leading to what follows it.
 * 0, or −1 with the reason.
 */
int eb_front_write(struct eb_front *front, const unsigned char *stub, unsigned char **before, unsigned char **whole,
		   char *error, size_t size);
