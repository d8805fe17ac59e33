/*
 * Calls each of its first N functions: once, as soon as it has started, or with --spin again and again until it is told to
 * quit, so that whatever is attached meanwhile is hit at once.
 */
#include "count.h"
#include "monotonic.h"
#include "protocol.h"

#include <getopt.h>
#include <poll.h>
#include <unistd.h>

typedef long work(int a);

extern work *const functions[MOST_PROGRAMS];

static long sum;

static void call_all(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		work *code = functions[i];

		__asm__ volatile("" : "+r"(code) : : "memory");
		sum += code(1);
	}
	__asm__ volatile("" : : "r"(sum) : "memory");
}

static int told_something(void)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };

	return poll(&input, 1, 0) > 0;
}

static void report_ready(uint64_t called_ns)
{
	struct json ready = reply_begin("READY");

	json_number(&ready, "pid", (uint64_t)getpid());
	json_number(&ready, "called_ns", called_ns);
	reply_end(&ready);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "functions", required_argument, NULL, 'n' },
		{ "spin", no_argument, NULL, 's' },
		{},
	};
	uint64_t n = 0, called_ns = 0;
	int option, spin = 0;
	const char *line;

	protocol_start();
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (option == 'n')
			n = number_option("--functions", optarg);
		else if (option == 's')
			spin = 1;
		else
			n = MOST_PROGRAMS + 1;
	if (optind != argc || !n || n > MOST_PROGRAMS)
		fail_options("usage: victim --functions N [--spin]");
	if (!spin) {
		call_all(n);
		called_ns = monotonic_ns();
	}
	report_ready(called_ns);
	while (spin && !told_something())
		call_all(n);
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL))
		fail_command(line);
	return 0;
}
