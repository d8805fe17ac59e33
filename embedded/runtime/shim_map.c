/* bpf(2) on maps. */
#include "common/log.h"
#include "runtime/program.h"
#include "runtime/shim.h"

#include <stdlib.h>
#include <string.h>

static struct eb_object *make(const union bpf_attr *attr, const struct eb_map_shape *shape, int *error)
{
	uint64_t size = eb_map_kind(shape->type)->size(shape, eb_view.segment->cpus);
	struct eb_object *object;

	eb_segment_lock();
	object = eb_object_make(attr->map_name, size, error);
	if (object) {
		object->map = *shape;
		*error = eb_map_prepare(object);
		if (!*error)
			eb_object_publish(object, EB_MAP);
	}
	eb_segment_unlock();
	return *error ? NULL : object;
}

static long create(const union bpf_attr *attr)
{
	struct eb_map_shape shape = {
		.type = attr->map_type, .key_size = attr->key_size, .value_size = attr->value_size,
		.max_entries = attr->max_entries, .flags = attr->map_flags, .btf_key = attr->btf_key_type_id,
		.btf_value = attr->btf_value_type_id, .extra = attr->map_extra,
	};
	struct eb_object *object;
	int error;
	long descriptor;

	if (shape.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY && !shape.max_entries)
		shape.max_entries = eb_view.segment->cpus;
	error = eb_map_check(&shape);
	if (error) {
		eb_log_info("map %s of type %u refused: %s", attr->map_name, shape.type, strerror(-error));
		return error;
	}
	object = make(attr, &shape, &error);
	if (!object)
		return error;
	descriptor = shim_descriptor(object);
	if (descriptor < 0) {
		eb_segment_lock();
		eb_object_drop(object, 1, 0);
		eb_segment_unlock();
	}
	return descriptor;
}

/* Arrays of programs and of events hold ids where the caller gives and takes descriptors. */
static long write_id(struct eb_map *map, const void *key, const void *value, uint64_t flags)
{
	int program = map->kind == &eb_map_prog_array;
	const struct eb_object *object = shim_object_of(*(const int *)value, program ? EB_PROGRAM : EB_EVENT);
	long error;

	if (!object)
		return program ? -EBADF : -EINVAL;
	error = eb_map_write(map, key, &object->id, flags);
	if (!error && program) /* agents compile it before we say that it is there */
		eb_doorbell_wait(eb_doorbell_ring(), 2000);
	return error;
}

static long update(struct eb_map *map, const union bpf_attr *attr, const void *key, const void *value)
{
	if (map->shape->frozen || map->flags & BPF_F_RDONLY)
		return -EPERM;
	if (map->kind == &eb_map_prog_array || map->kind == &eb_map_perf_array)
		return write_id(map, key, value, attr->flags & ~(uint64_t)BPF_F_LOCK);
	return eb_map_write(map, key, value, attr->flags & ~(uint64_t)BPF_F_LOCK);
}

static long take(struct eb_map *map, const void *key, void *value)
{
	long error;

	if (map->kind->pop)
		return map->kind->pop(map, value);
	error = eb_map_read(map, key, value);
	return error ? error : eb_map_erase(map, key);
}

static long one(int command, union bpf_attr *attr)
{
	struct eb_object *object = shim_object_of((int)attr->map_fd, EB_MAP);
	struct eb_map *map = object ? eb_map_of(object->id) : NULL;
	const void *key = (const void *)attr->key;
	void *value = (void *)attr->value;

	if (!map)
		return -EBADF;
	if ((map->key_size && !key && command != BPF_MAP_GET_NEXT_KEY) || !value)
		return -EFAULT;
	switch (command) {
	case BPF_MAP_LOOKUP_ELEM:
		return eb_map_read(map, key, value);
	case BPF_MAP_UPDATE_ELEM:
		return update(map, attr, key, value);
	case BPF_MAP_GET_NEXT_KEY:
		return eb_map_next(map, key, value);
	default:
		return take(map, key, value);
	}
}

static long erase(const union bpf_attr *attr)
{
	struct eb_object *object = shim_object_of((int)attr->map_fd, EB_MAP);
	struct eb_map *map = object ? eb_map_of(object->id) : NULL;

	if (!map)
		return -EBADF;
	if (map->shape->frozen)
		return -EPERM;
	return eb_map_erase(map, (const void *)attr->key);
}

static long freeze(const union bpf_attr *attr)
{
	struct eb_object *object = shim_object_of((int)attr->map_fd, EB_MAP);

	if (!object)
		return -EBADF;
	return __atomic_exchange_n(&object->map.frozen, 1, __ATOMIC_ACQ_REL) ? -EBUSY : 0;
}

/* --- batches --- */

/*
 * Looking up goes from key to key; what is handed back as the place to go on is the last key. Deleted ones must not break the
 * chain: the next key is found before this one goes.
 */
static long batch_read(struct eb_map *map, union bpf_attr *attr, int remove)
{
	char *keys = (char *)attr->batch.keys, *values = (char *)attr->batch.values;
	const void *from = (const void *)attr->batch.in_batch;
	uint32_t most = attr->batch.count, n = 0, value_size = eb_map_user_size(map);
	char *key = malloc(2ul * map->key_size), *next = key + map->key_size;
	long error;

	if (!key)
		return -ENOMEM;
	for (error = eb_map_next(map, from, key); !error && n < most; memcpy(key, next, map->key_size)) {
		long missing = eb_map_read(map, key, values + (size_t)n * value_size);

		memcpy(keys + (size_t)n * map->key_size, key, map->key_size);
		error = eb_map_next(map, key, next);
		if (!missing && remove)
			missing = eb_map_erase(map, key);
		n += !missing;
	}
	if (n && attr->batch.out_batch)
		memcpy((void *)attr->batch.out_batch, keys + (size_t)(n - 1) * map->key_size, map->key_size);
	attr->batch.count = n;
	free(key);
	return error;
}

static long batch_write(struct eb_map *map, union bpf_attr *attr, int remove)
{
	const char *keys = (const char *)attr->batch.keys, *values = (const char *)attr->batch.values;
	uint32_t most = attr->batch.count, value_size = eb_map_user_size(map);
	long error = 0;
	uint32_t n = 0;

	for (; n < most; n++) {
		const char *key = keys + (size_t)n * map->key_size;

		error = remove ? eb_map_erase(map, key)
			       : eb_map_write(map, key, values + (size_t)n * value_size, attr->batch.elem_flags);
		if (error)
			break;
	}
	attr->batch.count = n;
	return error;
}

static long batch(int command, union bpf_attr *attr)
{
	struct eb_object *object = shim_object_of((int)attr->batch.map_fd, EB_MAP);
	struct eb_map *map = object ? eb_map_of(object->id) : NULL;

	if (!map)
		return -EBADF;
	if (!map->kind->next || !map->key_size)
		return -EOPNOTSUPP;
	if (!attr->batch.count)
		return 0;
	if (command == BPF_MAP_LOOKUP_BATCH || command == BPF_MAP_LOOKUP_AND_DELETE_BATCH)
		return batch_read(map, attr, command == BPF_MAP_LOOKUP_AND_DELETE_BATCH);
	return batch_write(map, attr, command == BPF_MAP_DELETE_BATCH);
}

long shim_map_command(int command, union bpf_attr *attr)
{
	switch (command) {
	case BPF_MAP_CREATE:
		return create(attr);
	case BPF_MAP_DELETE_ELEM:
		return erase(attr);
	case BPF_MAP_FREEZE:
		return freeze(attr);
	case BPF_MAP_LOOKUP_BATCH:
	case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
	case BPF_MAP_UPDATE_BATCH:
	case BPF_MAP_DELETE_BATCH:
		return batch(command, attr);
	default:
		return one(command, attr);
	}
}
