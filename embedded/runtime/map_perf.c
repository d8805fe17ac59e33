/* bpf_perf_event_output: records as perf writes them, into the memory of a perf event that the loader has opened and mapped. */
#include "runtime/helpers.h"
#include "runtime/ring.h"

#include <linux/perf_event.h>

static inline struct perf_event_mmap_page *page_of(const struct eb_object *event)
{
	return (struct perf_event_mmap_page *)((char *)eb_object_memory(event) + EB_OUTPUT_PAGES);
}

/* Writes at a position of the data, which may wrap. */
static uint64_t write_at(struct perf_event_mmap_page *page, uint64_t at, const void *from, uint64_t size)
{
	char *data = (char *)page + page->data_offset;
	uint64_t start = at & (page->data_size - 1), first = page->data_size - start;

	if (first > size)
		first = size;
	eb_copy(data + start, from, first);
	eb_copy(data, (const char *)from + first, size - first);
	return at + size;
}

struct lost {
	struct perf_event_header header;
	uint64_t id, lost;
};

static int room(const struct perf_event_mmap_page *page, uint64_t head, uint64_t size)
{
	return page->data_size && head + size - eb_load(&page->data_tail) <= page->data_size;
}

static long write_record(struct eb_output *output, struct perf_event_mmap_page *page, const void *data, uint64_t size)
{
	/* the raw size counts the padding that makes the record a multiple of 8 bytes */
	uint32_t raw = (uint32_t)eb_round(size + 4, 8) - 4;
	struct perf_event_header header = { PERF_RECORD_SAMPLE, PERF_RECORD_MISC_USER, (uint16_t)(sizeof(header) + 4 + raw) };
	struct lost lost = { { PERF_RECORD_LOST, 0, sizeof(lost) }, 0, output->lost };
	uint64_t head = eb_peek(&page->data_head), zero = 0;

	if (!room(page, head, header.size + (lost.lost ? sizeof(lost) : 0))) {
		output->lost++;
		return -ENOSPC;
	}
	if (lost.lost)
		head = write_at(page, head, &lost, sizeof(lost));
	output->lost = 0;
	head = write_at(page, head, &header, sizeof(header));
	head = write_at(page, head, &raw, sizeof(raw));
	head = write_at(page, head, data, size);
	head = write_at(page, head, &zero, raw - size);
	__atomic_store_n(&page->data_head, head, __ATOMIC_SEQ_CST);
	return 0;
}

EB_HELPER(eb_perf_event_output)
{
	const struct eb_map *map = (const struct eb_map *)r2;
	uint32_t index = (uint32_t)r3;
	struct eb_object *event;
	uint64_t token;
	long result;

	EB_UNUSED;
	if (r3 >> 32 || r5 > 65535 - 16)
		return (uint64_t)(r3 >> 32 ? -EINVAL : -E2BIG);
	if (index == (uint32_t)BPF_F_CURRENT_CPU)
		index = eb_cpu();
	if (index >= map->entries)
		return (uint64_t)-E2BIG;
	index = eb_load((uint32_t *)(map->values + index * map->stride));
	event = index ? eb_object_find(index, EB_EVENT) : NULL;
	if (!event || !event->size)
		return (uint64_t)-ENOENT;
	if (!eb_acquire(eb_object_memory(event), &token))
		return (uint64_t)-EBUSY;
	result = write_record(eb_object_memory(event), page_of(event), (const void *)r4, r5);
	eb_release(eb_object_memory(event), token);
	eb_output_wake();
	return (uint64_t)result;
}

int eb_output_ready(const struct eb_object *event)
{
	const struct perf_event_mmap_page *page = page_of(event);

	return event->size && eb_load(&page->data_head) != eb_load(&page->data_tail);
}
