#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int compile_function(struct program *program, struct eb_code *code, const struct report *report);
typedef void free_function(struct eb_code *code);

static const struct engine {
	const char *name;
	compile_function *compile;
	free_function *free;
} engines[] = {
	[EB_JIT] = { "jit", jit_compile, jit_free },
	[EB_INTERPRETER] = { "interpreter", interpreter_compile, interpreter_free },
	[EB_LLVM] = { "llvm", llvm_compile, llvm_free },
};

#define ENGINES (sizeof(engines) / sizeof(*engines))

int report_at(const struct report *report, uint32_t at, const char *format, ...)
{
	int length = snprintf(report->text, report->size, "%s: instruction %u: ", report->name, at);
	va_list arguments;

	va_start(arguments, format);
	if (length >= 0 && (size_t)length < report->size)
		vsnprintf(report->text + length, report->size - (size_t)length, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int report_error(const struct report *report, int code, const char *format, ...)
{
	int length = snprintf(report->text, report->size, "%s: ", report->name);
	va_list arguments;

	va_start(arguments, format);
	if (length >= 0 && (size_t)length < report->size)
		vsnprintf(report->text + length, report->size - (size_t)length, format, arguments);
	va_end(arguments);
	return code;
}

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
		return report_error(&report, -ENOTSUP, "this build has no engine \"%s\"", engines[engine].name);
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
