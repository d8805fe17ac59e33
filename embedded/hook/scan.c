#include "hook/scan.h"
#include "hook/decode.h"
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

void eb_scan_function(const struct eb_module *module, const struct eb_extent *function, const unsigned char *from,
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
}
