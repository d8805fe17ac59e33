/* The object table and the memory of objects: see segment.h. */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#ifndef FALLOC_FL_PUNCH_HOLE
#include <linux/falloc.h>
#endif

struct extent {
	uint64_t start, end;
};

/* Whether a dead object's memory may be somebody else's: every living agent has seen a later doorbell. */
static int forgotten(const struct eb_object *object)
{
	for (uint32_t i = 0; i < eb_users_top(); i++) {
		const struct eb_user *user = &eb_view.segment->users[i];

		if (eb_load(&user->pid) && user->role == EB_AGENT && (int32_t)(eb_load(&user->seen) - object->died) < 0)
			return 0;
	}
	return 1;
}

/* Frees the slots and the memory of objects that nobody looks at any more. */
static void reclaim(void)
{
	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_object *object = &eb_view.segment->objects[i];

		if (object->kind != EB_DEAD || !forgotten(object))
			continue;
		if (object->size)
			fallocate(eb_view.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)object->offset,
				  (off_t)object->size);
		eb_store(&object->kind, EB_FREE);
	}
}

static int by_start(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* The first gap between the objects' memories that is large enough; 0: there is none. */
static uint64_t find_gap(uint64_t size)
{
	static struct extent taken[EB_OBJECTS];
	uint64_t at = eb_view.segment->memory;
	size_t n = 0;

	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		const struct eb_object *object = &eb_view.segment->objects[i];

		if (object->kind != EB_FREE && object->size)
			taken[n++] = (struct extent){ object->offset, object->offset + object->size };
	}
	qsort(taken, n, sizeof(*taken), by_start);
	for (size_t i = 0; i < n && taken[i].start - at < size; i++)
		at = taken[i].end;
	return at + size <= eb_view.segment->size ? at : 0;
}

/* A place in the table, in turn, so that an id is not soon used again. */
static struct eb_object *free_slot(void)
{
	static uint32_t next;

	for (uint32_t i = 0; i < EB_OBJECTS; i++) {
		struct eb_object *object = &eb_view.segment->objects[(next + i) % EB_OBJECTS];

		if (object->kind != EB_FREE)
			continue;
		next = (next + i + 1) % EB_OBJECTS;
		return object;
	}
	return NULL;
}

static void prepare(struct eb_object *object, const char *name, uint64_t offset, uint64_t size)
{
	uint32_t slot = (uint32_t)(object - eb_view.segment->objects);
	uint32_t id = (object->id ? object->id : slot) + EB_OBJECTS;

	if (slot >= eb_objects_top())
		eb_store(&eb_view.segment->objects_top, slot + 1);
	memset(object, 0, sizeof(*object));
	object->id = id;
	object->owner = eb_view.user;
	object->owner_generation = eb_view.segment->users[eb_view.user].generation;
	object->descriptors = 1;
	object->offset = offset;
	object->size = size;
	if (name)
		strncpy(object->name, name, EB_NAME - 1);
}

/* A slot and a gap; agents that have not yet looked away from what has died are asked to when there is none. */
static struct eb_object *find_room(uint64_t size, uint64_t *offset)
{
	struct eb_object *object = NULL;

	for (int again = 0; again < 2; again++) {
		reclaim();
		object = free_slot();
		*offset = size ? find_gap(size) : 0;
		if (object && (!size || *offset))
			return object;
		eb_doorbell_wait(eb_doorbell_ring(), 500);
	}
	return NULL;
}

struct eb_object *eb_object_make(const char *name, uint64_t size, int *error)
{
	struct eb_object *object;
	uint64_t offset;

	size = eb_round(size, EB_PAGE);
	object = find_room(size, &offset);
	if (!object) {
		*error = -ENOMEM;
		return NULL;
	}
	/* what a maker that was killed may have left there */
	if (size)
		fallocate(eb_view.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
	/* memory that /dev/shm has not is an error now and not a SIGBUS later */
	if (size && (*error = -posix_fallocate(eb_view.file, (off_t)offset, (off_t)size))) {
		eb_log_error("no %llu KiB left in /dev/shm", (unsigned long long)size / 1024);
		*error = -ENOMEM;
		return NULL;
	}
	prepare(object, name, offset, size);
	return object;
}

void eb_object_publish(struct eb_object *object, enum eb_kind kind)
{
	eb_store(&object->kind, kind);
}

struct eb_object *eb_object_find(uint32_t id, enum eb_kind kind)
{
	struct eb_object *object = &eb_view.segment->objects[id % EB_OBJECTS];

	return eb_load(&object->kind) == kind && object->id == id ? object : NULL;
}

static void drop_reference(uint32_t id)
{
	struct eb_object *object = &eb_view.segment->objects[id % EB_OBJECTS];

	if (id && object->id == id)
		eb_object_drop(object, 0, 1);
}

static void drop_what_it_holds(struct eb_object *object, enum eb_kind kind)
{
	if (kind == EB_LINK) {
		drop_reference(object->link.program);
		drop_reference(object->link.event);
	} else if (kind == EB_EVENT && object->spare) {
		/* a link that was made by ioctl goes with its event, which it does not hold */
		struct eb_object *link = &eb_view.segment->objects[object->spare % EB_OBJECTS];

		if (link->id == object->spare && link->kind == EB_LINK) {
			link->link.event = 0;
			eb_object_drop(link, (int)link->descriptors, (int)link->references);
		}
	} else if (kind == EB_PROGRAM) {
		const uint32_t *maps = (const uint32_t *)((char *)eb_object_memory(object) + object->program.maps);

		for (uint32_t i = 0; i < object->program.n_maps; i++)
			drop_reference(maps[i]);
	}
}

void eb_object_drop(struct eb_object *object, int descriptors, int references)
{
	enum eb_kind kind = object->kind;

	if (kind == EB_FREE || kind == EB_DEAD)
		return;
	object->descriptors -= (uint32_t)descriptors;
	object->references -= (uint32_t)references;
	if (object->descriptors || object->references)
		return;
	/* everybody who rings after this is heard by agents that see it dead */
	object->died = eb_peek(&eb_view.segment->doorbell) + 1;
	eb_store(&object->kind, EB_DEAD);
	drop_what_it_holds(object, kind);
}
