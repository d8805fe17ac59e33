/* Bloom filters: bits that are only ever set. */
#include "runtime/map.h"

static uint32_t n_hashes(const struct eb_map_shape *shape)
{
	return shape->extra & 0xf ? (uint32_t)shape->extra & 0xf : 5;
}

/* Bits for the best rate with that many hashes: entries × hashes / ln 2. */
static uint64_t n_bits(const struct eb_map_shape *shape)
{
	uint64_t bits = eb_power_of_two((uint64_t)shape->max_entries * n_hashes(shape) * 7 / 5);

	return bits < 64 ? 64 : bits > 1ull << 32 ? 1ull << 32 : bits;
}

static int check(const struct eb_map_shape *shape)
{
	if (shape->key_size || !shape->value_size || !shape->max_entries || shape->extra & ~0xfull)
		return -EINVAL;
	return shape->flags & ~(uint32_t)(BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG |
					  BPF_F_WRONLY_PROG)
		       ? -EINVAL
		       : 0;
}

static uint64_t size(const struct eb_map_shape *shape, uint32_t cpus)
{
	(void)cpus;
	return n_bits(shape) / 8;
}

static int open_view(struct eb_map *map, int fresh)
{
	(void)fresh;
	map->mask = n_bits(map->shape) - 1;
	map->shift = n_hashes(map->shape);
	return 0;
}

static uint64_t hash(const struct eb_map *map, const void *value, uint64_t seed)
{
	const uint8_t *at = value;
	uint64_t hash = seed * 0x9e3779b97f4a7c15ull + map->value_size;

	for (uint32_t i = 0; i < map->value_size; i++)
		hash = (hash ^ at[i]) * 0x100000001b3ull;
	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ull;
	return hash >> 32 ^ hash;
}

static long push(struct eb_map *map, const void *value, uint64_t flags)
{
	if (flags != BPF_ANY)
		return -EINVAL;
	for (uint32_t i = 0; i < map->shift; i++) {
		uint64_t bit = hash(map, value, i + 1) & map->mask;

		__atomic_fetch_or((uint8_t *)map->memory + bit / 8, (uint8_t)(1u << bit % 8), __ATOMIC_RELAXED);
	}
	return 0;
}

static long peek(struct eb_map *map, void *value)
{
	for (uint32_t i = 0; i < map->shift; i++) {
		uint64_t bit = hash(map, value, i + 1) & map->mask;

		if (!(eb_peek((uint8_t *)map->memory + bit / 8) & 1u << bit % 8))
			return -ENOENT;
	}
	return 0;
}

static long read(struct eb_map *map, const void *key, void *value)
{
	(void)key;
	return peek(map, value);
}

static long write(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	(void)key;
	return push(map, value, flags);
}

const struct eb_map_kind eb_map_bloom = {
	.name = "bloom filter", .check = check, .size = size, .open = open_view, .push = push, .peek = peek, .read = read,
	.write = write,
};
