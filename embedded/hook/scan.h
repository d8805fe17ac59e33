/* Whether anything jumps into the middle of bytes that are to be replaced. */
#pragma once

#include "hook/module.h"

struct eb_scan {
	int into;	/* a direct branch or a jump table's entry goes there */
	int unreadable; /* an instruction could not be decoded */
	int pops;	/* the function takes arguments from the stack when it returns */
};

/* Of the function's own code: looks for targets in (from, to). */
void eb_scan_function(const struct eb_module *module, const struct eb_extent *function, const unsigned char *from,
		      const unsigned char *to, struct eb_scan *scan);
