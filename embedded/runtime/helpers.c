/* The table of helpers, and those that are about time, memory and the hit. */
#include "runtime/helpers.h"
#include "common/common.h"
#include "hook/hook.h"
#include "hook/raw.h"
#include "runtime/fault.h"
#include "runtime/program.h"
#include "runtime/thread.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

/* --- where and when --- */

static EB_HELPER(get_smp_processor_id)
{
	EB_UNUSED;
	return eb_slot();
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static EB_HELPER(ktime_get_ns)
{
	EB_UNUSED;
	return read_clock(CLOCK_MONOTONIC);
}

static EB_HELPER(ktime_get_boot_ns)
{
	EB_UNUSED;
	return read_clock(CLOCK_BOOTTIME);
}

/* The kernel has it for other types of programs; libbpf loads one that calls it to see how memory is accounted. */
static EB_HELPER(ktime_get_coarse_ns)
{
	EB_UNUSED;
	return read_clock(CLOCK_MONOTONIC_COARSE);
}

static EB_HELPER(ktime_get_tai_ns)
{
	EB_UNUSED;
	return read_clock(CLOCK_TAI);
}

static EB_HELPER(jiffies64)
{
	EB_UNUSED;
	return read_clock(CLOCK_MONOTONIC_COARSE) / 4000000; /* of a kernel with 250 ticks a second */
}

/* xorshift64*, seeded by the thread and the clock */
static EB_HELPER(get_prandom_u32)
{
	uint64_t x = eb_thread.random;

	EB_UNUSED;
	if (eb_unlikely(!x))
		x = read_clock(CLOCK_MONOTONIC) ^ (uint64_t)&eb_thread;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	eb_thread.random = x;
	return x * 0x2545f4914f6cdd1dull >> 32;
}

/* There is no struct task_struct in user space: what is read through this pointer is refused with -EFAULT. */
static EB_HELPER(nothing)
{
	EB_UNUSED;
	return 0;
}

/* --- memory --- */

static EB_HELPER(probe_read)
{
	EB_UNUSED;
	return (uint64_t)eb_fetch((void *)r1, (const void *)r3, (uint32_t)r2);
}

static EB_HELPER(probe_read_str)
{
	EB_UNUSED;
	return (uint64_t)eb_fetch_string((char *)r1, (const char *)r3, (uint32_t)r2);
}

static EB_HELPER(probe_write_user)
{
	EB_UNUSED;
	return (uint64_t)eb_put((void *)r1, (const void *)r2, (uint32_t)r3);
}

/* --- the hit --- */

static EB_HELPER(get_attach_cookie)
{
	EB_UNUSED;
	return eb_thread.hit ? eb_thread.hit->attachment->cookie : 0;
}

static EB_HELPER(get_func_ip)
{
	EB_UNUSED;
	return eb_thread.hit ? eb_thread.hit->attachment->address : 0;
}

static EB_HELPER(override_return)
{
	EB_UNUSED;
	if (!eb_thread.hit || !eb_thread.hit->skip)
		return (uint64_t)-EINVAL;
	eb_thread.hit->skip(eb_thread.hit, r2);
	return 0;
}

#define MOST_LOOPS (1u << 23)

static EB_HELPER(loop)
{
	uint64_t (*callback)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) = (void *)r2;
	uint32_t n = (uint32_t)r1, done = 0;

	EB_UNUSED;
	if (r4)
		return (uint64_t)-EINVAL;
	if (n > MOST_LOOPS)
		return (uint64_t)-E2BIG;
	while (done < n)
		if (callback(done++, r3, 0, 0, 0))
			break;
	return done;
}

/* Called only where the engine has not made a jump of it; then there is no such program. */
static EB_HELPER(tail_call)
{
	EB_UNUSED;
	return (uint64_t)-ENOENT;
}

/* --- the table --- */

#define NONE 0
#define SLOT EB_NEEDS_SLOT
#define HIT EB_NEEDS_HIT
#define FAULT EB_NEEDS_FAULT

static const struct eb_helper_entry helpers[] = {
	[BPF_FUNC_map_lookup_elem] = { eb_map_lookup_elem, NONE },
	[BPF_FUNC_map_update_elem] = { eb_map_update_elem, NONE },
	[BPF_FUNC_map_delete_elem] = { eb_map_delete_elem, NONE },
	[BPF_FUNC_map_push_elem] = { eb_map_push_elem, NONE },
	[BPF_FUNC_map_pop_elem] = { eb_map_pop_elem, NONE },
	[BPF_FUNC_map_peek_elem] = { eb_map_peek_elem, NONE },
	[BPF_FUNC_map_lookup_percpu_elem] = { eb_map_lookup_percpu_elem, NONE },
	[BPF_FUNC_for_each_map_elem] = { eb_for_each_map_elem, NONE },
	[BPF_FUNC_probe_read] = { probe_read, FAULT },
	[BPF_FUNC_probe_read_user] = { probe_read, FAULT },
	[BPF_FUNC_probe_read_kernel] = { probe_read, FAULT },
	[BPF_FUNC_copy_from_user] = { probe_read, FAULT },
	[BPF_FUNC_probe_read_str] = { probe_read_str, FAULT },
	[BPF_FUNC_probe_read_user_str] = { probe_read_str, FAULT },
	[BPF_FUNC_probe_read_kernel_str] = { probe_read_str, FAULT },
	[BPF_FUNC_probe_write_user] = { probe_write_user, FAULT },
	[BPF_FUNC_ktime_get_ns] = { ktime_get_ns, NONE },
	[BPF_FUNC_ktime_get_boot_ns] = { ktime_get_boot_ns, NONE },
	[BPF_FUNC_ktime_get_coarse_ns] = { ktime_get_coarse_ns, NONE },
	[BPF_FUNC_ktime_get_tai_ns] = { ktime_get_tai_ns, NONE },
	[BPF_FUNC_jiffies64] = { jiffies64, NONE },
	[BPF_FUNC_trace_printk] = { eb_trace_printk, FAULT },
	[BPF_FUNC_trace_vprintk] = { eb_trace_vprintk, FAULT },
	[BPF_FUNC_snprintf] = { eb_snprintf, FAULT },
	[BPF_FUNC_strtol] = { eb_strtol, NONE },
	[BPF_FUNC_strtoul] = { eb_strtoul, NONE },
	[BPF_FUNC_strncmp] = { eb_strncmp, NONE },
	[BPF_FUNC_get_prandom_u32] = { get_prandom_u32, NONE },
	[BPF_FUNC_get_smp_processor_id] = { get_smp_processor_id, SLOT },
	[BPF_FUNC_get_numa_node_id] = { eb_get_numa_node_id, NONE },
	[BPF_FUNC_tail_call] = { tail_call, SLOT | HIT | FAULT },
	[BPF_FUNC_get_current_pid_tgid] = { eb_get_current_pid_tgid, NONE },
	[BPF_FUNC_get_ns_current_pid_tgid] = { eb_get_ns_current_pid_tgid, NONE },
	[BPF_FUNC_get_current_uid_gid] = { eb_get_current_uid_gid, NONE },
	[BPF_FUNC_get_current_comm] = { eb_get_current_comm, NONE },
	[BPF_FUNC_get_current_task] = { nothing, NONE },
	[BPF_FUNC_get_current_cgroup_id] = { eb_get_current_cgroup_id, NONE },
	[BPF_FUNC_send_signal] = { eb_send_signal, NONE },
	[BPF_FUNC_send_signal_thread] = { eb_send_signal_thread, NONE },
	[BPF_FUNC_override_return] = { override_return, HIT },
	[BPF_FUNC_get_attach_cookie] = { get_attach_cookie, HIT },
	[BPF_FUNC_get_func_ip] = { get_func_ip, HIT },
	[BPF_FUNC_loop] = { loop, NONE },
	[BPF_FUNC_ringbuf_output] = { eb_ringbuf_output, NONE },
	[BPF_FUNC_ringbuf_reserve] = { eb_ringbuf_reserve, NONE },
	[BPF_FUNC_ringbuf_submit] = { eb_ringbuf_submit, NONE },
	[BPF_FUNC_ringbuf_discard] = { eb_ringbuf_discard, NONE },
	[BPF_FUNC_ringbuf_query] = { eb_ringbuf_query, NONE },
	[BPF_FUNC_perf_event_output] = { eb_perf_event_output, NONE },
	[BPF_FUNC_get_stackid] = { eb_get_stackid, FAULT | HIT },
	[BPF_FUNC_get_stack] = { eb_get_stack, FAULT | HIT },
};

const struct eb_helper_entry *eb_helper_find(uint32_t id)
{
	return id < EB_COUNT(helpers) && helpers[id].call ? &helpers[id] : NULL;
}

/* A map's own functions have the same shape as the helpers. */
static eb_helper *own_function(uint32_t id, const struct eb_map_kind *kind)
{
	switch (id) {
	case BPF_FUNC_map_lookup_elem:
		return (eb_helper *)(void (*)(void))kind->lookup;
	case BPF_FUNC_map_update_elem:
		return (eb_helper *)(void (*)(void))kind->update;
	case BPF_FUNC_map_delete_elem:
		return (eb_helper *)(void (*)(void))kind->erase;
	case BPF_FUNC_map_push_elem:
		return (eb_helper *)(void (*)(void))kind->push;
	case BPF_FUNC_map_pop_elem:
		return (eb_helper *)(void (*)(void))kind->pop;
	case BPF_FUNC_map_peek_elem:
		return (eb_helper *)(void (*)(void))kind->peek;
	default:
		return NULL;
	}
}

eb_helper *eb_helper_for(uint32_t id, const struct eb_map *map)
{
	const struct eb_helper_entry *entry = eb_helper_find(id);
	eb_helper *own = entry && map ? own_function(id, map->kind) : NULL;

	return own ? own : entry ? entry->call : NULL;
}

#ifndef ___BPF_FUNC_MAPPER
#define NAMES(x) __BPF_FUNC_MAPPER(x)
#define NAME(x) [BPF_FUNC_##x] = "bpf_" #x
#else
#define NAMES(x) ___BPF_FUNC_MAPPER(x, )
#define NAME(x, number, ...) [number] = "bpf_" #x,
#endif
static const char *const names[] = { NAMES(NAME) };

const char *eb_helper_name(uint32_t id)
{
	return id && id < EB_COUNT(names) ? names[id] : NULL;
}
