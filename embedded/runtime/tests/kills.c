/*
 * Loads kills.bpf.o, attaches it to `work` and `stay` of a target, and answers: "read" with what was counted, after it has worked on all of the
 * maps itself and emptied the ring; "reset"; "leave" ends its only thread. It never waits for the ring, so that nobody but the
 * runtime itself can find what a killed target has left there unfinished. Usage: kills OBJECT TARGET
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static struct bpf_object *object;
static uint64_t records;
static uint64_t *positions[2]; /* the consumer's and the producer's */

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

/* Reads until nothing is left, for two seconds at most. */
static void empty(struct ring_buffer *ring)
{
	const struct timespec pause = { 0, 1000000 };

	for (int i = 0; i < 2000; i++) {
		check("ring", ring_buffer__consume(ring) < 0);
		if (__atomic_load_n(positions[0], __ATOMIC_ACQUIRE) == __atomic_load_n(positions[1], __ATOMIC_ACQUIRE))
			return;
		nanosleep(&pause, NULL);
	}
	printf("BAD ring: blocked ");
}

static void report(struct ring_buffer *ring)
{
	work_on_maps();
	ring_buffer__consume(ring);
	printf("%srecords %lu", *positions[0] < *positions[1] ? "waiting " : "", records);
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

	empty(ring);
	records = 0;
	for (uint32_t i = 0; i < 16; i++)
		bpf_map_update_elem(map("counts"), &i, &zero, BPF_ANY);
	printf("OK\n");
	fflush(stdout);
}

static int attach(const char *program, const char *function, const char *file)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = function);
	struct bpf_program *found = bpf_object__find_program_by_name(object, program);

	return bpf_program__attach_uprobe_opts(found, -1, file, 0, &options) != NULL;
}

int main(int argc, char **argv)
{
	struct ring_buffer *ring;
	char line[64];

	object = argc == 3 ? bpf_object__open_file(argv[1], NULL) : NULL;
	if (!object || bpf_object__load(object) || !attach("everything", "work", argv[2]) || !attach("slow", "stay", argv[2]) ||
	    !(ring = ring_buffer__new(map("ring"), on_record, NULL, NULL))) {
		printf("FAILED %s\n", strerror(errno));
		return 1;
	}
	for (int i = 0; i < 2; i++)
		if ((positions[i] = mmap(NULL, 4096, PROT_READ, MAP_SHARED, map("ring"), i * 4096)) == MAP_FAILED)
			return 1;
	printf("READY\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "read\n"))
			report(ring);
		else if (!strcmp(line, "reset\n"))
			reset(ring);
		else if (!strcmp(line, "leave\n"))
			pthread_exit(NULL);
	}
	return 0;
}
