/* A hundred programs, probe_0 … probe_99: each notes when it was hit first, and counts. */
#include "bpf_core.h"
#include "count.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct slot {
	__u64 hits, first_ns;
};

struct slot slots[MOST_PROGRAMS];

#define PROBE(n) \
	SEC("uprobe") int probe_##n(struct pt_regs *ctx) \
	{ \
		(void)ctx; \
		if (!slots[n].first_ns) \
			slots[n].first_ns = bpf_ktime_get_ns(); \
		ADD(slots[n].hits, 1); \
		return 0; \
	}
#define TEN(tens) \
	PROBE(tens##0) PROBE(tens##1) PROBE(tens##2) PROBE(tens##3) PROBE(tens##4) PROBE(tens##5) PROBE(tens##6) PROBE(tens##7) \
		PROBE(tens##8) PROBE(tens##9)

TEN()
TEN(1)
TEN(2)
TEN(3)
TEN(4)
TEN(5)
TEN(6)
TEN(7)
TEN(8)
TEN(9)
