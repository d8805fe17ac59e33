/*
 * Descriptors. Each is a memfd of its own that says in its content what it stands for, so that it keeps its meaning when it is
 * duplicated, inherited or sent; a table beside it counts how many a process has of each object.
 */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/shim.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAGIC 0x646d65626d656564ull
#define MOST 65536

struct identity {
	uint64_t magic, device, inode;
	uint32_t id, nothing;
};

static uint32_t table[MOST]; /* id by descriptor; UINT32_MAX: of nothing */

static const char *const kinds[] = { "", "ebpf-map", "ebpf-program", "ebpf-event", "ebpf-link" };

static long make(const char *name, uint32_t id)
{
	struct identity identity = { MAGIC, eb_view.device, eb_view.inode, id, 0 };
	int descriptor = memfd_create(name, MFD_CLOEXEC);

	if (descriptor < 0)
		return -errno;
	if (descriptor < 3) { /* as libbpf, which never leaves one where standard streams belong */
		int higher = (int)eb_system_call(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, 3, 0, 0, 0);

		eb_system_call(SYS_close, descriptor, 0, 0, 0, 0, 0);
		descriptor = higher;
	}
	if (descriptor < 0 || descriptor >= MOST || pwrite(descriptor, &identity, sizeof(identity), 0) != sizeof(identity)) {
		eb_system_call(SYS_close, descriptor, 0, 0, 0, 0, 0);
		return -EMFILE;
	}
	table[descriptor] = id;
	return descriptor;
}

long shim_descriptor(const struct eb_object *object)
{
	return make(kinds[object->kind], object->id);
}

long shim_descriptor_of_nothing(void)
{
	return make("ebpf-btf", UINT32_MAX);
}

uint32_t shim_object(int descriptor)
{
	struct identity identity;

	if (!eb_view.segment || descriptor < 0)
		return 0;
	if (descriptor < MOST && table[descriptor])
		return table[descriptor];
	if (pread(descriptor, &identity, sizeof(identity), 0) != sizeof(identity) || identity.magic != MAGIC ||
	    identity.device != eb_view.device || identity.inode != eb_view.inode)
		return 0;
	return identity.id;
}

struct eb_object *shim_object_of(int descriptor, enum eb_kind kind)
{
	uint32_t id = shim_object(descriptor);

	return id && id != UINT32_MAX ? eb_object_find(id, kind) : NULL;
}

static int copies_of(uint32_t id)
{
	int n = 0;

	for (int i = 0; i < MOST; i++)
		n += table[i] == id;
	return n;
}

static int is_live_probe(const struct eb_object *object)
{
	const struct eb_object *event = object->kind == EB_LINK ? eb_object_find(object->link.event, EB_EVENT) : object;

	return event && event->kind == EB_EVENT && event->event.enabled && event->event.kind != EB_EVENT_OUTPUT;
}

/* The last descriptor of an object is closed: the object may die, and with a link or an event its probes go. */
static void let_go(uint32_t id)
{
	struct eb_object *object = &eb_view.segment->objects[id % EB_OBJECTS];
	int probes;

	eb_segment_lock();
	if (object->id != id || object->owner != eb_view.user || !object->descriptors) {
		eb_segment_unlock();
		return;
	}
	probes = is_live_probe(object);
	eb_object_drop(object, 1, 0);
	eb_segment_unlock();
	if (probes)
		eb_doorbell_wait(eb_doorbell_ring(), 2000);
}

void shim_closing(int descriptor)
{
	uint32_t id;

	if (!eb_view.segment || descriptor < 0 || descriptor >= MOST || !(id = table[descriptor]))
		return;
	table[descriptor] = 0;
	if (id == UINT32_MAX || copies_of(id))
		return;
	shim_epoll_closed(-1, id);
	let_go(id);
}

void shim_copied(int from, int to)
{
	if (from >= 0 && from < MOST && to >= 0 && to < MOST && from != to && table[from])
		table[to] = table[from];
}

void shim_forget_descriptors(void)
{
	memset(table, 0, sizeof(table));
}
