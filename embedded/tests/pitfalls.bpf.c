/*
 * Counts hits of the functions that pitfalls.cpp has, each in three ways that must agree: by atomic operations, by plain
 * ones per CPU, and by atomic ones in a hash with an element a thread.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} per_cpu SEC(".maps");

struct thread {
	__u32 program, tid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 20000);
	__type(key, struct thread);
	__type(value, __u64);
} threads SEC(".maps");

static void count(__u32 program)
{
	struct thread thread = { program, (__u32)bpf_get_current_pid_tgid() };
	__u64 *value = bpf_map_lookup_elem(&counts, &program), *own = bpf_map_lookup_elem(&per_cpu, &program), one = 1, *mine;

	if (value)
		__sync_fetch_and_add(value, 1);
	if (own)
		*own += 1;
	mine = bpf_map_lookup_elem(&threads, &thread);
	if (!mine && bpf_map_update_elem(&threads, &thread, &one, BPF_NOEXIST))
		mine = bpf_map_lookup_elem(&threads, &thread);
	if (mine)
		__sync_fetch_and_add(mine, 1);
}

/* The names say what each is attached to: see probes.c. */
#define ENTRY(function, number) SEC("uprobe") int e_##function(void *ctx) { count(number); return 0; }
#define RETURN(function, number) SEC("uretprobe") int r_##function(void *ctx) { count(number); return 0; }

ENTRY(mix, 0)
RETURN(mix, 1)
ENTRY(sum_down, 2)
RETURN(sum_down, 3)
ENTRY(throws, 4)
RETURN(throws, 5)
ENTRY(passes, 6)
RETURN(passes, 7)
ENTRY(jumps, 8)
RETURN(jumps, 9)
ENTRY(in_signal, 10)
RETURN(in_signal, 11)
ENTRY(plain, 12)
RETURN(plain, 13)
ENTRY(ends, 14)
RETURN(ends, 15)

SEC("uprobe")
int e_answers(void *ctx)
{
	count(16);
	bpf_override_return(ctx, 4242);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int t_getpgid(void *ctx)
{
	count(17);
	return 0;
}

struct enter {
	__u64 common;
	__s64 nr;
	__u64 args[6];
};

/* getpriority(7, 7) is answered with 99 and never made. */
SEC("tracepoint/syscalls/sys_enter_getpriority")
int t_getpriority(struct enter *ctx)
{
	if (ctx->args[0] == 7 && ctx->args[1] == 7) {
		count(18);
		bpf_override_return((void *)ctx, 99);
	}
	return 0;
}

/* --- for the tests of well-known programs --- */

struct leave {
	__u64 common;
	__s64 nr, result;
};

SEC("tracepoint/syscalls/sys_exit_accept4")
int t_accepted(struct leave *ctx)
{
	if (ctx->result >= 0)
		count(19);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int t_accepted_so(struct leave *ctx)
{
	if (ctx->result >= 0)
		count(19);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_mkdir")
int t_mkdir(struct enter *ctx)
{
	count(20);
	return 0;
}

ENTRY(hot, 21)
RETURN(hot, 22)
