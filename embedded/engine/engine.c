#include "library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct engine {
	const char *name;
	compile_function *compile;
	free_function *free;
} engines[] = {
	[EB_JIT] = { "jit", jit_compile, jit_free },
	[EB_INTERPRETER] = { "interpreter", interpreter_compile, interpreter_free },
	[EB_LLVM] = { "llvm", llvm_compile, llvm_free },
};

#define ENGINES (sizeof(engines) / sizeof(*engines))

static int load_and_compile(const struct engine *engine, const struct eb_program *from,
			    const struct eb_environment *environment, struct eb_code *code, const struct report *report)
{
	struct program program;
	int result = program_load(&program, from, environment, report);

	if (!result)
		result = engine->compile(&program, code, report);
	program_free(&program);
	return result;
}

int eb_compile(enum eb_engine engine, const struct eb_program *program, const struct eb_environment *environment,
	       struct eb_code *code, char *error, size_t size)
{
	struct report report = { error, size, program->name ? program->name : "program" };
	int result;

	memset(code, 0, sizeof(*code));
	if (size)
		*error = '\0';
	if ((size_t)engine >= ENGINES)
		return report_error(&report, -EINVAL, "there is no engine number %d", (int)engine);
	if (!eb_engine_available(engine))
		return report_error(&report, -ENOTSUP, "the engine \"%s\" is neither built in nor loaded", engines[engine].name);
	result = load_and_compile(&engines[engine], program, environment, code, &report);
	if (result)
		memset(code, 0, sizeof(*code));
	code->engine = engine;
	return result;
}

void eb_free(struct eb_code *code)
{
	if (code->run)
		engines[code->engine].free(code);
	memset(code, 0, sizeof(*code));
}

const char *eb_engine_name(enum eb_engine engine)
{
	return (size_t)engine < ENGINES ? engines[engine].name : NULL;
}

int eb_engine_of(const char *name)
{
	for (size_t i = 0; i < ENGINES; i++)
		if (!strcmp(engines[i].name, name))
			return (int)i;
	return -EINVAL;
}

int eb_engine_available(enum eb_engine engine)
{
	return (size_t)engine < ENGINES && engines[engine].compile != NULL;
}

int eb_engine_load(const char *path, char *error, size_t size)
{
	/* Its symbols are nobody else's: an application may have another LLVM. */
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	const struct engine_library *library = handle ? dlsym(handle, ENGINE_LIBRARY) : NULL;

	if (!library) {
		snprintf(error, size, "%s", dlerror());
		return -ENOENT;
	}
	if (library->layout != ENGINE_LAYOUT || (size_t)library->engine >= ENGINES) {
		snprintf(error, size, "%s: made for another build of the runtime", path);
		return -EINVAL;
	}
	engines[library->engine].compile = library->compile;
	engines[library->engine].free = library->free;
	return 0;
}
