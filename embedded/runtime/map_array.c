/* Arrays, arrays of one value a CPU, and arrays of programs and of events, whose values are object ids. */
#include "runtime/map.h"
#include "runtime/thread.h"

static int check(const struct eb_map_shape *shape)
{
	if (shape->key_size != 4 || !shape->value_size || !shape->max_entries)
		return -EINVAL;
	if (shape->value_size > (1u << 30))
		return -E2BIG;
	return shape->flags & ~(uint32_t)(BPF_F_MMAPABLE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG |
					  BPF_F_NUMA_NODE | BPF_F_INNER_MAP | BPF_F_PRESERVE_ELEMS)
		       ? -EINVAL
		       : 0;
}

static int check_ids(const struct eb_map_shape *shape)
{
	return shape->value_size == 4 ? check(shape) : -EINVAL;
}

static uint64_t one_cpu(const struct eb_map_shape *shape)
{
	return eb_round(shape->value_size, 8) * shape->max_entries;
}

static uint64_t size(const struct eb_map_shape *shape, uint32_t cpus)
{
	(void)cpus;
	return eb_round(one_cpu(shape), EB_PAGE);
}

/* Each CPU's values lie together: no cache line is shared between CPUs. */
static uint64_t size_per_cpu(const struct eb_map_shape *shape, uint32_t cpus)
{
	return eb_round(one_cpu(shape), 128) * cpus;
}

static int open_view(struct eb_map *map, int fresh)
{
	(void)fresh;
	map->values = map->memory;
	map->stride = eb_round(map->value_size, 8);
	map->cpu_stride = eb_round(map->stride * map->entries, 128);
	return 0;
}

static void *array_lookup(struct eb_map *map, const void *key)
{
	uint32_t index = *(const eb_u32 *)key;

	return eb_likely(index < map->entries) ? map->values + index * map->stride : NULL;
}

static void *per_cpu_lookup_on(struct eb_map *map, const void *key, uint32_t cpu)
{
	uint32_t index = *(const eb_u32 *)key;

	return eb_likely(index < map->entries && cpu < map->cpus) ? map->values + cpu * map->cpu_stride + index * map->stride
								 : NULL;
}

static void *per_cpu_lookup(struct eb_map *map, const void *key)
{
	return per_cpu_lookup_on(map, key, eb_slot());
}

static long put(struct eb_map *map, void *place, const void *value, uint64_t flags)
{
	if (eb_unlikely((flags & ~(uint64_t)BPF_F_LOCK) > BPF_EXIST))
		return -EINVAL;
	if (eb_unlikely(!place))
		return -E2BIG;
	if (eb_unlikely(flags & BPF_NOEXIST))
		return -EEXIST;
	if (eb_likely(map->value_size == 8)) /* in one piece for readers */
		*(eb_u64 *)place = *(const eb_u64 *)value;
	else
		eb_copy(place, value, map->value_size);
	return 0;
}

static long array_update(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	return put(map, array_lookup(map, key), value, flags);
}

static long per_cpu_update(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	return put(map, per_cpu_lookup(map, key), value, flags);
}

static long no_erase(struct eb_map *map, const void *key)
{
	(void)map;
	(void)key;
	return -EINVAL;
}

static long next(struct eb_map *map, const void *key, void *next)
{
	uint32_t index = key ? *(const eb_u32 *)key : UINT32_MAX;

	if (index >= map->entries) {
		*(eb_u32 *)next = 0;
		return 0;
	}
	if (index == map->entries - 1)
		return -ENOENT;
	*(eb_u32 *)next = index + 1;
	return 0;
}

static long per_cpu_read(struct eb_map *map, const void *key, void *value)
{
	for (uint32_t cpu = 0; cpu < map->cpus; cpu++) {
		const void *place = per_cpu_lookup_on(map, key, cpu);

		if (!place)
			return -ENOENT;
		eb_copy((char *)value + cpu * map->stride, place, map->stride);
	}
	return 0;
}

static long per_cpu_write(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	long result = 0;

	for (uint32_t cpu = 0; cpu < map->cpus && !result; cpu++)
		result = put(map, per_cpu_lookup_on(map, key, cpu), (const char *)value + cpu * map->stride, flags);
	return result;
}

/* Ids: a slot that holds 0 is empty. Programs cannot look into them. */

static void *no_lookup(struct eb_map *map, const void *key)
{
	(void)map;
	(void)key;
	return NULL;
}

static long id_read(struct eb_map *map, const void *key, void *value)
{
	const uint32_t *place = array_lookup(map, key);

	if (!place || !eb_load(place))
		return -ENOENT;
	*(eb_u32 *)value = *place;
	return 0;
}

static long id_erase(struct eb_map *map, const void *key)
{
	uint32_t *place = array_lookup(map, key);

	if (!place || !__atomic_exchange_n(place, 0, __ATOMIC_ACQ_REL))
		return -ENOENT;
	return 0;
}

const struct eb_map_kind eb_map_array = {
	.name = "array", .check = check, .size = size, .open = open_view, .lookup = array_lookup, .update = array_update,
	.erase = no_erase, .next = next,
};

const struct eb_map_kind eb_map_per_cpu_array = {
	.name = "per-CPU array", .check = check, .size = size_per_cpu, .open = open_view, .lookup = per_cpu_lookup,
	.lookup_on = per_cpu_lookup_on, .update = per_cpu_update, .erase = no_erase, .read = per_cpu_read,
	.write = per_cpu_write, .next = next,
};

const struct eb_map_kind eb_map_prog_array = {
	.name = "prog array", .check = check_ids, .size = size, .open = open_view, .lookup = no_lookup,
	.erase = id_erase, .read = id_read, .write = array_update, .next = next,
};

const struct eb_map_kind eb_map_perf_array = {
	.name = "perf event array", .check = check_ids, .size = size, .open = open_view, .lookup = no_lookup,
	.erase = id_erase, .read = id_read, .write = array_update, .next = next,
};
