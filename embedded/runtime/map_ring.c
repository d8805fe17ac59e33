/*
 * Ring buffers. A record is reserved under a lock of a few instructions and then written without any; its header says who writes
 * it, so that a reader who finds it unfinished can tell a slow writer from a dead one.
 */
#include "runtime/helpers.h"
#include "runtime/process.h"
#include "runtime/ring.h"

#include <sys/mman.h>

struct header {
	uint32_t length; /* with BPF_RINGBUF_BUSY_BIT and BPF_RINGBUF_DISCARD_BIT */
	uint32_t owner;	 /* generation:10 user:10 map's slot:12 */
};

#define OWNER_SLOT(owner) ((owner) % EB_OBJECTS)

static struct eb_map *rings[EB_OBJECTS]; /* of this process, by slot: a record is all that submit is given */

static int check(const struct eb_map_shape *shape)
{
	if (shape->key_size || shape->value_size || shape->max_entries < EB_PAGE ||
	    (shape->max_entries & (shape->max_entries - 1)))
		return -EINVAL;
	return shape->flags & ~(uint32_t)BPF_F_NUMA_NODE ? -EINVAL : 0;
}

static uint64_t size(const struct eb_map_shape *shape, uint32_t cpus)
{
	(void)cpus;
	return EB_RING_DATA + shape->max_entries;
}

/* The data twice in a row, so that a record that wraps lies in one piece. */
static char *map_twice(struct eb_map *map)
{
	size_t size = map->entries;
	off_t offset = (off_t)((uint64_t)(map->memory - (char *)eb_view.segment) + EB_RING_DATA);
	char *at = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	for (int i = 0; i < 2; i++)
		if (mmap(at + i * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, eb_view.file, offset) == MAP_FAILED) {
			munmap(at, 2 * size);
			return NULL;
		}
	return at;
}

static int open_view(struct eb_map *map, int fresh)
{
	map->ring = (struct eb_ring *)map->memory;
	map->mask = map->entries - 1;
	if (fresh)
		return 0;
	map->data = map->mapping = map_twice(map);
	map->mapping_size = 2ull * map->entries;
	if (!map->data)
		return -ENOMEM;
	eb_store(&rings[map->id % EB_OBJECTS], map);
	return 0;
}

static void close_view(struct eb_map *map)
{
	if (!map->mapping)
		return;
	rings[map->id % EB_OBJECTS] = NULL;
	munmap(map->mapping, map->mapping_size);
}

static inline uint64_t *consumer(const struct eb_map *map)
{
	return (uint64_t *)(map->memory + EB_RING_CONSUMER);
}

static inline uint64_t *producer(const struct eb_map *map)
{
	return (uint64_t *)(map->memory + EB_RING_PRODUCER);
}

static inline uint32_t owner_of(const struct eb_map *map)
{
	uint32_t user = eb_view.user;

	return (eb_view.segment->users[user].generation & 0x3ff) << 22 | user << 12 | map->id % EB_OBJECTS;
}

/* In an order in which a signal's hit may come at any instruction. */
static inline void note(struct header *header)
{
	uint32_t n = eb_thread.n_records;

	if (eb_unlikely(n == EB_MOST_RECORDS))
		return;
	eb_poke(&eb_thread.n_records, n + 1);
	eb_poke(&eb_thread.records[n], header);
}

static inline void forget(const struct header *header)
{
	uint32_t n = eb_thread.n_records, i = n;

	while (i && eb_thread.records[i - 1] != header)
		i--;
	if (eb_unlikely(!i))
		return;
	eb_poke(&eb_thread.records[i - 1], eb_thread.records[n - 1]);
	eb_poke(&eb_thread.records[n - 1], NULL);
	eb_poke(&eb_thread.n_records, n - 1);
}

static struct header *reserve(struct eb_map *map, uint64_t length)
{
	uint64_t token, at, next;
	struct header *header = NULL;

	if (eb_unlikely(length > map->mask || !eb_acquire(&map->ring->lock, &token)))
		return NULL;
	at = eb_peek(producer(map));
	next = at + eb_round(length + sizeof(*header), 8);
	if (eb_likely(next - eb_load(consumer(map)) <= map->mask)) {
		/* the lock was taken from us, since we did not run for long: the producer must not be set back */
		if (eb_unlikely(eb_peek(&map->ring->lock.word) != token))
			return reserve(map, length);
		header = (struct header *)(map->data + (at & map->mask));
		note(header);
		header->owner = owner_of(map);
		eb_poke(&header->length, (uint32_t)length | BPF_RINGBUF_BUSY_BIT);
		eb_store(producer(map), next);
	}
	eb_release(&map->ring->lock, token);
	return header;
}

static void finish(struct header *header, uint32_t bits, uint64_t flags)
{
	__atomic_exchange_n(&header->length, (eb_peek(&header->length) & ~BPF_RINGBUF_BUSY_BIT) | bits, __ATOMIC_SEQ_CST);
	if (!(flags & BPF_RB_NO_WAKEUP))
		eb_output_wake();
}

static void finish_own(struct header *header, uint32_t bits, uint64_t flags)
{
	finish(header, bits, flags);
	forget(header);
}

EB_HELPER(eb_ringbuf_reserve)
{
	struct header *header = r3 ? NULL : reserve((struct eb_map *)r1, r2);

	EB_UNUSED;
	return header ? (uint64_t)(header + 1) : 0;
}

EB_HELPER(eb_ringbuf_submit)
{
	EB_UNUSED;
	finish_own((struct header *)r1 - 1, 0, r2);
	return 0;
}

EB_HELPER(eb_ringbuf_discard)
{
	EB_UNUSED;
	finish_own((struct header *)r1 - 1, BPF_RINGBUF_DISCARD_BIT, r2);
	return 0;
}

EB_HELPER(eb_ringbuf_output)
{
	struct header *header;

	EB_UNUSED;
	if (r4 & ~(uint64_t)(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP))
		return (uint64_t)-EINVAL;
	header = reserve((struct eb_map *)r1, r3);
	if (!header)
		return (uint64_t)-EAGAIN;
	eb_copy(header + 1, (const void *)r2, r3);
	finish_own(header, 0, r4);
	return 0;
}

EB_HELPER(eb_ringbuf_query)
{
	const struct eb_map *map = (const struct eb_map *)r1;

	EB_UNUSED;
	switch (r2) {
	case BPF_RB_AVAIL_DATA:
		return eb_load(producer(map)) - eb_load(consumer(map));
	case BPF_RB_RING_SIZE:
		return map->entries;
	case BPF_RB_CONS_POS:
		return eb_load(consumer(map));
	case BPF_RB_PROD_POS:
		return eb_load(producer(map));
	default:
		return 0;
	}
}

/* --- records of the dead --- */

#define AT_ONCE 65536 /* records looked at while the lock is held */

static int owner_lives(uint32_t owner)
{
	const struct eb_user *user = &eb_view.segment->users[owner >> 12 & 0x3ff];

	return (user->generation & 0x3ff) == owner >> 22 && eb_user_lives(user);
}

/* A ring as it lies in the segment; no header wraps, since all lie at multiples of 8. */
static struct header *header_at(const char *memory, uint64_t mask, uint64_t at)
{
	return (struct header *)(memory + EB_RING_DATA + (at & mask & ~7ull));
}

static int is_dead(const struct header *header)
{
	return eb_load(&header->length) & BPF_RINGBUF_BUSY_BIT && !owner_lives(header->owner);
}

static int is_blocked(const char *memory, uint64_t mask)
{
	uint64_t at = eb_load((uint64_t *)(memory + EB_RING_CONSUMER));

	return at != eb_load((uint64_t *)(memory + EB_RING_PRODUCER)) && is_dead(header_at(memory, mask, at));
}

/* With the lock held nothing is reserved, so that what lies between consumer and producer stays what it is. */
static int discard_dead(char *memory, uint64_t mask)
{
	struct eb_ring *ring = (struct eb_ring *)memory;
	uint64_t token, at, end;
	int found = 0;

	if (!eb_acquire(&ring->lock, &token))
		return 0;
	at = eb_load((uint64_t *)(memory + EB_RING_CONSUMER));
	end = eb_load((uint64_t *)(memory + EB_RING_PRODUCER));
	for (unsigned i = 0; i < AT_ONCE && at < end; i++) {
		struct header *header = header_at(memory, mask, at);

		if (is_dead(header)) {
			finish(header, BPF_RINGBUF_DISCARD_BIT, BPF_RB_NO_WAKEUP);
			found++;
		}
		at += eb_round((eb_load(&header->length) & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)) + sizeof(*header), 8);
	}
	eb_release(&ring->lock, token);
	return found;
}

int eb_ring_ready(struct eb_map *map)
{
	uint64_t at = eb_load(consumer(map));

	if (at == eb_load(producer(map)))
		return 0;
	if (!(eb_load(&header_at(map->memory, map->mask, at)->length) & BPF_RINGBUF_BUSY_BIT))
		return 1;
	return is_blocked(map->memory, map->mask) && discard_dead(map->memory, map->mask) > 0;
}

/* The map may have gone meanwhile. */
static struct eb_map *ring_with(const struct header *header)
{
	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_map *map = eb_load(&rings[i]);

		if (map && (const char *)header >= map->data && (const char *)header < map->data + map->entries)
			return map;
	}
	return NULL;
}

static void discard_left(const struct header *header)
{
	struct eb_map *map = ring_with(header);
	uint64_t token, at, distance;

	if (!map || header->owner != owner_of(map) || !eb_acquire(&map->ring->lock, &token))
		return;
	at = eb_load(consumer(map));
	distance = ((uint64_t)((const char *)header - map->data) - at) & map->mask;
	if (at + distance < eb_load(producer(map)) && eb_load(&header->length) & BPF_RINGBUF_BUSY_BIT)
		finish((struct header *)(map->data + ((at + distance) & map->mask)), BPF_RINGBUF_DISCARD_BIT, 0);
	eb_release(&map->ring->lock, token);
}

void eb_ring_left(void)
{
	while (eb_thread.n_records) {
		const struct header *header = eb_thread.records[eb_thread.n_records - 1];

		if (header)
			discard_left(header);
		eb_poke(&eb_thread.records[eb_thread.n_records - 1], NULL);
		eb_poke(&eb_thread.n_records, eb_thread.n_records - 1);
	}
}

void eb_rings_unblock(void)
{
	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_object *object = &eb_view.segment->objects[i];
		uint32_t id = object->id, entries = object->map.max_entries;
		int found = 0;

		if (eb_load(&object->kind) != EB_MAP || object->map.type != BPF_MAP_TYPE_RINGBUF ||
		    !is_blocked(eb_object_memory(object), entries - 1))
			continue;
		eb_segment_lock(); /* or its memory might become something else's */
		if (eb_object_find(id, EB_MAP) && object->map.type == BPF_MAP_TYPE_RINGBUF)
			found = discard_dead(eb_object_memory(object), object->map.max_entries - 1);
		eb_segment_unlock();
		if (found)
			eb_output_wake();
	}
}

/* --- readers --- */

uint32_t eb_output_announce(void)
{
	uint32_t word = eb_load(&eb_view.segment->output);

	__atomic_exchange_n(&eb_view.segment->sleepers, 1, __ATOMIC_SEQ_CST);
	return word;
}

int eb_output_sleep(uint32_t word, int milliseconds)
{
	return eb_futex_wait(&eb_view.segment->output, word, milliseconds);
}

void eb_output_wake_now(void)
{
	if (!__atomic_exchange_n(&eb_view.segment->sleepers, 0, __ATOMIC_SEQ_CST))
		return;
	__atomic_add_fetch(&eb_view.segment->output, 1, __ATOMIC_SEQ_CST);
	eb_futex_wake(&eb_view.segment->output);
}

const struct eb_map_kind eb_map_ring = {
	.name = "ring buffer", .check = check, .size = size, .open = open_view, .close = close_view,
};
