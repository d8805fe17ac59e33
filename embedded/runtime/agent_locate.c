/* Where files are mapped: as a kernel's uprobe, a probe is at an offset of a file, wherever that is in memory. */
#include "runtime/agent.h"

#include <string.h>
#include <sys/sysmacros.h>

struct mapping {
	uint64_t start, end, offset, inode;
	unsigned major, minor;
	char permissions[8];
	char path[4096];
};

static int parse(const char *line, struct mapping *mapping)
{
	int n = sscanf(line, "%lx-%lx %7s %lx %x:%x %lu %4095[^\n]", &mapping->start, &mapping->end, mapping->permissions,
		       &mapping->offset, &mapping->major, &mapping->minor, &mapping->inode, mapping->path);

	if (n == 7)
		mapping->path[0] = '\0';
	return n >= 7;
}

/* Some file systems show another device in the maps than in stat: then the path has to do. */
static int same_file(const struct mapping *mapping, uint64_t device, uint64_t inode, const char *path)
{
	return mapping->inode == inode && (makedev(mapping->major, mapping->minor) == device || !strcmp(mapping->path, path));
}

uint64_t agent_locate(uint64_t device, uint64_t inode, const char *path, uint64_t offset, char permission)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	struct mapping mapping;
	char line[4400];
	uint64_t found = 0;

	while (maps && !found && fgets(line, sizeof(line), maps)) {
		if (!parse(line, &mapping) || !same_file(&mapping, device, inode, path) || !strchr(mapping.permissions, permission))
			continue;
		if (offset >= mapping.offset && offset - mapping.offset < mapping.end - mapping.start)
			found = mapping.start + (offset - mapping.offset);
	}
	if (maps)
		fclose(maps);
	return found;
}
