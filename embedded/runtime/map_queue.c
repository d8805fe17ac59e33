/* Queues and stacks: entries in a circle, changed under a lock; one store makes a push or a pop complete. */
#include "runtime/map.h"
#include "runtime/thread.h"

struct queue {
	struct eb_lock lock;
	uint64_t first; /* entries ever taken from the old end */
	uint64_t last;	/* entries ever put at the new end, less those taken there */
	char entries[] __attribute__((aligned(64)));
};

static int check(const struct eb_map_shape *shape)
{
	if (shape->key_size || !shape->value_size || !shape->max_entries || shape->value_size > (1u << 24))
		return -EINVAL;
	return shape->flags & ~(uint32_t)(BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)
		       ? -EINVAL
		       : 0;
}

static uint64_t size(const struct eb_map_shape *shape, uint32_t cpus)
{
	(void)cpus;
	return sizeof(struct queue) + eb_round(shape->value_size, 8) * shape->max_entries;
}

static int open_view(struct eb_map *map, int fresh)
{
	(void)fresh;
	map->stride = eb_round(map->value_size, 8);
	return 0;
}

static inline char *entry(const struct eb_map *map, uint64_t number)
{
	return ((struct queue *)map->memory)->entries + number % map->entries * map->stride;
}

static long push(struct eb_map *map, const void *value, uint64_t flags)
{
	struct queue *queue = (struct queue *)map->memory;
	uint64_t token;
	long result = 0;

	if (flags > BPF_EXIST || flags == BPF_NOEXIST)
		return -EINVAL;
	if (!eb_acquire(&queue->lock, &token))
		return -EBUSY;
	if (queue->last - queue->first == map->entries) {
		if (flags == BPF_EXIST)
			eb_store(&queue->first, queue->first + 1);
		else
			result = -E2BIG;
	}
	if (!result) {
		eb_copy(entry(map, queue->last), value, map->value_size);
		eb_store(&queue->last, queue->last + 1);
	}
	eb_release(&queue->lock, token);
	return result;
}

static inline long take(struct eb_map *map, void *value, int newest, int remove)
{
	struct queue *queue = (struct queue *)map->memory;
	uint64_t token;

	if (!eb_acquire(&queue->lock, &token)) {
		eb_zero(value, map->value_size);
		return -EBUSY;
	}
	if (queue->last == queue->first) {
		eb_release(&queue->lock, token);
		eb_zero(value, map->value_size);
		return -ENOENT;
	}
	eb_copy(value, entry(map, newest ? queue->last - 1 : queue->first), map->value_size);
	if (remove && newest)
		eb_store(&queue->last, queue->last - 1);
	else if (remove)
		eb_store(&queue->first, queue->first + 1);
	eb_release(&queue->lock, token);
	return 0;
}

static long queue_pop(struct eb_map *map, void *value)
{
	return take(map, value, 0, 1);
}

static long queue_peek(struct eb_map *map, void *value)
{
	return take(map, value, 0, 0);
}

static long stack_pop(struct eb_map *map, void *value)
{
	return take(map, value, 1, 1);
}

static long stack_peek(struct eb_map *map, void *value)
{
	return take(map, value, 1, 0);
}

static long queue_read(struct eb_map *map, const void *key, void *value)
{
	(void)key;
	return map->kind->peek(map, value);
}

static long queue_write(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	(void)key;
	return push(map, value, flags);
}

const struct eb_map_kind eb_map_queue = {
	.name = "queue", .check = check, .size = size, .open = open_view, .push = push, .pop = queue_pop, .peek = queue_peek,
	.read = queue_read, .write = queue_write,
};

const struct eb_map_kind eb_map_stack = {
	.name = "stack", .check = check, .size = size, .open = open_view, .push = push, .pop = stack_pop, .peek = stack_peek,
	.read = queue_read, .write = queue_write,
};
