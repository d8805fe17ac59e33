/* Which process the programs of an object watch, for those that would see every process of the machine. */
#pragma once

#include "object.h"

/* Sets the global variable `only_pid`. Fails in stage "only" if there is none. */
void only_watch(struct object *object, uint32_t pid);
