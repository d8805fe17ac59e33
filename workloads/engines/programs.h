/*
 * What all engines execute: the same C for BPF, for the machine and for WebAssembly. Whoever includes this has defined u8, u32,
 * u64, INLINE, APART (a function that is called and not inlined), LOOKUP(key) (address of a value, or 0) and UPDATE(key, value).
 *
 * `m` are MEMORY bytes, aligned to 8. Programs may be run again and again: each gives the same result every time.
 */
#pragma once

#include "sizes.h"

/* Not unrolled by any compiler: what is compared is what engines make of the same loop. */
#ifdef __clang__
#define TURNS _Pragma("clang loop unroll(disable)")
#else
#define TURNS _Pragma("GCC unroll 1")
#endif

/* Sums of binary logarithms, rounded down. */
static INLINE u64 do_log2_int(u8 *m)
{
	const u64 *values = (const u64 *)m;
	u64 sum = 0;

	TURNS
	for (u32 i = 0; i < LOGARITHMS; i++) {
		u64 x = values[i];
		u32 log = 0;

		if (x >> 32) {
			x >>= 32;
			log += 32;
		}
		if (x >> 16) {
			x >>= 16;
			log += 16;
		}
		if (x >> 8) {
			x >>= 8;
			log += 8;
		}
		if (x >> 4) {
			x >>= 4;
			log += 4;
		}
		if (x >> 2) {
			x >>= 2;
			log += 2;
		}
		if (x >> 1)
			log += 1;
		sum += log;
	}
	return sum;
}

static INLINE u64 do_memcpy(u8 *m)
{
	TURNS
	for (u32 i = 0; i < COPIED; i++)
		m[SECOND + i] = m[i];
	return m[SECOND + COPIED - 1];
}

static INLINE u64 do_memory_a_plus_b(u8 *m)
{
	const u64 *values = (const u64 *)m;

	return values[0] + values[1];
}

/* How many primes there are below PRIMES_BELOW. */
static INLINE u64 do_prime(u8 *m)
{
	u64 count = 0;

	(void)m;
	TURNS
	for (u32 i = 2; i < PRIMES_BELOW; i++) {
		u32 is_prime = 1;

		TURNS
		for (u32 j = 2; j * j <= i; j++)
			if (i % j == 0) {
				is_prime = 0;
				break;
			}
		count += is_prime;
	}
	return count;
}

static INLINE u64 do_simple(u8 *m)
{
	(void)m;
	return 12345678;
}

/* The difference of the first bytes that differ, or 0; both strings end within COMPARED bytes. */
static INLINE u64 do_strcmp(u8 *m)
{
	TURNS
	for (u32 i = 0; i < COMPARED; i++) {
		u8 a = m[i], b = m[SECOND + i];

		if (a != b)
			return (u64)a - (u64)b;
		if (!a)
			return 0;
	}
	return 0;
}

#define WAY(n, step) \
	case n: \
		state = step; \
		break;
#define FOUR_WAYS(n, k) \
	WAY(n, state + (k)) \
	WAY(n + 1, state ^ ((k) * 3)) WAY(n + 2, state * ((k) | 1) + (n)) WAY(n + 3, (state << 7 | state >> 57) - (k))
#define SIXTEEN_WAYS(n) FOUR_WAYS(n, 5 + n) FOUR_WAYS(n + 4, 1033 + n) FOUR_WAYS(n + 8, 70001 + n) FOUR_WAYS(n + 12, 15 + n)

/* A machine of 64 instructions. */
static INLINE u64 do_switch(u8 *m)
{
	u64 state = 1;

	TURNS
	for (u32 i = 0; i < SWITCHED; i++)
		switch (m[i] & 63) {
			SIXTEEN_WAYS(0)
			SIXTEEN_WAYS(16)
			SIXTEEN_WAYS(32)
			SIXTEEN_WAYS(48)
		}
	return state;
}

static INLINE u64 do_map_lookup(u8 *m)
{
	u64 sum = 0;

	(void)m;
	TURNS
	for (u32 key = 0; key < ENTRIES; key++) {
		const u64 *value = LOOKUP(key);

		if (value)
			sum += *value * (key | 1);
	}
	return sum;
}

/* Leaves every value as it was: the sum is the proof that it read what it wrote. */
static INLINE u64 do_map_update(u8 *m)
{
	u64 sum = 0;
	const u64 *last;

	(void)m;
	TURNS
	for (u32 key = 0; key < ENTRIES; key++) {
		u64 value = VALUE(key);

		if (UPDATE(key, value) == 0)
			sum++;
	}
	last = LOOKUP(ENTRIES - 1);
	return last ? sum + *last : 0;
}

static APART u64 mix(u64 state, u64 byte)
{
	state ^= byte;
	state *= 0x100000001b3ULL;
	return state ^ state >> 29;
}

static INLINE u64 do_bpf2bpf(u8 *m)
{
	u64 state = 0xcbf29ce484222325ULL;

	TURNS
	for (u32 i = 0; i < MIXED; i++)
		state = mix(state, m[i]);
	return state;
}

#define ALL_PROGRAMS(each) \
	each(log2_int) each(memcpy) each(memory_a_plus_b) each(prime) each(simple) each(strcmp) each(switch) each(map_lookup) \
		each(map_update) each(bpf2bpf)
