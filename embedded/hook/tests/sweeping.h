/* Hooking every function that a library exports: for sweep.c and preload.c. */
#pragma once

#include "counting.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MOST 40000

static struct counts counts;
static struct eb_hook *hooks[MOST];
static void *addresses[MOST];
static unsigned functions, hooked, returns;
static FILE *refusals;

static const void *map(const char *path)
{
	struct stat info;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *at;

	CHECK(fd >= 0 && !fstat(fd, &info));
	at = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

static int known(void *address)
{
	for (unsigned i = 0; i < functions; i++)
		if (addresses[i] == address)
			return 1;
	return 0;
}

static void hook_one(const char *name, void *address)
{
	char error[256];
	struct eb_hook *hook;

	if (known(address))
		return;
	CHECK(functions < MOST);
	hook = eb_hook_function(address, count_entry, count_return, &counts, error, sizeof(error));
	if (hook)
		returns++;
	else
		hook = eb_hook_function(address, count_entry, NULL, &counts, error, sizeof(error));
	addresses[functions] = address;
	hooks[functions++] = hook;
	hooked += !!hook;
	if (!hook)
		fprintf(refusals, "refused %s: %s\n", name, error);
}

/* As the process has it: indirect functions are resolved, the library's base added. */
static void *address_of(const struct link_map *library, void *handle, const char *name, const Elf64_Sym *symbol)
{
	if (ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
		return dlsym(handle, name);
	return (void *)(library->l_addr + symbol->st_value);
}

__attribute__((unused)) static void hook_all(const struct link_map *library, void *handle)
{
	const char *image = map(library->l_name);
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + header->e_shoff);

	for (int i = 0; i < header->e_shnum; i++) {
		const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
		const char *strings = image + sections[sections[i].sh_link].sh_offset;

		for (size_t n = 0; sections[i].sh_type == SHT_DYNSYM && n < sections[i].sh_size / sizeof(*symbols); n++) {
			int type = ELF64_ST_TYPE(symbols[n].st_info);
			const char *name = strings + symbols[n].st_name;

			if (symbols[n].st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_GNU_IFUNC))
				hook_one(name, address_of(library, handle, name, &symbols[n]));
		}
	}
}
