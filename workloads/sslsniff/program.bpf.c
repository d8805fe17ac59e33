/*
 * Sees the plaintext of TLS: what SSL_read has delivered and what SSL_write was given. The buffer is known at the entry, how
 * much of it counts at the return. Each pair of programs exists twice, sending through a ring buffer or a perf event array.
 *
 * `hits` are calls, `inner` those that moved data: for each of them one event is sent, or lost on the way.
 */
#include "bpf_core.h"
#include "event.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} buffers SEC(".maps");

/* An event is put together here: too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} drafts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

static __attribute__((always_inline)) void remember(struct pt_regs *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid(), buffer = ARGUMENT_2(ctx);

	bpf_map_update_elem(&buffers, &thread, &buffer, BPF_ANY);
}

/* The event of a call that returns now, or NULL if it moved nothing. */
static __attribute__((always_inline)) struct event *draft(struct pt_regs *ctx, __u32 direction)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u64 *buffer = bpf_map_lookup_elem(&buffers, &thread);
	struct event *event;
	__u32 zero = 0;
	__s32 moved = (__s32)RESULT(ctx);
	__u64 data;

	if (!buffer)
		return 0;
	data = *buffer;
	bpf_map_delete_elem(&buffers, &thread);
	event = bpf_map_lookup_elem(&drafts, &zero);
	if (moved <= 0 || !event)
		return 0;
	event->pid = thread >> 32;
	event->thread = (__u32)thread;
	event->direction = direction;
	event->length = moved > MOST_DATA ? MOST_DATA : moved;
	if (bpf_probe_read_user(event->data, event->length, (void *)data))
		return 0;
	return event;
}

/* The verifier has to see with its own eyes that the size is within the draft. */
static __attribute__((always_inline)) __u64 size_of(const struct event *event)
{
	__u64 length = event->length;

	return HEADER + (length > MOST_DATA ? MOST_DATA : length);
}

#define ENTER(name) \
	PROGRAM("uprobe", name) \
	{ \
		ADD(count_##name.hits, 1); \
		remember(ctx); \
		return 0; \
	}

#define RETURN(name, direction, send) \
	PROGRAM("uretprobe", name) \
	{ \
		struct event *event = draft(ctx, direction); \
\
		ADD(count_##name.hits, 1); \
		if (!event) \
			return 0; \
		ADD(count_##name.inner, 1); \
		send; \
		return 0; \
	}

#define BY_RING bpf_ringbuf_output(&ring, event, size_of(event), 0)
#define BY_PERF bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, event, size_of(event))

ENTER(enter_read)
ENTER(enter_write)
RETURN(return_read_ring, FROM_CLIENT, BY_RING)
RETURN(return_write_ring, TO_CLIENT, BY_RING)
RETURN(return_read_perf, FROM_CLIENT, BY_PERF)
RETURN(return_write_perf, TO_CLIENT, BY_PERF)
