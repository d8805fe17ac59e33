/*
 * Makes one system call as often as it is told and says how long that took: see workloads/README.md. The command `mark`
 * makes another one, which is never timed: arms that watch only that are proved by it.
 */
#include "own_text.h"
#include "protocol.h"
#include "rounds.h"
#include "transfer.h"

#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

typedef long system_call(long a, void *b, long c);

system_call call_read, call_write, call_getppid, call_mark;

static const struct call {
	const char *name;
	system_call *code;
	long result; /* −1: the parent */
} table[] = {
	{ "read", call_read, TRANSFER },
	{ "write", call_write, TRANSFER },
	{ "getppid", call_getppid, -1 },
};

struct victim {
	const struct call *call;
	long result;
	int file, realtime;
	char buffer[TRANSFER];
	uint64_t calls, wrong; /* made so far, and with another result than the right one */
	uint64_t marks;
};

static struct rounds rounds;

static const struct call *find(const char *name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	fail_options("--call %s: no such call", name);
}

static uint64_t make_calls(void *own, uint64_t calls)
{
	struct victim *victim = own;
	system_call *code = victim->call->code;
	uint64_t right = 0, start = clock_ns();

	for (uint64_t i = 0; i < calls; i++)
		right += code(victim->file, victim->buffer, TRANSFER) == victim->result;
	start = clock_ns() - start;
	victim->calls += calls;
	victim->wrong += calls - right;
	return start;
}

static void report_state(struct json *reply, const struct victim *victim)
{
	unsigned char bytes[FIRST_BYTES];

	memcpy(bytes, (const void *)victim->call->code, sizeof(bytes));
	json_number(reply, "calls", victim->calls);
	json_number(reply, "wrong", victim->wrong);
	json_number(reply, "marks", victim->marks);
	json_hex(reply, "live_bytes", bytes, sizeof(bytes));
}

static void report_ready(const struct victim *victim)
{
	struct json ready = reply_begin("READY");
	unsigned char bytes[FIRST_BYTES];

	json_number(&ready, "pid", (uint64_t)getpid());
	json_string(&ready, "function", victim->call->name);
	if (own_text(victim->call->code, bytes))
		json_hex(&ready, "first_bytes", bytes, sizeof(bytes));
	else
		json_null(&ready, "first_bytes");
	reply_end(&ready);
}

static void warm(struct victim *victim, uint64_t calls)
{
	struct json reply;

	make_calls(victim, calls);
	reply = reply_begin("WARM");
	report_state(&reply, victim);
	reply_end(&reply);
}

static void mark(struct victim *victim, uint64_t calls)
{
	struct json reply;

	for (uint64_t i = 0; i < calls; i++)
		victim->marks += call_mark(0, NULL, 0) > 0;
	reply = reply_begin("MARKED");
	report_state(&reply, victim);
	reply_end(&reply);
}

static void run(struct victim *victim, uint64_t calls, uint64_t wanted, uint64_t most)
{
	const char *scheduling = rounds_schedule(victim->realtime);
	struct json reply;

	rounds_make(&rounds, make_calls, victim, calls, wanted, most);
	rounds_schedule(0);
	reply = reply_begin("DONE");
	report_state(&reply, victim);
	json_string(&reply, "scheduling", scheduling);
	rounds_report(&reply, &rounds);
	reply_end(&reply);
}

static void take_option(struct victim *victim, int option)
{
	if (option == 'c')
		victim->call = find(optarg);
	else if (option == 'k')
		rounds.core.limit = number_option("--calm", optarg);
	else if (option == 'r')
		victim->realtime = 1;
	else
		fail_options("usage: victim --call NAME [--realtime] [--calm PERMILLE]");
}

static void parse_options(struct victim *victim, int argc, char **argv)
{
	static const struct option options[] = {
		{ "call", required_argument, NULL, 'c' },
		{ "calm", required_argument, NULL, 'k' },
		{ "realtime", no_argument, NULL, 'r' },
		{},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(victim, option);
	if (optind != argc || !victim->call)
		take_option(victim, '?');
	victim->result = victim->call->result < 0 ? getppid() : victim->call->result;
	/* what is written must vanish, what is read must never end */
	victim->file = open(strcmp(victim->call->name, "read") ? "/dev/null" : "/dev/zero", O_RDWR | O_CLOEXEC);
	if (victim->file < 0)
		fail_options("--call %s: there is no file for it", victim->call->name);
}

int main(int argc, char **argv)
{
	struct victim victim = {};
	uint64_t numbers[3];
	const char *line;

	protocol_start();
	parse_options(&victim, argc, argv);
	gauge_start(&rounds.core, rounds.core.limit);
	report_ready(&victim);
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		if (command_is(line, "warm", 1, numbers))
			warm(&victim, numbers[0]);
		else if (command_is(line, "mark", 1, numbers))
			mark(&victim, numbers[0]);
		else if (command_is(line, "run", 2, numbers) && numbers[1] >= 1 && numbers[1] <= MOST_ROUNDS)
			run(&victim, numbers[0], numbers[1], numbers[1]);
		else if (command_is(line, "run", 3, numbers) && numbers[1] >= 1 && numbers[2] >= 1 && numbers[2] <= MOST_ROUNDS)
			run(&victim, numbers[0], numbers[1], numbers[2]);
		else
			fail_command(line);
	}
	return 0;
}
