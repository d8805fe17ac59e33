#include "runtime/symbols.h"
#include "common/common.h"

#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A loaded object, and its file's symbols where it has any. */
struct object {
	uint64_t bias;
	void *content; /* the whole file; NULL: no symbols */
	uint64_t size;
	const ElfW(Sym) *symbols;
	uint64_t n;
};

/* What was looked at since the last object came or went. */
static struct object objects[64];
static unsigned n_objects;
static unsigned long long came, went;

struct search {
	uint64_t address, bias;
	const char *path;
};

void eb_symbols_forget(void)
{
	for (; n_objects; n_objects--)
		if (objects[n_objects - 1].content)
			munmap(objects[n_objects - 1].content, objects[n_objects - 1].size);
}

static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	if (info->dlpi_adds != came || info->dlpi_subs != went)
		eb_symbols_forget();
	came = info->dlpi_adds;
	went = info->dlpi_subs;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD && search->address - (info->dlpi_addr + segment->p_vaddr) < segment->p_memsz) {
			search->bias = info->dlpi_addr;
			search->path = *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
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

static void find_symbols(struct object *object)
{
	const char *file = object->content;
	const ElfW(Ehdr) *header = part(file, object->size, 0, sizeof(*header));
	const ElfW(Shdr) *sections;

	if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_ident[EI_CLASS] != ELFCLASS64)
		return;
	sections = part(file, object->size, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections));
	for (unsigned i = 0; sections && i < header->e_shnum; i++) {
		if (sections[i].sh_type != SHT_SYMTAB)
			continue;
		object->symbols = part(file, object->size, sections[i].sh_offset, sections[i].sh_size);
		object->n = object->symbols ? sections[i].sh_size / sizeof(*object->symbols) : 0;
	}
}

static void read_file(struct object *object, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (file < 0)
		return;
	if (!fstat(file, &status) && status.st_size > 0) {
		object->size = (uint64_t)status.st_size;
		object->content = mmap(NULL, object->size, PROT_READ, MAP_PRIVATE, file, 0);
		if (object->content == MAP_FAILED)
			object->content = NULL;
	}
	close(file);
	if (object->content)
		find_symbols(object);
	if (object->content && !object->n) {
		munmap(object->content, object->size);
		object->content = NULL;
	}
}

static const struct object *object_of(const struct search *search)
{
	for (unsigned i = 0; i < n_objects; i++)
		if (objects[i].bias == search->bias)
			return &objects[i];
	if (n_objects == EB_COUNT(objects))
		eb_symbols_forget();
	objects[n_objects] = (struct object){ .bias = search->bias };
	read_file(&objects[n_objects], search->path);
	return &objects[n_objects++];
}

int eb_symbol_around(const void *address, uint64_t *start, uint64_t *end)
{
	struct search search = { .address = (uint64_t)address };
	const struct object *object;
	uint64_t value;

	if (!dl_iterate_phdr(look_at, &search))
		return 0;
	object = object_of(&search);
	value = search.address - search.bias;
	for (uint64_t i = 0; i < object->n; i++) {
		const ElfW(Sym) *symbol = &object->symbols[i];

		if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF ||
		    value - symbol->st_value >= symbol->st_size)
			continue;
		*start = search.bias + symbol->st_value;
		*end = *start + symbol->st_size;
		return 1;
	}
	return 0;
}
