/*
 * Calls one function as often as it is told and says how long that took: see workloads/README.md. It knows nothing of
 * probes. Two options make it misbehave, for the tests of those who must notice.
 */
#include "buffer.h"
#include "own_text.h"
#include "protocol.h"
#include "rounds.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long function(const char *a, int b, unsigned long c);

function bench_push, bench_mov, bench_movslq, bench_nop1, bench_nop5, bench_endbr64, bench_refill, bench_uncalled;

static const struct entry {
	const char *name;
	function *code;
} functions[] = {
	{ "bench_push", bench_push },	      { "bench_mov", bench_mov },	{ "bench_movslq", bench_movslq },
	{ "bench_nop1", bench_nop1 },	      { "bench_nop5", bench_nop5 },	{ "bench_endbr64", bench_endbr64 },
	{ "bench_refill", bench_refill },     { "bench_uncalled", bench_uncalled },
};

static char buffer[] = BUFFER_TEXT;
/* Not near 0: who rewrites system calls may have mapped the first page. */
static char *volatile nowhere = (char *)0xdead000000000000;

struct victim {
	const struct entry *function, *before;
	uint64_t crash_after; /* 0: never */
	int hang, realtime;
	uint64_t calls, before_calls; /* made so far */
};

static struct rounds rounds;

static const struct entry *find(const char *option, const char *name)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		if (!strcmp(functions[i].name, name))
			return &functions[i];
	fail_options("%s %s: no such function", option, name);
}

/*
 * The timed loop. The barriers keep every call where it is, whatever the compiler thinks it knows about the function.
 */
static uint64_t call_many(function *code, uint64_t calls)
{
	unsigned long sum = 0;
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < calls; i++) {
		__asm__ volatile("" : "+r"(code) : : "memory");
		sum += code(buffer, i & 3, i);
	}
	__asm__ volatile("" : : "r"(sum) : "memory");
	return clock_ns() - start;
}

/* The same with a call of another function before each, which is not timed: the clock is read twice a call. */
static uint64_t call_many_after(function *before, function *code, uint64_t calls)
{
	uint64_t spent = 0;

	for (uint64_t i = 0; i < calls; i++) {
		before(buffer, 0, i);
		spent += call_many(code, 1);
	}
	return spent;
}

static uint64_t make_calls(void *own, uint64_t calls)
{
	struct victim *victim = own;
	int crash = victim->crash_after && victim->calls + calls >= victim->crash_after;
	uint64_t spent;

	if (crash)
		calls = victim->crash_after - victim->calls;
	if (victim->before) {
		spent = call_many_after(victim->before->code, victim->function->code, calls);
		victim->before_calls += calls;
	} else {
		spent = call_many(victim->function->code, calls);
	}
	victim->calls += calls;
	if (crash)
		*nowhere = 0;
	return spent;
}

static void report_text(struct json *reply, const char *field, const struct entry *entry)
{
	unsigned char bytes[FIRST_BYTES];

	memcpy(bytes, (const void *)entry->code, sizeof(bytes));
	json_hex(reply, field, bytes, sizeof(bytes));
}

static void report_ready(const struct victim *victim)
{
	struct json ready = reply_begin("READY");
	unsigned char bytes[FIRST_BYTES];

	json_number(&ready, "pid", (uint64_t)getpid());
	json_string(&ready, "function", victim->function->name);
	json_string(&ready, "before", victim->before ? victim->before->name : NULL);
	if (own_text(victim->function->code, bytes))
		json_hex(&ready, "first_bytes", bytes, sizeof(bytes));
	else
		json_null(&ready, "first_bytes");
	json_hex(&ready, "buffer", buffer, sizeof(buffer) - 1);
	reply_end(&ready);
}

static void report_state(struct json *reply, const struct victim *victim, uint64_t made)
{
	json_number(reply, "calls", victim->calls);
	json_number(reply, "made", made);
	json_number(reply, "before_calls", victim->before_calls);
	report_text(reply, "live_bytes", victim->function);
	json_hex(reply, "buffer", buffer, sizeof(buffer) - 1);
}

static void warm(struct victim *victim, uint64_t calls)
{
	struct json reply;

	make_calls(victim, calls);
	reply = reply_begin("WARM");
	report_state(&reply, victim, calls);
	reply_end(&reply);
}

static void run(struct victim *victim, uint64_t calls, uint64_t wanted, uint64_t most)
{
	const char *scheduling;
	struct json reply;

	while (victim->hang)
		pause();
	scheduling = rounds_schedule(victim->realtime);
	rounds_make(&rounds, make_calls, victim, calls, wanted, most);
	rounds_schedule(0);
	reply = reply_begin("DONE");
	report_state(&reply, victim, calls * rounds.made);
	json_string(&reply, "scheduling", scheduling);
	rounds_report(&reply, &rounds);
	reply_end(&reply);
}

static void take_option(struct victim *victim, int option)
{
	if (option == 'f')
		victim->function = find("--function", optarg);
	else if (option == 'b')
		victim->before = find("--before", optarg);
	else if (option == 'c')
		victim->crash_after = number_option("--crash-after", optarg);
	else if (option == 'k')
		rounds.core.limit = number_option("--calm", optarg);
	else if (option == 'h')
		victim->hang = 1;
	else if (option == 'r')
		victim->realtime = 1;
	else
		fail_options("usage: victim --function NAME [--before NAME] [--realtime] [--calm PERMILLE] [--crash-after CALLS] [--hang]");
}

static struct victim parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "function", required_argument, NULL, 'f' },
		{ "before", required_argument, NULL, 'b' },
		{ "crash-after", required_argument, NULL, 'c' },
		{ "calm", required_argument, NULL, 'k' },
		{ "hang", no_argument, NULL, 'h' },
		{ "realtime", no_argument, NULL, 'r' },
		{},
	};
	struct victim victim = {};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&victim, option);
	if (optind != argc || !victim.function)
		take_option(&victim, '?');
	return victim;
}

int main(int argc, char **argv)
{
	struct victim victim;
	uint64_t numbers[3];
	const char *line;

	protocol_start();
	victim = parse_options(argc, argv);
	gauge_start(&rounds.core, rounds.core.limit);
	report_ready(&victim);
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		if (command_is(line, "warm", 1, numbers))
			warm(&victim, numbers[0]);
		else if (command_is(line, "run", 2, numbers) && numbers[1] >= 1 && numbers[1] <= MOST_ROUNDS)
			run(&victim, numbers[0], numbers[1], numbers[1]);
		else if (command_is(line, "run", 3, numbers) && numbers[1] >= 1 && numbers[2] >= 1 && numbers[2] <= MOST_ROUNDS)
			run(&victim, numbers[0], numbers[1], numbers[2]);
		else
			fail_command(line);
	}
	return 0;
}
