/*
 * Asks for one file at a constant rate, whether answers come or not. The n-th request is due n intervals after the start; its
 * latency counts from then, also when it had to wait for a connection because the server was behind: a slow answer cannot put
 * off the requests after it and so hide what they would have met. See workloads/README.md.
 */
#include "connection.h"
#include "protocol.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define MOST_CONNECTIONS 1024
#define PATIENCE (10 * SECOND) /* for the last answers, and for connections */

struct plan {
	uint64_t port, body, connections, rate, seconds;
	const char *path;
	int tls;
};

struct slot {
	struct connection connection;
	uint64_t due; /* of the request that is on its way */
	struct slot *next_idle;
};

static struct load {
	struct plan plan;
	struct slot slots[MOST_CONNECTIONS], *idle;
	char request[512];
	size_t length;
	int epoll, timer;
	uint64_t start, total, next, answered, queued, end;
	uint64_t idle_since; /* when a connection was free again after none was */
	uint64_t troubles[TROUBLES];
	uint64_t *latencies, *lateness, n_late;
} load;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint64_t due(uint64_t n)
{
	return load.start + (uint64_t)((unsigned __int128)n * SECOND / load.plan.rate);
}

static void take_option(struct plan *plan, int option)
{
	static const char names[] = "pbcrs";
	static const char *const options[] = { "--port", "--body", "--connections", "--rate", "--seconds" };
	uint64_t *const numbers[] = { &plan->port, &plan->body, &plan->connections, &plan->rate, &plan->seconds };
	const char *name = option ? strchr(names, option) : NULL;

	if (name)
		*numbers[name - names] = number_option(options[name - names], optarg);
	else if (option == 'f')
		plan->path = optarg;
	else if (option == 't')
		plan->tls = 1;
	else
		fail_options("usage: client --port PORT --path PATH --body BYTES --connections N --rate REQUESTS --seconds N [--tls]");
}

static struct plan parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "path", required_argument, NULL, 'f' },
		{ "body", required_argument, NULL, 'b' },
		{ "connections", required_argument, NULL, 'c' },
		{ "rate", required_argument, NULL, 'r' },
		{ "seconds", required_argument, NULL, 's' },
		{ "tls", no_argument, NULL, 't' },
		{},
	};
	struct plan plan = {};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&plan, option);
	if (optind != argc || !plan.path || !plan.port || plan.port > UINT16_MAX || !plan.connections || !plan.rate ||
	    !plan.body || !plan.seconds || plan.seconds > 3600 || plan.rate > 10000000)
		take_option(&plan, '?');
	if (plan.connections > MOST_CONNECTIONS)
		fail_options("--connections %lu: at most %d", (unsigned long)plan.connections, MOST_CONNECTIONS);
	return plan;
}

static void be_idle(struct slot *slot)
{
	if (!load.idle)
		load.idle_since = now();
	slot->next_idle = load.idle;
	load.idle = slot;
}

static void wait_for_events(void (*happened)(struct slot *slot), int milliseconds)
{
	struct epoll_event events[64];
	int n = epoll_wait(load.epoll, events, 64, milliseconds);
	uint64_t expirations;

	for (int i = 0; i < n; i++)
		if (events[i].data.ptr)
			happened(events[i].data.ptr);
		else if (read(load.timer, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
			abort();
}

static int in_trouble(void)
{
	for (int i = 0; i < TROUBLES; i++)
		if (load.troubles[i])
			return 1;
	return 0;
}

static void note_trouble(struct slot *slot)
{
	load.troubles[slot->connection.trouble]++;
	epoll_ctl(load.epoll, EPOLL_CTL_DEL, slot->connection.socket, NULL);
}

static void connected(struct slot *slot)
{
	if (slot->connection.state != CONNECTING)
		return;
	switch (connection_step(&slot->connection)) {
	case IDLE:
		load.answered++;
		be_idle(slot);
		break;
	case BROKEN:
		note_trouble(slot);
		break;
	default:
		break;
	}
}

/* All connections are made before the clock starts. */
static void connect_all(SSL_CTX *context)
{
	uint64_t limit = now() + PATIENCE;

	for (uint64_t i = 0; i < load.plan.connections; i++) {
		struct slot *slot = &load.slots[i];
		struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data = { .ptr = slot } };

		connection_open(&slot->connection, (uint16_t)load.plan.port, context);
		epoll_ctl(load.epoll, EPOLL_CTL_ADD, slot->connection.socket, &event);
	}
	while (load.answered < load.plan.connections && !in_trouble() && now() < limit)
		wait_for_events(connected, 100);
	if (load.answered < load.plan.connections && !in_trouble())
		load.troubles[TROUBLE_CONNECT] = load.plan.connections - load.answered;
	load.answered = 0;
}

static void happened(struct slot *slot)
{
	switch (connection_step(&slot->connection)) {
	case ANSWERED:
		load.end = now();
		load.latencies[load.answered++] = load.end - slot->due;
		be_idle(slot);
		break;
	case BROKEN:
		note_trouble(slot);
		break;
	default:
		break;
	}
}

/* Sends all that is due, as far as connections are idle; what was due while none was has been waiting for one. */
static void send_due(void)
{
	uint64_t time = now();

	while (load.idle && load.next < load.total && due(load.next) <= time) {
		struct slot *slot = load.idle;

		load.idle = slot->next_idle;
		slot->due = due(load.next++);
		if (slot->due < load.idle_since)
			load.queued++;
		else
			load.lateness[load.n_late++] = time - slot->due;
		connection_ask(&slot->connection, load.request, load.length, load.plan.body);
		if (slot->connection.state == BROKEN)
			note_trouble(slot);
	}
}

static void arm_timer(void)
{
	uint64_t when = load.idle && load.next < load.total ? due(load.next) : 0;
	struct itimerspec at = { .it_value = { (time_t)(when / SECOND), (long)(when % SECOND) } };

	timerfd_settime(load.timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void offer(void)
{
	uint64_t limit;

	load.start = load.end = now();
	limit = due(load.total) + PATIENCE;
	while (load.answered < load.total && !in_trouble() && now() < limit) {
		send_due();
		arm_timer();
		wait_for_events(happened, 100);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The smallest value that so many permille of all do not exceed. */
static uint64_t percentile(const uint64_t *sorted, uint64_t n, uint64_t permille)
{
	return n ? sorted[(n * permille + 999) / 1000 - 1] : 0;
}

static void report(void)
{
	static const char *const names[TROUBLES] = { "connect", "read", "write", "status", "unreadable" };
	struct json reply = reply_begin("LOAD");
	uint64_t n = load.answered;

	qsort(load.latencies, n, sizeof(uint64_t), compare);
	qsort(load.lateness, load.n_late, sizeof(uint64_t), compare);
	json_number(&reply, "requests", n);
	json_number(&reply, "planned", load.total);
	json_number(&reply, "duration_ns", load.end - load.start);
	for (int i = 0; i < TROUBLES; i++)
		json_number(&reply, names[i], load.troubles[i]);
	json_number(&reply, "timeout", in_trouble() ? 0 : load.total - n);
	json_number(&reply, "p50_ns", percentile(load.latencies, n, 500));
	json_number(&reply, "p99_ns", percentile(load.latencies, n, 990));
	json_number(&reply, "max_ns", percentile(load.latencies, n, 1000));
	json_number(&reply, "queued", load.queued);
	json_number(&reply, "late_p99_ns", percentile(load.lateness, load.n_late, 990));
	reply_end(&reply);
}

static SSL_CTX *make_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (!context)
		fail_options("OpenSSL gives no context");
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
	return context;
}

int main(int argc, char **argv)
{
	struct epoll_event timer = { .events = EPOLLIN };

	protocol_start();
	signal(SIGPIPE, SIG_IGN);
	load.plan = parse_options(argc, argv);
	load.total = load.plan.rate * load.plan.seconds;
	load.latencies = calloc(load.total, sizeof(uint64_t));
	load.lateness = calloc(load.total, sizeof(uint64_t));
	load.length = (size_t)snprintf(load.request, sizeof(load.request), "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%lu\r\n\r\n",
				       load.plan.path, (unsigned long)load.plan.port);
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!load.latencies || !load.lateness || load.length >= sizeof(load.request) || load.epoll < 0 || load.timer < 0)
		fail_options("no memory, no descriptors, or a path that is too long");
	epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.timer, &timer);
	connect_all(load.plan.tls ? make_context() : NULL);
	if (!in_trouble())
		offer();
	report();
	return 0;
}
