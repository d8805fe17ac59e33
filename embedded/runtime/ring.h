/*
 * Rings that programs write and loaders read through mmap: BPF ring buffers and perf buffers. Their readers are libbpf's, so
 * what they see is the kernel's layout.
 */
#ifndef EB_RING_H
#define EB_RING_H

#include "runtime/map.h"
#include "runtime/thread.h"

/* Memory of a ring buffer: this page, the consumer's, the producer's, then the data. */
struct eb_ring {
	struct eb_lock lock;
};

#define EB_RING_CONSUMER (1 * EB_PAGE)
#define EB_RING_PRODUCER (2 * EB_PAGE)
#define EB_RING_DATA (3 * EB_PAGE)

/* Memory of a perf event's output: this page, then perf_event_mmap_page and the data as mmap shows them. */
struct eb_output {
	struct eb_lock lock;
	uint64_t lost;
};

#define EB_OUTPUT_PAGES EB_PAGE

/* Whether a reader would find something. Records that their dead owners never finished are discarded on the way. */
int eb_ring_ready(struct eb_map *map);
/* The same for all ring buffers of the segment, for readers who only ever look at memory. Not for the hit path. */
void eb_rings_unblock(void);
/* Discards the records that this thread has reserved: what would have finished them has been left. */
void eb_ring_left(void);
int eb_output_ready(const struct eb_object *event);

/* For readers: announce, look at the rings, sleep unless something came (the word is as announced), take it back. */
uint32_t eb_output_announce(void);
int eb_output_sleep(uint32_t word, int milliseconds); /* as eb_futex_wait() */
/* For writers, after a record is complete (a full barrier lies between). */
static inline void eb_output_wake(void)
{
	extern void eb_output_wake_now(void);

	if (eb_unlikely(eb_peek(&eb_view.segment->sleepers)))
		eb_output_wake_now();
}

#endif
