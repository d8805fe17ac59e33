#include "hook/scan.h"
#include "hook/decode.h"
#include "hook/targets.h"
#include "hook/text.h"
#include "common/common.h"

#define MOST_ENTRIES 4096
#define MOST_TABLES 32

struct tables {
	const unsigned char *at[MOST_TABLES];
	unsigned count;
	int jumps; /* there are indirect jumps that may use them */
};

static int inside(const struct eb_extent *extent, const unsigned char *at)
{
	return at >= extent->start && at < extent->end;
}

/*
 * Jump tables as compilers write them for position-independent code: 32-bit distances from the table to places in the
 * function. Any address in the object's data that the function mentions may be one, for as long as its entries lead into
 * the function.
 */
static int table_leads_into(const struct eb_module *module, const struct eb_extent *function,
			    const unsigned char *table, const unsigned char *from, const unsigned char *to)
{
	for (unsigned i = 0; i < MOST_ENTRIES && table + 4 * i + 4 <= module->readable.end; i++) {
		const unsigned char *target = table + (int32_t)*(const eb_u32 *)(table + 4ul * i);

		if (target > from && target < to)
			return 1;
		if (!inside(function, target))
			return 0;
	}
	return 0;
}

static void look_at(const struct eb_instruction *instruction, const unsigned char *from, const unsigned char *to,
		    struct eb_scan *scan, struct tables *tables)
{
	switch (instruction->kind) {
	case EB_JUMP:
	case EB_BRANCH:
	case EB_LOOP:
	case EB_CALL:
		/* those among the replaced bytes are moved with them */
		if (instruction->target > from && instruction->target < to &&
		    (instruction->at < from || instruction->at >= to))
			scan->into = 1;
		break;
	case EB_JUMP_INDIRECT:
		tables->jumps = 1;
		break;
	case EB_RETURN:
		scan->pops |= instruction->pops;
		break;
	case EB_UNKNOWN:
		scan->unreadable = 1;
		break;
	default:
		if (instruction->relative && tables->count < MOST_TABLES)
			tables->at[tables->count++] = instruction->target;
	}
}

/* Of the object's memory, what may be read: segments lie apart in some. */
static int is_data(const struct eb_module *module, const unsigned char *at)
{
	return inside(&module->readable, at) && !inside(&module->text, at);
}

/* A byte that starts branches with an 8-bit distance. */
static int starts_short(unsigned char byte)
{
	return (byte & 0xf0) == 0x70 || byte == 0xeb || (byte >= 0xe0 && byte <= 0xe3);
}

/* Whether the instructions of the piece of code that `at` lies in, read from its start, have one at `at`. */
static int is_start(const struct eb_module *module, const unsigned char *at)
{
	struct eb_extent function;
	const unsigned char *start;

	if (!eb_function_around(module, at, &function))
		return 1; /* who knows */
	for (start = function.start; start < at;)
		start += eb_decode(start, function.end).length;
	return start == at;
}

static int neighbours_branch_into(const struct eb_module *module, const struct eb_extent *function,
				  const unsigned char *from, const unsigned char *to)
{
	const unsigned char *low = from - 132, *high = to + 132;

	low = low < module->text.start ? module->text.start : low;
	high = high > module->text.end - 1 ? module->text.end - 1 : high;
	for (const unsigned char *at = low; at < high; at++) {
		unsigned char copy[2];
		const unsigned char *bytes = eb_text_pristine(at, 2, copy), *target = at + 2 + (signed char)bytes[1];

		if (starts_short(*bytes) && target > from && target < to && !inside(function, at) && is_start(module, at))
			return 1;
	}
	return 0;
}

void eb_scan(const struct eb_module *module, const struct eb_extent *function, const unsigned char *from,
	     const unsigned char *to, struct eb_scan *scan)
{
	struct tables tables = {};

	*scan = (struct eb_scan){};
	for (const unsigned char *at = function->start; at < function->end;) {
		struct eb_instruction instruction = eb_decode(at, function->end);

		look_at(&instruction, from, to, scan, &tables);
		at += instruction.length;
	}
	for (unsigned i = 0; tables.jumps && i < tables.count; i++)
		if (is_data(module, tables.at[i]) && table_leads_into(module, function, tables.at[i], from, to))
			scan->into = 1;
	if (!scan->into)
		scan->into = eb_targets_between(module, from, to) || neighbours_branch_into(module, function, from, to);
}
