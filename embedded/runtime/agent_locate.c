/*
 * Where files are mapped: as a kernel's uprobe, a probe is at an offset of a file, wherever that is in memory. The maps are read
 * once for all the links that are looked at together.
 */
#include "runtime/agent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

struct mapping {
	uint64_t start, end, offset, inode, device;
	char permissions[5];
	char *path; /* in `text` */
};

static struct mapping *mappings;
static size_t n_mappings, room;
static char *text;
static size_t text_size;

/* "start-end perms offset major:minor inode   path" */
static int parse(char *line, struct mapping *mapping)
{
	unsigned major, minor;

	mapping->start = strtoul(line, &line, 16);
	mapping->end = *line == '-' ? strtoul(line + 1, &line, 16) : 0;
	if (*line != ' ' || strlen(line) < 6)
		return 0;
	memcpy(mapping->permissions, line + 1, 4);
	mapping->permissions[4] = '\0';
	mapping->offset = strtoul(line + 6, &line, 16);
	major = (unsigned)strtoul(line, &line, 16);
	minor = *line == ':' ? (unsigned)strtoul(line + 1, &line, 16) : 0;
	mapping->device = makedev(major, minor);
	mapping->inode = strtoul(line, &line, 10);
	mapping->path = line + strspn(line, " ");
	return mapping->inode != 0;
}

static void read_text(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	size_t n, used = 0;

	while (maps) {
		if (text_size - used < 4096) {
			char *larger = realloc(text, text_size + 65536);

			if (!larger)
				break;
			text = larger;
			text_size += 65536;
		}
		n = fread(text + used, 1, text_size - used - 1, maps);
		used += n;
		if (!n)
			break;
	}
	if (maps)
		fclose(maps);
	if (text)
		text[used] = '\0';
}

void agent_look_at_maps(void)
{
	char *line, *rest;

	read_text();
	n_mappings = 0;
	rest = text;
	while ((line = strsep(&rest, "\n")) && *line) {
		if (n_mappings == room) {
			struct mapping *larger = realloc(mappings, sizeof(*mappings) * (room + 64));

			if (!larger)
				return;
			mappings = larger;
			room += 64;
		}
		n_mappings += (size_t)parse(line, &mappings[n_mappings]);
	}
}

/* Some file systems show another device in the maps than in stat: then the path has to do. */
static int same_file(const struct mapping *mapping, uint64_t device, uint64_t inode, const char *path)
{
	return mapping->inode == inode && (mapping->device == device || !strcmp(mapping->path, path));
}

uint64_t agent_locate(uint64_t device, uint64_t inode, const char *path, uint64_t offset, char permission)
{
	for (size_t i = 0; i < n_mappings; i++) {
		const struct mapping *mapping = &mappings[i];

		if (same_file(mapping, device, inode, path) && strchr(mapping->permissions, permission) &&
		    offset >= mapping->offset && offset - mapping->offset < mapping->end - mapping->start)
			return mapping->start + (offset - mapping->offset);
	}
	return 0;
}
