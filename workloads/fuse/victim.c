/*
 * Asks a file system the same question as often as it is told, and says how long that took: see workloads/README.md. Without --call it only
 * does deeds: the other process, of which a cache knows nothing.
 */
#include "deeds.h"
#include "protocol.h"
#include "race.h"
#include "rounds.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct victim;
/* Whether the answer was the right one. */
typedef int one_call(struct victim *victim);

struct victim {
	const char *call, *directory, *name;
	one_call *code;
	int at, realtime, listed;
	unsigned mode;
	long expected; /* errno, or 0 */
	uint64_t calls, wrong;
	char buffer[32768];
};

static struct victim victim;
static struct rounds rounds;

static int is_expected(const struct victim *own, long result)
{
	return own->expected ? result < 0 && errno == own->expected : result >= 0;
}

static int call_fstatat(struct victim *own)
{
	struct stat status;

	return is_expected(own, fstatat(own->at, own->name, &status, 0));
}

static int call_openat(struct victim *own)
{
	int file = openat(own->at, own->name, O_RDONLY);

	return is_expected(own, file) && (file < 0 || !close(file));
}

/* In turn: the whole listing, from the beginning, and its end. */
static int call_getdents64(struct victim *own)
{
	ssize_t size;

	if (!own->listed && lseek(own->at, 0, SEEK_SET))
		return 0;
	size = getdents64(own->at, own->buffer, sizeof(own->buffer));
	own->listed = !own->listed;
	return own->listed ? size > 0 : size == 0;
}

/* A change, and a question of which the old answer would be wrong. */
static int call_change(struct victim *own)
{
	struct stat status;

	own->mode ^= 0111;
	return !fchmodat(own->at, own->name, own->mode, 0) && !fstatat(own->at, own->name, &status, 0) &&
	       (status.st_mode & 07777) == own->mode;
}

static const struct {
	const char *name;
	one_call *code;
} table[] = {
	{ "fstatat", call_fstatat },
	{ "openat", call_openat },
	{ "getdents64", call_getdents64 },
	{ "change", call_change },
};

static one_call *find(const char *name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(table[i].name, name))
			return table[i].code;
	fail_options("--call %s: no such call", name);
}

static uint64_t make_calls(void *own, uint64_t calls)
{
	uint64_t right = 0, start = clock_ns();

	for (uint64_t i = 0; i < calls; i++)
		right += (unsigned)victim.code(own);
	start = clock_ns() - start;
	victim.calls += calls;
	victim.wrong += calls - right;
	return start;
}

static void report_state(struct json *reply)
{
	json_number(reply, "calls", victim.calls);
	json_number(reply, "wrong", victim.wrong);
}

static void report_ready(void)
{
	struct json ready = reply_begin("READY");

	json_number(&ready, "pid", (uint64_t)getpid());
	json_string(&ready, "function", victim.call);
	json_null(&ready, "first_bytes");
	reply_end(&ready);
}

static void warm(uint64_t calls)
{
	struct json reply;

	make_calls(&victim, calls);
	reply = reply_begin("WARM");
	report_state(&reply);
	reply_end(&reply);
}

static void run(uint64_t calls, uint64_t wanted, uint64_t most)
{
	const char *scheduling = rounds_schedule(victim.realtime);
	struct json reply;

	rounds_make(&rounds, make_calls, &victim, calls, wanted, most);
	rounds_schedule(0);
	reply = reply_begin("DONE");
	report_state(&reply);
	json_string(&reply, "scheduling", scheduling);
	rounds_report(&reply, &rounds);
	reply_end(&reply);
}

static void take_option(int option)
{
	if (option == 'c')
		victim.code = find(victim.call = optarg);
	else if (option == 'd')
		victim.directory = optarg;
	else if (option == 'n')
		victim.name = optarg;
	else if (option == 'e')
		victim.expected = (long)number_option("--errno", optarg);
	else if (option == 'k')
		rounds.core.limit = number_option("--calm", optarg);
	else if (option == 'r')
		victim.realtime = 1;
	else
		fail_options("usage: victim [--call NAME --directory PATH --name NAME [--errno NUMBER] [--realtime] [--calm PERMILLE]]");
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "call", required_argument, NULL, 'c' },  { "directory", required_argument, NULL, 'd' },
		{ "name", required_argument, NULL, 'n' },  { "errno", required_argument, NULL, 'e' },
		{ "calm", required_argument, NULL, 'k' },  { "realtime", no_argument, NULL, 'r' },
		{},
	};
	int option;

	victim.mode = 0644;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(option);
	if (optind != argc || (victim.call && (!victim.directory || !victim.name)))
		take_option('?');
	if (!victim.call)
		return;
	victim.at = deeds_directory(victim.directory);
	if (victim.at < 0)
		fail_options("--directory %s: %s", victim.directory, strerror(errno));
}

static void obey(const char *line)
{
	uint64_t numbers[3];

	if (deeds_obey(line) || race_obey(line))
		return;
	if (victim.call && command_is(line, "warm", 1, numbers))
		warm(numbers[0]);
	else if (victim.call && command_is(line, "run", 2, numbers) && numbers[1] >= 1 && numbers[1] <= MOST_ROUNDS)
		run(numbers[0], numbers[1], numbers[1]);
	else if (victim.call && command_is(line, "run", 3, numbers) && numbers[1] >= 1 && numbers[2] >= 1 && numbers[2] <= MOST_ROUNDS)
		run(numbers[0], numbers[1], numbers[2]);
	else
		fail_command(line);
}

int main(int argc, char **argv)
{
	const char *line;

	protocol_start();
	parse_options(argc, argv);
	if (victim.call)
		gauge_start(&rounds.core, rounds.core.limit);
	report_ready();
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL))
		obey(line);
	return 0;
}
