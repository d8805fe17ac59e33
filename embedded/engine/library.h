/* An engine as a shared library of its own, loaded when it is asked for: what that library shows. Internal. */
#ifndef EB_LIBRARY_H
#define EB_LIBRARY_H

#include "program.h"

#define ENGINE_LIBRARY "eb_engine_library" /* the symbol */
/* The library and who loads it are built apart, and must have the same idea of what they hand each other. */
#define ENGINE_LAYOUT (sizeof(struct program) << 20 | sizeof(struct eb_environment) << 10 | sizeof(struct call) << 5 | sizeof(struct eb_code))

struct engine_library {
	uint64_t layout;
	enum eb_engine engine;
	compile_function *compile;
	free_function *free;
};

#endif
