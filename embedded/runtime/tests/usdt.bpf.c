/* What a USDT probe's program sees: its hits, sums of its arguments, its cookie, and how many arguments there are. */
#define __TARGET_ARCH_x86
#include <linux/bpf.h>
#include <linux/errno.h>

#include <stdbool.h>

struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct seen {
	__s64 hits, first, second, third, cookie, arguments;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct seen);
} seen SEC(".maps");

SEC("usdt")
int on_tick(struct pt_regs *ctx)
{
	__u32 key = 0;
	struct seen *value = bpf_map_lookup_elem(&seen, &key);
	long argument;

	if (!value)
		return 0;
	value->hits++;
	if (!bpf_usdt_arg(ctx, 0, &argument))
		value->first += argument;
	if (!bpf_usdt_arg(ctx, 1, &argument))
		value->second += argument;
	if (!bpf_usdt_arg(ctx, 2, &argument))
		value->third += argument;
	value->cookie = bpf_usdt_cookie(ctx);
	value->arguments = bpf_usdt_arg_cnt(ctx);
	return 0;
}
