/*
 * One program that works on maps of every kind that has something to break. A hit that finds all as it should be adds to `good`;
 * the number of what was not is noted in `bad`. Another takes its time between reserving a record and submitting it.
 */
#include <linux/bpf.h>
#include <linux/errno.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct large {
	__u64 words[8];
};

#define MAP(name, kind, k, v, n, f) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, n); \
		__uint(map_flags, f); \
		__type(key, k); \
		__type(value, v); \
	} name SEC(".maps")

#define LINE(name, kind) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, 64); \
		__type(value, __u64); \
	} name SEC(".maps")

MAP(counts, BPF_MAP_TYPE_ARRAY, __u32, __u64, 32, 0); /* 0: good, from 1: bad */
MAP(small, BPF_MAP_TYPE_HASH, __u32, __u64, 4096, 0);
MAP(big, BPF_MAP_TYPE_HASH, __u64, struct large, 4096, 0);
MAP(per_cpu, BPF_MAP_TYPE_PERCPU_HASH, __u32, __u64, 4096, 0);
MAP(recent, BPF_MAP_TYPE_LRU_HASH, __u32, __u64, 64, 0);
MAP(prefixes, BPF_MAP_TYPE_LPM_TRIE, __u64, __u64, 1024, BPF_F_NO_PREALLOC);
LINE(queue, BPF_MAP_TYPE_QUEUE);
LINE(stack, BPF_MAP_TYPE_STACK);

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(key_size, 4);
	__uint(value_size, 8 * 8);
	__uint(max_entries, 64);
} traces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} ring SEC(".maps");

static void add(__u32 number)
{
	__u64 *place = bpf_map_lookup_elem(&counts, &number);

	if (place)
		__sync_fetch_and_add(place, 1);
}

static int keyed(__u64 a)
{
	__u32 key = a & 255;
	__u64 prefix = 32 | (a & 255) << 32, value = a;

	if (bpf_map_update_elem(&small, &key, &value, BPF_ANY))
		return 1;
	if (a & 1 && bpf_map_delete_elem(&small, &key) == -EBUSY)
		return 2;
	if (bpf_map_update_elem(&per_cpu, &key, &value, BPF_ANY))
		return 3;
	if (a & 2 && bpf_map_delete_elem(&per_cpu, &key) == -EBUSY)
		return 4;
	key = a;
	if (bpf_map_update_elem(&recent, &key, &value, BPF_ANY))
		return 5;
	if (bpf_map_update_elem(&prefixes, &prefix, &value, BPF_ANY))
		return 6;
	return a & 4 && bpf_map_delete_elem(&prefixes, &prefix) == -EBUSY ? 7 : 0;
}

/* A value is seen whole or not at all. */
static int whole(__u64 a)
{
	__u64 key = a & 15;
	struct large *seen, value = {};

	for (int i = 0; i < 8; i++)
		value.words[i] = a;
	if (bpf_map_update_elem(&big, &key, &value, BPF_ANY))
		return 8;
	seen = bpf_map_lookup_elem(&big, &key);
	if (seen && (seen->words[0] & 15) != key)
		return 9;
	return 0;
}

static int lined(__u64 a)
{
	__u64 value = a;
	long error = bpf_map_push_elem(&queue, &value, BPF_EXIST);

	if (error == -EBUSY)
		return 10;
	error = bpf_map_push_elem(&stack, &value, BPF_EXIST);
	if (error == -EBUSY)
		return 11;
	if (a & 1 && (bpf_map_pop_elem(&queue, &value) == -EBUSY || bpf_map_pop_elem(&stack, &value) == -EBUSY))
		return 12;
	return 0;
}

SEC("uprobe")
int everything(struct pt_regs *ctx)
{
	__u64 a = ctx->di, *record;
	int bad = keyed(a);

	bad = bad ? bad : whole(a);
	bad = bad ? bad : lined(a);
	if (!bad && bpf_get_stackid(ctx, &traces, BPF_F_USER_STACK | BPF_F_REUSE_STACKID) < 0)
		bad = 13;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (record) {
		*record = a;
		bpf_ringbuf_submit(record, 0);
	} else if (!bad) {
		bad = 14;
	}
	add(bad);
	return 0;
}

static long step(__u32 number, void *unused)
{
	return 0;
}

static long steps(__u32 number, void *unused)
{
	bpf_loop(1 << 23, step, unused, 0);
	return 0;
}

SEC("uprobe")
int slow(struct pt_regs *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);

	if (!record)
		return 0;
	bpf_loop(1 << 10, steps, NULL, 0);
	*record = 0;
	bpf_ringbuf_submit(record, 0);
	return 0;
}
