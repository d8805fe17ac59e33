#include "maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

static int values_per_entry(const struct bpf_map *map)
{
	enum bpf_map_type type = bpf_map__type(map);

	if (type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY)
		return libbpf_num_possible_cpus();
	return 1;
}

void map_fill(struct object *object, const char *name, uint32_t entries)
{
	struct bpf_map *map = object_map(object, name);
	int n = values_per_entry(map);
	uint64_t *values;

	if (bpf_map__key_size(map) != sizeof(uint32_t) || bpf_map__value_size(map) != sizeof(uint64_t))
		fail_stage(STAGE_FILL, NULL, EINVAL, "not a map of u32 to u64:", name);
	if (n < 1)
		fail_stage(STAGE_FILL, NULL, -n, "cannot count the CPUs", NULL);
	values = calloc((size_t)n, sizeof(*values));
	if (!values)
		fail_stage(STAGE_FILL, NULL, ENOMEM, "no memory for a value of", name);
	for (uint32_t key = 0; key < entries; key++) {
		for (int cpu = 0; cpu < n; cpu++)
			values[cpu] = key;
		if (bpf_map_update_elem(bpf_map__fd(map), &key, values, BPF_ANY))
			fail_stage(STAGE_FILL, NULL, errno, "cannot fill", name);
	}
	free(values);
}
