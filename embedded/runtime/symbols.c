#include "runtime/symbols.h"
#include "common/common.h"

#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct object {
	uint64_t address, bias;
	const char *path;
};

static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
	struct object *object = data;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD && object->address - (info->dlpi_addr + segment->p_vaddr) < segment->p_memsz) {
			object->bias = info->dlpi_addr;
			object->path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
			return 1;
		}
	}
	return 0;
}

/* Nothing in the file is trusted to lie inside it. */
static const void *part(const char *file, uint64_t size, uint64_t offset, uint64_t length)
{
	return offset <= size && length <= size - offset ? file + offset : NULL;
}

static int search(const ElfW(Sym) *symbols, uint64_t n, uint64_t value, uint64_t *start, uint64_t *end)
{
	for (uint64_t i = 0; i < n; i++) {
		const ElfW(Sym) *symbol = &symbols[i];

		if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF ||
		    value - symbol->st_value >= symbol->st_size)
			continue;
		*start = symbol->st_value;
		*end = symbol->st_value + symbol->st_size;
		return 1;
	}
	return 0;
}

static int search_file(const char *file, uint64_t size, uint64_t value, uint64_t *start, uint64_t *end)
{
	const ElfW(Ehdr) *header = part(file, size, 0, sizeof(*header));
	const ElfW(Shdr) *sections;

	if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64)
		return 0;
	sections = part(file, size, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections));
	for (unsigned i = 0; sections && i < header->e_shnum; i++) {
		const ElfW(Sym) *symbols = part(file, size, sections[i].sh_offset, sections[i].sh_size);

		if (sections[i].sh_type == SHT_SYMTAB && symbols &&
		    search(symbols, sections[i].sh_size / sizeof(*symbols), value, start, end))
			return 1;
	}
	return 0;
}

int eb_symbol_around(const void *address, uint64_t *start, uint64_t *end)
{
	struct object object = { .address = (uint64_t)address };
	struct stat status;
	int file, found = 0;
	char *content;

	if (!dl_iterate_phdr(look_at, &object) || (file = open(object.path, O_RDONLY | O_CLOEXEC)) < 0)
		return 0;
	content = fstat(file, &status) ? MAP_FAILED
				       : mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
	close(file);
	if (content == MAP_FAILED)
		return 0;
	found = search_file(content, (uint64_t)status.st_size, object.address - object.bias, start, end);
	munmap(content, (size_t)status.st_size);
	*start += object.bias;
	*end += object.bias;
	return found;
}
