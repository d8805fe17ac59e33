/*
 * Loads the first N programs and attaches each to the function of its number: at once, or with --hold when it is told to. See
 * workloads/README.md.
 */
#include "count.h"
#include "monotonic.h"
#include "object.h"
#include "protocol.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_FIGURES 4 /* the verifier's log level for figures alone: BPF_LOG_STATS */
#define MOST_AGAIN 100

struct slot {
	uint64_t hits, first_ns;
};

struct plan {
	const char *object, *target;
	uint64_t n;
	int hold;
	struct bpf_program *programs[MOST_PROGRAMS];
};

static void attach_all(const struct plan *plan, int pid)
{
	for (uint64_t i = 0; i < plan->n; i++) {
		char name[32];
		LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = name);

		snprintf(name, sizeof(name), "work_%lu", (unsigned long)i);
		if (!bpf_program__attach_uprobe_opts(plan->programs[i], pid, plan->target, 0, &options))
			fail_stage(STAGE_ATTACH, bpf_program__name(plan->programs[i]), errno, "cannot attach to", name);
	}
}

static void load_all(struct plan *plan, struct object *object)
{
	*object = object_open(plan->object);
	for (uint64_t i = 0; i < plan->n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "probe_%lu", (unsigned long)i);
		plan->programs[i] = object_choose(object, name);
	}
	object_load(object);
}

static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void report_ready(const struct plan *plan, const struct object *object, uint64_t attach_ns, uint64_t ready_ns)
{
	struct json ready = reply_begin("READY");

	json_string(&ready, "libbpf", libbpf_version_string());
	json_number(&ready, "ready_ns", ready_ns);
	json_number(&ready, "open_ns", object->open_ns);
	json_number(&ready, "load_ns", object->load_ns);
	json_number(&ready, "attach_ns", attach_ns);
	json_number(&ready, "cpu_ns", cpu_ns());
	json_open(&ready, "programs", '[');
	for (uint64_t i = 0; i < plan->n; i++) {
		json_open(&ready, NULL, '{');
		program_information(&ready, plan->programs[i]);
		json_close(&ready, '}');
	}
	json_close(&ready, ']');
	reply_end(&ready);
}

static void attach(const struct plan *plan, int pid)
{
	uint64_t began = monotonic_ns(), computed = cpu_ns();
	struct json reply;

	attach_all(plan, pid);
	reply = reply_begin("ATTACHED");
	json_number(&reply, "began_ns", began);
	json_number(&reply, "ended_ns", monotonic_ns());
	json_number(&reply, "cpu_ns", cpu_ns() - computed);
	reply_end(&reply);
}

/* What the verifier says that it took, in the log for those who only want figures. */
static uint64_t verifier_ns(const char *log)
{
	const char *at = strstr(log, "verification time ");

	return at ? strtoull(at + strlen("verification time "), NULL, 10) * 1000 : 0;
}

/* The first program, given to the kernel once more. */
static void load_again(const struct plan *plan, uint64_t *load_ns, uint64_t *verify_ns)
{
	static char log[4096];
	const struct bpf_program *program = plan->programs[0];
	LIBBPF_OPTS(bpf_prog_load_opts, options, .log_level = LOG_FIGURES, .log_buf = log, .log_size = sizeof(log));
	uint64_t start = monotonic_ns();
	int file;

	*log = '\0';
	file = bpf_prog_load(bpf_program__type(program), bpf_program__name(program), "Dual MIT/GPL", bpf_program__insns(program),
			     bpf_program__insn_cnt(program), &options);
	*load_ns = monotonic_ns() - start;
	*verify_ns = verifier_ns(log);
	if (file < 0)
		fail_stage(STAGE_LOAD, bpf_program__name(program), -file, "cannot load it again", NULL);
	close(file);
	if (!*verify_ns)
		fail_stage(STAGE_LOAD, bpf_program__name(program), 0, "the verifier does not say how long it took", NULL);
}

static void report_again(const struct plan *plan, uint64_t times)
{
	uint64_t load_ns[MOST_AGAIN], verify_ns[MOST_AGAIN];
	struct json reply;

	for (uint64_t i = 0; i < times; i++)
		load_again(plan, &load_ns[i], &verify_ns[i]);
	reply = reply_begin("AGAIN");
	json_open(&reply, "load_ns", '[');
	for (uint64_t i = 0; i < times; i++)
		json_number(&reply, NULL, load_ns[i]);
	json_close(&reply, ']');
	json_open(&reply, "verify_ns", '[');
	for (uint64_t i = 0; i < times; i++)
		json_number(&reply, NULL, verify_ns[i]);
	json_close(&reply, ']');
	reply_end(&reply);
}

static struct bpf_map *find_slots(struct object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object->bpf) {
		const char *dot = strrchr(bpf_map__name(map), '.');

		if (dot && !strcmp(dot, ".bss"))
			return map;
	}
	fail_stage("counters", NULL, ENOENT, "the object has no slots", NULL);
}

static void report_hits(const struct plan *plan, struct object *object)
{
	static struct slot slots[MOST_PROGRAMS];
	struct bpf_map *map = find_slots(object);
	struct json reply;
	uint32_t key = 0;

	if (bpf_map__value_size(map) != sizeof(slots) || bpf_map_lookup_elem(bpf_map__fd(map), &key, slots))
		fail_stage("counters", NULL, errno, "cannot read the slots", NULL);
	reply = reply_begin("COUNTERS");
	json_open(&reply, "hits", '[');
	for (uint64_t i = 0; i < plan->n; i++)
		json_number(&reply, NULL, slots[i].hits);
	json_close(&reply, ']');
	json_open(&reply, "first_ns", '[');
	for (uint64_t i = 0; i < plan->n; i++)
		json_number(&reply, NULL, slots[i].first_ns);
	json_close(&reply, ']');
	reply_end(&reply);
}

static void take_option(struct plan *plan, int option)
{
	if (option == 'o')
		plan->object = optarg;
	else if (option == 't')
		plan->target = optarg;
	else if (option == 'n')
		plan->n = number_option("--programs", optarg);
	else if (option == 'h')
		plan->hold = 1;
	else
		fail_options("usage: loader --object FILE --target FILE --programs N [--hold]");
}

static struct plan parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "object", required_argument, NULL, 'o' },
		{ "target", required_argument, NULL, 't' },
		{ "programs", required_argument, NULL, 'n' },
		{ "hold", no_argument, NULL, 'h' },
		{},
	};
	struct plan plan = {};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&plan, option);
	if (optind != argc || !plan.object || !plan.target || !plan.n || plan.n > MOST_PROGRAMS)
		take_option(&plan, '?');
	return plan;
}

int main(int argc, char **argv)
{
	struct plan plan = parse_options(argc, argv);
	struct object object;
	uint64_t start, pid, times;
	const char *line;

	protocol_start();
	load_all(&plan, &object);
	start = monotonic_ns();
	if (!plan.hold)
		attach_all(&plan, -1);
	report_ready(&plan, &object, monotonic_ns() - start, monotonic_ns());
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL))
		if (command_is(line, "attach", 1, &pid))
			attach(&plan, (int)pid);
		else if (command_is(line, "again", 1, &times) && times && times <= MOST_AGAIN)
			report_again(&plan, times);
		else if (command_is(line, "read", 0, NULL))
			report_hits(&plan, &object);
		else
			fail_command(line);
	return 0;
}
