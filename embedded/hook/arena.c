#include "hook/arena.h"
#include "hook/raw.h"
#include "common/common.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>

#define BLOCK_SIZE 0x10000ul
#define REACH 0x7f000000ul /* of a rel32, less what functions, data and blocks may add */
#define LOWEST 0x100000ul
#define HIGHEST 0x7fffffff0000ul
#define BLOCKS 1024

struct block {
	uint64_t at, used;
};

static struct block blocks[BLOCKS];
static unsigned count;

static int reaches(uint64_t a, uint64_t b)
{
	return a > b ? a - b < REACH : b - a < REACH;
}

/* Mappings, as /proc/self/maps tells them, one after the other. */
struct maps {
	long fd, have, at;
	char buffer[4096];
};

static int next_byte(struct maps *maps)
{
	if (maps->at == maps->have) {
		maps->have = raw(SYS_read, maps->fd, maps->buffer, sizeof(maps->buffer));
		maps->at = 0;
		if (maps->have <= 0)
			return -1;
	}
	return (unsigned char)maps->buffer[maps->at++];
}

static int digit(int byte)
{
	return byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static int next_mapping(struct maps *maps, uint64_t *start, uint64_t *end)
{
	int byte;

	*start = *end = 0;
	for (byte = next_byte(maps); digit(byte) >= 0; byte = next_byte(maps))
		*start = *start << 4 | (uint64_t)digit(byte);
	if (byte != '-')
		return 0;
	for (byte = next_byte(maps); digit(byte) >= 0; byte = next_byte(maps))
		*end = *end << 4 | (uint64_t)digit(byte);
	while (byte >= 0 && byte != '\n')
		byte = next_byte(maps);
	return 1;
}

/* The nearest place below `near`, else above: what lies below an object does not grow, as the heap above one does. */
static uint64_t find_gap(uint64_t near)
{
	struct maps maps = { raw(SYS_open, "/proc/self/maps", O_RDONLY | O_CLOEXEC), 0, 0, {} };
	uint64_t from = LOWEST, start, end, below = 0, above = 0;

	if (maps.fd < 0)
		return 0;
	while (!above && next_mapping(&maps, &start, &end)) {
		if (start > from && start - from >= 2 * BLOCK_SIZE) {
			/* a page is left free on both sides: stacks have their guards there */
			if (start <= near && reaches(start, near))
				below = (start - BLOCK_SIZE - 4096) & ~(BLOCK_SIZE - 1);
			else if (start > near && from > near && reaches(start, near))
				above = (start - BLOCK_SIZE - 4096) & ~(BLOCK_SIZE - 1);
		}
		from = end > from ? end : from;
	}
	if (!above && from > near && from + (64ul << 20) < HIGHEST)
		above = (from + (32ul << 20)) & ~(BLOCK_SIZE - 1);
	raw(SYS_close, maps.fd);
	return below && reaches(below, near) ? below : above && reaches(above, near) ? above : 0;
}

static struct block *add(uint64_t near)
{
	for (int attempt = 0; attempt < 8 && count < BLOCKS; attempt++) {
		uint64_t gap = find_gap(near);
		long at;

		if (!gap)
			return NULL;
		at = raw(SYS_mmap, gap, BLOCK_SIZE, PROT_READ | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (at < 0 && at > -4096)
			continue; /* somebody was faster */
		if ((uint64_t)at != gap) {
			raw(SYS_munmap, at, BLOCK_SIZE);
			return NULL;
		}
		blocks[count] = (struct block){ gap, 0 };
		return &blocks[count++];
	}
	return NULL;
}

unsigned char *eb_arena_take(const void *near, size_t size)
{
	struct block *found = NULL;

	size = eb_round(size, 16);
	for (unsigned i = 0; !found && i < count; i++)
		if (blocks[i].used + size <= BLOCK_SIZE && reaches(blocks[i].at, (uint64_t)near))
			found = &blocks[i];
	if (!found)
		found = add((uint64_t)near);
	if (!found)
		return NULL;
	found->used += size;
	return (unsigned char *)found->at + found->used - size;
}
