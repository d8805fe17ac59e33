#include "hook/module.h"
#include "common/common.h"
#include "runtime/symbols.h"

#include <dlfcn.h>
#include <link.h>

/* .eh_frame_hdr as linkers write it: all its pointers are 32 bits, the table's relative to the section. */
struct header {
	uint8_t version, frame_encoding, count_encoding, table_encoding;
	int32_t frame;
	uint32_t count;
	struct {
		int32_t start, description;
	} table[];
};
enum { PCREL_SDATA4 = 0x1b, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };

struct search {
	uint64_t address;
	struct eb_module *module;
};

static void look_at_segment(const struct dl_phdr_info *info, const ElfW(Phdr) *segment, struct search *search, int *found)
{
	struct eb_module *module = search->module;
	const unsigned char *start = (const unsigned char *)(info->dlpi_addr + segment->p_vaddr);
	const unsigned char *end = start + segment->p_memsz;

	if (segment->p_type == PT_GNU_EH_FRAME)
		module->unwind = start;
	if (segment->p_type != PT_LOAD)
		return;
	/* linkers put .rodata and .eh_frame_hdr into the last read-only segment, or all into the text */
	if (!(segment->p_flags & PF_W) && (!(segment->p_flags & PF_X) || !module->readable.start))
		module->readable = (struct eb_extent){ start, end };
	if ((segment->p_flags & PF_X) && search->address - (uint64_t)start < segment->p_memsz) {
		module->text = (struct eb_extent){ start, end };
		*found = 1;
	}
}

int eb_module_in(const struct dl_phdr_info *info, const void *address, struct eb_module *module)
{
	struct search search = { (uint64_t)address, module };
	int found = 0;

	*module = (struct eb_module){ .path = info->dlpi_name };
	for (int i = 0; i < info->dlpi_phnum; i++)
		look_at_segment(info, &info->dlpi_phdr[i], &search, &found);
	return found;
}

static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;

	(void)size;
	return eb_module_in(info, (const void *)search->address, search->module);
}

int eb_module_of(const void *address, struct eb_module *module)
{
	struct search search = { (uint64_t)address, module };

	return dl_iterate_phdr(look_at, &search);
}

static const struct header *header_of(const struct eb_module *module)
{
	const struct header *header = (const struct header *)module->unwind;

	return header && header->version == 1 && header->count_encoding == UDATA4 &&
	       header->table_encoding == DATAREL_SDATA4 ? header : NULL;
}

static uint64_t uleb(const unsigned char **at)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		unsigned char byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return value;
	}
}

/* How the pointers of a frame description are encoded: its common part says that in its augmentation. */
static int encoding_of(const unsigned char *common)
{
	const unsigned char *text = common + 9, *at = text;

	while (*at++)
		;
	if (text[0] != 'z')
		return 0;
	uleb(&at); /* code and data alignment, return address column, length of the augmentation */
	uleb(&at);
	if (common[8] == 1)
		at++;
	else
		uleb(&at);
	uleb(&at);
	for (text++; *text; text++) {
		if (*text == 'R')
			return *at;
		if (*text == 'P')
			at += (*at & 7) == 3 || (*at & 7) == 2 ? ((*at & 7) == 3 ? 5 : 3) : 9;
		else if (*text == 'L')
			at++;
	}
	return 0;
}

/* Length of the code that the frame description covers; 0 when it is written in a way that linkers do not use. */
static uint64_t length_of(const unsigned char *description)
{
	const unsigned char *id = description + 4;
	const unsigned char *common = id - *(const eb_u32 *)id;

	switch (encoding_of(common) & 0x0f) {
	case 0x0b:
	case 0x03:
		return *(const eb_u32 *)(description + 12);
	case 0x0c:
	case 0x04:
	case 0x00:
		return *(const eb_u64 *)(description + 16);
	default:
		return 0;
	}
}

int eb_function_at(const struct eb_module *module, size_t i, struct eb_extent *function)
{
	const struct header *header = header_of(module);

	if (!header || i >= header->count)
		return 0;
	function->start = module->unwind + header->table[i].start;
	function->end = function->start + length_of(module->unwind + header->table[i].description);
	return 1;
}

size_t eb_function_index(const struct eb_module *module, const unsigned char *address)
{
	const struct header *header = header_of(module);
	size_t low = 0, high = header ? header->count : 0;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (module->unwind + header->table[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? low - 1 : 0;
}

static int in_unwind_tables(const struct eb_module *module, const unsigned char *address, struct eb_extent *function)
{
	return eb_function_at(module, eb_function_index(module, address), function) && address >= function->start &&
	       address < function->end;
}

int eb_function_around(const struct eb_module *module, const void *address, struct eb_extent *function)
{
	const ElfW(Sym) *symbol = NULL;
	Dl_info info;

	if (in_unwind_tables(module, address, function))
		return 1;
	if (!dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) || !symbol || !info.dli_saddr || !symbol->st_size)
		return eb_symbol_around(address, (uint64_t *)&function->start, (uint64_t *)&function->end);
	function->start = info.dli_saddr;
	function->end = function->start + symbol->st_size;
	return (const unsigned char *)address < function->end;
}
