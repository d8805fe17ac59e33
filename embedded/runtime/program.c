#include "runtime/program.h"
#include "common/log.h"
#include "common/setting.h"
#include "runtime/fault.h"
#include "runtime/helpers.h"
#include "runtime/map.h"
#include "runtime/thread.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct eb_loaded *loaded[EB_OBJECTS];

/* --- which engine --- */

int eb_program_engine(enum eb_engine *engine, char *error, size_t size)
{
	const char *name = eb_setting("EMBEDDED_ENGINE"), *library = eb_setting("EMBEDDED_LLVM");
	int number = name && *name ? eb_engine_of(name) : EB_JIT;
	int used = snprintf(error, size, "engine %s: ", number < 0 ? name : eb_engine_name((enum eb_engine)number));

	if (number < 0) {
		snprintf(error + used, size - (size_t)used, "there is none");
		return -EINVAL;
	}
	*engine = (enum eb_engine)number;
	if (eb_engine_available(*engine))
		return 0;
	if (library && *library)
		return eb_engine_load(library, error + used, size - (size_t)used);
	snprintf(error + used, size - (size_t)used, "EMBEDDED_LLVM names no library with it");
	return -ENOENT;
}

struct compiling {
	uint32_t needs;
	char *error;
	size_t size;
};

/* --- what the engine asks --- */

static eb_helper *helper(void *user, uint32_t id, uint64_t map)
{
	struct compiling *compiling = user;
	const struct eb_helper_entry *entry = eb_helper_find(id);

	if (!entry)
		return NULL;
	compiling->needs |= entry->needs;
	return eb_helper_for(id, (const struct eb_map *)map);
}

static const char *helper_name(void *user, uint32_t id)
{
	(void)user;
	return eb_helper_name(id);
}

static int resolve(void *user, const struct bpf_insn *load, uint64_t *value)
{
	struct compiling *compiling = user;
	struct eb_map *map;

	if (load[0].src_reg != BPF_PSEUDO_MAP_FD && load[0].src_reg != BPF_PSEUDO_MAP_VALUE)
		return -EOPNOTSUPP;
	map = eb_map_of((uint32_t)load[0].imm);
	if (!map)
		return -EBADF;
	if (map->kind->lookup_on)
		compiling->needs |= EB_NEEDS_SLOT;
	*value = (uint64_t)map;
	if (load[0].src_reg == BPF_PSEUDO_MAP_FD)
		return 0;
	if (map->kind != &eb_map_array || (uint32_t)load[1].imm >= map->stride * map->entries)
		return -EINVAL;
	*value = (uint64_t)map->values + (uint32_t)load[1].imm;
	return 0;
}

static int64_t slot_place(void)
{
	return (char *)&eb_thread.slot - (char *)__builtin_thread_pointer();
}

static int array(void *user, uint64_t address, struct eb_array *array)
{
	const struct eb_map *map = (const struct eb_map *)address;

	(void)user;
	*array = (struct eb_array){ (uint64_t)map->values, map->stride, map->entries, 0, 0, 0 };
	if (map->kind == &eb_map_array)
		return 1;
	array->cpus = map->cpus;
	array->cpu_stride = map->cpu_stride;
	array->cpu_tls = slot_place();
	return map->kind == &eb_map_per_cpu_array;
}

static int inlined(void *user, uint32_t id, struct eb_inline *hint)
{
	(void)user;
	if (id != BPF_FUNC_get_current_pid_tgid)
		return 0;
	hint->kind = EB_INLINE_TLS;
	hint->value = (uint64_t)((char *)&eb_thread.pid_tgid - (char *)__builtin_thread_pointer());
	return 1;
}

static const struct eb_code *tail_call(void *user, uint64_t address, uint32_t index)
{
	const struct eb_map *map = (const struct eb_map *)address;
	const struct eb_loaded *target;
	uint32_t id;

	(void)user;
	if (index >= map->entries)
		return NULL;
	id = eb_load((uint32_t *)(map->values + index * map->stride));
	target = id ? eb_load(&loaded[id % EB_OBJECTS]) : NULL;
	return target && target->id == id ? &target->code : NULL;
}

int eb_program_compile(enum eb_engine engine, const struct bpf_insn *insns, uint32_t count, const char *name,
		       struct eb_code *code, uint32_t *needs, char *error, size_t size)
{
	struct compiling compiling = { 0, error, size };
	const struct eb_program program = { insns, count, name };
	const struct eb_environment environment = {
		.user = &compiling, .helper = helper, .helper_name = helper_name, .resolve = resolve, .array = array,
		.inlined = inlined, .tail_call = tail_call,
	};
	int result = eb_compile(engine, &program, &environment, code, error, size);

	*needs = compiling.needs;
	return result;
}

/* --- what this process has --- */

static struct eb_loaded *find(uint32_t id)
{
	struct eb_loaded *found = loaded[id % EB_OBJECTS];

	return found && found->id == id ? found : NULL;
}

/* The programs in the prog arrays of a program; it may call them as soon as it runs. */
static void load_targets(const struct eb_object *object, enum eb_engine engine)
{
	const uint32_t *maps = (const uint32_t *)((char *)eb_object_memory(object) + object->program.maps);
	char error[256];

	for (uint32_t i = 0; i < object->program.n_maps; i++) {
		struct eb_map *map = eb_map_of(maps[i]);

		for (uint32_t slot = 0; map && map->kind == &eb_map_prog_array && slot < map->entries; slot++) {
			uint32_t id = eb_load((uint32_t *)(map->values + slot * map->stride));

			if (id && !find(id) && !eb_program_load(id, engine, error, sizeof(error)))
				eb_log_warning("target %u of a tail call: %s", slot, error);
		}
	}
}

static struct eb_loaded *compile(const struct eb_object *object, enum eb_engine engine, char *error, size_t size)
{
	struct eb_loaded *made = calloc(1, sizeof(*made));
	uint64_t start = eb_clock_ns();

	if (!made) {
		snprintf(error, size, "no memory");
		return NULL;
	}
	made->id = object->id;
	memcpy(made->name, object->name, EB_NAME);
	if (eb_program_compile(engine, eb_object_memory(object), object->program.instructions, made->name, &made->code,
			       &made->needs, error, size)) {
		free(made);
		return NULL;
	}
	made->compile_ns = eb_clock_ns() - start;
	if (made->needs & EB_NEEDS_FAULT)
		eb_fault_install();
	return made;
}

struct eb_loaded *eb_program_load(uint32_t id, enum eb_engine engine, char *error, size_t size)
{
	const struct eb_object *object = eb_object_find(id, EB_PROGRAM);
	struct eb_loaded *found = find(id);

	if (!object) {
		snprintf(error, size, "program %u has gone", id);
		return NULL;
	}
	if (!found) {
		eb_program_collect();
		found = compile(object, engine, error, size);
		if (!found)
			return NULL;
		eb_store(&loaded[id % EB_OBJECTS], found);
	}
	load_targets(object, engine);
	return found;
}

void eb_program_collect(void)
{
	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_loaded *old = loaded[i];

		if (!old || old->users || eb_object_find(old->id, EB_PROGRAM))
			continue;
		eb_store(&loaded[i], NULL);
		eb_free(&old->code);
		free(old);
	}
}
