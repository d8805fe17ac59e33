/*
 * Every helper that the other test objects do not call. What they give goes into an array by number, in a form that is the same on the
 * kernel and here: whether it is what it has to be.
 */
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
MAP(per_cpu, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, 4);
MAP(per_cpu_lru, BPF_MAP_TYPE_LRU_PERCPU_HASH, __u32, __u64, 8);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096 * 4);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 16);
	__type(value, __u32);
} stack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 16);
	__type(value, __u32);
} bloom SEC(".maps");

/* set by the loader: the numbers of its pid namespace, its user, its cgroup */
SEC(".rodata.constants") const volatile struct {
	__u64 device, inode, user, cgroup;
} constants = {};

static void set(__u32 number, __s64 value)
{
	bpf_map_update_elem(&results, &number, &value, BPF_ANY);
}

SEC("uprobe")
int who(struct pt_regs *ctx)
{
	struct bpf_pidns_info info = {};
	__u64 id = bpf_get_current_pid_tgid();
	__u32 a = bpf_get_prandom_u32(), b = bpf_get_prandom_u32();

	set(0, bpf_get_current_uid_gid() == constants.user);
	set(1, bpf_get_ns_current_pid_tgid(constants.device, constants.inode, &info, sizeof(info)));
	set(2, info.pid == (__u32)id && info.tgid == id >> 32);
	set(3, bpf_get_ns_current_pid_tgid(constants.device, constants.inode + 1, &info, sizeof(info)));
	set(4, a != b);
	set(5, bpf_get_numa_node_id() < 64);
	set(6, bpf_get_current_cgroup_id() == constants.cgroup);
	set(7, bpf_get_func_ip(ctx) == ctx->ip);
	return 0;
}

SEC("uprobe")
int times(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns(), boot = bpf_ktime_get_boot_ns(), tai = bpf_ktime_get_tai_ns();

	set(10, boot >= now);
	set(12, tai > 1600000000000000000ull);
	set(13, bpf_jiffies64() > 0);
	return 0;
}

SEC("uprobe")
int reads(struct pt_regs *ctx)
{
	const void *nowhere = (const void *)16;
	char text[16] = {}, own[8] = "abcdefg", copy[8] = {};
	__u64 value = 0;

	set(20, bpf_probe_read_str(text, sizeof(text), (void *)ctx->si));
	set(21, text[0] == 'c' && text[14] != 0 && text[15] == 0);
	set(22, bpf_probe_read_str(text, sizeof(text), nowhere));
	set(23, bpf_probe_read(&value, 4, (void *)ctx->si));
	set(24, value);
	set(25, bpf_probe_read(&value, sizeof(value), nowhere));
	set(26, value);
	set(27, bpf_probe_read_kernel(copy, sizeof(copy), own));
	set(28, copy[6] == 'g');
	set(29, bpf_probe_read_kernel_str(copy, 4, own));
	set(30, copy[2] == 'c' && copy[3] == 0);
	set(31, bpf_get_current_task() == 1);
	return 0;
}

SEC("uprobe.s")
int may_sleep(struct pt_regs *ctx)
{
	__u64 value = 0;

	set(32, bpf_copy_from_user(&value, 4, (void *)ctx->si));
	set(33, value);
	set(34, bpf_copy_from_user(&value, sizeof(value), (void *)ctx->dx));
	return 0;
}

SEC("uprobe")
int of_maps(struct pt_regs *ctx)
{
	__u32 key = 1, value = ctx->di & 7, far = 1 << 20, seen = 0;
	__u64 *mine = bpf_map_lookup_elem(&per_cpu, &key), one = 1;

	if (mine)
		*mine = 5;
	mine = bpf_map_lookup_percpu_elem(&per_cpu, &key, 0);
	set(35, mine && (*mine == 5 || *mine == 0));
	set(36, bpf_map_lookup_percpu_elem(&per_cpu, &key, far) == NULL);
	set(37, bpf_map_push_elem(&stack, &value, BPF_EXIST));
	set(38, bpf_map_peek_elem(&stack, &seen));
	set(39, seen == value);
	set(40, bpf_map_push_elem(&bloom, &value, BPF_ANY));
	set(41, bpf_map_peek_elem(&bloom, &value));
	set(42, bpf_map_update_elem(&per_cpu_lru, &value, &one, BPF_ANY));
	set(43, bpf_map_lookup_elem(&per_cpu_lru, &value) != NULL);
	return 0;
}

SEC("uprobe")
int of_rings(struct pt_regs *ctx)
{
	__u64 value = 7;

	set(44, bpf_ringbuf_output(&ring, &value, sizeof(value), BPF_RB_NO_WAKEUP));
	set(45, bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE));
	set(46, bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA));
	set(47, bpf_ringbuf_query(&ring, BPF_RB_PROD_POS));
	set(48, bpf_ringbuf_query(&ring, BPF_RB_CONS_POS));
	return 0;
}

SEC("uprobe")
int stack_of(struct pt_regs *ctx)
{
	__u64 addresses[8] = {};
	long size = bpf_get_stack(ctx, addresses, sizeof(addresses), BPF_F_USER_STACK);

	set(50, size >= 16);
	set(51, addresses[0] == ctx->ip);
	return 0;
}

SEC("uprobe")
int prints(struct pt_regs *ctx)
{
	set(52, bpf_printk("printed %d of %s", (int)ctx->di, "many") > 0);
	set(53, bpf_printk("%d %d %d %d %s", 1, 2, 3, (int)ctx->di, "words") > 0);
	return 0;
}

SEC("uprobe")
int signals(struct pt_regs *ctx)
{
	set(54, bpf_send_signal(10 /* SIGUSR1 */));
	set(55, bpf_send_signal_thread(12 /* SIGUSR2 */));
	return 0;
}
