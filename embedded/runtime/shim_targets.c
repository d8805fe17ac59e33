/*
 * Whether something jumps into the bytes that a probe will replace is found out here, once, and not in every process that is probed:
 * that takes half a millisecond for a libc, as long as a short process.
 */
#include "common/branches.h"
#include "runtime/process.h"
#include "runtime/shim.h"

#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The text that was looked at last: probes come several to a file. */
static struct {
	uint64_t device, inode;
	struct timespec changed;
	uint64_t start, size; /* in the file */
	unsigned char *bits;
} text;

static int is_of(const struct stat *status, uint64_t offset)
{
	return text.bits && text.device == status->st_dev && text.inode == status->st_ino &&
	       text.changed.tv_sec == status->st_mtim.tv_sec && text.changed.tv_nsec == status->st_mtim.tv_nsec &&
	       offset - text.start < text.size;
}

/* The executable segment that the offset is in. Nothing in the file is trusted to lie inside it. */
static int find_segment(const char *file, uint64_t size, uint64_t offset, uint64_t *start, uint64_t *length)
{
	const ElfW(Ehdr) *header = (const void *)file;
	const ElfW(Phdr) *segments;

	if (size < sizeof(*header) || memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64 ||
	    header->e_phoff > size || size - header->e_phoff < header->e_phnum * sizeof(*segments))
		return 0;
	segments = (const void *)(file + header->e_phoff);
	for (unsigned i = 0; i < header->e_phnum; i++) {
		*start = segments[i].p_offset;
		*length = segments[i].p_filesz;
		if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) && offset - *start < *length)
			return *start <= size && *length <= size - *start;
	}
	return 0;
}

static int look_at(const char *file, const struct stat *status, uint64_t offset)
{
	free(text.bits);
	text.bits = NULL;
	if (!find_segment(file, (uint64_t)status->st_size, offset, &text.start, &text.size))
		return 0;
	text.bits = calloc(1, text.size / 8 + 8);
	if (!text.bits)
		return 0;
	text.device = status->st_dev;
	text.inode = status->st_ino;
	text.changed = status->st_mtim;
	eb_note_branches((const unsigned char *)file + text.start, text.size, text.bits);
	return 1;
}

static int read_text(const char *path, uint64_t offset)
{
	long descriptor = eb_system_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	struct stat status;
	long at = -1;
	int known = 0;

	if (descriptor < 0)
		return 0;
	if (fstat((int)descriptor, &status))
		status = (struct stat){ .st_size = 0 };
	known = is_of(&status, offset);
	if (!known && status.st_size > 0)
		at = eb_system_call(SYS_mmap, 0, status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
	eb_system_call(SYS_close, descriptor, 0, 0, 0, 0, 0);
	if (known || (at < 0 && at > -4096))
		return known;
	known = look_at((const char *)at, &status, offset);
	eb_system_call(SYS_munmap, at, status.st_size, 0, 0, 0, 0);
	return known;
}

uint32_t shim_targets(const char *path, uint64_t offset, uint32_t *targets)
{
	uint64_t first;

	*targets = 0;
	if (!read_text(path, offset))
		return 0;
	first = offset - text.start;
	for (unsigned i = 0; i < 32 && first + i < text.size; i++)
		*targets |= (uint32_t)(text.bits[(first + i) / 8] >> (first + i) % 8 & 1) << i;
	return 1;
}
