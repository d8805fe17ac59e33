/* The rule as BPF. Its memory is one global variable; the verifier sees to it that it stays there. */
#include "bpf_core.h"
#include "rule.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct gate_memory gate;

/* A type of program that needs no more than the permission to load some: its context is not used. */
SEC("socket")
int decide(void *ctx)
{
	__u32 length = gate.request.length;

	(void)ctx;
	return gate_decide(&gate.counters, &gate.rules, gate.request.path, length < GATE_PATH ? length : GATE_PATH);
}

/* The bad rule. It is for a verifier to refuse. */
SEC("?socket")
int trespass(void *ctx)
{
	(void)ctx;
	return *(const volatile __u8 *)(long)gate.target;
}
