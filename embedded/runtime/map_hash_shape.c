/* Memory and kinds of hashes, and what the loader does with them: see map_hash.h. */
#include "runtime/map_hash.h"

/* --- as the loader calls them --- */

static long per_cpu_read(struct eb_map *map, const void *key, void *value)
{
	struct place place;

	if (!find(map, key, map->key_size, &place))
		return -ENOENT;
	for (uint32_t cpu = 0; cpu < map->cpus; cpu++)
		eb_copy((char *)value + cpu * map->stride, value_on(map, index_in(map, place.element), cpu), map->stride);
	return 0;
}

static long per_cpu_write(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	struct place place;
	long error = eb_hash_update(map, key, value, flags);

	if (error || !find(map, key, map->key_size, &place))
		return error;
	for (uint32_t cpu = 0; cpu < map->cpus; cpu++)
		eb_copy(value_on(map, index_in(map, place.element), cpu), (const char *)value + cpu * map->stride, map->stride);
	return 0;
}

/* The key of the first live element of that bucket or a later one. */
static long first_from(struct eb_map *map, uint64_t bucket, void *next)
{
	uint64_t buckets = 1ull << (64 - map->shift);

	for (; bucket < buckets; bucket++) {
		for (uint32_t index = index_of(eb_load(&map->buckets[bucket])); index;) {
			struct element *element = element_at(map, index);
			uint64_t link = eb_load(&element->link);

			if (!(link & MARK)) {
				eb_copy(next, key_in(map, element), map->key_size);
				return 0;
			}
			index = index_of(link);
		}
	}
	return -ENOENT;
}

static long hash_next(struct eb_map *map, const void *key, void *next)
{
	struct place place;

	if (!key || !find(map, key, map->key_size, &place))
		return first_from(map, 0, next); /* as the kernel: begin again where the key has gone */
	for (uint32_t index = index_of(place.next); index;) {
		struct element *element = element_at(map, index);
		uint64_t link = eb_load(&element->link);

		if (!(link & MARK)) {
			eb_copy(next, key_in(map, element), map->key_size);
			return 0;
		}
		index = index_of(link);
	}
	return first_from(map, (uint64_t)(bucket_of(map, key, map->key_size) - map->buckets) + 1, next);
}

/* --- memory: struct eb_hash, buckets, elements, (LRU) one byte an element, (per CPU) values --- */

static uint64_t n_buckets(uint32_t entries)
{
	uint64_t n = eb_power_of_two(entries);

	return n < 2 ? 2 : n;
}

static uint64_t n_elements(uint32_t entries)
{
	return (uint64_t)entries + SPARES + 1; /* number 0 is nobody */
}

static int per_cpu_type(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static int lru_type(uint32_t type)
{
	return type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static uint64_t element_size(const struct eb_map_shape *shape)
{
	uint64_t value = per_cpu_type(shape->type) ? 0 : eb_round(shape->value_size, 8);

	return eb_round(sizeof(struct element) + value + shape->key_size, 16);
}

static uint64_t cpu_stride(const struct eb_map_shape *shape)
{
	return per_cpu_type(shape->type) ? eb_round(n_elements(shape->max_entries) * eb_round(shape->value_size, 8), 128) : 0;
}

static uint64_t elements_at(const struct eb_map_shape *shape)
{
	return eb_round(sizeof(struct eb_hash) + 8 * n_buckets(shape->max_entries), 64);
}

static uint64_t used_at(const struct eb_map_shape *shape)
{
	return elements_at(shape) + n_elements(shape->max_entries) * element_size(shape);
}

static uint64_t values_at(const struct eb_map_shape *shape)
{
	return eb_round(used_at(shape) + (lru_type(shape->type) ? n_elements(shape->max_entries) : 0), 128);
}

static uint64_t hash_size(const struct eb_map_shape *shape, uint32_t cpus)
{
	return values_at(shape) + cpu_stride(shape) * cpus;
}

static int hash_check(const struct eb_map_shape *shape)
{
	if (!shape->key_size || !shape->value_size || !shape->max_entries)
		return -EINVAL;
	if (shape->key_size > 512 || shape->value_size > (1u << 24) || shape->max_entries > (1u << 29))
		return -E2BIG;
	return shape->flags & ~(uint32_t)(BPF_F_NO_PREALLOC | BPF_F_NO_COMMON_LRU | BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY |
					  BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG | BPF_F_ZERO_SEED)
		       ? -EINVAL
		       : 0;
}

static int hash_open(struct eb_map *map, int fresh)
{
	const struct eb_map_shape *shape = map->shape;

	(void)fresh; /* memory of zeroes is an empty map */
	map->hash = (struct eb_hash *)map->memory;
	map->buckets = (uint64_t *)(map->memory + sizeof(struct eb_hash));
	map->shift = 64 - (uint32_t)__builtin_ctzll(n_buckets(map->entries));
	map->elements = map->memory + elements_at(shape);
	map->element_size = element_size(shape);
	map->stride = eb_round(map->value_size, 8);
	map->cpu_stride = cpu_stride(shape);
	map->key_offset = (uint32_t)(sizeof(struct element) + (is_per_cpu(map) ? 0 : map->stride));
	map->used = lru_type(shape->type) ? (uint8_t *)map->memory + used_at(shape) : NULL;
	map->values = map->memory + values_at(shape);
	return 0;
}

const struct eb_map_kind eb_map_hash = {
	.name = "hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = eb_hash_lookup,
	.update = eb_hash_update, .erase = eb_hash_erase, .next = hash_next,
};

const struct eb_map_kind eb_map_lru_hash = {
	.name = "LRU hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = eb_hash_lookup_lru,
	.update = eb_hash_update, .erase = eb_hash_erase, .next = hash_next,
};

const struct eb_map_kind eb_map_per_cpu_hash = {
	.name = "per-CPU hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = eb_hash_lookup_per_cpu,
	.lookup_on = eb_hash_lookup_on, .update = eb_hash_update, .erase = eb_hash_erase, .read = per_cpu_read,
	.write = per_cpu_write, .next = hash_next,
};

const struct eb_map_kind eb_map_lru_per_cpu_hash = {
	.name = "per-CPU LRU hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = eb_hash_lookup_per_cpu,
	.lookup_on = eb_hash_lookup_on, .update = eb_hash_update, .erase = eb_hash_erase, .read = per_cpu_read,
	.write = per_cpu_write, .next = hash_next,
};
