/* What a probe's program is like, to be called without any probe: it looks at its registers, counts and leaves what it saw. */
#include "maps.bpf.h"

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
