/* Whether anything jumps into the middle of bytes that are to be replaced. */
#pragma once

#include "hook/module.h"

struct eb_scan {
	int into;	/* a direct branch or a jump table's entry goes there */
	int unreadable; /* an instruction could not be decoded */
	int pops;	/* the function takes arguments from the stack when it returns */
};

/*
 * Looks for targets in (from, to), which lies in the function: among its own branches and jump tables, short branches of
 * its neighbours, and long ones of the whole object.
 */
void eb_scan(const struct eb_module *module, const struct eb_extent *function, const unsigned char *from,
		      const unsigned char *to, struct eb_scan *scan);
