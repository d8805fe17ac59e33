#include "only.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAGE_ONLY "only"

static struct bpf_map *data(struct object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object->bpf) {
		const char *dot = strrchr(bpf_map__name(map), '.');

		if (dot && !strcmp(dot, ".data"))
			return map;
	}
	fail_stage(STAGE_ONLY, NULL, ENOENT, "the object has no variable", "only_pid");
}

static uint32_t place(struct object *object)
{
	const struct btf *btf = bpf_object__btf(object->bpf);
	int id = btf__find_by_name_kind(btf, ".data", BTF_KIND_DATASEC);
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, (__u32)id);
	const struct btf_var_secinfo *variable = section ? btf_var_secinfos(section) : NULL;

	for (int i = 0, n = section ? btf_vlen(section) : 0; i < n; i++) {
		const char *name = btf__name_by_offset(btf, btf__type_by_id(btf, variable[i].type)->name_off);

		if (!strcmp(name, "only_pid") && variable[i].size == sizeof(uint32_t))
			return variable[i].offset;
	}
	fail_stage(STAGE_ONLY, NULL, ENOENT, "the object has no variable", "only_pid");
}

void only_watch(struct object *object, uint32_t pid)
{
	struct bpf_map *map = data(object);
	char *values = calloc(1, bpf_map__value_size(map));
	uint32_t key = 0;

	/* read, changed and written back with the ordinary calls: any runtime that has arrays will do */
	if (!values || bpf_map_lookup_elem(bpf_map__fd(map), &key, values))
		fail_stage(STAGE_ONLY, NULL, errno, "cannot read", "only_pid");
	memcpy(values + place(object), &pid, sizeof(pid));
	if (bpf_map_update_elem(bpf_map__fd(map), &key, values, BPF_ANY))
		fail_stage(STAGE_ONLY, NULL, errno, "cannot set", "only_pid");
	free(values);
}
