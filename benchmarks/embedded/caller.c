/*
 * What is measured beside the victim of the uprobe experiment. Usage: caller calls | threads | native [PERMILLE], where PERMILLE is the
 * gauge's ratio on a calm core, if known. Commands: "run CALLS ROUNDS THREADS", answered with the ns of each round that counts, and
 * how many were made: getppid by `calls`; by `threads` a probed function in so many threads, one a CPU; by `native` an addition to a
 * variable of each thread's own in place of it. A round of many threads takes as long as its slowest.
 */
#include "gauge.h"
#include "protocol.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST_ROUNDS 10000
#define MOST_THREADS 64
#define PATIENCE 40

static struct gauge core;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Ten bytes of no-operations before its body: whatever a probe needs is there, and its own time is next to nothing. */
__attribute__((noinline, noclone, visibility("default"))) void bench_thread(void)
{
	__asm__ volatile(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n\t.byte 0x0f, 0x1f, 0x44, 0x00, 0x00" ::: "memory");
}

static void system_calls(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		getppid();
}

static void probed_calls(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_thread();
}

/* About as long as a hit, and nothing in it that another thread could feel: a chain of additions in this thread's own line. */
static void own_additions(uint64_t n)
{
	volatile uint64_t own[16] __attribute__((aligned(128))) = { 0 };

	for (uint64_t i = 0; i < n; i++)
		own[8]++;
}

struct worker {
	pthread_t thread;
	void (*work)(uint64_t n);
	uint64_t calls, rounds, *spent;
	pthread_barrier_t *barrier;
	int cpu;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(worker->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	worker->work(16); /* the first hit of a thread is another one */
	for (uint64_t i = 0; i < worker->rounds; i++) {
		uint64_t start;

		pthread_barrier_wait(worker->barrier);
		start = now();
		worker->work(worker->calls);
		worker->spent[i] = now() - start;
	}
	return NULL;
}

/* spent[i] becomes what round i took the slowest thread. Returns 0 where there are too few CPUs. */
static int in_threads(void (*what)(uint64_t n), uint64_t calls, uint64_t rounds, uint64_t threads, uint64_t *spent)
{
	struct worker workers[MOST_THREADS];
	pthread_barrier_t barrier;
	uint64_t *each = calloc(rounds * threads, sizeof(*each));

	pthread_barrier_init(&barrier, NULL, (unsigned)threads);
	for (uint64_t t = 0; each && t < threads; t++) {
		workers[t] = (struct worker){ .work = what, .calls = calls, .rounds = rounds, .spent = each + t * rounds,
					      .barrier = &barrier, .cpu = (int)t };
		pthread_create(&workers[t].thread, NULL, work, &workers[t]);
	}
	for (uint64_t t = 0; each && t < threads; t++)
		pthread_join(workers[t].thread, NULL);
	for (uint64_t i = 0; each && i < rounds; i++) {
		spent[i] = 0;
		for (uint64_t t = 0; t < threads; t++)
			spent[i] = each[t * rounds + i] > spent[i] ? each[t * rounds + i] : spent[i];
	}
	pthread_barrier_destroy(&barrier);
	free(each);
	return each != NULL;
}

/* Calm rounds in this thread (see gauge.h), or one that is not where the core is never calm: a neighbour may stay for seconds. */
static uint64_t alone(void (*what)(uint64_t n), uint64_t calls, uint64_t rounds, uint64_t *spent, uint64_t *made)
{
	uint64_t kept = 0, last = 0;
	int before = gauge_calm(&core);

	for (*made = 0; kept < rounds && *made < PATIENCE * rounds; ++*made) {
		uint64_t start = now();
		int after;

		what(calls);
		last = now() - start;
		after = gauge_calm(&core);
		if (before && after)
			spent[kept++] = last;
		before = after;
	}
	if (!kept)
		spent[kept++] = last;
	return kept;
}

static void run(void (*what)(uint64_t n), uint64_t calls, uint64_t rounds, uint64_t threads)
{
	static uint64_t spent[MOST_ROUNDS];
	uint64_t made = rounds, told = threads ? rounds : alone(what, calls, rounds, spent, &made);
	struct json reply;

	if (threads && !in_threads(what, calls, rounds, threads, spent))
		fail_options("no memory");
	reply = reply_begin("DONE");
	json_number(&reply, "made", made);
	json_number(&reply, "core", gauge_ratio(&core));
	json_open(&reply, "rounds", '[');
	for (uint64_t i = 0; i < told; i++)
		json_number(&reply, NULL, spent[i]);
	json_close(&reply, ']');
	reply_end(&reply);
}

static void (*choose(const char *name))(uint64_t)
{
	return !strcmp(name, "calls") ? system_calls : !strcmp(name, "threads") ? probed_calls : own_additions;
}

int main(int argc, char **argv)
{
	uint64_t numbers[3] = { 0 };
	const char *line;
	struct json ready;

	protocol_start();
	if (argc != 2 && argc != 3)
		fail_options("usage: caller calls|threads|native [PERMILLE]");
	core.limit = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
	gauge_start(&core, core.limit);
	ready = reply_begin("READY");
	json_number(&ready, "pid", (uint64_t)getpid());
	reply_end(&ready);
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		if (!command_is(line, "run", 3, numbers) || !numbers[1] || numbers[1] > MOST_ROUNDS || numbers[2] > MOST_THREADS)
			fail_command(line);
		run(choose(argv[1]), numbers[0], numbers[1], numbers[2]);
	}
	return 0;
}
