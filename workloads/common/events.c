#include "events.h"
#include "protocol.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define STAGE_EVENTS "events"

enum {
	PATIENCE_MS = 20,  /* how long a wait for events lasts at most */
	PAUSE_US = 2000,   /* between two waits: who waits again at once has every single event wake it, at the target's expense */
	PERF_PAGES = 1024, /* of 4 KiB for each CPU: more is more than bpftime's shared memory holds by default */
	MOST_CAPTURED = 8 << 20, /* bytes: what comes first is looked at, and writing all of a load would be a load itself */
};

static struct ring_buffer *ring;
static struct perf_buffer *perf;
static FILE *capture;
static atomic_uint_fast64_t received, bytes, lost;

static void take(const void *data, uint32_t size)
{
	atomic_fetch_add(&received, 1);
	atomic_fetch_add(&bytes, size);
	if (capture && atomic_load(&bytes) <= MOST_CAPTURED) {
		fwrite(&size, sizeof(size), 1, capture);
		fwrite(data, size, 1, capture);
		fflush(capture);
	}
}

static int take_from_ring(void *context, void *data, size_t size)
{
	(void)context;
	take(data, (uint32_t)size);
	return 0;
}

static void take_from_perf(void *context, int cpu, void *data, __u32 size)
{
	(void)context;
	(void)cpu;
	take(data, size);
}

static void count_lost(void *context, int cpu, __u64 number)
{
	(void)context;
	(void)cpu;
	atomic_fetch_add(&lost, number);
}

static void *receive(void *nothing)
{
	int result;

	do {
		usleep(PAUSE_US);
		result = ring ? ring_buffer__poll(ring, PATIENCE_MS) : perf_buffer__poll(perf, PATIENCE_MS);
	} while (result >= 0 || result == -EINTR);
	fprintf(stderr, "events: %s\n", strerror(-result));
	return nothing;
}

void events_start(struct object *object, const char *name, const char *file)
{
	struct bpf_map *map = object_map(object, name);
	pthread_t thread;

	if (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF)
		ring = ring_buffer__new(bpf_map__fd(map), take_from_ring, NULL, NULL);
	else
		perf = perf_buffer__new(bpf_map__fd(map), PERF_PAGES, take_from_perf, count_lost, NULL, NULL);
	if (!ring && !perf)
		fail_stage(STAGE_EVENTS, NULL, errno, "cannot receive from", name);
	if (file && !(capture = fopen(file, "wbe")))
		fail_stage(STAGE_EVENTS, NULL, errno, "cannot write", file);
	if (pthread_create(&thread, NULL, receive, NULL))
		fail_stage(STAGE_EVENTS, NULL, errno, "no thread to receive from", name);
}

void events_report(void)
{
	struct json reply = reply_begin("EVENTS");

	json_number(&reply, "received", atomic_load(&received));
	json_number(&reply, "bytes", atomic_load(&bytes));
	json_number(&reply, "lost", atomic_load(&lost));
	reply_end(&reply);
}
