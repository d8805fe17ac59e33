/* What a probe's program is like, to be called without any probe: it looks at its registers, counts and leaves what it saw. */
#include "bpf_core.h"

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

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

SEC("uprobe") int probe(struct pt_regs *ctx)
{
	u32 zero = 0;
	u64 *hits = bpf_map_lookup_elem(&values, &zero);
	u8 *m = bpf_map_lookup_elem(&memory, &zero);

	if (!hits || !m)
		return 0;
	ADD(*hits, 1);
	*(u64 *)(m + RESULT_AT) = ctx->si * 1000 + ctx->dx;
	return 0;
}
