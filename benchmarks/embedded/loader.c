/*
 * Loads, attaches and answers, as the loader of the uprobe experiment (workloads/README.md); it attaches to tracepoints too, and
 * reads the ring and the maps of one value a CPU. Usage: loader OBJECT TARGET KIND:PROGRAM:PLACE… with the kinds uprobe, uretprobe and
 * tracepoint (the place is CATEGORY/NAME then). Commands: reset, read, drain (records taken from the ring since the last time), sum
 * (of the first value of per_cpu_array and per_cpu_hash), quit.
 */
#include "counters.h"
#include "object.h"
#include "protocol.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MOST 32

struct wanted {
	char *kind, *name, *place;
	struct bpf_program *program;
};

static void attach(const struct wanted *wanted, const char *target)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = wanted->place, .retprobe = !strcmp(wanted->kind, "uretprobe"));
	struct bpf_link *link;
	char *event = strchr(wanted->place, '/');

	if (!strcmp(wanted->kind, "tracepoint") && event) {
		*event = '\0';
		link = bpf_program__attach_tracepoint(wanted->program, wanted->place, event + 1);
	} else {
		link = bpf_program__attach_uprobe_opts(wanted->program, -1, target, 0, &options);
	}
	if (!link)
		fail_stage(STAGE_ATTACH, wanted->name, errno, "cannot attach to", wanted->place);
}

static int count_record(void *context, void *data, size_t size)
{
	(void)data, (void)size;
	++*(uint64_t *)context;
	return 0;
}

static void reply_number(const char *word, const char *name, uint64_t number)
{
	struct json reply = reply_begin(word);

	json_number(&reply, name, number);
	reply_end(&reply);
}

static void drain(struct object *object)
{
	static struct ring_buffer *ring;
	static uint64_t taken;

	if (!ring)
		ring = ring_buffer__new(bpf_map__fd(object_map(object, "ring")), count_record, &taken, NULL);
	taken = 0;
	if (!ring || ring_buffer__consume(ring) < 0)
		fail_stage("drain", NULL, errno, "cannot read the ring", NULL);
	reply_number("TAKEN", "records", taken);
}

static uint64_t sum_of(struct object *object, const char *name)
{
	uint64_t *values = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*values)), sum = 0;
	uint32_t key = 0;

	if (!values || bpf_map_lookup_elem(bpf_map__fd(object_map(object, name)), &key, values))
		fail_stage("sum", NULL, errno, "cannot read", name);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++)
		sum += values[i];
	free(values);
	return sum;
}

/* The hash gets its one key here: programs only look it up. */
static void fill(struct object *object)
{
	uint64_t *values = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*values));
	uint32_t key = 0;

	if (!values || bpf_map_update_elem(bpf_map__fd(object_map(object, "per_cpu_hash")), &key, values, BPF_ANY))
		fail_stage(STAGE_FILL, NULL, errno, "cannot fill", "per_cpu_hash");
	free(values);
}

static void answer(struct object *object)
{
	const char *line;

	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		if (command_is(line, "reset", 0, NULL)) {
			counters_reset(object);
			reply_text("OK reset");
		} else if (command_is(line, "read", 0, NULL)) {
			counters_report(object);
		} else if (command_is(line, "drain", 0, NULL)) {
			drain(object);
		} else if (command_is(line, "sum", 0, NULL)) {
			reply_number("SUM", "sum", sum_of(object, "per_cpu_array") + sum_of(object, "per_cpu_hash"));
		} else {
			fail_command(line);
		}
	}
}

int main(int argc, char **argv)
{
	struct wanted wanted[MOST];
	struct object object;
	int n = 0;

	protocol_start();
	if (argc < 4 || argc - 3 > MOST)
		fail_options("usage: loader OBJECT TARGET KIND:PROGRAM:PLACE…");
	object = object_open(argv[1]);
	for (; n < argc - 3; n++) {
		char *text = argv[n + 3];

		wanted[n] = (struct wanted){ .kind = strsep(&text, ":"), .name = strsep(&text, ":"), .place = text };
		if (!text)
			fail_options("%s: expected KIND:PROGRAM:PLACE", wanted[n].kind);
		wanted[n].program = object_choose(&object, wanted[n].name);
	}
	object_load(&object);
	fill(&object);
	for (int i = 0; i < n; i++)
		attach(&wanted[i], argv[2]);
	reply_number("READY", "programs", (uint64_t)n);
	answer(&object);
	return 0;
}
