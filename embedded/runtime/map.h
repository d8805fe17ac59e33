/*
 * Maps. What lies in the segment is position-independent; struct eb_map is one process's view of it, made of plain pointers,
 * and what programs are given as "the map".
 *
 * Functions of one shape are helpers as programs call them: addresses in, a value or an errno out, nothing but general
 * registers touched, no libc, safe against signals that hit again and against threads and processes that die at any
 * instruction.
 */
#ifndef EB_MAP_H
#define EB_MAP_H

#include "common/common.h"
#include "runtime/segment.h"

#include <errno.h>
#include <linux/bpf.h>

struct eb_map;

struct eb_map_kind {
	const char *name;
	/* Whether the shape is possible (0 or −errno), and how much memory it takes. */
	int (*check)(const struct eb_map_shape *shape);
	uint64_t (*size)(const struct eb_map_shape *shape, uint32_t cpus);
	/* Sets this process's pointers; and `fresh`, in the maker, fills new memory. 0 or −errno. */
	int (*open)(struct eb_map *map, int fresh);
	void (*close)(struct eb_map *map);

	/* As programs call them. NULL: -EOPNOTSUPP (or NULL for a lookup). */
	void *(*lookup)(struct eb_map *map, const void *key);
	long (*update)(struct eb_map *map, const void *key, const void *value, uint64_t flags);
	long (*erase)(struct eb_map *map, const void *key);
	long (*push)(struct eb_map *map, const void *value, uint64_t flags);
	long (*pop)(struct eb_map *map, void *value);
	long (*peek)(struct eb_map *map, void *value);
	void *(*lookup_on)(struct eb_map *map, const void *key, uint32_t cpu); /* per-CPU maps */

	/* As the loader calls them; NULL: made of the above. A per-CPU map's value is one a CPU, each rounded up to 8 bytes. */
	long (*read)(struct eb_map *map, const void *key, void *value);
	long (*write)(struct eb_map *map, const void *key, const void *value, uint64_t flags);
	long (*next)(struct eb_map *map, const void *key, void *next);
};

struct eb_map {
	const struct eb_map_kind *kind;
	uint32_t id, cpus;
	struct eb_map_shape *shape; /* in the segment */
	char *memory;
	uint32_t key_size, value_size, entries, flags;
	/* arrays; values of hashes per CPU */
	char *values;
	uint64_t stride, cpu_stride;
	/* hashes */
	uint64_t *buckets;
	char *elements;
	uint64_t element_size;
	uint32_t key_offset, shift;
	struct eb_hash *hash;
	uint8_t *used; /* LRU */
	/* rings */
	struct eb_ring *ring;
	char *data;
	uint64_t mask;
	/* prog arrays: what this process has compiled, one a slot */
	const void **targets;
	/* mapped beside the segment */
	void *mapping;
	size_t mapping_size;
};

/* Called with each view that was opened, if it is not NULL; 0 or −errno. */
extern int (*eb_map_opened)(const struct eb_map *map);

const struct eb_map_kind *eb_map_kind(uint32_t type);
/* Whether such a map can be made. 0 or −errno. */
int eb_map_check(const struct eb_map_shape *shape);

/* This process's view of a live map, made on first use; NULL if there is none. Not for the hit path. */
struct eb_map *eb_map_of(uint32_t id);
/* Fills a new object's memory; the object is not published yet. 0 or −errno. */
int eb_map_prepare(struct eb_object *object);
/* Drops the view of an object that has died; nothing may use it any more. */
void eb_map_forget(uint32_t id);
/* Bytes of a value as the loader sees it. */
uint32_t eb_map_user_size(const struct eb_map *map);
/* Loader's calls. 0 or −errno. */
long eb_map_read(struct eb_map *map, const void *key, void *value);
long eb_map_write(struct eb_map *map, const void *key, const void *value, uint64_t flags);
long eb_map_erase(struct eb_map *map, const void *key);
long eb_map_next(struct eb_map *map, const void *key, void *next);

extern const struct eb_map_kind eb_map_array, eb_map_per_cpu_array, eb_map_prog_array, eb_map_perf_array, eb_map_hash,
	eb_map_per_cpu_hash, eb_map_lru_hash, eb_map_lru_per_cpu_hash, eb_map_ring, eb_map_queue, eb_map_stack, eb_map_lpm,
	eb_map_bloom, eb_map_stack_trace;

#endif
