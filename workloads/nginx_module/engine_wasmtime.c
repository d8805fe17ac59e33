/*
 * The rule as WebAssembly, compiled by Wasmtime inside nginx: LIBRARY MODULE. The library is the one of Wasmtime's Python package, which
 * comes without headers: what is called of its C interface is declared here.
 */
#include "gate.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXTERN_FUNCTION = 0, EXTERN_MEMORY = 3 };

struct function {
	uint64_t store;
	void *own;
};

struct linear {
	struct {
		uint64_t store;
		uint32_t own;
	} at;
	uint32_t own;
};

struct external {
	uint8_t kind;
	union {
		struct function function;
		struct linear memory;
		uint64_t room[4];
	};
};

struct instance {
	uint64_t store;
	size_t own;
};

union value {
	int32_t i32;
	uint8_t room[16];
};

struct text {
	size_t size;
	char *bytes;
};

/* Name, result, arguments of each function that is looked up in the library. */
#define FUNCTIONS(F)                                                                                                   \
	F(wasm_engine_new, void *, (void))                                                                             \
	F(wasmtime_module_new, void *, (void *engine, const uint8_t *code, size_t size, void **module))                \
	F(wasmtime_module_image_range, void, (void *module, void **from, void **to))                                   \
	F(wasmtime_store_new, void *, (void *engine, void *own, void (*end)(void *)))                                  \
	F(wasmtime_store_context, void *, (void *store))                                                               \
	F(wasmtime_instance_new, void *,                                                                               \
	  (void *context, void *module, const struct external *imports, size_t n, struct instance *made, void **trap)) \
	F(wasmtime_instance_export_get, bool,                                                                          \
	  (void *context, struct instance *instance, const char *name, size_t length, struct external *found))         \
	F(wasmtime_memory_data, uint8_t *, (void *context, const struct linear *memory))                               \
	F(wasmtime_memory_data_size, size_t, (void *context, const struct linear *memory))                             \
	F(wasmtime_func_call_unchecked, void *,                                                                        \
	  (void *context, const struct function *function, union value *values, size_t n, void **trap))                \
	F(wasmtime_error_message, void, (const void *error, struct text *text))                                        \
	F(wasmtime_error_delete, void, (void *error))                                                                  \
	F(wasm_trap_message, void, (const void *trap, struct text *text))                                              \
	F(wasm_trap_delete, void, (void *trap))                                                                        \
	F(wasm_byte_vec_delete, void, (struct text *text))

#define DECLARE(name, result, arguments) static result(*name) arguments;
FUNCTIONS(DECLARE)

static void *context;
static struct linear linear;
static struct function deciding, trespassing;
static struct gate_memory *memory;

static const char *find_functions(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return dlerror();
#define FIND(name, result, arguments)                     \
	*(void **)&name = dlsym(library, #name);          \
	if (!name)                                        \
		return "the library has no function " #name;
	FUNCTIONS(FIND)
	return NULL;
}

/* Says why, in the library's words; 1 if there is a reason. */
static int tell(void *error, void *trap, char *said, size_t size)
{
	struct text text = {};

	if (error) {
		wasmtime_error_message(error, &text);
		wasmtime_error_delete(error);
	} else if (trap) {
		wasm_trap_message(trap, &text);
		wasm_trap_delete(trap);
	} else {
		return 0;
	}
	snprintf(said, size, "%.*s", (int)text.size, text.bytes);
	wasm_byte_vec_delete(&text);
	return 1;
}

static uint8_t *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rbe");
	uint8_t *bytes = NULL;
	long end;

	if (!file)
		return NULL;
	if (!fseek(file, 0, SEEK_END) && (end = ftell(file)) > 0 && !fseek(file, 0, SEEK_SET)) {
		*size = (size_t)end;
		bytes = malloc(*size);
		if (bytes && fread(bytes, *size, 1, file) != 1) {
			free(bytes);
			bytes = NULL;
		}
	}
	fclose(file);
	return bytes;
}

static int find_function(struct instance *instance, const char *name, struct function *function)
{
	struct external found;

	if (!wasmtime_instance_export_get(context, instance, name, strlen(name), &found) || found.kind != EXTERN_FUNCTION)
		return 0;
	*function = found.function;
	return 1;
}

/* Returns the result of a function without arguments, 0 or more; -1: it trapped. */
static int64_t call(const struct function *function, char *said, size_t size)
{
	union value value = {};
	void *trap = NULL, *error = wasmtime_func_call_unchecked(context, function, &value, 1, &trap);

	if (__builtin_expect(error || trap, 0)) {
		tell(error, trap, said, size);
		return -1;
	}
	return (uint32_t)value.i32;
}

static int find_memory(struct instance *instance, char *wrong, size_t size)
{
	struct function where;
	struct external found;
	int64_t at;

	if (!wasmtime_instance_export_get(context, instance, "memory", 6, &found) || found.kind != EXTERN_MEMORY ||
	    !find_function(instance, "memory_at", &where) || !find_function(instance, "decide", &deciding) ||
	    !find_function(instance, "trespass", &trespassing)) {
		snprintf(wrong, size, "the module lacks something that it should export");
		return 0;
	}
	linear = found.memory;
	at = call(&where, wrong, size);
	if (at < 0 || (size_t)at + sizeof(*memory) > wasmtime_memory_data_size(context, &linear))
		return 0;
	memory = (struct gate_memory *)(wasmtime_memory_data(context, &linear) + at);
	return 1;
}

static int load(const char *path, struct gate_about *about)
{
	void *engine = wasm_engine_new(), *module = NULL, *trap = NULL, *from, *to;
	struct instance instance;
	size_t size = 0;
	uint8_t *code = read_file(path, &size);

	if (!code) {
		snprintf(about->wrong, sizeof(about->wrong), "%s: %s", path, strerror(errno));
		return 0;
	}
	context = wasmtime_store_context(wasmtime_store_new(engine, NULL, NULL));
	if (tell(wasmtime_module_new(engine, code, size, &module), NULL, about->wrong, sizeof(about->wrong)))
		return 0;
	free(code);
	if (tell(wasmtime_instance_new(context, module, NULL, 0, &instance, &trap), trap, about->wrong, sizeof(about->wrong)))
		return 0;
	wasmtime_module_image_range(module, &from, &to);
	about->code_size = (uint64_t)((char *)to - (char *)from);
	return find_memory(&instance, about->wrong, sizeof(about->wrong));
}

static enum gate_opened open_rule(char *const *words, size_t n_words, struct gate_about *about)
{
	const char *wrong = n_words == 2 ? find_functions(words[0]) : "wanted: LIBRARY MODULE";
	uint64_t start = gate_now();

	if (wrong) {
		snprintf(about->wrong, sizeof(about->wrong), "%s", wrong);
		return GATE_FAILED;
	}
	if (!load(words[1], about))
		return GATE_FAILED;
	about->compile_ns = gate_now() - start;
	snprintf(about->engine, sizeof(about->engine), "wasmtime");
	snprintf(about->bounded_by, sizeof(about->bounded_by), "the code that Wasmtime makes, and pages around the memory");
	return GATE_OPEN;
}

static int set(const struct gate_rules *rules)
{
	memory->rules = *rules;
	return 0;
}

static int decide(const uint8_t *path, size_t length)
{
	char said[128];

	gate_show(&memory->request, path, length);
	return (int)call(&deciding, said, sizeof(said));
}

static int count(struct gate_counters *found)
{
	*found = memory->counters;
	return 0;
}

/* As far as an address of 32 bits goes: towards the target, right behind the memory, and at the very end. */
static int trespass(const uint8_t *target, uint8_t *found, char *said, size_t size)
{
	const size_t end = wasmtime_memory_data_size(context, &linear);
	const uint32_t places[] = { (uint32_t)(target - wasmtime_memory_data(context, &linear)), (uint32_t)end, UINT32_MAX };

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		int64_t got;

		if (places[i] < end)
			continue; /* its own */
		memory->target = places[i];
		got = call(&trespassing, said, size);
		if (got >= 0) {
			*found = (uint8_t)got;
			snprintf(said, size, "nothing stopped it");
			return 1;
		}
	}
	return 0;
}

const struct gate_engine gate_engine = { open_rule, set, decide, count, trespass };
