/* What programs may do besides maps: events, tail calls, stacks, cookies, strings. Results go into an array, by number. */
#include <linux/bpf.h>
#include <linux/errno.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#define MAP(name, kind, k, v, n) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, n); \
		__type(key, k); \
		__type(value, v); \
	} name SEC(".maps")

MAP(results, BPF_MAP_TYPE_ARRAY, __u32, __s64, 64);
MAP(numbers, BPF_MAP_TYPE_HASH, __u32, __u64, 64);
MAP(sums, BPF_MAP_TYPE_PERCPU_HASH, __u32, __u64, 64);
MAP(recent, BPF_MAP_TYPE_LRU_HASH, __u32, __u64, 64);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096 * 4);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(key_size, 4);
	__uint(value_size, 20 * 8);
	__uint(max_entries, 64);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16);
	__type(value, __u32);
} queue SEC(".maps");

int tail(struct pt_regs *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, int(struct pt_regs *));
} programs SEC(".maps") = { .values = { [1] = (void *)&tail } };

const volatile __u64 constant = 0; /* set by the loader: read-only data */
__u64 calls;			   /* .bss */
__u64 start = 1000;		   /* .data */

struct event {
	__u32 a;
	__s32 length, bad;
	__u32 same_thread;
	char text[32];
};

static void set(__u32 number, __s64 value)
{
	bpf_map_update_elem(&results, &number, &value, BPF_ANY);
}

static void add(__u32 number, __s64 value)
{
	__s64 *place = bpf_map_lookup_elem(&results, &number);

	if (place)
		__sync_fetch_and_add(place, value);
}

SEC("uprobe")
int to_ring(struct pt_regs *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	__u64 id = bpf_get_current_pid_tgid(), bad = 1;

	if (!event) {
		add(0, 1);
		return 0;
	}
	event->a = ctx->di;
	event->length = bpf_probe_read_user_str(event->text, sizeof(event->text), (void *)ctx->si);
	event->bad = bpf_probe_read_user(&bad, sizeof(bad), (void *)ctx->dx);
	event->same_thread = id >> 32 == (__u32)id;
	set(1, bad);
	if (event->a % 10 == 9)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("uretprobe")
int to_perf(struct pt_regs *ctx)
{
	__u64 value = ctx->ax;

	add(2, bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &value, sizeof(value)));
	add(3, value);
	return 0;
}

SEC("uprobe")
int tail(struct pt_regs *ctx)
{
	add(4, ctx->di);
	return 0;
}

SEC("uprobe")
int calls_tail(struct pt_regs *ctx)
{
	bpf_tail_call(ctx, &programs, 2); /* empty */
	bpf_tail_call(ctx, &programs, 9); /* out of range */
	add(5, 1);
	bpf_tail_call(ctx, &programs, 1);
	add(6, 1); /* never */
	return 0;
}

SEC("uprobe")
int about(struct pt_regs *ctx)
{
	__s64 id = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
	char name[16];

	__sync_fetch_and_add(&calls, 1);
	start++;
	set(10, bpf_get_attach_cookie(ctx));
	set(11, id >= 0);
	set(12, id >= 0 && bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK) == id);
	set(13, constant);
	set(14, bpf_get_current_comm(name, sizeof(name)));
	set(15, name[0] == 't' && name[1] == 'a');
	set(16, bpf_ktime_get_ns() > 0);
	set(17, bpf_get_smp_processor_id() < 1024);
	return 0;
}

static long one_more(__u32 i, __u64 *sum)
{
	*sum += i;
	return i == 50;
}

struct bpf_map;

static long each(struct bpf_map *map, __u32 *key, __u64 *value, __u64 *sum)
{
	*sum += *key * *value;
	return 0;
}

SEC("uprobe")
int callbacks(struct pt_regs *ctx)
{
	__u64 sum = 0, key, other = 0;
	__u32 a = ctx->di & 31, taken = 0;
	__u64 *slot, zero = 0;

	set(20, bpf_loop(100, one_more, &sum, 0));
	set(21, sum);
	key = a;
	bpf_map_update_elem(&numbers, &a, &key, BPF_ANY);
	set(22, bpf_for_each_map_elem(&numbers, each, &other, 0));
	set(23, other);
	set(24, bpf_map_push_elem(&queue, &a, BPF_EXIST));
	if (a % 4 == 3) {
		set(25, bpf_map_pop_elem(&queue, &taken));
		set(26, taken);
	}
	bpf_map_update_elem(&sums, &a, &zero, BPF_NOEXIST);
	slot = bpf_map_lookup_elem(&sums, &a);
	if (slot)
		*slot += 1;
	bpf_map_update_elem(&recent, &a, &key, BPF_ANY);
	return 0;
}

SEC("uprobe")
int strings(struct pt_regs *ctx)
{
	static const char format[] = "%d %s %x %5u|%-4d|%llu";
	__u64 arguments[] = { -7ull, (__u64)"text", 0xbeef, 42, 3, 1ull << 40 };
	char text[64] = {}, number[8] = " -123x";
	long value = 0;
	unsigned long positive = 0;

	set(30, bpf_snprintf(text, sizeof(text), format, arguments, sizeof(arguments)));
	set(31, bpf_strncmp(text, 64, "-7 text beef    42|3   |1099511627776"));
	set(32, bpf_strtol(number, sizeof(number), 10, &value));
	set(33, value);
	set(34, bpf_strtoul("0x1f", 5, 0, &positive));
	set(35, positive);
	set(36, bpf_strncmp(text, 3, "-8"));
	return 0;
}
