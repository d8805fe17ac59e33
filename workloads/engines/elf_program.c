#include "elf_program.h"

#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Relocations of BPF objects: a 64-bit load of an address, a call. */
enum { RELOCATE_LOAD = 1, RELOCATE_CALL = 10 };

struct object {
	Elf *elf;
	Elf_Data *symbols;
	size_t names; /* section of the symbols' names */
	size_t text;  /* section of the functions that programs call; 0: there is none */
	size_t maps;
	unsigned n_symbols;
};

/* Part of a program, and where its instructions come from. */
struct part {
	size_t section;
	uint64_t from, size;
	uint32_t at; /* in the program */
};

static char why[256];

static const char *wrong(const char *what, const char *name)
{
	snprintf(why, sizeof(why), "%s %s", what, name);
	return why;
}

static const char *section_name(const struct object *object, Elf_Scn *section, GElf_Shdr *header)
{
	size_t names;

	if (elf_getshdrstrndx(object->elf, &names) || !gelf_getshdr(section, header))
		return "";
	return elf_strptr(object->elf, names, header->sh_name) ?: "";
}

static void find_sections(struct object *object)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;

	while ((section = elf_nextscn(object->elf, section))) {
		const char *name = section_name(object, section, &header);

		if (header.sh_type == SHT_SYMTAB) {
			object->symbols = elf_getdata(section, NULL);
			object->n_symbols = (unsigned)(header.sh_size / header.sh_entsize);
			object->names = header.sh_link;
		} else if (!strcmp(name, ".text") && header.sh_size) {
			object->text = elf_ndxscn(section);
		} else if (!strcmp(name, ".maps")) {
			object->maps = elf_ndxscn(section);
		}
	}
}

static const char *symbol_name(const struct object *object, const GElf_Sym *symbol)
{
	return elf_strptr(object->elf, object->names, symbol->st_name) ?: "";
}

static int find_function(const struct object *object, const char *name, GElf_Sym *symbol)
{
	for (unsigned i = 0; i < object->n_symbols; i++)
		if (gelf_getsym(object->symbols, (int)i, symbol) && GELF_ST_TYPE(symbol->st_info) == STT_FUNC &&
		    !strcmp(symbol_name(object, symbol), name))
			return 1;
	return 0;
}

static int append(const struct object *object, struct elf_program *program, struct part *part)
{
	Elf_Data *data = elf_getdata(elf_getscn(object->elf, part->section), NULL);
	uint32_t count = (uint32_t)(part->size / sizeof(struct bpf_insn));
	struct bpf_insn *more;

	if (!data || part->from + part->size > data->d_size)
		return 0;
	more = realloc(program->insns, (program->count + count) * sizeof(*more));
	if (!more)
		return 0;
	memcpy(more + program->count, (char *)data->d_buf + part->from, part->size);
	program->insns = more;
	part->at = program->count;
	program->count += count;
	return 1;
}

static const char *relocate_load(const struct object *object, struct bpf_insn *insn, const GElf_Sym *symbol, elf_map_number *map_number)
{
	const char *name = symbol_name(object, symbol);
	int number = symbol->st_shndx == object->maps ? map_number(name) : -1;

	if (number < 0)
		return wrong("the program refers to something that is not here:", name);
	insn->src_reg = BPF_PSEUDO_MAP_FD;
	insn->imm = number;
	return NULL;
}

static const char *relocate(const struct object *object, struct elf_program *program, const struct part *part, const struct part *text,
			    const GElf_Rel *relocation, elf_map_number *map_number)
{
	uint32_t at = part->at + (uint32_t)((relocation->r_offset - part->from) / sizeof(struct bpf_insn));
	struct bpf_insn *insn = &program->insns[at];
	GElf_Sym symbol;

	if (!gelf_getsym(object->symbols, (int)GELF_R_SYM(relocation->r_info), &symbol))
		return "a relocation without a symbol";
	if (GELF_R_TYPE(relocation->r_info) == RELOCATE_LOAD)
		return relocate_load(object, insn, &symbol, map_number);
	if (GELF_R_TYPE(relocation->r_info) != RELOCATE_CALL || symbol.st_shndx != object->text || !text->size)
		return wrong("a relocation that nobody here knows, of", symbol_name(object, &symbol));
	/* the field holds where in the symbol's section the function lies, less one, in instructions */
	insn->src_reg = BPF_PSEUDO_CALL;
	insn->imm += (int)(text->at + symbol.st_value / sizeof(struct bpf_insn)) - (int)at;
	return NULL;
}

static const char *relocate_part(const struct object *object, struct elf_program *program, const struct part *part, const struct part *text,
				 elf_map_number *map_number)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	const char *error;

	while ((section = elf_nextscn(object->elf, section))) {
		Elf_Data *data;

		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_REL || header.sh_info != part->section)
			continue;
		data = elf_getdata(section, NULL);
		for (int i = 0; data && (uint64_t)i < header.sh_size / header.sh_entsize; i++) {
			GElf_Rel relocation;

			if (!gelf_getrel(data, i, &relocation) || relocation.r_offset < part->from ||
			    relocation.r_offset >= part->from + part->size)
				continue;
			error = relocate(object, program, part, text, &relocation, map_number);
			if (error)
				return error;
		}
	}
	return NULL;
}

static int calls_functions(const struct elf_program *program)
{
	for (uint32_t i = 0; i < program->count; i++)
		if (program->insns[i].code == (BPF_JMP | BPF_CALL) && program->insns[i].src_reg == BPF_PSEUDO_CALL)
			return 1;
	return 0;
}

static const char *read_program(const struct object *object, const char *name, elf_map_number *map_number, struct elf_program *program)
{
	struct part own = {}, text = {};
	const char *error;
	GElf_Shdr header;
	GElf_Sym symbol;

	if (!object->symbols || !find_function(object, name, &symbol))
		return wrong("the object has no program", name);
	own = (struct part){ symbol.st_shndx, symbol.st_value, symbol.st_size, 0 };
	if (!append(object, program, &own))
		return "the program cannot be read";
	if (object->text && calls_functions(program)) {
		if (!gelf_getshdr(elf_getscn(object->elf, object->text), &header))
			return "the functions cannot be read";
		text = (struct part){ object->text, 0, header.sh_size, 0 };
		if (!append(object, program, &text))
			return "the functions cannot be read";
	}
	error = relocate_part(object, program, &own, &text, map_number);
	return error || !text.size ? error : relocate_part(object, program, &text, &text, map_number);
}

const char *elf_program_read(const char *path, const char *name, elf_map_number *map_number, struct elf_program *program)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct object object = {};
	const char *error;

	*program = (struct elf_program){};
	elf_version(EV_CURRENT);
	object.elf = file < 0 ? NULL : elf_begin(file, ELF_C_READ, NULL);
	if (!object.elf) {
		if (file >= 0)
			close(file);
		return wrong("not an object that can be read:", path);
	}
	find_sections(&object);
	error = read_program(&object, name, map_number, program);
	elf_end(object.elf);
	close(file);
	if (error) {
		free(program->insns);
		*program = (struct elf_program){};
	}
	return error;
}
