/*
 * Small tools of the kinds that people write, all in one object: tools.c attaches those of one tool (the names begin with
 * the tool's) to one process. What they report is a line each, in one of two ways.
 */
#include <linux/bpf.h>
#include <linux/ptrace.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

const volatile __u32 wanted = 0; /* process */

struct event {
	char comm[16];
	char text[64];
	__s64 numbers[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} ring SEC(".maps");

/* What is under way, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u32);
	__type(value, __u64[2]);
} started SEC(".maps");

/* What tools.c prints at the end: counts by number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct enter {
	__u64 common;
	__s64 nr;
	__u64 args[6];
};

struct leave {
	__u64 common;
	__s64 nr, result;
};

static int is_wanted(void)
{
	return bpf_get_current_pid_tgid() >> 32 == wanted;
}

static void count(__u32 number, __u64 by)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &number), zero = 0;

	if (!value) {
		bpf_map_update_elem(&counts, &number, &zero, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counts, &number);
	}
	if (value)
		__sync_fetch_and_add(value, by);
}

static void begin(__u64 a, __u64 b)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 values[2] = { a, b };

	if (is_wanted())
		bpf_map_update_elem(&started, &tid, values, BPF_ANY);
}

/* 1: this thread has begun something; no longer. */
static int ends(__u64 values[2])
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 *found = bpf_map_lookup_elem(&started, &tid);

	if (!found)
		return 0;
	values[0] = found[0];
	values[1] = found[1];
	bpf_map_delete_elem(&started, &tid);
	return 1;
}

static void fill(struct event *event, const void *text, __s64 a, __s64 b, __s64 c)
{
	__builtin_memset(event, 0, sizeof(*event));
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (text)
		bpf_probe_read_user_str(event->text, sizeof(event->text), text);
	event->numbers[0] = a;
	event->numbers[1] = b;
	event->numbers[2] = c;
}

static void tell(void *ctx, const void *text, __s64 a, __s64 b, __s64 c)
{
	struct event event;

	fill(&event, text, a, b, c);
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &event, sizeof(event));
}

/* --- which files are opened, with which result --- */

SEC("tracepoint/syscalls/sys_enter_openat")
int open_enter(struct enter *ctx)
{
	begin(ctx->args[1], ctx->args[2]);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int open_exit(struct leave *ctx)
{
	__u64 call[2];

	if (ends(call))
		tell(ctx, (void *)call[0], (__s64)call[1], ctx->result < 0 ? ctx->result : 0, 0);
	return 0;
}

/* --- the same, by a ring buffer --- */

SEC("tracepoint/syscalls/sys_enter_openat")
int ring_enter(struct enter *ctx)
{
	begin(ctx->args[1], ctx->args[2]);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat")
int ring_exit(struct leave *ctx)
{
	struct event *event;
	__u64 call[2];

	if (!ends(call))
		return 0;
	event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	if (!event)
		return 0;
	fill(event, (void *)call[0], (__s64)call[1], ctx->result < 0 ? ctx->result : 0, 0);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* --- signals that are sent; files that are asked about; mounts that are tried --- */

SEC("tracepoint/syscalls/sys_enter_kill")
int signal_enter(struct enter *ctx)
{
	begin(ctx->args[0] == wanted, ctx->args[1]);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_kill")
int signal_exit(struct leave *ctx)
{
	__u64 call[2];

	if (ends(call))
		tell(ctx, 0, (__s64)call[0], (__s64)call[1], ctx->result);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_newfstatat")
int stat_enter(struct enter *ctx)
{
	begin(ctx->args[1], 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_newfstatat")
int stat_exit(struct leave *ctx)
{
	__u64 call[2];

	if (ends(call))
		tell(ctx, (void *)call[0], ctx->result, 0, 0);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_mount")
int mount_enter(struct enter *ctx)
{
	if (is_wanted()) {
		tell(ctx, (void *)ctx->args[0], 0, 0, 0);
		begin(ctx->args[1], ctx->args[3]);
	}
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_mount")
int mount_exit(struct leave *ctx)
{
	__u64 call[2];

	if (ends(call))
		tell(ctx, (void *)call[0], (__s64)call[1], ctx->result, 1);
	return 0;
}

/* --- how often which system call is made, of those that the target makes for us --- */

SEC("tracepoint/raw_syscalls/sys_enter")
int calls_enter(struct enter *ctx)
{
	__u32 nr = (__u32)ctx->nr;

	if (is_wanted() && (nr == 110 || nr == 121 || nr == 24))
		count(nr, 1);
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int calls_exit(struct leave *ctx)
{
	if (is_wanted() && ctx->nr == 121 && ctx->result < 0)
		count((__u32)-ctx->result + 1000, 1);
	return 0;
}

/* --- what is typed into a shell --- */

SEC("uretprobe//bin/bash:readline")
int shell_line(struct pt_regs *ctx)
{
	if (is_wanted() && PT_REGS_RC(ctx))
		tell(ctx, (void *)PT_REGS_RC(ctx), 0, 0, 0);
	return 0;
}

/* --- how long a function takes --- */

SEC("uprobe//proc/self/exe:takes_long")
int latency_enter(void *ctx)
{
	begin(bpf_ktime_get_ns(), 0);
	return 0;
}

static __u32 log2_of(__u64 value)
{
	__u32 slot = 0;

	for (int i = 0; i < 63 && value > 1; i++, value >>= 1)
		slot++;
	return slot;
}

SEC("uretprobe//proc/self/exe:takes_long")
int latency_exit(void *ctx)
{
	__u64 call[2];

	if (ends(call)) {
		__u32 slot = log2_of(bpf_ktime_get_ns() - call[0]);

		count(slot >= 20 ? 20 : slot, 1); /* 1 ms is 2^20 ns and a bit */
	}
	return 0;
}

/* --- memory that is taken and not given back, of marked sizes, and from where --- */

#define MARKED(size) ((size) >= 50000 && (size) < 60000)

struct block {
	__u64 size;
	__s64 stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64);
	__type(value, struct block);
} blocks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1024);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 127 * sizeof(__u64));
} stacks SEC(".maps");

SEC("uprobe/libc.so.6:malloc")
int leak_malloc(struct pt_regs *ctx)
{
	__u64 size = PT_REGS_PARM1(ctx);

	if (is_wanted() && MARKED(size)) {
		count(1, 1);
		begin(size, 0);
	}
	return 0;
}

SEC("uretprobe/libc.so.6:malloc")
int leak_malloced(struct pt_regs *ctx)
{
	__u64 call[2], address = PT_REGS_RC(ctx);
	struct block block;

	if (!ends(call))
		return 0;
	block.size = call[0];
	block.stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	bpf_map_update_elem(&blocks, &address, &block, BPF_ANY);
	count(2, call[0]);
	return 0;
}

SEC("uprobe/libc.so.6:free")
int leak_free(struct pt_regs *ctx)
{
	__u64 address = PT_REGS_PARM1(ctx);
	struct block *block = is_wanted() ? bpf_map_lookup_elem(&blocks, &address) : 0;

	if (!block)
		return 0;
	count(3, 1);
	count(4, block->size);
	count(5, block->stack >= 0);
	bpf_map_delete_elem(&blocks, &address);
	return 0;
}

/* --- maps of other kinds, from a program --- */

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 8);
	__type(value, __u64);
} pile SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 1000);
	__type(value, __u64);
} seen SEC(".maps");

struct prefix {
	__u32 length;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u64);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} recent SEC(".maps");

SEC("uprobe//proc/self/exe:takes_number")
int maps_number(struct pt_regs *ctx)
{
	__u64 n = PT_REGS_PARM1(ctx), got = 0, *value;
	struct prefix wide = { 8, { 10, 0, 0, 0 } }, narrow = { 16, { 10, 1, 0, 0 } }, one = { 32, { 10, n & 1, 2, 3 } };

	if (!is_wanted())
		return 0;
	if (bpf_map_push_elem(&queue, &n, 0))
		count(10, !bpf_map_pop_elem(&queue, &got) ? got : 0);
	bpf_map_push_elem(&pile, &n, BPF_EXIST);
	if (!bpf_map_peek_elem(&pile, &got))
		count(11, got);
	count(12, !bpf_map_peek_elem(&seen, &n));
	bpf_map_push_elem(&seen, &n, 0);
	count(13, !bpf_map_peek_elem(&seen, &n));
	got = 8;
	bpf_map_update_elem(&networks, &wide, &got, BPF_ANY);
	got = 16;
	bpf_map_update_elem(&networks, &narrow, &got, BPF_ANY);
	value = bpf_map_lookup_elem(&networks, &one);
	if (value)
		count(14, *value);
	bpf_map_update_elem(&recent, &n, &n, BPF_ANY);
	value = bpf_map_lookup_elem(&recent, &n);
	if (value)
		count(15, *value);
	return 0;
}
