/*
 * Hashes: plain, one value a CPU, and their LRU kinds.
 *
 * Lock-free lists after Harris and Michael: a bucket heads a list of elements; a word that links is {tag:32, index:30, replaced:1, mark:1}.
 * An element is deleted by marking its own link (that is the moment at which it is gone) and then unlinked by whoever comes along; a tag
 * grows with every change of its word, so a word that was seen twice has not changed in between, even if elements came, went
 * and came back. No lock can be left behind by a thread that dies or is interrupted by a signal; at most the one element it was
 * carrying is lost.
 *
 * A value of up to 8 bytes lies beside the link and is replaced together with a check of the link by one 16-byte
 * compare-and-exchange; a larger one is replaced by a new element that takes the old one's place when the old one is marked.
 */
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

static void give_back(const struct eb_map *map, uint64_t *stack, struct element *element)
{
	uint32_t index = index_in(map, element);
	uint64_t top;

	do {
		top = eb_load(stack);
		eb_poke(&element->link, after(element->link, index_of(top), 0));
	} while (!swap(stack, top, after(top, index, 0)));
}

static struct element *take_fresh(const struct eb_map *map, uint32_t *fresh, uint32_t first, uint32_t limit)
{
	uint32_t n = eb_peek(fresh);

	if (n < limit)
		n = __atomic_fetch_add(fresh, 1, __ATOMIC_RELAXED);
	return n < limit ? element_at(map, first + n) : NULL;
}

static struct element *take_from(const struct eb_map *map, uint64_t *stack)
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

static struct element *take_one(const struct eb_map *map)
{
	struct element *element = take_from(map, &map->hash->free);

	return element ? element : take_fresh(map, &map->hash->fresh, 1, map->entries);
}

static struct element *take_spare(const struct eb_map *map)
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
			give_back(map, next & REPLACED ? &map->hash->spare : &map->hash->free, element);
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

/* --- updating --- */

/* Replaces *value if the link beside it is still `link`: so it is still this key's, and not deleted. */
static inline int replace_small(struct element *element, uint64_t link, const void *value, uint32_t size)
{
	uint64_t *words = (uint64_t *)element;
	uint64_t old = eb_peek(&words[1]), new = old, expected = link;
	uint8_t done;

	if (size == 8)
		new = *(const eb_u64 *)value;
	else
		eb_copy(&new, value, size);
	__asm__ volatile("lock cmpxchg16b %1\n\tsetz %0"
			 : "=q"(done), "+m"(*(unsigned __int128 *)words), "+a"(expected), "+d"(old)
			 : "b"(link), "c"(new)
			 : "cc", "memory");
	return done;
}

static void fill(const struct eb_map *map, struct element *element, const void *key, const void *value)
{
	uint32_t index = index_in(map, element);

	eb_copy(key_in(map, element), key, map->key_size);
	if (!is_per_cpu(map)) {
		eb_copy(element->value, value, map->value_size);
		return;
	}
	for (uint32_t cpu = 0; cpu < map->cpus; cpu++)
		eb_zero(value_on(map, index, cpu), map->stride);
	eb_copy(value_on(map, index, eb_slot()), value, map->value_size);
}

/* Puts a new version of a large value in the place of the old. 0: the list changed, try again. */
static int replace_large(struct eb_map *map, struct place *place, const void *key, const void *value)
{
	struct element *old = place->element, *new = take_spare(map);

	if (!new)
		return 0; /* others hold all spares, for the moment of a replacement each */
	fill(map, new, key, value);
	eb_store(&new->link, after(new->link, index_of(place->next), 0));
	if (!swap(&old->link, place->next, after(place->next, index_in(map, new), MARK | REPLACED))) {
		give_back(map, &map->hash->spare, new);
		return 0;
	}
	if (swap(place->before, place->link, after(place->link, index_in(map, new), 0)))
		give_back(map, &map->hash->spare, old);
	else
		find(map, key, map->key_size, place);
	return 1;
}

/* 0: try again. */
static inline int replace(struct eb_map *map, struct place *place, const void *key, const void *value)
{
	if (is_per_cpu(map)) {
		eb_copy(value_on(map, index_in(map, place->element), eb_slot()), value, map->value_size);
		return 1;
	}
	if (eb_likely(map->value_size <= 8))
		return replace_small(place->element, place->next, value, map->value_size);
	return replace_large(map, place, key, value);
}

static struct element *evict(struct eb_map *map);

static inline void mark_used(const struct eb_map *map, const struct element *element)
{
	if (map->used) {
		uint8_t *used = &map->used[index_in(map, element)];

		if (!eb_peek(used))
			eb_poke(used, 1);
	}
}

static inline int wrong_flags(uint64_t flags, const struct element *found)
{
	if (eb_unlikely(flags > BPF_EXIST))
		return -EINVAL;
	if (flags == BPF_NOEXIST && found)
		return -EEXIST;
	return flags == BPF_EXIST && !found ? -ENOENT : 0;
}

static long insert(struct eb_map *map, struct place *place, const void *key, const void *value, uint64_t flags)
{
	struct element *new = take_one(map);
	int error = 0;

	while (!new && map->used && !place->element) {
		new = evict(map);
		find(map, key, map->key_size, place);
	}
	if (!new)
		return place->element ? -EAGAIN : -E2BIG;
	fill(map, new, key, value);
	mark_used(map, new);
	while (!(error = wrong_flags(flags, place->element)) && !place->element) {
		eb_store(&new->link, after(new->link, 0, 0));
		if (swap(place->before, place->link, after(place->link, index_in(map, new), 0)))
			return 0;
		find(map, key, map->key_size, place);
	}
	give_back(map, &map->hash->free, new);
	return error ? error : -EAGAIN; /* somebody else has inserted it: update that one */
}

static inline long update(struct eb_map *map, const void *key, uint32_t size, const void *value, uint64_t flags)
{
	struct place place;
	long error;

	for (;;) {
		find(map, key, size, &place);
		error = wrong_flags(flags, place.element);
		if (eb_unlikely(error))
			return error;
		if (!place.element) {
			error = insert(map, &place, key, value, flags);
			if (error != -EAGAIN)
				return error;
		} else if (eb_likely(replace(map, &place, key, value))) {
			mark_used(map, place.element);
			return 0;
		}
	}
}

/* --- deleting --- */

/* Marks and unlinks an element that was found; 0: somebody changed it, find it again. */
static inline int remove_found(struct eb_map *map, const void *key, uint32_t size, struct place *place)
{
	if (!swap(&place->element->link, place->next, after(place->next, index_of(place->next), MARK)))
		return 0;
	if (eb_likely(swap(place->before, place->link, after(place->link, index_of(place->next), 0))))
		give_back(map, &map->hash->free, place->element);
	else
		find(map, key, size, place); /* whoever walks there unlinks it */
	return 1;
}

static inline long erase(struct eb_map *map, const void *key, uint32_t size)
{
	struct place place;

	while (find(map, key, size, &place))
		if (remove_found(map, key, size, &place))
			return 0;
	return -ENOENT;
}

/*
 * Takes an element that has not been used since the clock's hand last came by. NULL: none could be had this time. What stands in a
 * free element is no key of the map, or is found elsewhere, and is let alone.
 */
static struct element *evict(struct eb_map *map)
{
	struct place place;

	for (uint32_t tries = 0; tries < 2 * map->entries + 2; tries++) {
		uint32_t index = __atomic_fetch_add(&map->hash->hand, 1, __ATOMIC_RELAXED) % map->entries + 1;
		struct element *element = element_at(map, index);

		if (eb_peek(&map->used[index])) {
			eb_poke(&map->used[index], 0);
			continue;
		}
		if (find(map, key_in(map, element), map->key_size, &place) != element)
			continue;
		if (remove_found(map, key_in(map, element), map->key_size, &place))
			break;
	}
	return take_one(map);
}

/* --- as programs call them: by size of key --- */

static inline void *lookup(struct eb_map *map, const void *key, uint32_t size)
{
	struct place place;

	return find(map, key, size, &place) ? place.element->value : NULL;
}

static inline void *lookup_per_cpu(struct eb_map *map, const void *key, uint32_t size, uint32_t cpu)
{
	struct place place;

	if (!find(map, key, size, &place) || cpu >= map->cpus)
		return NULL;
	mark_used(map, place.element);
	return value_on(map, index_in(map, place.element), cpu);
}

/* One function for keys of 4 bytes, one for 8, one for others: the sizes are then constants where it counts. */
#define BY_SIZE(call4, call8, other) (map->key_size == 4 ? (call4) : map->key_size == 8 ? (call8) : (other))

static void *hash_lookup(struct eb_map *map, const void *key)
{
	return BY_SIZE(lookup(map, key, 4), lookup(map, key, 8), lookup(map, key, map->key_size));
}

static void *lru_lookup(struct eb_map *map, const void *key)
{
	struct place place;

	if (!find(map, key, map->key_size, &place))
		return NULL;
	mark_used(map, place.element);
	return place.element->value;
}

static void *per_cpu_lookup_on(struct eb_map *map, const void *key, uint32_t cpu)
{
	return lookup_per_cpu(map, key, map->key_size, cpu);
}

static void *per_cpu_lookup(struct eb_map *map, const void *key)
{
	uint32_t cpu = eb_slot();

	return BY_SIZE(lookup_per_cpu(map, key, 4, cpu), lookup_per_cpu(map, key, 8, cpu),
		       lookup_per_cpu(map, key, map->key_size, cpu));
}

static long hash_update(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	return BY_SIZE(update(map, key, 4, value, flags), update(map, key, 8, value, flags),
		       update(map, key, map->key_size, value, flags));
}

static long hash_erase(struct eb_map *map, const void *key)
{
	return BY_SIZE(erase(map, key, 4), erase(map, key, 8), erase(map, key, map->key_size));
}

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
	long error = update(map, key, map->key_size, value, flags);

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
	.name = "hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = hash_lookup,
	.update = hash_update, .erase = hash_erase, .next = hash_next,
};

const struct eb_map_kind eb_map_lru_hash = {
	.name = "LRU hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = lru_lookup,
	.update = hash_update, .erase = hash_erase, .next = hash_next,
};

const struct eb_map_kind eb_map_per_cpu_hash = {
	.name = "per-CPU hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = per_cpu_lookup,
	.lookup_on = per_cpu_lookup_on, .update = hash_update, .erase = hash_erase, .read = per_cpu_read,
	.write = per_cpu_write, .next = hash_next,
};

const struct eb_map_kind eb_map_lru_per_cpu_hash = {
	.name = "per-CPU LRU hash", .check = hash_check, .size = hash_size, .open = hash_open, .lookup = per_cpu_lookup,
	.lookup_on = per_cpu_lookup_on, .update = hash_update, .erase = hash_erase, .read = per_cpu_read,
	.write = per_cpu_write, .next = hash_next,
};
