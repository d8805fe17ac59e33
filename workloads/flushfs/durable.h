/*
 * What would be left after a power failure. There are two directories of the same shape: `live` is what programs see, `durable`
 * what the disk holds. Everything happens to live at once and reaches durable by a flush only:
 *
 *   - data: what was written to a file, when that file is flushed;
 *   - names (create, rename, remove, links, modes, truncation): all of them in their order, when *any* file or directory is
 *     flushed, as the journals of ext4 and XFS have it.
 *
 * A flush takes in what is there when the device begins with it: what is written while it lasts is left to the next one, as
 * nobody promises more. Nothing becomes durable with time. So what a program finds in `durable` after a loss is the least that a disk with an honest
 * flush would have kept.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct durable_counts {
	uint64_t writes, written_bytes, begun, flushes, flushed_bytes, flush_ns, pending_bytes, pending_names;
};

/* Directories by descriptor; every path below is relative to them. A flush takes at least `latency_ns`. */
void durable_start(int live, int durable, uint64_t latency_ns);
void durable_set_latency(uint64_t latency_ns);
struct durable_counts durable_counts(void);

/* From here on nothing reaches durable any more; what is pending is lost, and all calls below return −EIO. */
void durable_drop(void);

/* A change of names: does `operation` to live now, and to durable at the next flush. 0 or −errno. `other` and `value` as needed. */
enum name_operation { NAME_CREATE, NAME_DIRECTORY, NAME_REMOVE, NAME_REMOVE_DIRECTORY, NAME_RENAME, NAME_LINK, NAME_SYMLINK, NAME_MODE, NAME_SIZE };
int durable_name(enum name_operation operation, const char *path, const char *other, uint64_t value);

/* Writes to a live file; the number of bytes or −errno. */
ssize_t durable_write(int file, const void *data, size_t size, off_t offset);

/* Makes names durable, and the data of this file if `path` is not NULL. 0 or −errno. */
int durable_flush(const char *path);
