/* BPF_OBJ_GET_INFO_BY_FD */
#include "runtime/shim.h"

#include <string.h>
#include <unistd.h>

static uint32_t copy_out(union bpf_attr *attr, const void *information, uint32_t size)
{
	if (attr->info.info_len < size)
		size = attr->info.info_len;
	memcpy((void *)attr->info.info, information, size);
	attr->info.info_len = size;
	return 0;
}

static long about_map(union bpf_attr *attr, const struct eb_object *object)
{
	struct bpf_map_info information = {
		.type = object->map.type, .id = object->id, .key_size = object->map.key_size,
		.value_size = object->map.value_size, .max_entries = object->map.max_entries, .map_flags = object->map.flags,
		.btf_key_type_id = object->map.btf_key, .btf_value_type_id = object->map.btf_value,
		.map_extra = object->map.extra,
	};

	memcpy(information.name, object->name, EB_NAME);
	return copy_out(attr, &information, sizeof(information));
}

/* What the caller wants copied into memory of its own comes by address and size in the same struct. */
static long about_program(union bpf_attr *attr, const struct eb_object *object)
{
	const struct eb_program_record *record = &object->program;
	struct bpf_prog_info information = { 0 };
	uint32_t given = attr->info.info_len < sizeof(information) ? attr->info.info_len : sizeof(information);

	memcpy(&information, (const void *)attr->info.info, given);
	if (information.map_ids)
		memcpy((void *)information.map_ids, (const char *)eb_object_memory(object) + record->maps,
		       sizeof(uint32_t) * (information.nr_map_ids < record->n_maps ? information.nr_map_ids : record->n_maps));
	memset(&information, 0, sizeof(information));
	information.type = record->type;
	information.id = object->id;
	information.nr_map_ids = record->n_maps;
	information.jited_prog_len = record->code_size;
	information.xlated_prog_len = record->instructions * (uint32_t)sizeof(struct bpf_insn);
	information.verified_insns = record->verified_instructions;
	information.created_by_uid = getuid();
	information.gpl_compatible = 1;
	memcpy(information.tag, record->tag, sizeof(information.tag));
	memcpy(information.name, object->name, EB_NAME);
	return copy_out(attr, &information, sizeof(information));
}

static long about_link(union bpf_attr *attr, const struct eb_object *object)
{
	struct bpf_link_info information = { .type = BPF_LINK_TYPE_PERF_EVENT, .id = object->id, .prog_id = object->link.program };

	return copy_out(attr, &information, sizeof(information));
}

long shim_information(union bpf_attr *attr)
{
	uint32_t id = shim_object((int)attr->info.bpf_fd);
	const struct eb_object *object;

	if (!id)
		return shim_kernel_bpf(BPF_OBJ_GET_INFO_BY_FD, attr, sizeof(attr->info));
	object = id == UINT32_MAX ? NULL : &eb_view.segment->objects[id % EB_OBJECTS];
	if (!object || object->id != id)
		return -EINVAL;
	switch (object->kind) {
	case EB_MAP:
		return about_map(attr, object);
	case EB_PROGRAM:
		return about_program(attr, object);
	case EB_LINK:
		return about_link(attr, object);
	default:
		return -EINVAL;
	}
}
