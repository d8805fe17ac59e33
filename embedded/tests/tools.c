/*
 * tools OBJECT TOOL PID FILE: attaches the programs whose names begin with TOOL_ to the process, by what their sections say
 * (/proc/self/exe there: FILE), says READY, and prints what they report, line by line, until the end of its input; then
 * what they have counted.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct event {
	char comm[16];
	char text[64];
	int64_t numbers[3];
};

static struct bpf_link *attach(struct bpf_program *program, int pid, const char *file)
{
	const char *section = bpf_program__section_name(program), *path = strchr(section, '/');
	LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = *section == 'u' && section[1] == 'r');
	char binary[256];

	if (!strncmp(section, "tracepoint", 10))
		return bpf_program__attach(program);
	snprintf(binary, sizeof(binary), "%s", path + 1);
	*strrchr(binary, ':') = '\0';
	options.func_name = strrchr(section, ':') + 1;
	return bpf_program__attach_uprobe_opts(program, pid, strstr(binary, "self/exe") ? file : binary, 0, &options);
}

static void print(const struct event *event)
{
	printf("%s %s %ld %ld %ld\n", event->comm, event->text, (long)event->numbers[0], (long)event->numbers[1],
	       (long)event->numbers[2]);
}

static void on_perf(void *unused, int cpu, void *data, __u32 size)
{
	(void)unused, (void)cpu, (void)size;
	print(data);
}

static void on_lost(void *unused, int cpu, __u64 n)
{
	(void)unused, (void)cpu;
	printf("lost %lu\n", (unsigned long)n);
}

static int on_ring(void *unused, void *data, size_t size)
{
	(void)unused, (void)size;
	print(data);
	return 0;
}

static void print_counts(int map)
{
	for (__u32 key = 0; key < 2048; key++) {
		__u64 value;

		if (!bpf_map_lookup_elem(map, &key, &value))
			printf("count %u: %lu\n", key, (unsigned long)value);
	}
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc == 5 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct pollfd input = { 0, POLLIN, 0 };
	struct bpf_program *program;
	struct perf_buffer *perf;
	struct ring_buffer *ring;
	size_t size;
	unsigned *wanted;

	if (!object)
		return 1;
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strncmp(bpf_program__name(program), argv[2], strlen(argv[2])));
	wanted = (unsigned *)bpf_map__initial_value(bpf_object__find_map_by_name(object, ".rodata"), &size);
	*wanted = (unsigned)atoi(argv[3]);
	if (bpf_object__load(object))
		return 2;
	bpf_object__for_each_program(program, object)
		if (bpf_program__autoload(program) && !attach(program, atoi(argv[3]), argv[4])) {
			fprintf(stderr, "%s: %s\n", bpf_program__name(program), strerror(errno));
			return 3;
		}
	perf = perf_buffer__new(bpf_object__find_map_fd_by_name(object, "perf"), 64, on_perf, on_lost, NULL, NULL);
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), on_ring, NULL, NULL);
	if (!perf || !ring)
		return 4;
	puts("READY");
	fflush(stdout);
	while (poll(&input, 1, 20) == 0) {
		perf_buffer__poll(perf, 0);
		ring_buffer__poll(ring, 0);
	}
	perf_buffer__poll(perf, 0);
	ring_buffer__poll(ring, 0);
	print_counts(bpf_object__find_map_fd_by_name(object, "counts"));
	return 0;
}
