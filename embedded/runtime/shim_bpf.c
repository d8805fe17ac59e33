/* bpf(2): which command goes where. */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/shim.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int shim_ready(void)
{
	static int tried;
	const char *name;
	int error;

	if (eb_view.segment || tried)
		return eb_view.segment != NULL;
	tried = 1;
	name = getenv("EMBEDDED_SEGMENT");
	if (!name)
		return 0;
	error = eb_segment_open(name, EB_LOADER);
	if (error) {
		eb_log_error("segment %s: %s", name, strerror(-error));
		return 0;
	}
	eb_segment_sweep();
	eb_log_info("loader of segment %s", name);
	return 1;
}

long shim_kernel_bpf(int command, const union bpf_attr *attr, size_t size)
{
	return eb_system_call(SYS_bpf, command, (long)attr, (long)size, 0, 0, 0);
}

/* BTF is only ever looked at by the kernel's verifier, and by whoever asks for it by its id. */
static long btf_load(const union bpf_attr *attr, size_t size)
{
	long descriptor = shim_kernel_bpf(BPF_BTF_LOAD, attr, size);

	return descriptor == -EPERM || descriptor == -ENOSYS ? shim_descriptor_of_nothing() : descriptor;
}

static long by_id(uint32_t id, enum eb_kind kind)
{
	struct eb_object *object = eb_object_find(id, kind);
	long descriptor;

	if (!object)
		return -ENOENT;
	descriptor = shim_descriptor(object);
	if (descriptor >= 0) {
		eb_segment_lock();
		if (object->owner != eb_view.user)
			object->references++; /* another loader's: it keeps it until it ends */
		eb_segment_unlock();
	}
	return descriptor;
}

static long next_id(union bpf_attr *attr, enum eb_kind kind)
{
	uint32_t best = UINT32_MAX;

	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		const struct eb_object *object = &eb_view.segment->objects[i];

		if (eb_load(&object->kind) == kind && object->id > attr->start_id && object->id < best)
			best = object->id;
	}
	if (best == UINT32_MAX)
		return -ENOENT;
	attr->next_id = best;
	return 0;
}

static long bind(const union bpf_attr *attr)
{
	if (!shim_object_of((int)attr->prog_bind_map.prog_fd, EB_PROGRAM) ||
	    !shim_object_of((int)attr->prog_bind_map.map_fd, EB_MAP))
		return -EBADF;
	return 0; /* maps live as long as their loader */
}

static long by_id_of(int command, const union bpf_attr *attr)
{
	return command == BPF_PROG_GET_FD_BY_ID	 ? by_id(attr->prog_id, EB_PROGRAM)
	       : command == BPF_MAP_GET_FD_BY_ID ? by_id(attr->map_id, EB_MAP)
						 : by_id(attr->link_id, EB_LINK);
}

static long on_objects(int command, union bpf_attr *attr, size_t size)
{
	switch (command) {
	case BPF_OBJ_GET_INFO_BY_FD:
		return shim_information(attr);
	case BPF_PROG_GET_NEXT_ID:
		return next_id(attr, EB_PROGRAM);
	case BPF_MAP_GET_NEXT_ID:
		return next_id(attr, EB_MAP);
	case BPF_LINK_GET_NEXT_ID:
		return next_id(attr, EB_LINK);
	case BPF_PROG_GET_FD_BY_ID:
	case BPF_MAP_GET_FD_BY_ID:
	case BPF_LINK_GET_FD_BY_ID:
		return by_id_of(command, attr);
	case BPF_BTF_LOAD:
		return btf_load(attr, size);
	case BPF_BTF_GET_NEXT_ID:
	case BPF_BTF_GET_FD_BY_ID:
		return shim_kernel_bpf(command, attr, size);
	default: /* pinning, cgroups, iterators, statistics: there is nothing like them here */
		return command <= BPF_PROG_BIND_MAP ? -EOPNOTSUPP : -EINVAL;
	}
}

static int is_of_maps(int command)
{
	return command <= BPF_MAP_GET_NEXT_KEY || command == BPF_MAP_LOOKUP_AND_DELETE_ELEM || command == BPF_MAP_FREEZE ||
	       (command >= BPF_MAP_LOOKUP_BATCH && command <= BPF_MAP_DELETE_BATCH);
}

static long dispatch(int command, union bpf_attr *attr, size_t size)
{
	if (is_of_maps(command))
		return shim_map_command(command, attr);
	switch (command) {
	case BPF_PROG_LOAD:
		return shim_program_load(attr, size);
	case BPF_PROG_TEST_RUN:
		return shim_program_test(attr);
	case BPF_LINK_CREATE:
		return shim_link_create(attr);
	case BPF_RAW_TRACEPOINT_OPEN:
		return shim_raw_tracepoint(attr);
	case BPF_PROG_BIND_MAP:
		return bind(attr);
	default:
		return on_objects(command, attr, size);
	}
}

/* The kernel's rule: fields that the caller does not know are 0, and fields that we do not know must be. */
long shim_bpf(int command, union bpf_attr *attr, size_t size)
{
	union bpf_attr whole = { 0 };
	size_t known = size < sizeof(whole) ? size : sizeof(whole);
	long result;

	if (!shim_ready())
		return shim_kernel_bpf(command, attr, size);
	memcpy(&whole, attr, known);
	result = dispatch(command, &whole, known);
	memcpy(attr, &whole, known);
	eb_log_debug("bpf(%d) = %ld", command, result);
	return result;
}
