/* What programs do with hashes: see map_hash.h. */
#include "runtime/map_hash.h"

/* Nobody goes on for ever, whatever threads that were killed have left of a map: then the update is refused. */
#define MOST_TRIES 65536
#define MOST_EVICTIONS 64

void eb_hash_give_back(const struct eb_map *map, uint64_t *stack, struct element *element)
{
	uint32_t index = index_in(map, element);
	uint64_t top;

	do {
		top = eb_load(stack);
		eb_poke(&element->link, after(element->link, index_of(top), 0));
	} while (!swap(stack, top, after(top, index, 0)));
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

	/* others hold all spares, for the moment of a replacement each, or have died with them */
	if (!new && !(new = take_one(map)))
		return 0;
	fill(map, new, key, value);
	eb_store(&new->link, after(new->link, index_of(place->next), 0));
	if (!swap(&old->link, place->next, after(place->next, index_in(map, new), MARK | REPLACED))) {
		eb_hash_give_back(map, &map->hash->spare, new);
		return 0;
	}
	if (swap(place->before, place->link, after(place->link, index_in(map, new), 0)))
		eb_hash_give_back(map, &map->hash->spare, old);
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

	for (unsigned i = 0; !new && map->used && !place->element && i < MOST_EVICTIONS; i++) {
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
	eb_hash_give_back(map, &map->hash->free, new);
	return error ? error : -EAGAIN; /* somebody else has inserted it: update that one */
}

static inline long update(struct eb_map *map, const void *key, uint32_t size, const void *value, uint64_t flags)
{
	struct place place;
	long error;

	for (unsigned i = 0; i < MOST_TRIES; i++) {
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
	return -EBUSY;
}

/* --- deleting --- */

/* Marks and unlinks an element that was found; 0: somebody changed it, find it again. */
static inline int remove_found(struct eb_map *map, const void *key, uint32_t size, struct place *place)
{
	if (!swap(&place->element->link, place->next, after(place->next, index_of(place->next), MARK)))
		return 0;
	if (eb_likely(swap(place->before, place->link, after(place->link, index_of(place->next), 0))))
		eb_hash_give_back(map, &map->hash->free, place->element);
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

void *eb_hash_lookup(struct eb_map *map, const void *key)
{
	return BY_SIZE(lookup(map, key, 4), lookup(map, key, 8), lookup(map, key, map->key_size));
}

void *eb_hash_lookup_lru(struct eb_map *map, const void *key)
{
	struct place place;

	if (!find(map, key, map->key_size, &place))
		return NULL;
	mark_used(map, place.element);
	return place.element->value;
}

void *eb_hash_lookup_on(struct eb_map *map, const void *key, uint32_t cpu)
{
	return lookup_per_cpu(map, key, map->key_size, cpu);
}

void *eb_hash_lookup_per_cpu(struct eb_map *map, const void *key)
{
	uint32_t cpu = eb_slot();

	return BY_SIZE(lookup_per_cpu(map, key, 4, cpu), lookup_per_cpu(map, key, 8, cpu),
		       lookup_per_cpu(map, key, map->key_size, cpu));
}

long eb_hash_update(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	return BY_SIZE(update(map, key, 4, value, flags), update(map, key, 8, value, flags),
		       update(map, key, map->key_size, value, flags));
}

long eb_hash_erase(struct eb_map *map, const void *key)
{
	return BY_SIZE(erase(map, key, 4), erase(map, key, 8), erase(map, key, map->key_size));
}
