/* What the loaded objects say about their code. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct eb_extent {
	const unsigned char *start, *end;
};

struct eb_module {
	const char *path;
	struct eb_extent text;	/* the executable segment that was asked about */
	struct eb_extent readable; /* the segment with constants, where jump tables are: that of the unwind tables */
	const unsigned char *unwind; /* .eh_frame_hdr, or NULL */
};

/* The object that `address` is code of; 0 when there is none. */
int eb_module_of(const void *address, struct eb_module *module);

struct dl_phdr_info;
/* The same, when it is known to be this object. */
int eb_module_in(const struct dl_phdr_info *info, const void *address, struct eb_module *module);

/* The piece of code around `address` that unwind tables, or else symbols, take for one function; 0 when unknown. */
int eb_function_around(const struct eb_module *module, const void *address, struct eb_extent *function);

/* The i-th piece of code in the unwind tables, in the order of addresses; 0 when there is none. */
int eb_function_at(const struct eb_module *module, size_t i, struct eb_extent *function);

/* The last piece of code in the unwind tables that starts at `address` or before it; 0 when there is none. */
size_t eb_function_index(const struct eb_module *module, const unsigned char *address);
