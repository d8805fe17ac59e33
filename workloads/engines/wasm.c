/*
 * The programs as WebAssembly, one module each (-DPROGRAM=name): their memory lies in the module's own, the map's functions are
 * functions that nobody inlines. `many` executes the program so many times: a call from outside would cost more than some of them.
 */
typedef __UINT8_TYPE__ u8;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;

#include "sizes.h"

#define INLINE inline __attribute__((always_inline))
#define APART __attribute__((noinline))
#define UNUSED __attribute__((unused))
#define LOOKUP(key) lookup(key)
#define UPDATE(key, value) update(key, value)
#define EXPORT(name) __attribute__((export_name(#name))) name

static u8 memory[MEMORY] __attribute__((aligned(64)));
static u64 values[ENTRIES] __attribute__((aligned(64)));

static UNUSED APART const u64 *lookup(u32 key)
{
	return key < ENTRIES ? &values[key] : 0;
}

static UNUSED APART int update(u32 key, u64 value)
{
	if (key >= ENTRIES)
		return -1;
	values[key] = value;
	return 0;
}

#pragma clang diagnostic ignored "-Wunused-function"
#include "programs.h"

#define NAME_(name) do_##name
#define NAME(name) NAME_(name)

static APART void once(void)
{
	*(u64 *)(memory + RESULT_AT) = NAME(PROGRAM)(memory);
}

static void (*volatile program)(void) = once;

u8 *EXPORT(memory_at)(void)
{
	return memory;
}

u64 *EXPORT(values_at)(void)
{
	return values;
}

void EXPORT(many)(u32 calls)
{
	void (*code)(void) = program;

	for (u32 i = 0; i < calls; i++) {
		__asm__ volatile("" : "+r"(code) : : "memory");
		code();
	}
}
