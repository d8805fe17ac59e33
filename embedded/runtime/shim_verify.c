/*
 * Verification by the running kernel: the program is loaded there too, with maps of the same shape made for the purpose, and what
 * the kernel refuses is refused, in its words. Without permission to load programs the result says "unverified".
 *
 * Two helpers are the kernel's policy and not the program's fault: bpf_probe_write_user (forbidden by lockdown; here a program
 * writes to the memory of the process that it is part of) and bpf_override_return (only in kernels built for it, and there only
 * on functions of the kernel). Where they are why a program is refused, it is looked at again with each call of them made a call of a
 * small function that asks the same of its arguments.
 */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_MAPS 64

struct twins {
	uint32_t ids[MOST_MAPS];
	int descriptors[MOST_MAPS];
	uint32_t n;
};

static void close_descriptor(long descriptor)
{
	eb_system_call(SYS_close, descriptor, 0, 0, 0, 0, 0);
}

/* Read-only data that is frozen is constants to the verifier. */
static void copy_constants(int descriptor, const struct eb_object *object)
{
	uint32_t key = 0;
	union bpf_attr attr = { .map_fd = (uint32_t)descriptor, .key = (uint64_t)&key, .value = (uint64_t)eb_object_memory(object) };

	shim_kernel_bpf(BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)descriptor;
	shim_kernel_bpf(BPF_MAP_FREEZE, &attr, sizeof(attr));
}

/* A kernel map that the verifier cannot tell from ours. Only arrays need their size: indices are checked against it. */
static long make_twin(const struct eb_object *object)
{
	const struct eb_map_shape *shape = &object->map;
	int array = shape->type == BPF_MAP_TYPE_ARRAY || shape->type == BPF_MAP_TYPE_PERCPU_ARRAY;
	union bpf_attr attr = {
		.map_type = shape->type, .key_size = shape->key_size, .value_size = shape->value_size,
		.max_entries = array ? shape->max_entries : shape->type == BPF_MAP_TYPE_RINGBUF ? (uint32_t)getpagesize() : 16,
		.map_flags = shape->flags, .map_extra = shape->extra,
	};
	long descriptor;

	memcpy(attr.map_name, object->name, EB_NAME);
	descriptor = shim_kernel_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
	if (descriptor >= 0 && shape->frozen && shape->type == BPF_MAP_TYPE_ARRAY && shape->max_entries == 1)
		copy_constants((int)descriptor, object);
	return descriptor;
}

static long make_twins(const struct shim_program *program, struct twins *twins)
{
	for (uint32_t i = 0; i < program->n_maps; i++) {
		long descriptor = make_twin(&eb_view.segment->objects[program->maps[i] % EB_OBJECTS]);

		if (descriptor < 0)
			return descriptor;
		twins->ids[twins->n] = program->maps[i];
		twins->descriptors[twins->n++] = (int)descriptor;
	}
	return 0;
}

static int twin_of(const struct twins *twins, uint32_t id)
{
	for (uint32_t i = 0; i < twins->n; i++)
		if (twins->ids[i] == id)
			return twins->descriptors[i];
	return -1;
}

static int is_load(const struct bpf_insn *insn)
{
	return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}

static int is_call_of(const struct bpf_insn *insn, int helper)
{
	return insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == 0 && insn->imm == helper;
}

static void name_twins(struct bpf_insn *insns, uint32_t count, const struct twins *twins)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!is_load(&insns[i]))
			continue;
		if (insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE)
			insns[i].imm = twin_of(twins, (uint32_t)insns[i].imm);
		i++;
	}
}

/* --- helpers that the kernel's policy refuses --- */

#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* (anything, readable memory, its size): bpf_trace_printk asks the same of its first two. */
static const struct bpf_insn like_write_user[] = { MOVE(1, 2), MOVE(2, 3), CALL(BPF_FUNC_trace_printk), EXIT };
/* (context, anything) */
static const struct bpf_insn like_override[] = { CALL(BPF_FUNC_get_attach_cookie), EXIT };

static const struct substitute {
	int helper;
	const char *name;
	const struct bpf_insn *code;
	uint32_t count;
} substitutes[] = {
	{ BPF_FUNC_probe_write_user, "bpf_probe_write_user", like_write_user, EB_COUNT(like_write_user) },
	{ BPF_FUNC_override_return, "bpf_override_return", like_override, EB_COUNT(like_override) },
};

#define MOST_ADDED 16

/* Appends the functions that are needed to `insns`, which has room, and calls them; returns the new count. */
static uint32_t substitute(struct bpf_insn *insns, uint32_t count, char *names, size_t size)
{
	uint32_t end = count;

	for (size_t s = 0; s < EB_COUNT(substitutes); s++) {
		uint32_t used = 0;

		for (uint32_t i = 0; i < count; i++) {
			if (is_load(&insns[i]))
				i++;
			else if (is_call_of(&insns[i], substitutes[s].helper))
				insns[i] = (struct bpf_insn)INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, (int)(end - i - 1)), used = 1;
		}
		if (!used)
			continue;
		memcpy(&insns[end], substitutes[s].code, sizeof(*insns) * substitutes[s].count);
		end += substitutes[s].count;
		snprintf(names + strlen(names), size - strlen(names), "%s%s", *names ? ", " : "", substitutes[s].name);
	}
	return end;
}

/* --- loading there --- */

static void take_information(long descriptor, struct eb_program_record *record)
{
	struct bpf_prog_info information = { 0 };
	union bpf_attr attr = { .info = { .bpf_fd = (uint32_t)descriptor, .info_len = sizeof(information),
					  .info = (uint64_t)&information } };

	if (shim_kernel_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		return;
	memcpy(record->tag, information.tag, sizeof(record->tag));
	record->verified_instructions = information.verified_insns;
}

static long load_there(const struct shim_program *program, const struct bpf_insn *insns, uint32_t count,
		       struct eb_program_record *record)
{
	union bpf_attr attr = *program->attr;
	long descriptor;

	attr.insns = (uint64_t)insns;
	attr.insn_cnt = count;
	attr.fd_array = 0;
	if (count != program->count) {
		/* the added functions have no BTF, and then none may have */
		attr.func_info = attr.line_info = 0;
		attr.func_info_cnt = attr.line_info_cnt = attr.func_info_rec_size = attr.line_info_rec_size = 0;
	}
	if (shim_object((int)attr.prog_btf_fd) == UINT32_MAX) {
		attr.prog_btf_fd = 0;
		attr.func_info_cnt = attr.line_info_cnt = 0;
	}
	descriptor = shim_kernel_bpf(BPF_PROG_LOAD, &attr, program->size);
	if (descriptor < 0)
		return descriptor;
	take_information(descriptor, record);
	close_descriptor(descriptor);
	return 0;
}

static long load_twins(const struct shim_program *program, const struct twins *twins, struct eb_program_record *record)
{
	struct bpf_insn *insns = malloc(sizeof(*insns) * (program->count + MOST_ADDED));
	char names[64] = "";
	uint32_t count;
	long error;

	if (!insns)
		return -ENOMEM;
	memcpy(insns, program->insns, sizeof(*insns) * program->count);
	name_twins(insns, program->count, twins);
	error = load_there(program, insns, program->count, record);
	record->verification = EB_VERIFIED;
	if (error && error != -EPERM) {
		count = substitute(insns, program->count, names, sizeof(names));
		if (count > program->count)
			error = load_there(program, insns, count, record);
		if (count > program->count && !error) {
			record->verification = EB_VERIFIED_SUBSTITUTED;
			snprintf(record->reason, sizeof(record->reason), "%s: this kernel's policy refuses it", names);
		}
	}
	free(insns);
	return error;
}

static int unverified(struct eb_program_record *record, long error, const char *what)
{
	record->verification = EB_UNVERIFIED;
	snprintf(record->reason, sizeof(record->reason), "%s: %s", what, strerror((int)-error));
	return 0;
}

long shim_verify(const struct shim_program *program, struct eb_program_record *record)
{
	struct twins twins = { .n = 0 };
	long error = program->n_maps > MOST_MAPS ? -E2BIG : make_twins(program, &twins);

	if (error) {
		unverified(record, error, "the kernel makes no such map");
		error = 0;
	} else {
		error = load_twins(program, &twins, record);
		if (error == -EPERM || error == -ENOSYS)
			error = unverified(record, error, "the kernel loads no programs for us");
	}
	for (uint32_t i = 0; i < twins.n; i++)
		close_descriptor(twins.descriptors[i]);
	if (record->verification == EB_UNVERIFIED)
		eb_log_info("program %s is unverified: %s", program->attr->prog_name, record->reason);
	return error;
}
