/* System calls as tracepoints: counted, looked at, and one of them answered instead of made. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct enter {
	__u64 common;
	__s64 nr;
	__u64 args[6];
};

struct leave {
	__u64 common;
	__s64 nr, result;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __s64);
} results SEC(".maps");

static void add(__u32 number, __s64 value)
{
	__s64 *place = bpf_map_lookup_elem(&results, &number);

	if (place)
		__sync_fetch_and_add(place, value);
}

#define TARGET 11 /* results[11]: the tgid that counts, set by the loader; 0: any */

static int wanted(void)
{
	__u32 number = TARGET;
	__s64 *place = bpf_map_lookup_elem(&results, &number);

	return place && (!*place || *place == (__s64)(bpf_get_current_pid_tgid() >> 32));
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int enter_getpgid(struct enter *ctx)
{
	add(0, 1);
	add(1, ctx->args[0]);
	add(2, ctx->nr);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_getpgid")
int exit_getpgid(struct leave *ctx)
{
	add(3, 1);
	add(4, ctx->result);
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_enter")
int raw_enter(struct enter *ctx)
{
	if (ctx->nr == 121)
		add(5, 1);
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int raw_exit(struct leave *ctx)
{
	if (ctx->nr == 121)
		add(6, ctx->result);
	return 0;
}

SEC("raw_tracepoint/sys_enter")
int raw_tracepoint_enter(struct bpf_raw_tracepoint_args *ctx)
{
	if (ctx->args[1] == 121)
		add(7, 1);
	return 0;
}

/* getpriority(7, 7) is answered with 99 and never made. */
SEC("tracepoint/syscalls/sys_enter_getpriority")
int enter_getpriority(struct enter *ctx)
{
	if (ctx->args[0] == 7 && ctx->args[1] == 7) {
		add(8, 1);
		bpf_override_return((void *)ctx, 99);
	}
	return 0;
}

SEC("uprobe")
int override_work(void *ctx)
{
	bpf_override_return(ctx, 4242);
	return 0;
}
