/*
 * Maps under many threads, and signals that come in the middle: afterwards every key is there at most once, no element is lost, and
 * counts are exact. Links the runtime's own sources, so that sanitizers see them. Usage: stress SEGMENT ROUNDS
 */
#include "runtime/helpers.h"
#include "runtime/map.h"
#include "runtime/process.h"
#include "runtime/ring.h"
#include "runtime/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define ENTRIES 48
#define KEYS 64

static unsigned rounds;
static struct eb_map *shared;
static int working;

static void require(int holds, const char *what, uint64_t number)
{
	if (!holds) {
		printf("FAILED %s (%lu)\n", what, number);
		exit(1);
	}
}

static struct eb_map *make(uint32_t type, uint32_t key, uint32_t value, uint32_t entries)
{
	struct eb_map_shape shape = { .type = type, .key_size = key, .value_size = value, .max_entries = entries,
				      .flags = type == BPF_MAP_TYPE_LPM_TRIE ? BPF_F_NO_PREALLOC : 0 };
	struct eb_object *object;
	int error = eb_map_check(&shape);

	require(!error, "shape", type);
	eb_segment_lock();
	object = eb_object_make("stress", eb_map_kind(type)->size(&shape, eb_view.segment->cpus), &error);
	require(object != NULL, "memory", type);
	object->map = shape;
	require(!eb_map_prepare(object), "prepare", type);
	eb_object_publish(object, EB_MAP);
	eb_segment_unlock();
	return eb_map_of(object->id);
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void one(uint32_t *state)
{
	uint32_t key = next_random(state) % KEYS, what = next_random(state) % 8;
	char value[64];
	long error = 0;

	memset(value, (int)key, sizeof(value));
	if (what < 2)
		error = shared->kind->erase(shared, &key);
	else if (what < 4)
		shared->kind->lookup(shared, &key);
	else
		error = shared->kind->update(shared, &key, value, what % 3);
	require(error == 0 || error == -ENOENT || error == -EEXIST || error == -E2BIG, "result", (uint64_t)-error);
}

static __thread uint32_t signal_state = 77;

static void on_signal(int signal)
{
	(void)signal;
	one(&signal_state);
}

static void *work(void *number)
{
	uint32_t state = 12345u + (uint32_t)(uint64_t)number;

	signal_state = state * 31;
	for (unsigned i = 0; i < rounds; i++)
		one(&state);
	__atomic_sub_fetch(&working, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void run(void *(*function)(void *))
{
	pthread_t threads[THREADS];

	working = function == work ? THREADS : 0;
	for (uint64_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, function, (void *)i);
	while (eb_load(&working)) { /* signals at any instruction: their handler uses the same map */
		for (int i = 0; i < THREADS; i++)
			pthread_kill(threads[i], SIGUSR1);
		usleep(20);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* No key twice; then everything is deleted, and exactly as many as the map has room for can be put in again. */
static void check_hash(uint32_t type)
{
	uint32_t key, next, n = 0, seen[KEYS] = { 0 };
	char value[64] = { 0 };
	long error;

	for (error = eb_map_next(shared, NULL, &next); !error; error = eb_map_next(shared, &key, &next)) {
		key = next;
		require(key < KEYS && !seen[key]++, "a key twice", key);
		n++;
	}
	require(n <= ENTRIES, "too many", n);
	for (key = 0; key < KEYS; key++) {
		error = eb_map_erase(shared, &key);
		require(error == (seen[key] ? 0 : -ENOENT), "delete", key);
	}
	for (key = 0; key < ENTRIES; key++)
		require(!shared->kind->update(shared, &key, value, BPF_NOEXIST), "an element was lost", key);
	if (type == BPF_MAP_TYPE_HASH)
		require(shared->kind->update(shared, &key, value, BPF_NOEXIST) == -E2BIG, "room for one more", key);
}

static void hashes(uint32_t type, uint32_t size)
{
	shared = make(type, 4, size, ENTRIES);
	run(work);
	check_hash(type);
	printf("%s of %u bytes: ok\n", shared->kind->name, size);
}

static void *count(void *unused)
{
	uint32_t key = 1;

	for (unsigned i = 0; i < rounds; i++) {
		int claimed = eb_slot_claim();
		uint64_t *value = shared->kind->lookup(shared, &key);

		*value += 1;
		if (claimed)
			eb_slot_release(claimed);
	}
	return unused;
}

static void per_cpu(uint32_t type)
{
	uint64_t values[EB_CPUS] = { 0 }, sum = 0;
	uint32_t key = 1;

	shared = make(type, 4, 8, 4);
	require(!eb_map_write(shared, &key, values, BPF_ANY), "write", 0);
	run(count);
	require(!eb_map_read(shared, &key, values), "read", 0);
	for (uint32_t cpu = 0; cpu < shared->cpus; cpu++)
		sum += values[cpu];
	require(sum == (uint64_t)THREADS * rounds, "sum of values per CPU", sum);
	printf("%s: ok\n", shared->kind->name);
}

static uint64_t pushed, popped;

static void *push_and_pop(void *unused)
{
	uint64_t value = 1;

	for (unsigned i = 0; i < rounds; i++) {
		if (!shared->kind->push(shared, &value, BPF_ANY))
			__atomic_add_fetch(&pushed, 1, __ATOMIC_RELAXED);
		if (i % 3 && !shared->kind->pop(shared, &value))
			__atomic_add_fetch(&popped, 1, __ATOMIC_RELAXED);
		value = 1;
	}
	return unused;
}

static void queues(uint32_t type)
{
	uint64_t value;

	pushed = popped = 0;
	shared = make(type, 0, 8, 100);
	run(push_and_pop);
	while (!shared->kind->pop(shared, &value)) {
		require(value == 1, "a value", value);
		popped++;
	}
	require(pushed == popped, "as many out as in", pushed - popped);
	printf("%s: ok\n", shared->kind->name);
}

/* What the consumer of a ring buffer does. */
static uint64_t consume(struct eb_map *map, uint64_t *sum)
{
	uint64_t *consumer = (uint64_t *)(map->memory + 4096), *producer = (uint64_t *)(map->memory + 8192), n = 0;

	while (*consumer < eb_load(producer)) {
		uint32_t *header = (uint32_t *)(map->data + (*consumer & map->mask)), length = eb_load(header);

		if (length & BPF_RINGBUF_BUSY_BIT)
			break;
		if (!(length & BPF_RINGBUF_DISCARD_BIT)) {
			*sum += *(uint64_t *)(header + 2);
			n++;
		}
		eb_store(consumer, *consumer + eb_round((length & ~BPF_RINGBUF_DISCARD_BIT) + 8, 8));
	}
	return n;
}

static uint64_t produced, expected;

static void *produce(void *unused)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t *record = (uint64_t *)eb_ringbuf_reserve((uint64_t)shared, 8 + i % 100, 0, 0, 0);

		if (!record)
			continue;
		*record = i;
		if (i % 5 == 0) {
			eb_ringbuf_discard((uint64_t)record, 0, 0, 0, 0);
			continue;
		}
		eb_ringbuf_submit((uint64_t)record, 0, 0, 0, 0);
		__atomic_add_fetch(&produced, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&expected, i, __ATOMIC_RELAXED);
	}
	return unused;
}

static int stop;
static uint64_t consumed, sum;

static void *consume_all(void *unused)
{
	while (!eb_load(&stop))
		consumed += consume(shared, &sum);
	return unused;
}

/* A longjmp out of a signal's handler leaves a record, or the lock, with a thread that lives on; others may have records behind it. */
static void *leave(void *unused)
{
	uint64_t token, before = sum, n = 0, first, *second;

	first = eb_ringbuf_reserve((uint64_t)shared, 8, 0, 0, 0);
	second = (uint64_t *)eb_ringbuf_reserve((uint64_t)shared, 8, 0, 0, 0);
	*second = 5;
	require(first && second, "room", first);
	eb_ringbuf_submit((uint64_t)second, 0, 0, 0, 0);
	require(consume(shared, &sum) == 0, "blocked", n);
	require(eb_acquire(&shared->ring->lock, &token), "the lock", 0);
	eb_thread_left();
	require(consume(shared, &sum) == 1 && sum == before + 5, "left behind", sum);
	require(eb_acquire(&shared->ring->lock, &token), "the lock that was left", 0);
	eb_release(&shared->ring->lock, token);
	return unused;
}

static void rings(void)
{
	pthread_t consumer;

	shared = make(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096);
	pthread_create(&consumer, NULL, consume_all, NULL);
	run(produce);
	eb_store(&stop, 1);
	pthread_join(consumer, NULL);
	consumed += consume(shared, &sum);
	require(produced && consumed == produced, "records", consumed);
	require(sum == expected, "their content", sum);
	pthread_create(&consumer, NULL, leave, NULL);
	pthread_join(consumer, NULL);
	printf("%s: ok\n", shared->kind->name);
}

static void *sleep_for_long(void *pipe)
{
	char byte = 0;

	require(write(*(int *)pipe, &byte, 1) == 1, "write", 0);
	for (;;)
		pause();
	return NULL;
}

/* One whose first thread has ended lives on; one that was killed does not, though nobody has waited for it yet. */
static void processes(void)
{
	struct timespec moment = { 0, 1000000 };
	int pipes[2], tries = 0;
	uint64_t start, image;
	siginfo_t info;
	char byte;
	pid_t child;

	require(!pipe(pipes), "pipe", 0);
	child = fork();
	if (!child) {
		pthread_t thread;

		pthread_create(&thread, NULL, sleep_for_long, &pipes[1]);
		pthread_exit(NULL);
	}
	require(read(pipes[0], &byte, 1) == 1, "read", 0);
	for (char state = 0; state != 'Z' && tries < 10000; tries++) {
		char path[64], line[256] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/stat", child);
		file = fopen(path, "r");
		require(file && fgets(line, sizeof(line), file), "stat", 0);
		fclose(file);
		state = strrchr(line, ')')[2];
		nanosleep(&moment, NULL);
	}
	require(tries < 10000, "the first thread has ended", 0);
	start = eb_process_start((uint32_t)child, NULL);
	require(start && eb_process_is((uint32_t)child, start, 0), "lives", start);
	require(!eb_process_is((uint32_t)child, start - 1, 0), "another one", start);
	start = eb_process_start((uint32_t)getpid(), &image);
	require(image && eb_process_is((uint32_t)getpid(), start, image), "what we are", image);
	require(!eb_process_is((uint32_t)getpid(), start, image + 1), "what we were before", image);
	kill(child, SIGKILL);
	waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
	require(!eb_process_is((uint32_t)child, 0, 0), "dead", (uint64_t)child);
	waitpid(child, NULL, 0);
	printf("processes: ok\n");
}

int main(int argc, char **argv)
{
	rounds = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	require(rounds && !eb_segment_open(argv[1], EB_LOADER), "usage: stress SEGMENT ROUNDS", 0);
	processes();
	signal(SIGUSR1, on_signal);
	hashes(BPF_MAP_TYPE_HASH, 8);
	hashes(BPF_MAP_TYPE_HASH, 4);
	hashes(BPF_MAP_TYPE_HASH, 40);
	hashes(BPF_MAP_TYPE_LRU_HASH, 8);
	hashes(BPF_MAP_TYPE_PERCPU_HASH, 8);
	per_cpu(BPF_MAP_TYPE_PERCPU_ARRAY);
	per_cpu(BPF_MAP_TYPE_PERCPU_HASH);
	queues(BPF_MAP_TYPE_QUEUE);
	queues(BPF_MAP_TYPE_STACK);
	rings();
	eb_segment_leave();
	return 0;
}
