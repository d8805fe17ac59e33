#include "runtime/mpk.h"
#include "common/log.h"
#include "runtime/fault.h"
#include "runtime/map.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int eb_mpk_key;

/* Rings are mapped once more, twice in a row: that memory is as good as the segment's own. */
static int cover(const struct eb_map *map)
{
	int error = map->mapping ? eb_pkey_protect(map->mapping, map->mapping_size, eb_mpk_key) : 0;

	if (error)
		eb_log_error("a map's second mapping cannot be protected: %s", strerror(-error));
	return error;
}

/* What is written is what stands there: should the write succeed, nobody notices but us. */
static int write_is_possible(void)
{
	uint64_t same = eb_view.segment->magic;

	return !eb_put(&eb_view.segment->magic, &same, sizeof(same));
}

static int protect(int key, const char **what)
{
	int error = eb_pkey_protect(eb_view.segment, EB_SEGMENT_SIZE, key);

	*what = "no key can be put on the segment";
	if (error)
		return error;
	*what = "faults cannot be caught";
	error = eb_fault_install();
	if (error)
		return error;
	*what = "the segment can be written to without the key";
	return write_is_possible() ? -EPERM : 0;
}

int eb_mpk_start(char *error, size_t size)
{
	const char *what = "there is no protection key";
	int key = eb_pkey_alloc(), result = key < 0 ? key : protect(key, &what);

	if (result) {
		if (key > 0) /* whoever leaves the segment writes to it */
			eb_pkey_protect(eb_view.segment, EB_SEGMENT_SIZE, 0);
		snprintf(error, size, "EMBEDDED_PROTECT: %s: %s", what, strerror(-result));
		return result;
	}
	eb_mpk_key = key;
	eb_map_opened = cover;
	return 0;
}
