/*
 * mmap of maps and events, and epoll on ring and perf buffers. A memfd cannot be polled, so our descriptors never get into the
 * kernel's epoll set: they are kept in a list beside it, and waiting looks at both.
 */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/ring.h"
#include "runtime/shim.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- mmap --- */

static long map_memory(void *at, size_t length, int protection, int flags, uint64_t offset)
{
	return eb_system_call(SYS_mmap, (long)at, (long)length, protection, (flags & ~MAP_PRIVATE) | MAP_SHARED, eb_view.file,
			      (long)offset);
}

/* The producer's page and the data, then the data again: as the kernel maps a ring buffer from its second page on. */
static long map_producer(const struct eb_object *object, size_t length, int protection, int flags)
{
	size_t size = object->map.max_entries;
	uint64_t offset = object->offset + EB_RING_PRODUCER;
	long at, again;

	if (length != EB_PAGE + 2 * size || protection & PROT_WRITE)
		return length > EB_PAGE + 2 * size ? -EINVAL : protection & PROT_WRITE ? -EPERM
			: map_memory(NULL, length, protection, flags, offset);
	at = eb_system_call(SYS_mmap, 0, (long)length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at < 0)
		return at;
	again = map_memory((void *)at, EB_PAGE + size, protection, flags | MAP_FIXED, offset);
	if (again >= 0)
		again = map_memory((char *)at + EB_PAGE + size, size, protection, flags | MAP_FIXED, offset + EB_PAGE);
	return again < 0 ? again : at;
}

static long map_map(const struct eb_object *object, void *at, size_t length, int protection, int flags, uint64_t offset)
{
	if (object->map.type == BPF_MAP_TYPE_RINGBUF) {
		if (offset == EB_PAGE)
			return map_producer(object, length, protection, flags);
		if (offset || length > EB_PAGE)
			return -EINVAL;
		shim_watch_rings();
		return map_memory(at, length, protection, flags, object->offset + EB_RING_CONSUMER);
	}
	if (object->map.type != BPF_MAP_TYPE_ARRAY || !(object->map.flags & BPF_F_MMAPABLE))
		return -ENOTSUP;
	if (offset + length > eb_round(object->size, EB_PAGE))
		return -EINVAL;
	if (object->map.frozen && protection & PROT_WRITE)
		return -EPERM;
	return map_memory(at, length, protection, flags, object->offset + offset);
}

/* The first mmap of a perf event says how large its buffer is, and makes it: one page and a power of two of pages. */
static long map_event(struct eb_object *object, void *at, size_t length, int protection, int flags)
{
	size_t data = length - EB_PAGE;
	struct eb_object *memory;
	struct perf_event_mmap_page *page;
	int error = 0;

	if (object->event.kind != EB_EVENT_OUTPUT || length <= EB_PAGE || data & (data - 1))
		return -EINVAL;
	eb_segment_lock();
	if (!object->size) {
		memory = eb_object_make("", EB_OUTPUT_PAGES + length, &error);
		if (memory) {
			page = (struct perf_event_mmap_page *)((char *)eb_object_memory(memory) + EB_OUTPUT_PAGES);
			page->data_offset = EB_PAGE;
			page->data_size = data;
			object->offset = memory->offset;
			eb_store(&object->size, memory->size); /* the other object was never published: it is free again */
		}
	}
	eb_segment_unlock();
	if (error)
		return error;
	return length + EB_OUTPUT_PAGES > object->size ? -EINVAL
						       : map_memory(at, length, protection, flags, object->offset + EB_OUTPUT_PAGES);
}

int shim_mmap(void *at, size_t length, int protection, int flags, int descriptor, off_t offset, void **result)
{
	uint32_t id = descriptor < 0 || flags & MAP_ANONYMOUS ? 0 : shim_object(descriptor);
	struct eb_object *object = id && id != UINT32_MAX ? &eb_view.segment->objects[id % EB_OBJECTS] : NULL;
	long address;

	if (!object || object->id != id)
		return 0;
	if (object->kind == EB_MAP)
		address = map_map(object, at, length, protection, flags, (uint64_t)offset);
	else
		address = object->kind == EB_EVENT && !offset ? map_event(object, at, length, protection, flags) : -EINVAL;
	*result = (void *)address;
	return 1;
}

/* --- epoll --- */

#define MOST 512

static struct watched {
	int epoll; /* −1: free */
	uint32_t id;
	epoll_data_t data;
} watched[MOST];
static unsigned n_watched; /* as far as they reach */
static pthread_mutex_t watching = PTHREAD_MUTEX_INITIALIZER;

static struct watched *find_watched(int epoll, uint32_t id)
{
	for (unsigned i = 0; i < n_watched; i++)
		if (watched[i].epoll == epoll && watched[i].id == id)
			return &watched[i];
	return NULL;
}

static long watch(int epoll, int operation, uint32_t id, const struct epoll_event *event)
{
	struct watched *found = find_watched(epoll, id);

	if (operation == EPOLL_CTL_ADD ? found != NULL : !found)
		return found ? -EEXIST : -ENOENT;
	if (operation == EPOLL_CTL_DEL) {
		found->epoll = -1;
		return 0;
	}
	if (!found)
		found = find_watched(-1, 0);
	if (!found && n_watched < MOST)
		found = &watched[n_watched++];
	if (!found)
		return -ENOSPC;
	*found = (struct watched){ epoll, id, event->data };
	return 0;
}

int shim_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event, long *result)
{
	uint32_t id = shim_object(descriptor);

	if (!id || id == UINT32_MAX)
		return 0;
	if (eb_object_find(id, EB_MAP) && eb_map_of(id)->kind != &eb_map_ring) {
		*result = -EPERM;
		return 1;
	}
	pthread_mutex_lock(&watching);
	*result = watch(epoll, operation, id, event);
	pthread_mutex_unlock(&watching);
	return 1;
}

void shim_epoll_closed(int epoll, uint32_t id)
{
	for (unsigned i = 0; i < n_watched; i++)
		if ((epoll >= 0 && watched[i].epoll == epoll) || (id && watched[i].id == id))
			watched[i] = (struct watched){ .epoll = -1 };
}

static int is_ready(uint32_t id)
{
	struct eb_object *event = eb_object_find(id, EB_EVENT);
	struct eb_map *map;

	if (event)
		return eb_output_ready(event);
	map = eb_map_of(id);
	return map && eb_ring_ready(map);
}

/* Fills events with what of ours is ready; *ours: how many we watch for this one. */
static int collect(int epoll, struct epoll_event *events, int most, unsigned *ours)
{
	int n = 0;

	*ours = 0;
	pthread_mutex_lock(&watching);
	for (unsigned i = 0; i < n_watched; i++) {
		if (watched[i].epoll != epoll)
			continue;
		++*ours;
		if (n < most && is_ready(watched[i].id))
			events[n++] = (struct epoll_event){ .events = EPOLLIN, .data = watched[i].data };
	}
	pthread_mutex_unlock(&watching);
	return n;
}

/* The kernel's part of the set: what is ready now, without waiting. */
static long poll_kernel(int epoll, struct epoll_event *events, int most)
{
	return most > 0 ? eb_system_call(SYS_epoll_pwait, epoll, (long)events, most, 0, 0, 8) : 0;
}

/*
 * How long one sleep may be: signals and writers end it, but the death of a writer in the middle of a record and the kernel's
 * descriptors in the same set do not.
 */
#define SLEEP 50
#define SLEEP_MIXED 2

/* Whether the kernel's own set has anything in it, by what /proc says of it. */
static int kernel_has_some(int epoll)
{
	char path[64], text[1024];
	ssize_t n;
	long file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll);
	file = eb_system_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	if (file < 0)
		return 1;
	n = read((int)file, text, sizeof(text) - 1);
	eb_system_call(SYS_close, file, 0, 0, 0, 0, 0);
	text[n > 0 ? n : 0] = '\0';
	return strstr(text, "tfd:") != NULL;
}

/* Sleeps until a writer, a signal, or `until` if that is not 0. */
static long sleep_until(uint32_t word, uint64_t until, int longest)
{
	uint64_t now = eb_milliseconds();

	if (until && until < now + (uint64_t)longest)
		longest = until > now ? (int)(until - now) : 0;
	return eb_output_sleep(word, longest);
}

int shim_epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds, long *result)
{
	uint64_t until = milliseconds < 0 ? 0 : eb_milliseconds() + (uint64_t)milliseconds;
	int mixed = -1;
	unsigned ours;

	if (!eb_view.segment || !n_watched || most <= 0)
		return 0;
	for (;;) {
		uint32_t word = eb_output_announce();
		int n = collect(epoll, events, most, &ours);
		long theirs;

		if (!ours)
			return 0;
		if (mixed < 0 && !n)
			mixed = kernel_has_some(epoll);
		theirs = mixed > 0 ? poll_kernel(epoll, events + n, most - n) : 0;
		*result = theirs < 0 && !n ? theirs : n + (theirs > 0 ? theirs : 0);
		if (*result || (until && eb_milliseconds() >= until))
			return 1;
		if (sleep_until(word, until, mixed > 0 ? SLEEP_MIXED : SLEEP) == -EINTR) {
			*result = -EINTR;
			return 1;
		}
	}
}
