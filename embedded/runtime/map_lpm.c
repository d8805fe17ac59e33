/*
 * Longest-prefix matching: a hash whose keys are prefixes with all bits behind the prefix cleared, and a note of the lengths that
 * have ever been there. A lookup asks the hash once for each such length, the longest first.
 */
#include "runtime/map.h"

#define MOST_DATA 256u
#define LENGTHS (MOST_DATA * 8 / 8 + 8) /* bytes of the note, at the end of the memory */

struct prefix {
	uint32_t length;
	uint8_t data[MOST_DATA];
};

static int check(const struct eb_map_shape *shape)
{
	if (!(shape->flags & BPF_F_NO_PREALLOC) || shape->key_size < 5 || shape->key_size > 4 + MOST_DATA)
		return -EINVAL;
	return eb_map_hash.check(shape);
}

static uint64_t size(const struct eb_map_shape *shape, uint32_t cpus)
{
	return eb_round(eb_map_hash.size(shape, cpus), 64) + LENGTHS;
}

static int open_view(struct eb_map *map, int fresh)
{
	map->mask = eb_round(eb_map_hash.size(map->shape, map->cpus), 64);
	return eb_map_hash.open(map, fresh);
}

static inline uint8_t *lengths(const struct eb_map *map)
{
	return (uint8_t *)map->memory + map->mask;
}

static inline uint32_t longest(const struct eb_map *map)
{
	return (map->key_size - 4) * 8;
}

/* The key with `length` bits and nothing behind them. */
static void cut(const struct eb_map *map, struct prefix *to, const void *key, uint32_t length)
{
	uint32_t whole = length / 8, bits = length % 8;

	eb_zero(to, map->key_size);
	eb_copy(to->data, (const char *)key + 4, whole);
	if (bits)
		to->data[whole] = (uint8_t)(((const uint8_t *)key)[4 + whole] & 0xff00u >> bits);
	to->length = length;
}

static void *lookup(struct eb_map *map, const void *key)
{
	uint32_t length = *(const eb_u32 *)key;
	struct prefix prefix;

	if (length > longest(map))
		length = longest(map);
	for (int64_t n = length; n >= 0; n--) {
		void *value;

		if (!(eb_peek(&lengths(map)[n / 8]) & 1u << n % 8))
			continue;
		cut(map, &prefix, key, (uint32_t)n);
		value = eb_map_hash.lookup(map, &prefix);
		if (value)
			return value;
	}
	return NULL;
}

static long update(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	uint32_t length = *(const eb_u32 *)key;
	struct prefix prefix;
	long error;

	if (length > longest(map))
		return -EINVAL;
	cut(map, &prefix, key, length);
	__atomic_fetch_or(&lengths(map)[length / 8], (uint8_t)(1u << length % 8), __ATOMIC_RELAXED);
	error = eb_map_hash.update(map, &prefix, value, flags);
	return error == -E2BIG ? -ENOSPC : error; /* as the kernel's trie says it */
}

static long erase(struct eb_map *map, const void *key)
{
	uint32_t length = *(const eb_u32 *)key;
	struct prefix prefix;

	if (length > longest(map))
		return -EINVAL;
	cut(map, &prefix, key, length);
	return eb_map_hash.erase(map, &prefix);
}

static long next(struct eb_map *map, const void *key, void *next)
{
	return eb_map_hash.next(map, key, next);
}

const struct eb_map_kind eb_map_lpm = {
	.name = "LPM trie", .check = check, .size = size, .open = open_view, .lookup = lookup, .update = update, .erase = erase,
	.next = next,
};
