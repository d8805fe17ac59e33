/* Views of maps, and what the loader's calls have in common. */
#include "runtime/map.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>

static struct eb_map *views[EB_OBJECTS];
int (*eb_map_opened)(const struct eb_map *map);

const struct eb_map_kind *eb_map_kind(uint32_t type)
{
	static const struct eb_map_kind *const kinds[] = {
		[BPF_MAP_TYPE_ARRAY] = &eb_map_array,
		[BPF_MAP_TYPE_PERCPU_ARRAY] = &eb_map_per_cpu_array,
		[BPF_MAP_TYPE_PROG_ARRAY] = &eb_map_prog_array,
		[BPF_MAP_TYPE_PERF_EVENT_ARRAY] = &eb_map_perf_array,
		[BPF_MAP_TYPE_HASH] = &eb_map_hash,
		[BPF_MAP_TYPE_PERCPU_HASH] = &eb_map_per_cpu_hash,
		[BPF_MAP_TYPE_LRU_HASH] = &eb_map_lru_hash,
		[BPF_MAP_TYPE_LRU_PERCPU_HASH] = &eb_map_lru_per_cpu_hash,
		[BPF_MAP_TYPE_RINGBUF] = &eb_map_ring,
		[BPF_MAP_TYPE_QUEUE] = &eb_map_queue,
		[BPF_MAP_TYPE_STACK] = &eb_map_stack,
		[BPF_MAP_TYPE_LPM_TRIE] = &eb_map_lpm,
		[BPF_MAP_TYPE_BLOOM_FILTER] = &eb_map_bloom,
		[BPF_MAP_TYPE_STACK_TRACE] = &eb_map_stack_trace,
	};

	return type < EB_COUNT(kinds) ? kinds[type] : NULL;
}

int eb_map_check(const struct eb_map_shape *shape)
{
	const struct eb_map_kind *kind = eb_map_kind(shape->type);

	return kind ? kind->check(shape) : -EOPNOTSUPP;
}

static int set_view(struct eb_map *map, struct eb_object *object, int fresh)
{
	struct eb_map_shape *shape = &object->map;
	int error;

	*map = (struct eb_map){
		.kind = eb_map_kind(shape->type),
		.id = object->id,
		.cpus = eb_view.segment->cpus,
		.shape = shape,
		.memory = eb_object_memory(object),
		.key_size = shape->key_size,
		.value_size = shape->value_size,
		.entries = shape->max_entries,
		.flags = shape->flags,
	};
	error = map->kind ? map->kind->open(map, fresh) : -EINVAL;
	if (error || !eb_map_opened)
		return error;
	error = eb_map_opened(map);
	if (error && map->kind->close)
		map->kind->close(map);
	return error;
}

static void close_view(struct eb_map *map)
{
	if (map->kind->close)
		map->kind->close(map);
	free(map);
}

struct eb_map *eb_map_of(uint32_t id)
{
	struct eb_object *object = eb_object_find(id, EB_MAP);
	struct eb_map **place = &views[id % EB_OBJECTS], *map = *place;

	if (!object)
		return NULL;
	if (map && map->id == id)
		return map;
	if (map)
		close_view(map);
	*place = NULL;
	map = malloc(sizeof(*map));
	if (!map || set_view(map, object, 0)) {
		free(map);
		return NULL;
	}
	*place = map;
	return map;
}

int eb_map_prepare(struct eb_object *object)
{
	struct eb_map map;
	int error = set_view(&map, object, 1);

	if (!error && map.kind->close)
		map.kind->close(&map);
	return error;
}

void eb_map_forget(uint32_t id)
{
	struct eb_map **place = &views[id % EB_OBJECTS];

	if (*place && (*place)->id == id) {
		close_view(*place);
		*place = NULL;
	}
}

uint32_t eb_map_user_size(const struct eb_map *map)
{
	return map->kind->lookup_on ? (uint32_t)eb_round(map->value_size, 8) * map->cpus : map->value_size;
}

long eb_map_read(struct eb_map *map, const void *key, void *value)
{
	void *found;

	if (map->kind->read)
		return map->kind->read(map, key, value);
	if (!map->kind->lookup)
		return -EOPNOTSUPP;
	found = map->kind->lookup(map, key);
	if (!found)
		return -ENOENT;
	eb_copy(value, found, map->value_size);
	return 0;
}

long eb_map_write(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	if (map->kind->write)
		return map->kind->write(map, key, value, flags);
	return map->kind->update ? map->kind->update(map, key, value, flags) : -EOPNOTSUPP;
}

long eb_map_erase(struct eb_map *map, const void *key)
{
	return map->kind->erase ? map->kind->erase(map, key) : -EOPNOTSUPP;
}

long eb_map_next(struct eb_map *map, const void *key, void *next)
{
	return map->kind->next ? map->kind->next(map, key, next) : -EOPNOTSUPP;
}
