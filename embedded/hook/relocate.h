/* Moving instructions to another address. */
#pragma once

#include "hook/decode.h"

#define EB_MOST_MOVED 8	 /* instructions */
#define EB_MOVED_SIZE 192 /* bytes that so many take at most, with the jump back */

struct eb_moved {
	struct eb_instruction instructions[EB_MOST_MOVED];
	unsigned count;
	unsigned displaced;	/* bytes that they are */
	unsigned char from[EB_MOST_MOVED], to[EB_MOST_MOVED]; /* offsets of each, there and here */
	unsigned char code[EB_MOVED_SIZE];
	unsigned size;
};

/*
 * Takes the whole instructions that `least` bytes from `at` belong to; not past `end`, where the function ends, unless
 * only padding comes behind it, up to `limit`. 0, or -1 with the reason.
 */
int eb_move_choose(struct eb_moved *moved, const unsigned char *at, unsigned least, const unsigned char *end,
		   const unsigned char *limit, char *error, size_t size);

/*
 * Fills `code` with what does the same at `to`, then goes on behind the instructions. 0, or -1 with the reason. A call
 * among them returns to the text: `least` bytes of it are not there any more.
 */
int eb_move_write(struct eb_moved *moved, const unsigned char *to, unsigned least, char *error, size_t size);
