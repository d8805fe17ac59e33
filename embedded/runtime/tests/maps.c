/*
 * Does the same with maps of every kind that user space may do, and prints what came of it: on the kernel and on the runtime the
 * output has to be the same. What has no order is sorted. Arguments: none.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/libbpf.h>

static int make(const char *what, enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int map = bpf_map_create(type, "map", key, value, entries, &options);

	printf("== %s: %s\n", what, map >= 0 ? "made" : strerror(errno));
	return map;
}

static const char *result(int error)
{
	return error ? strerror(errno) : "ok";
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void put(int map, uint32_t key, uint64_t value, uint64_t flags)
{
	printf("put %u = %lu (%lu): %s\n", key, value, flags, result(bpf_map_update_elem(map, &key, &value, flags)));
}

static void get(int map, uint32_t key)
{
	uint64_t value = 0;
	int error = bpf_map_lookup_elem(map, &key, &value);

	printf("get %u: %s %lu\n", key, result(error), value);
}

static void del(int map, uint32_t key)
{
	printf("delete %u: %s\n", key, result(bpf_map_delete_elem(map, &key)));
}

/* All keys in order of size, so that any order of the map's own will do. */
static void walk(int map)
{
	uint64_t keys[4096];
	uint32_t key, next;
	size_t n = 0;
	int error;

	for (error = bpf_map_get_next_key(map, NULL, &next); !error && n < 4096; error = bpf_map_get_next_key(map, &key, &next)) {
		keys[n++] = next;
		key = next;
	}
	qsort(keys, n, sizeof(*keys), by_value);
	printf("keys (%s):", strerror(errno));
	for (size_t i = 0; i < n; i++)
		printf(" %lu", keys[i]);
	printf("\n");
}

static void hash(enum bpf_map_type type, uint32_t flags)
{
	int map = make("hash", type, 4, 8, 8, flags);

	get(map, 1);
	for (uint32_t i = 0; i < 10; i++)
		put(map, i, i * 10, BPF_ANY);
	walk(map);
	put(map, 3, 33, BPF_NOEXIST);
	put(map, 3, 34, BPF_EXIST);
	put(map, 100, 1, BPF_EXIST);
	put(map, 3, 1, 77);
	get(map, 3);
	del(map, 3);
	del(map, 3);
	get(map, 3);
	put(map, 9, 90, BPF_NOEXIST);
	walk(map);
	close(map);
}

static void large_values(void)
{
	int map = make("hash of large values", BPF_MAP_TYPE_HASH, 24, 100, 4, 0);
	char key[24] = "a key of twenty-four b.", value[100], got[100];

	for (int i = 0; i < 300; i++) {
		memset(value, i, sizeof(value));
		if (bpf_map_update_elem(map, key, value, BPF_ANY))
			printf("update %d: %s\n", i, strerror(errno));
	}
	printf("get: %s %d\n", result(bpf_map_lookup_elem(map, key, got)), got[99]);
	key[0]++;
	printf("get another: %s\n", result(bpf_map_lookup_elem(map, key, got)));
	printf("next of an absent key: %s\n", result(bpf_map_get_next_key(map, key, got)));
	key[0]--;
	printf("take: %s\n", result(bpf_map_lookup_and_delete_elem(map, key, got)));
	printf("take again: %s\n", result(bpf_map_lookup_and_delete_elem(map, key, got)));
	close(map);
}

static void array(void)
{
	int map = make("array", BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0);

	put(map, 0, 7, BPF_ANY);
	put(map, 3, 8, BPF_EXIST);
	put(map, 4, 9, BPF_ANY);
	put(map, 1, 9, BPF_NOEXIST);
	put(map, 1, 9, 99);
	for (uint32_t i = 0; i < 5; i++)
		get(map, i);
	del(map, 0);
	walk(map);
	printf("freeze: %s\n", result(bpf_map_freeze(map)));
	put(map, 0, 1, BPF_ANY);
	get(map, 0);
	close(map);
	make("array with a key of 8", BPF_MAP_TYPE_ARRAY, 8, 8, 4, 0);
	make("array of nothing", BPF_MAP_TYPE_ARRAY, 4, 8, 0, 0);
}

static void per_cpu(const char *name, enum bpf_map_type type)
{
	int map = make(name, type, 4, 4, 4, 0), n = libbpf_num_possible_cpus();
	uint64_t values[n], got[n];
	uint32_t key = 2;

	for (int i = 0; i < n; i++)
		values[i] = 100 + (uint64_t)i;
	printf("update: %s\n", result(bpf_map_update_elem(map, &key, values, BPF_ANY)));
	memset(got, 0xff, sizeof(got));
	printf("lookup: %s", result(bpf_map_lookup_elem(map, &key, got)));
	for (int i = 0; i < n; i++)
		printf(" %u", (uint32_t)got[i]);
	key = 9;
	printf("\nlookup 9: %s\n", result(bpf_map_lookup_elem(map, &key, got)));
	printf("delete 9: %s\n", result(bpf_map_delete_elem(map, &key)));
	walk(map);
	close(map);
}

static void queue(const char *name, enum bpf_map_type type)
{
	int map = make(name, type, 0, 4, 3, 0);
	uint32_t value;

	printf("peek: %s\n", result(bpf_map_lookup_elem(map, NULL, &value)));
	for (value = 1; value < 6; value++)
		printf("push %u: %s\n", value, result(bpf_map_update_elem(map, NULL, &value, BPF_ANY)));
	value = 77;
	printf("push %u over: %s\n", value, result(bpf_map_update_elem(map, NULL, &value, BPF_EXIST)));
	printf("push with NOEXIST: %s\n", result(bpf_map_update_elem(map, NULL, &value, BPF_NOEXIST)));
	for (int i = 0; i < 5; i++) {
		int error = bpf_map_lookup_elem(map, NULL, &value);

		printf("peek: %s %u, ", result(error), error ? 0 : value);
		error = bpf_map_lookup_and_delete_elem(map, NULL, &value);
		printf("pop: %s %u\n", result(error), error ? 0 : value);
	}
	close(map);
}

static void bloom(void)
{
	int map = make("bloom filter", BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 100, 0);
	unsigned wrong = 0;

	for (uint64_t i = 0; i < 100; i++)
		if (bpf_map_update_elem(map, NULL, &i, BPF_ANY))
			printf("push: %s\n", strerror(errno));
	for (uint64_t i = 0; i < 100; i++)
		if (bpf_map_lookup_elem(map, NULL, &i))
			printf("%lu is missing: %s\n", i, strerror(errno));
	for (uint64_t i = 1000; i < 2000; i++)
		wrong += !bpf_map_lookup_elem(map, NULL, &i);
	printf("found what was never there: %s\n", wrong < 100 ? "seldom" : "too often");
	close(map);
}

struct prefix {
	uint32_t length;
	uint8_t address[4];
};

static void lpm_get(int map, uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint32_t length)
{
	struct prefix key = { length, { a, b, c, d } };
	uint32_t value = 0;
	int error = bpf_map_lookup_elem(map, &key, &value);

	printf("%u.%u.%u.%u/%u: %s %u\n", a, b, c, d, length, result(error), value);
}

static void lpm_put(int map, uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint32_t length, uint32_t value, uint64_t flags)
{
	struct prefix key = { length, { a, b, c, d } };

	printf("put /%u = %u: %s\n", length, value, result(bpf_map_update_elem(map, &key, &value, flags)));
}

static void lpm(void)
{
	int map = make("LPM trie", BPF_MAP_TYPE_LPM_TRIE, 8, 4, 4, BPF_F_NO_PREALLOC);
	struct prefix key = { 16, { 10, 1, 77, 77 } };

	lpm_put(map, 10, 0, 0, 0, 8, 1, BPF_ANY);
	lpm_put(map, 10, 1, 0, 0, 16, 2, BPF_ANY);
	lpm_put(map, 10, 1, 2, 0, 23, 3, BPF_NOEXIST);
	lpm_put(map, 10, 1, 2, 0, 23, 4, BPF_NOEXIST);
	lpm_put(map, 10, 1, 2, 0, 33, 4, BPF_ANY);
	lpm_put(map, 0, 0, 0, 0, 0, 9, BPF_ANY);
	lpm_put(map, 1, 0, 0, 0, 8, 9, BPF_ANY);
	lpm_get(map, 10, 1, 2, 3, 32);
	lpm_get(map, 10, 1, 3, 3, 32);
	lpm_get(map, 10, 1, 4, 3, 32);
	lpm_get(map, 10, 2, 2, 3, 32);
	lpm_get(map, 11, 1, 2, 3, 32);
	lpm_get(map, 10, 1, 2, 3, 12);
	printf("delete: %s\n", result(bpf_map_delete_elem(map, &key)));
	printf("delete: %s\n", result(bpf_map_delete_elem(map, &key)));
	lpm_get(map, 10, 1, 4, 3, 32);
	close(map);
	make("LPM trie, preallocated", BPF_MAP_TYPE_LPM_TRIE, 8, 4, 4, 0);
}

static void lru(const char *name, enum bpf_map_type type)
{
	int map = make(name, type, 4, 8, 256, 0);
	uint64_t values[type == BPF_MAP_TYPE_LRU_HASH ? 1 : libbpf_num_possible_cpus()];
	uint32_t found = 0;

	for (uint32_t i = 0; i < 5000; i++) {
		memset(values, 0, sizeof(values));
		values[0] = i;
		if (bpf_map_update_elem(map, &i, values, BPF_ANY))
			printf("update %u: %s\n", i, strerror(errno));
	}
	for (uint32_t i = 0; i < 5000; i++)
		if (!bpf_map_lookup_elem(map, &i, values)) {
			found++;
			if (values[0] != i)
				printf("%u has the value %lu\n", i, values[0]);
		}
	printf("never more than there is room for: %s, and more than half of it: %s\n", found <= 256 ? "yes" : "no",
	       found >= 128 ? "yes" : "no");
	close(map);
}

static void batches(void)
{
	int map = make("hash for batches", BPF_MAP_TYPE_HASH, 4, 8, 100, 0);
	uint32_t keys[100], n = 50, total = 0, place, *from = NULL;
	uint64_t values[100], sum = 0;
	int error;

	for (uint32_t i = 0; i < n; i++) {
		keys[i] = i;
		values[i] = i * 3;
	}
	error = bpf_map_update_batch(map, keys, values, &n, NULL);
	printf("update: %s %u\n", result(error), n);
	do {
		n = 100;
		error = bpf_map_lookup_and_delete_batch(map, from, &place, keys, values, &n, NULL);
		for (uint32_t i = 0; i < n; i++)
			sum += values[i] + keys[i];
		total += n;
		from = &place;
	} while (!error);
	printf("took %u, sum %lu: %s\n", total, sum, strerror(errno));
	walk(map);
	close(map);
}

static void information(void)
{
	int map = make("hash", BPF_MAP_TYPE_HASH, 4, 8, 17, BPF_F_NO_PREALLOC);
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info);

	printf("info: %s", result(bpf_obj_get_info_by_fd(map, &info, &size)));
	printf(" type %u key %u value %u entries %u flags %u name %s id %d\n", info.type, info.key_size, info.value_size,
	       info.max_entries, info.map_flags, info.name, info.id > 0);
	close(map);
	printf("get of a closed one: ");
	get(map, 1);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	hash(BPF_MAP_TYPE_HASH, 0);
	hash(BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC);
	large_values();
	array();
	per_cpu("per-CPU array", BPF_MAP_TYPE_PERCPU_ARRAY);
	per_cpu("per-CPU hash", BPF_MAP_TYPE_PERCPU_HASH);
	per_cpu("per-CPU LRU hash", BPF_MAP_TYPE_LRU_PERCPU_HASH);
	queue("queue", BPF_MAP_TYPE_QUEUE);
	queue("stack", BPF_MAP_TYPE_STACK);
	bloom();
	lpm();
	lru("LRU hash", BPF_MAP_TYPE_LRU_HASH);
	lru("per-CPU LRU hash", BPF_MAP_TYPE_LRU_PERCPU_HASH);
	batches();
	information();
	make("ring buffer", BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0);
	make("ring buffer of an odd size", BPF_MAP_TYPE_RINGBUF, 0, 0, 5000, 0);
	make("stack traces", BPF_MAP_TYPE_STACK_TRACE, 4, 8 * 20, 16, 0);
	make("stack traces of odd size", BPF_MAP_TYPE_STACK_TRACE, 4, 7, 16, 0);
	make("programs", BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4, 0);
	make("events", BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4, 0);
	return 0;
}
