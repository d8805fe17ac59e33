/* A program that is interpreted. Internal. */
#ifndef EB_INTERPRETER_H
#define EB_INTERPRETER_H

#include "program.h"

/* A function of an interpreted program that helpers may call at its thunk's address. */
struct callback {
	const struct interpreted *of;
	const struct function *function;
	const void *thunk;
};

struct interpreted {
	struct program program;
	struct eb_environment environment; /* of which user and tail_call are used */
	struct callback *callbacks; /* one a function; NULL if there are no callbacks */
	void *thunks;
};

#endif
