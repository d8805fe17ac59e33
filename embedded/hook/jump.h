/*
 * Jumps that replace instructions: a long one, or, where its five bytes have no room, a short one to a long one in the
 * padding between functions nearby.
 */
#pragma once

#include "hook/internal.h"
#include "hook/module.h"

#define LONG_JUMP 5
#define SHORT_JUMP 2

/* Writes a jump to `target`, as it is at `from`, to `to`. */
void eb_put_jump(unsigned char *to, const unsigned char *from, const unsigned char *target);

/* A patch of `size` bytes at `at`, taken for one instruction, without its jump. */
void eb_patch_fill(struct eb_patch *patch, unsigned char *at, unsigned size);

/* Padding with room for a long jump that a short one at `at` reaches; NULL if there is none. */
unsigned char *eb_hole_near(const struct eb_module *module, unsigned char *at);

/* Fills both: `patch` with a short jump at `at` to `hole`, `hop` with a long one from there to `stub`. */
void eb_hop_fill(struct eb_patch *patch, struct eb_patch *hop, unsigned char *at, unsigned char *hole, unsigned char *stub);

/* Switches a patch that may have a hop. 0 or -1 with the reason. */
int eb_hop_switch(struct eb_patch *patch, struct eb_patch *hop, int on, char *error, size_t size);
