/*
 * What every part of the embedded runtime uses.
 *
 * Code on the hit path runs between two instructions of somebody else's function, whose SSE registers nobody has saved.
 * All is compiled with -mgeneral-regs-only, and copies are made with the functions below: libc's memcpy uses AVX.
 */
#ifndef EB_COMMON_H
#define EB_COMMON_H

#include <stddef.h>
#include <stdint.h>

#define eb_likely(x) __builtin_expect(!!(x), 1)
#define eb_unlikely(x) __builtin_expect(!!(x), 0)
#define EB_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define EB_EXPORT __attribute__((visibility("default")))

/* A load or store that the compiler neither splits nor repeats nor leaves out. */
#define eb_load(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define eb_store(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define eb_peek(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define eb_poke(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

static inline uint64_t eb_round(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

static inline uint64_t eb_power_of_two(uint64_t least)
{
	uint64_t n = 1;

	while (n < least)
		n <<= 1;
	return n;
}

typedef uint64_t eb_u64 __attribute__((may_alias, aligned(1)));
typedef uint32_t eb_u32 __attribute__((may_alias, aligned(1)));
typedef uint16_t eb_u16 __attribute__((may_alias, aligned(1)));

/* memcpy for areas that do not overlap. */
static inline void eb_copy(void *to, const void *from, size_t size)
{
	char *t = to;
	const char *f = from;

	for (; size >= 8; size -= 8, t += 8, f += 8)
		*(eb_u64 *)t = *(const eb_u64 *)f;
	if (size & 4) {
		*(eb_u32 *)t = *(const eb_u32 *)f;
		t += 4;
		f += 4;
	}
	if (size & 2) {
		*(eb_u16 *)t = *(const eb_u16 *)f;
		t += 2;
		f += 2;
	}
	if (size & 1)
		*t = *f;
}

static inline void eb_zero(void *to, size_t size)
{
	char *t = to;

	for (; size >= 8; size -= 8, t += 8)
		*(eb_u64 *)t = 0;
	while (size--) {
		*t++ = 0;
		__asm__("" : "+r"(t)); /* or the compiler calls memset */
	}
}

static inline int eb_equal(const void *a, const void *b, size_t size)
{
	const char *x = a, *y = b;

	for (; size >= 8; size -= 8, x += 8, y += 8)
		if (*(const eb_u64 *)x != *(const eb_u64 *)y)
			return 0;
	if ((size & 4) && *(const eb_u32 *)x != *(const eb_u32 *)y)
		return 0;
	x += size & 4;
	y += size & 4;
	for (size &= 3; size; size--)
		if (*x++ != *y++)
			return 0;
	return 1;
}

static inline void eb_pause(void)
{
	__builtin_ia32_pause();
}

#endif
