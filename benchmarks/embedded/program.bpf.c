/*
 * Programs for the figures that the uprobe experiment has no case for. As there, each counts its hits, and a loop's own counter
 * is its proof.
 */
#include "bpf_core.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define OPERATIONS 1000
#define MAP_TYPE_RINGBUF 27

struct {
	__uint(type, MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

#define MAP(name, kind) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, 1024); \
		__type(key, __u32); \
		__type(value, __u64); \
	} name SEC(".maps")

MAP(per_cpu_array, BPF_MAP_TYPE_PERCPU_ARRAY);
MAP(per_cpu_hash, BPF_MAP_TYPE_PERCPU_HASH);
MAP(hash, BPF_MAP_TYPE_HASH);

/* --- memory and events --- */

PROGRAM("uprobe", read_8)
{
	const char *from = (const char *)ARGUMENT_1(ctx);
	__u64 value;
	__u32 done;

	_Pragma("clang loop unroll(disable)") for (done = 0; done < OPERATIONS; done++)
		if (bpf_probe_read_user(&value, sizeof(value), from + (done & 7)) != 0)
			break;
	ADD(count_read_8.hits, 1);
	ADD(count_read_8.inner, done);
	return 0;
}

/* One record a hit; `inner` counts those that the ring had room for. */
PROGRAM("uprobe", record)
{
	__u64 *place = bpf_ringbuf_reserve(&ring, sizeof(*place), 0);

	ADD(count_record.hits, 1);
	if (!place)
		return 0;
	*place = ARGUMENT_1(ctx);
	bpf_ringbuf_submit(place, 0);
	ADD(count_record.inner, 1);
	return 0;
}

/* --- one value a CPU: the map alone, no counter that threads would share --- */

#define ADD_ONE(name, map) \
	SEC("uprobe") int name(struct pt_regs *ctx __attribute__((unused))) \
	{ \
		__u32 key = 0; \
		__u64 *value = bpf_map_lookup_elem(&map, &key); \
 \
		if (value) \
			*value += 1; \
		return 0; \
	}

struct count count_add_array, count_add_hash;
ADD_ONE(add_array, per_cpu_array)
ADD_ONE(add_hash, per_cpu_hash)

/* --- system calls --- */

PROGRAM("tracepoint", call_enter)
{
	ADD(count_call_enter.hits, 1);
	return 0;
}

PROGRAM("tracepoint", call_exit)
{
	ADD(count_call_exit.hits, 1);
	return 0;
}

/* --- eighteen programs for a process to start with: each counts by process in a hash --- */

#define START(name) \
	PROGRAM("uprobe", name) \
	{ \
		__u32 key = bpf_get_current_pid_tgid() >> 32; \
		__u64 one = 1, *value = bpf_map_lookup_elem(&hash, &key); \
 \
		ADD(count_##name.hits, 1); \
		if (value) \
			ADD(*value, 1); \
		else \
			bpf_map_update_elem(&hash, &key, &one, BPF_ANY); \
		return 0; \
	}

START(start_0) START(start_1) START(start_2) START(start_3) START(start_4) START(start_5)
START(start_6) START(start_7) START(start_8) START(start_9) START(start_10) START(start_11)
START(start_12) START(start_13) START(start_14) START(start_15) START(start_16) START(start_17)
