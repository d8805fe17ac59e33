/* Attaches the programs and answers commands: as common/loader.c does, and `calls` for the counts by number. */
#include "attach.h"
#include "calls.h"
#include "counters.h"
#include "object.h"
#include "only.h"
#include "protocol.h"
#include "tracefs.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <getopt.h>

#define STAGE_CALLS "calls"
#define PROGRAMS 2

struct plan {
	const char *object;
	int mount;
};

static struct plan parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "object", required_argument, NULL, 'o' },
		{ "mount-tracefs", no_argument, NULL, 'm' },
		{},
	};
	struct plan plan = {};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) == 'o' || option == 'm')
		if (option == 'o')
			plan.object = optarg;
		else
			plan.mount = 1;
	if (option != -1 || optind != argc || !plan.object)
		fail_options("usage: loader --object FILE [--mount-tracefs]");
	return plan;
}

static void report_ready(const struct object *object, const struct attachment attachments[PROGRAMS])
{
	struct json ready = reply_begin("READY");

	json_string(&ready, "libbpf", libbpf_version_string());
	json_number(&ready, "open_ns", object->open_ns);
	json_number(&ready, "load_ns", object->load_ns);
	json_open(&ready, "programs", '[');
	for (unsigned i = 0; i < PROGRAMS; i++) {
		json_open(&ready, NULL, '{');
		program_information(&ready, attachments[i].loaded);
		attachment_report(&ready, &attachments[i]);
		json_close(&ready, '}');
	}
	json_close(&ready, ']');
	reply_end(&ready);
}

/* Goes through the totals; with a reply, those of calls that were made are put into it, without one all are set to 0. */
static void visit_totals(struct object *object, struct json *reply)
{
	int map = bpf_map__fd(object_map(object, "totals"));
	struct call_total total, none = {};
	char name[16];

	for (uint32_t number = 0; number < MOST_CALLS; number++) {
		if (reply ? bpf_map_lookup_elem(map, &number, &total) : bpf_map_update_elem(map, &number, &none, BPF_ANY))
			fail_stage(STAGE_CALLS, NULL, errno, "cannot go through", "totals");
		if (!reply || !total.calls)
			continue;
		snprintf(name, sizeof(name), "%u", number);
		json_open(reply, name, '{');
		json_number(reply, "calls", total.calls);
		json_number(reply, "ns", total.ns);
		json_close(reply, '}');
	}
}

static void report_calls(struct object *object)
{
	struct json reply = reply_begin("CALLS");

	visit_totals(object, &reply);
	reply_end(&reply);
}

static void answer_commands(struct object *object)
{
	const char *line;
	uint64_t pid;

	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		if (command_is(line, "reset", 0, NULL)) {
			counters_reset(object);
			visit_totals(object, NULL);
			reply_text("OK reset");
		} else if (command_is(line, "read", 0, NULL)) {
			counters_report(object);
		} else if (command_is(line, "calls", 0, NULL)) {
			report_calls(object);
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
	struct attachment attachments[PROGRAMS] = {
		{ .kind = "tracepoint", .program = "enter_call", .place = "raw_syscalls/sys_enter" },
		{ .kind = "tracepoint", .program = "exit_call", .place = "raw_syscalls/sys_exit" },
	};
	struct object object;
	struct plan plan;

	protocol_start();
	plan = parse_options(argc, argv);
	if (plan.mount)
		tracefs_mount();
	object = object_open(plan.object);
	for (unsigned i = 0; i < PROGRAMS; i++)
		attachments[i].loaded = object_choose(&object, attachments[i].program);
	object_load(&object);
	for (unsigned i = 0; i < PROGRAMS; i++)
		attachment_make(&attachments[i], NULL, -1);
	report_ready(&object, attachments);
	answer_commands(&object);
	return 0;
}
