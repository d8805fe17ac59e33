/* Where the long branches of an object's text go: functions do jump into the midst of others (memcpy's relatives do). */
#pragma once

#include "hook/module.h"

/*
 * Something in the object's text looks like a branch with a 32-bit distance to a place in (from, to). It need not be one,
 * but that is rare. Looks at the text as it was when the object was first asked about, but for our own patches.
 * 1 also when memory is out.
 */
int eb_targets_between(const struct eb_module *module, const unsigned char *from, const unsigned char *to);
