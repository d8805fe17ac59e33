/*
 * Hashes, lock-free: lists after Harris and Michael. A bucket heads a list of elements; a word that links is {tag:32, index:30,
 * replaced:1, mark:1}. An element is deleted by marking its own link (that is the moment at which it is gone) and then unlinked by whoever
 * comes along; a tag grows with every change of its word, so a word that was seen twice has not changed in between, even if
 * elements came, went and came back. No lock can be left behind by a thread that dies or is interrupted by a signal; at most the one
 * element it was carrying is lost.
 *
 * A value of up to 8 bytes lies beside the link and is replaced together with a check of the link by one 16-byte
 * compare-and-exchange; a larger one is replaced by a new element that takes the old one's place when the old one is marked.
 *
 * map_hash.c has what programs call, map_hash_shape.c the memory, the loader's calls and the kinds.
 */
#ifndef EB_MAP_HASH_H
#define EB_MAP_HASH_H

#include "runtime/map.h"
#include "runtime/thread.h"

#define SPARES 128 /* elements for replacing: an update of a present key succeeds in a full map */

struct eb_hash {
	uint64_t free __attribute__((aligned(64))); /* stack of elements, linked as the lists are */
	uint32_t fresh;				    /* elements never used so far are those above it */
	uint64_t spare __attribute__((aligned(64)));
	uint32_t fresh_spares;
	uint32_t hand __attribute__((aligned(64))); /* LRU: where the clock stands */
};

struct element {
	uint64_t link;
	char value[]; /* unless per CPU; then the key */
};

struct place {
	uint64_t *before;	/* the word that links to the element … */
	uint64_t link;		/* … as seen */
	struct element *element; /* NULL: not found, and `before` ends the list */
	uint64_t next;		/* the element's own link */
};

#define MARK 1ull
#define REPLACED 2ull /* beside MARK: what follows is the element's new version, and this one goes back to the spares */

static inline uint32_t index_of(uint64_t link)
{
	return (uint32_t)link >> 2;
}

/* The word that follows `old` in time and links to `index`. */
static inline uint64_t after(uint64_t old, uint32_t index, uint64_t flags)
{
	return ((old >> 32) + 1) << 32 | (uint64_t)index << 2 | flags;
}

static inline int swap(uint64_t *word, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(word, &from, to, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static inline struct element *element_at(const struct eb_map *map, uint32_t index)
{
	return (struct element *)(map->elements + index * map->element_size);
}

static inline uint32_t index_in(const struct eb_map *map, const struct element *element)
{
	return (uint32_t)((uint64_t)((const char *)element - map->elements) / map->element_size);
}

static inline void *key_in(const struct eb_map *map, struct element *element)
{
	return (char *)element + map->key_offset;
}

static inline int is_per_cpu(const struct eb_map *map)
{
	return map->cpu_stride != 0;
}

static inline char *value_on(const struct eb_map *map, uint32_t index, uint32_t cpu)
{
	return map->values + cpu * map->cpu_stride + index * map->stride;
}

/* --- hashing and comparing, for the sizes that matter by constants --- */

static inline uint64_t mix(uint64_t x)
{
	return x * 0x9e3779b97f4a7c15ull;
}

static inline uint64_t hash_of(const void *key, uint32_t size)
{
	const char *at = key;
	uint64_t hash = size;

	if (size == 4)
		return mix(*(const eb_u32 *)key);
	if (size == 8) {
		hash = mix(*(const eb_u64 *)key);
		return mix(hash ^ hash >> 32);
	}
	for (; size >= 8; size -= 8, at += 8) {
		hash = mix(hash ^ *(const eb_u64 *)at);
		hash ^= hash >> 29;
	}
	for (; size; size--, at++)
		hash = (hash ^ (uint8_t)*at) * 0x100000001b3ull;
	return mix(hash ^ hash >> 32);
}

static inline int same_key(const void *a, const void *b, uint32_t size)
{
	if (size == 4)
		return *(const eb_u32 *)a == *(const eb_u32 *)b;
	if (size == 8)
		return *(const eb_u64 *)a == *(const eb_u64 *)b;
	return eb_equal(a, b, size);
}

static inline uint64_t *bucket_of(const struct eb_map *map, const void *key, uint32_t size)
{
	return &map->buckets[hash_of(key, size) >> map->shift];
}

/* --- free elements --- */

/* Puts an element back on a stack: a function of its own, or walking along a list would be slower for it. */
void eb_hash_give_back(const struct eb_map *map, uint64_t *stack, struct element *element);

static inline struct element *take_fresh(const struct eb_map *map, uint32_t *fresh, uint32_t first, uint32_t limit)
{
	uint32_t n = eb_peek(fresh);

	if (n < limit)
		n = __atomic_fetch_add(fresh, 1, __ATOMIC_RELAXED);
	return n < limit ? element_at(map, first + n) : NULL;
}

static inline struct element *take_from(const struct eb_map *map, uint64_t *stack)
{
	for (;;) {
		uint64_t top = eb_load(stack);
		struct element *element;

		if (!index_of(top))
			return NULL;
		element = element_at(map, index_of(top));
		if (swap(stack, top, after(top, index_of(eb_peek(&element->link)), 0)))
			return element;
	}
}

static inline struct element *take_one(const struct eb_map *map)
{
	struct element *element = take_from(map, &map->hash->free);

	return element ? element : take_fresh(map, &map->hash->fresh, 1, map->entries);
}

static inline struct element *take_spare(const struct eb_map *map)
{
	struct element *element = take_from(map, &map->hash->spare);

	return element ? element : take_fresh(map, &map->hash->fresh_spares, map->entries + 1, SPARES);
}

/* --- finding --- */

/* One way along a list; 0: it changed under our feet, begin again. Unlinks what is marked. */
static inline int walk(const struct eb_map *map, const void *key, uint32_t size, uint64_t *bucket, struct place *place)
{
	place->before = bucket;
	place->link = eb_load(bucket);
	while (index_of(place->link)) {
		struct element *element = element_at(map, index_of(place->link));
		uint64_t next = eb_load(&element->link);
		int same = same_key(key_in(map, element), key, size);

		if (eb_unlikely(eb_load(place->before) != place->link))
			return 0;
		if (eb_unlikely(next & MARK)) {
			uint64_t without = after(place->link, index_of(next), 0);

			if (!swap(place->before, place->link, without))
				return 0;
			place->link = without;
			eb_hash_give_back(map, next & REPLACED ? &map->hash->spare : &map->hash->free, element);
			continue;
		}
		if (same) {
			place->element = element;
			place->next = next;
			return 1;
		}
		place->before = &element->link;
		place->link = next;
	}
	place->element = NULL;
	return 1;
}

static inline struct element *find(const struct eb_map *map, const void *key, uint32_t size, struct place *place)
{
	uint64_t *bucket = bucket_of(map, key, size);

	while (!walk(map, key, size, bucket, place))
		;
	return place->element;
}

/* Notes for the clock of an LRU map that an element was used. */
static inline void mark_used(const struct eb_map *map, const struct element *element)
{
	if (map->used) {
		uint8_t *used = &map->used[index_in(map, element)];

		if (!eb_peek(used))
			eb_poke(used, 1);
	}
}

/* As programs call them: map_hash.c. */
void *eb_hash_lookup(struct eb_map *map, const void *key);
void *eb_hash_lookup_lru(struct eb_map *map, const void *key);
void *eb_hash_lookup_per_cpu(struct eb_map *map, const void *key);
void *eb_hash_lookup_on(struct eb_map *map, const void *key, uint32_t cpu);
long eb_hash_update(struct eb_map *map, const void *key, const void *value, uint64_t flags);
long eb_hash_erase(struct eb_map *map, const void *key);

#endif
