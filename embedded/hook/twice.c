#include "hook/twice.h"

#include <dlfcn.h>
#include <stddef.h>

#define AGAIN "it can return again when the stack has moved on"
#define CALLER "it does different things for different callers, and would take us for one"

static const struct {
	const char *name, *why;
} functions[] = {
	{ "setjmp", AGAIN },	 { "_setjmp", AGAIN }, { "__sigsetjmp", AGAIN }, { "sigsetjmp", AGAIN },
	{ "getcontext", AGAIN }, { "vfork", AGAIN },   { "__vfork", AGAIN },	 { "dlopen", CALLER },
	{ "dlmopen", CALLER },	 { "dlsym", CALLER },  { "dlvsym", CALLER },
};

const char *eb_twice(const void *address)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		if (dlsym(RTLD_DEFAULT, functions[i].name) == address)
			return functions[i].why;
	return NULL;
}
