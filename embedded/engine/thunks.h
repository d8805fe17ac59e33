/* Pieces of code that look like a helper's callback and call a C function that is told which callback it is. Internal. */
#ifndef EB_THUNKS_H
#define EB_THUNKS_H

#include "interpreter.h"

typedef uint64_t callback_runner(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5,
				 const struct callback *callback);

/* Sets the thunk of every callback; returns what free_thunks() needs, NULL if there is no memory. */
void *make_thunks(struct callback *callbacks, uint32_t count, callback_runner *run);
void free_thunks(void *thunks, uint32_t count);

#endif
