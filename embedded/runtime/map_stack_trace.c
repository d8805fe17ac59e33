/*
 * Stack traces of the thread that hits, along the frame pointers, as the kernel walks a user stack: a function compiled without
 * one is left out. There is no kernel stack here: without BPF_F_USER_STACK, too, it is the user's that is given.
 */
#include "hook/hook.h"
#include "runtime/fault.h"
#include "runtime/helpers.h"
#include "runtime/thread.h"

#define MOST_DEPTH 127

struct bucket {
	uint32_t hash, n;
	uint64_t ips[];
};

static int check(const struct eb_map_shape *shape)
{
	if (shape->key_size != 4 || shape->value_size < 8 || shape->value_size % 8 || shape->value_size / 8 > MOST_DEPTH ||
	    !shape->max_entries || shape->max_entries > 1u << 24)
		return -EINVAL;
	return shape->flags & ~(uint32_t)(BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY) ? -EINVAL : 0;
}

static uint64_t size(const struct eb_map_shape *shape, uint32_t cpus)
{
	(void)cpus;
	return 64 + (sizeof(struct bucket) + shape->value_size) * eb_power_of_two(shape->max_entries);
}

static int open_view(struct eb_map *map, int fresh)
{
	(void)fresh;
	map->values = map->memory + 64; /* behind the lock */
	map->stride = sizeof(struct bucket) + map->value_size;
	map->mask = eb_power_of_two(map->entries) - 1;
	return 0;
}

/* At most `most` addresses, the innermost first, without the first `skip`. */
static uint32_t walk(const struct eb_regs *regs, uint64_t *ips, uint32_t most, uint32_t skip)
{
	uint64_t frame[2] = { regs->bp, regs->ip }, at;
	uint32_t n = 0;

	for (uint32_t depth = 0; depth < MOST_DEPTH && n < most; depth++) {
		if (depth >= skip)
			ips[n++] = frame[1];
		at = frame[0];
		if (at < regs->sp || at % 8 || eb_fetch(frame, (const void *)at, sizeof(frame)) || !frame[1])
			break;
		if (frame[0] <= at) /* frames lie one above the other */
			frame[0] = 0;
	}
	return n;
}

static uint32_t hash_of(const uint64_t *ips, uint32_t n)
{
	uint64_t hash = n;

	for (uint32_t i = 0; i < n; i++)
		hash = (hash ^ ips[i]) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(hash >> 32);
}

static inline struct bucket *bucket_of(const struct eb_map *map, uint32_t id)
{
	return (struct bucket *)(map->values + id * map->stride);
}

static long store(struct eb_map *map, uint32_t hash, const uint64_t *ips, uint32_t n, uint64_t flags)
{
	uint32_t id = hash & (uint32_t)map->mask;
	struct bucket *bucket = bucket_of(map, id);
	int same = bucket->n == n && bucket->hash == hash && (flags & BPF_F_FAST_STACK_CMP || eb_equal(bucket->ips, ips, 8 * n));

	if (same)
		return id;
	if (bucket->n && !(flags & BPF_F_REUSE_STACKID))
		return -EEXIST;
	eb_store(&bucket->n, 0);
	bucket->hash = hash;
	eb_copy(bucket->ips, ips, 8ul * n);
	eb_store(&bucket->n, n);
	return id;
}

EB_HELPER(eb_get_stackid)
{
	struct eb_map *map = (struct eb_map *)r2;
	uint64_t ips[MOST_DEPTH], token;
	uint32_t n;
	long result;

	EB_UNUSED;
	if (r3 & ~(uint64_t)(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID))
		return (uint64_t)-EINVAL;
	n = walk((const struct eb_regs *)r1, ips, map->value_size / 8, r3 & BPF_F_SKIP_FIELD_MASK);
	if (!n)
		return (uint64_t)-EFAULT;
	if (!eb_acquire((struct eb_lock *)map->memory, &token))
		return (uint64_t)-EBUSY;
	result = store(map, hash_of(ips, n), ips, n, r3);
	eb_release((struct eb_lock *)map->memory, token);
	return (uint64_t)result;
}

EB_HELPER(eb_get_stack)
{
	uint64_t ips[MOST_DEPTH];
	uint32_t most = (uint32_t)r3 / 8, n;

	EB_UNUSED;
	if (r4 & ~(uint64_t)(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_USER_BUILD_ID) || r4 & BPF_F_USER_BUILD_ID ||
	    r3 % 8)
		return (uint64_t)-EINVAL;
	n = walk((const struct eb_regs *)r1, ips, most < MOST_DEPTH ? most : MOST_DEPTH, r4 & BPF_F_SKIP_FIELD_MASK);
	eb_copy((void *)r2, ips, 8ul * n);
	eb_zero((char *)r2 + 8ul * n, r3 - 8ul * n);
	return n ? 8ul * n : (uint64_t)-EFAULT;
}

static long read(struct eb_map *map, const void *key, void *value)
{
	uint32_t id = *(const eb_u32 *)key, n;
	const struct bucket *bucket = bucket_of(map, id);

	if (id > map->mask || !(n = eb_load(&bucket->n)))
		return -ENOENT;
	eb_zero(value, map->value_size);
	eb_copy(value, bucket->ips, 8ul * n);
	return 0;
}

static long erase(struct eb_map *map, const void *key)
{
	uint32_t id = *(const eb_u32 *)key;

	if (id > map->mask || !eb_load(&bucket_of(map, id)->n))
		return -ENOENT;
	eb_store(&bucket_of(map, id)->n, 0);
	return 0;
}

static long next(struct eb_map *map, const void *key, void *next)
{
	uint32_t id = key ? *(const eb_u32 *)key : UINT32_MAX;

	for (id = id > map->mask ? 0 : id + 1; id <= map->mask; id++) {
		if (eb_load(&bucket_of(map, id)->n)) {
			*(eb_u32 *)next = id;
			return 0;
		}
	}
	return -ENOENT;
}

static long no_update(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	(void)map;
	(void)key;
	(void)value;
	(void)flags;
	return -EINVAL;
}

const struct eb_map_kind eb_map_stack_trace = {
	.name = "stack trace", .check = check, .size = size, .open = open_view, .erase = erase, .read = read, .next = next,
	.write = no_update,
};
