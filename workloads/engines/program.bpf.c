/*
 * The programs as BPF: of a type that can be run on request, with their memory in a map. The result goes where the memory
 * ends, because a program's own return value has 32 bits.
 */
#include "bpf_core.h"

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

#define INLINE __always_inline
#define APART __noinline
#define LOOKUP(key) ({ u32 key_ = (key); (const u64 *)bpf_map_lookup_elem(&values, &key_); })
#define UPDATE(key, value) ({ u32 key_ = (key); u64 value_ = (value); bpf_map_update_elem(&values, &key_, &value_, BPF_ANY); })

#include "sizes.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct memory {
	u64 words[MEMORY / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct memory);
} memory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__type(value, u64);
} values SEC(".maps");

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
