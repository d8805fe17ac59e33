/*
 * The programs as code of the machine, one library for each compiler and setting: `run_NAME`, and the map's functions as calls
 * that nobody inlines, as a helper would be called.
 */
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#include "sizes.h"

#define INLINE inline __attribute__((always_inline))
#define APART __attribute__((noinline))
#define LOOKUP(key) lookup(key)
#define UPDATE(key, value) update(key, value)

u64 values[ENTRIES];

static APART const u64 *lookup(u32 key)
{
	return key < ENTRIES ? &values[key] : 0;
}

static APART int update(u32 key, u64 value)
{
	if (key >= ENTRIES)
		return -1;
	values[key] = value;
	return 0;
}

#include "programs.h"

#define DEFINE(name) \
	u64 run_##name(u8 *m); \
	u64 run_##name(u8 *m) \
	{ \
		return *(u64 *)(m + RESULT_AT) = do_##name(m); \
	}

ALL_PROGRAMS(DEFINE)
