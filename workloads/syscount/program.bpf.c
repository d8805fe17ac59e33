/*
 * Counts one process's system calls by number, and adds up how long they take: on raw_syscalls, which every call of every process
 * comes by. Whose calls do not count is decided first of all.
 *
 * `hits` are calls of the watched process; `inner` of the exit's program those whose entry was seen.
 */
#include "bpf_core.h"
#include "calls.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* The process that is watched, set by the loader's command `only`. Not 0, or it would lie in .bss among the counters. */
volatile __u32 only_pid = ~0u;

/* What the kernel's format files say: events/raw_syscalls/sys_enter/format and …/sys_exit/format. */
struct entered {
	__u64 common;
	__s64 number;
	__u64 arguments[6];
};

struct left {
	__u64 common;
	__s64 number, result;
};

/* When each thread entered the call that it is in. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_CALLS);
	__type(key, __u32);
	__type(value, struct call_total);
} totals SEC(".maps");

struct count count_enter_call;
struct count count_exit_call;

SEC("tracepoint") int enter_call(struct entered *call __attribute__((unused)))
{
	__u64 id = bpf_get_current_pid_tgid(), time;
	__u32 thread = (__u32)id;

	if ((__u32)(id >> 32) != only_pid)
		return 0;
	ADD(count_enter_call.hits, 1);
	time = bpf_ktime_get_ns();
	bpf_map_update_elem(&entries, &thread, &time, BPF_ANY);
	return 0;
}

SEC("tracepoint") int exit_call(struct left *call)
{
	__u64 id = bpf_get_current_pid_tgid(), *entered;
	__u32 thread = (__u32)id, number = (__u32)call->number;
	struct call_total *total;

	if ((__u32)(id >> 32) != only_pid)
		return 0;
	ADD(count_exit_call.hits, 1);
	total = bpf_map_lookup_elem(&totals, &number);
	entered = bpf_map_lookup_elem(&entries, &thread);
	if (!total)
		return 0;
	ADD(total->calls, 1);
	if (!entered)
		return 0;
	ADD(count_exit_call.inner, 1);
	ADD(total->ns, bpf_ktime_get_ns() - *entered);
	return 0;
}
