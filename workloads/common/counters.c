#include "counters.h"
#include "protocol.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAGE_COUNTERS "counters"

struct count {
	uint64_t hits;
	uint64_t inner;
};

/* The map that holds .bss; its name is made of the object's and ".bss". */
static struct bpf_map *bss(struct object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object->bpf) {
		const char *name = bpf_map__name(map), *dot = strrchr(name, '.');

		if (dot && !strcmp(dot, ".bss"))
			return map;
	}
	fail_stage(STAGE_COUNTERS, NULL, ENOENT, "the object has no counters", NULL);
}

/* Where `count_<program>` lies in .bss. */
static size_t place(struct object *object, const char *program)
{
	const struct btf *btf = bpf_object__btf(object->bpf);
	int id = btf__find_by_name_kind(btf, ".bss", BTF_KIND_DATASEC);
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);
	const struct btf_var_secinfo *variable = section ? btf_var_secinfos(section) : NULL;

	for (int i = 0, n = section ? btf_vlen(section) : 0; i < n; i++) {
		const char *name = btf__name_by_offset(btf, btf__type_by_id(btf, variable[i].type)->name_off);

		if (strncmp(name, "count_", 6) == 0 && strcmp(name + 6, program) == 0 &&
		    variable[i].size == sizeof(struct count))
			return variable[i].offset;
	}
	fail_stage(STAGE_COUNTERS, program, ENOENT, "no counter for", program);
}

void counters_reset(struct object *object)
{
	struct bpf_map *map = bss(object);
	char *zeros = calloc(1, bpf_map__value_size(map));
	uint32_t key = 0;

	if (!zeros || bpf_map_update_elem(bpf_map__fd(map), &key, zeros, BPF_ANY))
		fail_stage(STAGE_COUNTERS, NULL, errno, "cannot reset the counters", NULL);
	free(zeros);
}

static void report_field(struct json *reply, struct object *object, const char *field, const char *values, size_t member)
{
	struct bpf_program *program;

	json_open(reply, field, '{');
	bpf_object__for_each_program(program, object->bpf) {
		const char *name = bpf_program__name(program);
		uint64_t number;

		if (!bpf_program__autoload(program))
			continue;
		memcpy(&number, values + place(object, name) + member, sizeof(number));
		json_number(reply, name, number);
	}
	json_close(reply, '}');
}

void counters_report(struct object *object)
{
	struct bpf_map *map = bss(object);
	char *values = calloc(1, bpf_map__value_size(map));
	struct json reply;
	uint32_t key = 0;

	if (!values || bpf_map_lookup_elem(bpf_map__fd(map), &key, values))
		fail_stage(STAGE_COUNTERS, NULL, errno, "cannot read the counters", NULL);
	reply = reply_begin("COUNTERS");
	report_field(&reply, object, "hits", values, offsetof(struct count, hits));
	report_field(&reply, object, "inner", values, offsetof(struct count, inner));
	reply_end(&reply);
	free(values);
}
