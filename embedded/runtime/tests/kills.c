/*
 * Loads kills.bpf.o, attaches it to `work` of a target, and answers: "read" with what was counted, after it has worked on all of the
 * maps itself and emptied the ring; "reset". Usage: kills OBJECT TARGET
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bpf_object *object;
static uint64_t records;

static int map(const char *name)
{
	return bpf_object__find_map_fd_by_name(object, name);
}

static int on_record(void *context, void *data, size_t size)
{
	(void)context, (void)data, (void)size;
	records++;
	return 0;
}

static void check(const char *what, int error)
{
	if (error && errno != ENOENT)
		printf("BAD %s: %s ", what, strerror(errno));
}

/* A key of its own in each, so that nobody takes it away meanwhile. */
static void work_on_maps(void)
{
	static const char *const keyed[] = { "small", "big", "per_cpu", "recent", "prefixes" };
	uint64_t key[2] = { 20ull | 999ull << 32 }, value[1024] = { 5 };

	for (size_t i = 0; i < sizeof(keyed) / sizeof(*keyed); i++) {
		check(keyed[i], bpf_map_update_elem(map(keyed[i]), key, value, BPF_ANY));
		check(keyed[i], bpf_map_lookup_elem(map(keyed[i]), key, value));
		check(keyed[i], bpf_map_delete_elem(map(keyed[i]), key));
	}
	check("queue", bpf_map_update_elem(map("queue"), NULL, value, BPF_EXIST));
	check("queue", bpf_map_lookup_and_delete_elem(map("queue"), NULL, value));
	check("stack", bpf_map_update_elem(map("stack"), NULL, value, BPF_EXIST));
	check("stack", bpf_map_lookup_and_delete_elem(map("stack"), NULL, value));
}

static void report(struct ring_buffer *ring)
{
	work_on_maps();
	check("ring", ring_buffer__consume(ring) < 0);
	printf("records %lu", records);
	for (uint32_t i = 0; i < 16; i++) {
		uint64_t count = 0;

		check("counts", bpf_map_lookup_elem(map("counts"), &i, &count));
		if (count)
			printf(" %s%u %lu", i ? "bad" : "good", i, count);
	}
	printf("\n");
	fflush(stdout);
}

static void reset(struct ring_buffer *ring)
{
	uint64_t zero = 0;

	ring_buffer__consume(ring);
	records = 0;
	for (uint32_t i = 0; i < 16; i++)
		bpf_map_update_elem(map("counts"), &i, &zero, BPF_ANY);
	printf("OK\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "work");
	struct ring_buffer *ring;
	char line[64];

	object = argc == 3 ? bpf_object__open_file(argv[1], NULL) : NULL;
	if (!object || bpf_object__load(object) ||
	    !bpf_program__attach_uprobe_opts(bpf_object__next_program(object, NULL), -1, argv[2], 0, &options) ||
	    !(ring = ring_buffer__new(map("ring"), on_record, NULL, NULL))) {
		printf("FAILED %s\n", strerror(errno));
		return 1;
	}
	printf("READY\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "read\n"))
			report(ring);
		else if (!strcmp(line, "reset\n"))
			reset(ring);
	}
	return 0;
}
