/*
 * Loads events.bpf.o, attaches all of it to `work` of a target, says READY, and at the end of its input prints what came: events
 * in order of their numbers, then the results. On the kernel and on the runtime the output has to be the same.
 * Usage: events OBJECT TARGET
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct event {
	__u32 a;
	__s32 length, bad;
	__u32 same_thread;
	char text[32];
};

static struct event events[1000];
static __u64 returned[1000], lost;
static size_t n_events, n_returned;

static void fail(const char *what, const char *name)
{
	printf("FAILED %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

static int on_event(void *ctx, void *data, size_t size)
{
	(void)ctx;
	if (size == sizeof(struct event) && n_events < 1000)
		memcpy(&events[n_events++], data, size);
	return 0;
}

static void on_sample(void *ctx, int cpu, void *data, __u32 size)
{
	(void)ctx;
	(void)cpu;
	if (size >= sizeof(__u64) && n_returned < 1000)
		memcpy(&returned[n_returned++], data, sizeof(__u64));
}

static void on_lost(void *ctx, int cpu, __u64 n)
{
	(void)ctx;
	(void)cpu;
	lost += n;
}

static int by_a(const void *x, const void *y)
{
	return (int)((const struct event *)x)->a - (int)((const struct event *)y)->a;
}

static int by_value(const void *x, const void *y)
{
	return (int)(*(const __u64 *)x - *(const __u64 *)y);
}

static void attach(struct bpf_object *object, const char *target)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		const char *section = bpf_program__section_name(program), *name = bpf_program__name(program);
		LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "work", .retprobe = !strcmp(section, "uretprobe"),
			    .bpf_cookie = 0x123456789abcull);

		if (strcmp(name, "tail") && !bpf_program__attach_uprobe_opts(program, -1, target, 0, &options))
			fail("attach", name);
	}
}

static int fd(struct bpf_object *object, const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

static void print_results(struct bpf_object *object)
{
	int cpus = libbpf_num_possible_cpus();

	qsort(events, n_events, sizeof(*events), by_a);
	for (size_t i = 0; i < n_events; i++)
		printf("event %u \"%s\" %d bad %d same %u\n", events[i].a, events[i].text, events[i].length, events[i].bad,
		       events[i].same_thread);
	qsort(returned, n_returned, sizeof(*returned), by_value);
	for (size_t i = 0; i < n_returned; i++)
		printf("returned %llu\n", returned[i]);
	printf("lost %llu\n", lost);
	for (__u32 i = 0; i < 64; i++) {
		__s64 value = 0;

		bpf_map_lookup_elem(fd(object, "results"), &i, &value);
		printf("result %u: %lld\n", i, value);
	}
	for (__u32 i = 0; i < 32; i++) {
		__u64 values[cpus], sum = 0;

		if (!bpf_map_lookup_elem(fd(object, "sums"), &i, values))
			for (int cpu = 0; cpu < cpus; cpu++)
				sum += values[cpu];
		printf("sum %u: %llu\n", i, sum);
	}
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc == 3 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct ring_buffer *ring;
	struct perf_buffer *perf;
	struct bpf_map *map;
	size_t size;
	char byte;

	if (!object)
		fail("open", argc == 3 ? argv[1] : "usage: events OBJECT TARGET");
	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".rodata") && bpf_map__initial_value(map, &size))
			*(__u64 *)bpf_map__initial_value(map, &size) = 4711;
	if (bpf_object__load(object))
		fail("load", argv[1]);
	ring = ring_buffer__new(fd(object, "ring"), on_event, NULL, NULL);
	perf = perf_buffer__new(fd(object, "perf"), 8, on_sample, on_lost, NULL, NULL);
	if (!ring || !perf)
		fail("make", ring ? "perf buffer" : "ring buffer");
	attach(object, argv[2]);
	printf("READY\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	while (ring_buffer__poll(ring, 50) > 0)
		;
	while (perf_buffer__poll(perf, 50) > 0)
		;
	print_results(object);
	return 0;
}
