/*
 * Loads the programs named by --attach, fills the maps named by --fill, attaches, and then answers commands:
 * see workloads/README.md. The cases themselves are data in the experiment's spec.
 */
#include "attach.h"
#include "counters.h"
#include "events.h"
#include "maps.h"
#include "object.h"
#include "only.h"
#include "protocol.h"
#include "tracefs.h"

#include <getopt.h>
#include <string.h>

#define MOST 8

struct fill {
	char *map;
	uint64_t entries;
};

struct plan {
	const char *object, *target, *events, *capture;
	struct attachment attachments[MOST];
	struct fill fills[MOST];
	unsigned n_attachments, n_fills;
	int mount, pid;
};

static struct fill parse_fill(char *text)
{
	struct fill fill = { .map = strsep(&text, ":") };

	if (!text)
		fail_options("--fill %s: expected MAP:ENTRIES", fill.map);
	fill.entries = number_option("--fill", text);
	return fill;
}

static void take_option(struct plan *plan, int option)
{
	if (option == 'o')
		plan->object = optarg;
	else if (option == 't')
		plan->target = optarg;
	else if (option == 'a' && plan->n_attachments < MOST)
		plan->attachments[plan->n_attachments++] = attachment_parse(optarg);
	else if (option == 'f' && plan->n_fills < MOST)
		plan->fills[plan->n_fills++] = parse_fill(optarg);
	else if (option == 'p')
		plan->pid = (int)number_option("--pid", optarg);
	else if (option == 'e')
		plan->events = optarg;
	else if (option == 'c')
		plan->capture = optarg;
	else if (option == 'm')
		plan->mount = 1;
	else
		fail_options("usage: loader --object FILE --target FILE --attach KIND:PROGRAM:PLACE… [--fill MAP:ENTRIES…] "
			     "[--pid PID] [--events MAP [--capture FILE]] [--mount-tracefs]");
}

static struct plan parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "object", required_argument, NULL, 'o' },
		{ "target", required_argument, NULL, 't' },
		{ "attach", required_argument, NULL, 'a' },
		{ "fill", required_argument, NULL, 'f' },
		{ "pid", required_argument, NULL, 'p' },
		{ "events", required_argument, NULL, 'e' },
		{ "capture", required_argument, NULL, 'c' },
		{ "mount-tracefs", no_argument, NULL, 'm' },
		{},
	};
	struct plan plan = { .pid = -1 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&plan, option);
	if (optind != argc || !plan.object || !plan.target || !plan.n_attachments)
		take_option(&plan, '?');
	return plan;
}

static void report_ready(const struct plan *plan, const struct object *object, uint64_t fill_ns)
{
	struct json ready = reply_begin("READY");

	json_string(&ready, "libbpf", libbpf_version_string());
	json_number(&ready, "open_ns", object->open_ns);
	json_number(&ready, "load_ns", object->load_ns);
	json_number(&ready, "fill_ns", fill_ns);
	json_open(&ready, "programs", '[');
	for (unsigned i = 0; i < plan->n_attachments; i++) {
		json_open(&ready, NULL, '{');
		program_information(&ready, plan->attachments[i].loaded);
		attachment_report(&ready, &plan->attachments[i]);
		json_close(&ready, '}');
	}
	json_close(&ready, ']');
	reply_end(&ready);
}

static void answer_commands(const struct plan *plan, struct object *object)
{
	const char *line;
	uint64_t pid;

	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		if (command_is(line, "reset", 0, NULL)) {
			counters_reset(object);
			reply_text("OK reset");
		} else if (command_is(line, "read", 0, NULL)) {
			counters_report(object);
		} else if (plan->events && command_is(line, "events", 0, NULL)) {
			events_report();
		} else if (command_is(line, "only", 1, &pid)) {
			only_watch(object, (uint32_t)pid);
			reply_text("OK only");
		} else {
			fail_command(line);
		}
	}
}

int main(int argc, char **argv)
{
	struct plan plan;
	struct object object;
	uint64_t start, fill_ns;

	protocol_start();
	plan = parse_options(argc, argv);
	if (plan.mount)
		tracefs_mount();
	object = object_open(plan.object);
	for (unsigned i = 0; i < plan.n_attachments; i++)
		plan.attachments[i].loaded = object_choose(&object, plan.attachments[i].program);
	object_load(&object);
	start = now_ns();
	for (unsigned i = 0; i < plan.n_fills; i++)
		map_fill(&object, plan.fills[i].map, (uint32_t)plan.fills[i].entries);
	fill_ns = now_ns() - start;
	if (plan.events)
		events_start(&object, plan.events, plan.capture);
	for (unsigned i = 0; i < plan.n_attachments; i++)
		attachment_make(&plan.attachments[i], plan.target, plan.pid);
	report_ready(&plan, &object, fill_ns);
	answer_commands(&plan, &object);
	return 0;
}
