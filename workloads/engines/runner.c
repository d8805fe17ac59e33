/*
 * A process that stays warm: it loads programs into one engine, runs them as often as it is told, and says how long that
 * took and what came out. See workloads/README.md.
 */
#include "engine.h"
#include "inputs.h"
#include "protocol.h"
#include "rounds.h"
#include "sizes.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

static struct rounds rounds;
static uint8_t memory[MEMORY] __attribute__((aligned(64)));
static uint64_t values[ENTRIES];
static int is_loaded;

static uint64_t cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t run_calls(void *unused, uint64_t calls)
{
	(void)unused;
	return engine_run(calls);
}

/* `load PROGRAM INPUT` */
static void load(char *words)
{
	char *name = strsep(&words, " "), *input = words ? words : "";
	struct loaded loaded = { .code_size = -1 };
	int unsupported = 0;
	const char *wrong = engine_load(name, &loaded, &unsupported);
	struct json reply = reply_begin(!wrong ? "LOADED" : unsupported ? "UNSUPPORTED" : "REFUSED");

	is_loaded = !wrong;
	if (wrong) {
		json_string(&reply, "message", wrong);
	} else {
		inputs_fill(input, memory, values);
		engine_put(memory, values);
		json_string(&reply, "program", name);
		json_string(&reply, "engine", loaded.engine);
		json_number(&reply, "compile_ns", loaded.compile_ns);
		if (loaded.code_size < 0)
			json_null(&reply, "code_size");
		else
			json_number(&reply, "code_size", (uint64_t)loaded.code_size);
		if (loaded.objection)
			json_string(&reply, "objection", loaded.objection);
	}
	reply_end(&reply);
}

static void run(uint64_t calls, uint64_t wanted, uint64_t most)
{
	struct json reply;
	uint64_t result;

	engine_hits();
	rounds_make(&rounds, run_calls, NULL, calls, wanted, most);
	engine_get(memory);
	reply = reply_begin("DONE");
	json_number(&reply, "calls", calls * rounds.made);
	result = engine_hits();
	if (result == NOT_COUNTED)
		json_null(&reply, "hits");
	else
		json_number(&reply, "hits", result);
	memcpy(&result, memory + RESULT_AT, sizeof(result));
	json_hex(&reply, "result", &result, sizeof(result));
	result = inputs_digest(memory);
	json_hex(&reply, "memory", &result, sizeof(result));
	json_number(&reply, "cpu_ns", cpu_ns());
	rounds_report(&reply, &rounds);
	reply_end(&reply);
}

static char *after(char *line, const char *word)
{
	size_t length = strlen(word);

	return strncmp(line, word, length) || line[length] != ' ' ? NULL : line + length + 1;
}

int main(int argc, char **argv)
{
	const char *wrong = engine_start(argc, argv);
	uint64_t numbers[3];
	struct json ready;
	char *line, *rest;

	protocol_start();
	if (wrong)
		fail_options("%s", wrong);
	gauge_start(&rounds.core, 0);
	ready = reply_begin("READY");
	json_number(&ready, "pid", (uint64_t)getpid());
	reply_end(&ready);
	while ((line = (char *)next_command()) && !command_is(line, "quit", 0, NULL)) {
		if ((rest = after(line, "load")))
			load(rest);
		else if (command_is(line, "calm", 1, numbers))
			rounds.core.limit = numbers[0], reply_text("OK calm");
		else if (is_loaded && command_is(line, "run", 3, numbers) && numbers[1] && numbers[2] && numbers[2] <= MOST_ROUNDS)
			run(numbers[0], numbers[1], numbers[2]);
		else
			fail_command(line);
	}
	return 0;
}
