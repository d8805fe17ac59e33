/*
 * Long branches in a text: jmp and jcc with a 32-bit distance. What looks like one need not be one, but that is rare. Eight bytes
 * are looked at at a time, and without vector registers, which our code leaves alone everywhere.
 */
#ifndef EB_BRANCHES_H
#define EB_BRANCHES_H

#include "common/common.h"

#define EB_EACH(byte) (0x0101010101010101ull * (byte))

/* The highest bit of each byte that is equal to `byte`; bytes above one that is may be marked without being so. */
static inline uint64_t eb_bytes_equal(uint64_t word, uint64_t byte)
{
	uint64_t other = word ^ EB_EACH(byte);

	return (other - EB_EACH(0x01)) & ~other & EB_EACH(0x80);
}

/* If `bytes`, which are at `offset` of the text, begin a jmp or a jcc: sets the bit of the byte that it leads to, when that is in the text. */
static inline void eb_note_branch(size_t offset, size_t size, const unsigned char *bytes, unsigned char *bits)
{
	unsigned opcode = bytes[0] == 0xe9 ? 1 : bytes[0] == 0x0f && (bytes[1] & 0xf0) == 0x80 ? 2 : 0;
	size_t to;

	if (!opcode)
		return;
	to = offset + opcode + 4 + (size_t)(int64_t)(int32_t)*(const eb_u32 *)(bytes + opcode);
	if (to < size)
		bits[to / 8] |= (unsigned char)(1u << to % 8);
}

/* Sets a bit in `bits`, which are 0 and one a byte of the text, for each byte that a long branch leads to. */
static inline void eb_note_branches(const unsigned char *text, size_t size, unsigned char *bits)
{
	const unsigned char *at = text, *end = text + size - 6;

	if (size <= 16)
		return;
	for (; at + 8 < end; at += 8) {
		uint64_t word = *(const eb_u64 *)at, next = *(const eb_u64 *)(at + 1);
		uint64_t found = eb_bytes_equal(word, 0xe9) |
				 (eb_bytes_equal(word, 0x0f) & eb_bytes_equal(next & EB_EACH(0xf0), 0x80));

		for (; found; found &= found - 1) {
			const unsigned char *here = at + __builtin_ctzll(found) / 8;

			eb_note_branch((size_t)(here - text), size, here, bits);
		}
	}
	for (; at < end; at++)
		eb_note_branch((size_t)(at - text), size, at, bits);
}

#endif
