#include "hook/inject_target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("inject: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1); /* the kernel detaches */
}

/* --- a file, as the target sees it --- */

struct image {
	char *at;
	size_t size;
};

static int open_image(pid_t pid, const char *path, struct image *image)
{
	char name[PATH_MAX + 32];
	struct stat info;
	int fd, found = 0;

	snprintf(name, sizeof(name), "/proc/%d/root%s", pid, path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (!fstat(fd, &info) && info.st_size > (off_t)sizeof(Elf64_Ehdr)) {
		image->size = (size_t)info.st_size;
		image->at = mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, fd, 0);
		found = image->at != MAP_FAILED && !memcmp(image->at, ELFMAG, SELFMAG) &&
			image->at[EI_CLASS] == ELFCLASS64 && ((Elf64_Ehdr *)image->at)->e_machine == EM_X86_64;
		if (!found && image->at != MAP_FAILED)
			munmap(image->at, image->size);
	}
	close(fd);
	return found;
}

/* Value of a function in the dynamic symbols of a file, 0 when it is not there. */
static uint64_t symbol_in(const char *image, const char *name)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + header->e_shoff);

	for (int i = 0; i < header->e_shnum; i++) {
		const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
		const char *strings = image + sections[sections[i].sh_link].sh_offset;

		for (size_t n = 0; sections[i].sh_type == SHT_DYNSYM && n < sections[i].sh_size / sizeof(*symbols); n++)
			if (symbols[n].st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbols[n].st_info) == STT_FUNC &&
			    !strcmp(strings + symbols[n].st_name, name))
				return symbols[n].st_value;
	}
	return 0;
}

/* The address that the file's first loadable segment was linked for. */
static uint64_t first_address(const char *image)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
	const Elf64_Phdr *segments = (const Elf64_Phdr *)(image + header->e_phoff);

	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			return segments[i].p_vaddr & -4096ul;
	return 0;
}

static uint64_t address_in(const struct image *image, uint64_t base, const char *name)
{
	uint64_t value = symbol_in(image->at, name);

	return value ? value - first_address(image->at) + base : 0;
}

/* --- what is mapped --- */

typedef void visit(struct target *target, const char *path, uint64_t start, uint64_t end, uint64_t offset, void *data);

static int for_each_mapping(struct target *target, visit *visit, void *data)
{
	char path[64], line[PATH_MAX + 256], name[PATH_MAX + 1];
	uint64_t start, end, offset;
	FILE *maps;
	int files = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", target->pid);
	maps = fopen(path, "re");
	if (!maps)
		return -1;
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4096[^\n]", &start, &end, &offset, name) == 4 && *name == '/') {
			visit(target, name, start, end, offset, data);
			files++;
		}
	if (ferror(maps))
		files = -1;
	fclose(maps);
	return files;
}

static void look_for_linker(struct target *target, const char *path, uint64_t start, uint64_t end, uint64_t offset, void *data)
{
	const char *name = strrchr(path, '/') + 1;
	struct image image;

	(void)data;
	if (!strncmp(name, "ld-", 3) || !strncmp(name, "ld.", 3)) {
		if (!target->linker_start)
			target->linker_start = start;
		target->linker_end = end;
	}
	if (offset || target->dlopen || !(strstr(name, ".so") || strstr(name, "libc")) ||
	    !open_image(target->pid, path, &image))
		return;
	target->dlopen = address_in(&image, start, "dlopen");
	if (!target->dlopen)
		target->dlopen = address_in(&image, start, "__libc_dlopen_mode");
	target->dlerror = target->dlopen ? address_in(&image, start, "dlerror") : 0;
	munmap(image.at, image.size);
}

struct wanted {
	const char *library, *name;
	uint64_t address;
};

static void look_for_function(struct target *target, const char *path, uint64_t start, uint64_t end, uint64_t offset, void *data)
{
	struct wanted *wanted = data;
	struct image image;

	(void)end;
	if (offset || strcmp(path, wanted->library) || !open_image(target->pid, path, &image))
		return;
	wanted->address = address_in(&image, start, wanted->name);
	munmap(image.at, image.size);
}

uint64_t function_of(const struct target *target, const char *library, const char *name)
{
	struct target copy = *target;
	struct wanted wanted = { library, name, 0 };

	for_each_mapping(&copy, look_for_function, &wanted);
	return wanted.address;
}

/* --- why not --- */

uint64_t status_number(pid_t pid, pid_t tid, const char *field, int base)
{
	char path[64], line[256];
	uint64_t value = 0;
	size_t length = strlen(field);
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, field, length) && line[length] == ':')
			value = strtoull(line + length + 1, NULL, base);
	if (status)
		fclose(status);
	return value;
}

/* The letter of a process's state, 0: there is none. */
static char state_of(pid_t pid)
{
	char path[64], line[256], state = 0;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "re");
	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "State: %c", &state) == 1)
			break;
	if (status)
		fclose(status);
	return state;
}

static int is_anothers(pid_t pid)
{
	return geteuid() && status_number(pid, pid, "Uid", 10) != geteuid();
}

const char *why_untraceable(pid_t pid, int error)
{
	static char text[256];
	uint64_t tracer = status_number(pid, pid, "TracerPid", 10);
	FILE *scope;
	int level = 0;

	if (tracer)
		snprintf(text, sizeof(text), "process %lu traces it already (a debugger, or strace)", tracer);
	else if (error == EPERM && is_anothers(pid))
		snprintf(text, sizeof(text), "it is another user's (uid %lu)", status_number(pid, pid, "Uid", 10));
	else {
		snprintf(text, sizeof(text), "%s", strerror(error));
		scope = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
		if (error == EPERM && scope && fscanf(scope, "%d", &level) == 1 && level)
			snprintf(text, sizeof(text), "%s; kernel.yama.ptrace_scope is %d", strerror(error), level);
		else if (error == EPERM)
			snprintf(text, sizeof(text), "%s; it is not dumpable, has more privileges, or tracing is not allowed here",
				 strerror(error));
		if (scope)
			fclose(scope);
	}
	return text;
}

void find_target(struct target *target)
{
	char state = state_of(target->pid);
	int files, error;

	if (!state)
		fail("there is no process %d", target->pid);
	if (state == 'Z' || state == 'X')
		fail("process %d has ended", target->pid);
	errno = 0;
	files = for_each_mapping(target, look_for_linker, NULL);
	error = errno;
	if (files < 0)
		fail("process %d must not be looked at: %s", target->pid, why_untraceable(target->pid, error == EACCES ? EPERM : error));
	if (!files)
		fail("process %d has no memory of its own: it belongs to the kernel, or is ending", target->pid);
	if (!target->dlopen)
		fail("process %d has no x86-64 library that exports dlopen: it is linked statically, or of another architecture",
		     target->pid);
}

void check_sees(const struct target *target, const char *path)
{
	char theirs[PATH_MAX + 32];
	struct stat here, there;

	snprintf(theirs, sizeof(theirs), "/proc/%d/root%s", target->pid, path);
	if (stat(path, &here))
		fail("%s: %s", path, strerror(errno));
	if (stat(theirs, &there) || here.st_ino != there.st_ino || here.st_dev != there.st_dev)
		fail("process %d does not see %s: its file system is another one", target->pid, path);
}
