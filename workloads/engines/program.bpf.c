/*
 * The programs as BPF: of a type that can be run on request, with their memory in a map. The result goes where the memory
 * ends, because a program's own return value has 32 bits.
 */
#include "maps.bpf.h"

#define INLINE __always_inline
#define APART __noinline
#define LOOKUP(key) ({ u32 key_ = (key); (const u64 *)bpf_map_lookup_elem(&values, &key_); })
#define UPDATE(key, value) ({ u32 key_ = (key); u64 value_ = (value); bpf_map_update_elem(&values, &key_, &value_, BPF_ANY); })

#include "programs.h"

#define DEFINE(name) \
	SEC("tc") int run_##name(void *ctx) \
	{ \
		u32 zero = 0; \
		u8 *m = bpf_map_lookup_elem(&memory, &zero); \
\
		(void)ctx; \
		if (!m) \
			return 0; \
		*(u64 *)(m + RESULT_AT) = do_##name(m); \
		return 1; \
	}

ALL_PROGRAMS(DEFINE)
