/* BPF_PROG_LOAD: looked at by our engine and by the kernel's verifier, and then put into the segment. */
#include "common/log.h"
#include "runtime/fault.h"
#include "runtime/helpers.h"
#include "runtime/program.h"
#include "runtime/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_MAPS 64

struct loading {
	struct bpf_insn *insns; /* our copy */
	uint32_t count;
	uint32_t maps[MOST_MAPS], n_maps;
	char error[512];
};

void shim_log(const union bpf_attr *attr, const char *text)
{
	char *log = (char *)attr->log_buf;

	eb_log_info("program %s: %s", attr->prog_name, text);
	if (attr->log_level && log && attr->log_size)
		snprintf(log, attr->log_size, "%s\n", text);
}

/* --- map references: descriptors become ids --- */

static int note_map(struct loading *loading, uint32_t id)
{
	for (uint32_t i = 0; i < loading->n_maps; i++)
		if (loading->maps[i] == id)
			return 0;
	if (loading->n_maps == MOST_MAPS)
		return -E2BIG;
	loading->maps[loading->n_maps++] = id;
	return 0;
}

static int refer(struct loading *loading, const union bpf_attr *attr, struct bpf_insn *load)
{
	int indexed = load->src_reg == BPF_PSEUDO_MAP_IDX || load->src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
	int descriptor = load->imm;
	const struct eb_object *map;

	if (indexed && !attr->fd_array)
		return -EFAULT;
	if (indexed)
		descriptor = ((const int *)attr->fd_array)[load->imm];
	map = shim_object_of(descriptor, EB_MAP);
	if (!map) {
		snprintf(loading->error, sizeof(loading->error), "instruction %ld: descriptor %d is no map of this runtime",
			 (long)(load - loading->insns), descriptor);
		return -EBADF;
	}
	if (load->src_reg == BPF_PSEUDO_MAP_IDX)
		load->src_reg = BPF_PSEUDO_MAP_FD;
	if (load->src_reg == BPF_PSEUDO_MAP_IDX_VALUE)
		load->src_reg = BPF_PSEUDO_MAP_VALUE;
	load->imm = (int)map->id;
	return note_map(loading, map->id);
}

static int refer_all(struct loading *loading, const union bpf_attr *attr)
{
	for (uint32_t i = 0; i + 1 < loading->count; i++) {
		struct bpf_insn *insn = &loading->insns[i];
		int error = 0;

		if (insn->code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (insn->src_reg == BPF_PSEUDO_MAP_FD || insn->src_reg == BPF_PSEUDO_MAP_VALUE ||
		    insn->src_reg == BPF_PSEUDO_MAP_IDX || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE)
			error = refer(loading, attr, insn);
		if (error)
			return error;
		i++;
	}
	return 0;
}

/* --- our engine: what it cannot compile, and helpers that are not there, are refused now and not in the target --- */

static enum eb_engine engine_asked_for(void)
{
	static int known;
	static enum eb_engine engine;
	char error[256];

	if (!known++ && eb_program_engine(&engine, error, sizeof(error)))
		eb_log_info("%s: the loader asks the JIT instead", error);
	return engine;
}

/* What is not supported is the same for all. */
static enum eb_engine engine_here(void)
{
	return eb_engine_available(engine_asked_for()) ? engine_asked_for() : EB_JIT;
}

static int try_engine(struct loading *loading, const union bpf_attr *attr, struct eb_program_record *record)
{
	struct eb_code code = { 0 };
	uint64_t start = eb_clock_ns();
	uint32_t needs;
	int error = eb_program_compile(engine_here(), loading->insns, loading->count, attr->prog_name, &code, &needs,
				       loading->error, sizeof(loading->error));

	if (error)
		return error;
	record->compile_ns = eb_clock_ns() - start;
	record->code_size = code.engine == engine_asked_for() ? (uint32_t)code.text_size : 0;
	eb_free(&code);
	return 0;
}

/* Where the kernel has given no tag: FNV of the instructions. */
static void make_tag(const struct loading *loading, struct eb_program_record *record)
{
	static const uint8_t none[sizeof(record->tag)];
	const uint8_t *bytes = (const uint8_t *)loading->insns;
	uint64_t hash = 0xcbf29ce484222325ull;

	if (memcmp(record->tag, none, sizeof(none)))
		return;
	for (size_t i = 0; i < sizeof(struct bpf_insn) * loading->count; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	memcpy(record->tag, &hash, sizeof(record->tag));
}

static struct eb_object *store(const struct loading *loading, const union bpf_attr *attr, struct eb_program_record *record,
			       int *error)
{
	size_t code = sizeof(struct bpf_insn) * loading->count, maps = sizeof(uint32_t) * loading->n_maps;
	struct eb_object *object;

	record->type = attr->prog_type;
	record->attach_type = attr->expected_attach_type;
	record->instructions = loading->count;
	record->maps = (uint32_t)code;
	record->n_maps = loading->n_maps;
	eb_segment_lock();
	object = eb_object_make(attr->prog_name, code + maps, error);
	if (object) {
		object->program = *record;
		memcpy(eb_object_memory(object), loading->insns, code);
		memcpy((char *)eb_object_memory(object) + code, loading->maps, maps);
		for (uint32_t i = 0; i < loading->n_maps; i++)
			eb_view.segment->objects[loading->maps[i] % EB_OBJECTS].references++;
		eb_object_publish(object, EB_PROGRAM);
	}
	eb_segment_unlock();
	return object;
}

static long load(struct loading *loading, union bpf_attr *attr, size_t size)
{
	struct eb_program_record record = { 0 };
	struct eb_object *object;
	int error = refer_all(loading, attr);
	const struct shim_program verified = { attr, size, loading->insns, loading->count, loading->maps, loading->n_maps };

	if (!error)
		error = try_engine(loading, attr, &record);
	if (error) {
		shim_log(attr, loading->error);
		return error;
	}
	error = (int)shim_verify(&verified, &record);
	if (error)
		return error;
	make_tag(loading, &record);
	object = store(loading, attr, &record, &error);
	return object ? shim_descriptor(object) : error;
}

long shim_program_load(union bpf_attr *attr, size_t size)
{
	struct loading loading = { .count = attr->insn_cnt };
	long result;

	if (!attr->insns || !attr->insn_cnt)
		return -EINVAL;
	if (attr->insn_cnt > EB_MOST)
		return -E2BIG;
	loading.insns = malloc(sizeof(*loading.insns) * loading.count);
	if (!loading.insns)
		return -ENOMEM;
	memcpy(loading.insns, (const void *)attr->insns, sizeof(*loading.insns) * loading.count);
	result = load(&loading, attr, size);
	free(loading.insns);
	return result;
}

/* Runs a program in this process on the caller's context. */
long shim_program_test(union bpf_attr *attr)
{
	const struct eb_object *object = shim_object_of((int)attr->test.prog_fd, EB_PROGRAM);
	uint32_t repeat = attr->test.repeat ? attr->test.repeat : 1;
	struct eb_attachment attachment = { 0 };
	struct eb_hit hit;
	struct timespec start, end;
	char error[256];

	if (!object)
		return -EBADF;
	attachment.program = eb_program_load(object->id, engine_here(), error, sizeof(error));
	if (!attachment.program) {
		eb_log_warning("%s", error);
		return -EINVAL;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (uint32_t i = 0; i < repeat; i++)
		attr->test.retval = (uint32_t)eb_program_run(&attachment, (void *)attr->test.ctx_in, NULL, &hit);
	clock_gettime(CLOCK_MONOTONIC, &end);
	attr->test.duration = (uint32_t)(((uint64_t)(end.tv_sec - start.tv_sec) * 1000000000u +
					  (uint64_t)(end.tv_nsec - start.tv_nsec)) / repeat);
	return 0;
}
