#include "kernel.h"

#include "../isa.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char log_text[1 << 16];
bool kernel_as_it_is;

static int map_fds[2] = { -1, -1 };

static int bpf(enum bpf_cmd command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int open_maps(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		union bpf_attr attributes = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = MACHINE_VALUE,
					      .max_entries = i ? 1 : MACHINE_ENTRIES };

		if (map_fds[i] < 0)
			map_fds[i] = bpf(BPF_MAP_CREATE, &attributes);
		if (map_fds[i] < 0)
			return -errno;
	}
	return 0;
}

const char *kernel_missing(void)
{
	return open_maps() ? "the kernel does not let this user make BPF maps" : NULL;
}

uint32_t kernel_wrap(struct bpf_insn *to, const struct bpf_insn *insns, uint32_t count)
{
	static const struct bpf_insn around[KERNEL_WRAPPING] = {
		{ .code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = 5 },
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_VALUE, .imm = 1 },
		{ .imm = KERNEL_RESULT_AT },
		{ .code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 1, .src_reg = 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	memcpy(to, around, sizeof(around));
	memcpy(to + KERNEL_WRAPPING, insns, count * sizeof(*insns));
	return KERNEL_WRAPPING + count;
}

static bool is_cmpxchg32(const struct bpf_insn *insn)
{
	return isa_is_atomic(insn) && isa_size(insn) == BPF_W && insn->imm == BPF_CMPXCHG;
}

/* place: where instructions go to. Distances are changed to fit. */
static void correct_distance(struct bpf_insn *insn, uint32_t at, const uint32_t *place)
{
	bool far = isa_is_local_call(insn) || insn->code == (BPF_JMP32 | BPF_JA) ||
		   (isa_is_ld_imm64(insn) && insn->src_reg == BPF_PSEUDO_FUNC);

	if (far)
		insn->imm = (int32_t)(place[(int64_t)at + 1 + insn->imm] - place[at] - 1);
	else if (isa_is_branch(insn))
		insn->off = (int16_t)(place[(int64_t)at + 1 + insn->off] - place[at] - 1);
}

/* Copies the program with the maps' numbers replaced by their descriptors. Returns its new length. */
static uint32_t prepare(struct bpf_insn *to, const struct bpf_insn *from, uint32_t count)
{
	static const struct bpf_insn clear = { .code = BPF_ALU | BPF_MOV | BPF_X };
	static uint32_t place[MACHINE_MOST + 1];
	uint32_t length = 0;

	for (uint32_t i = 0; i <= count; i++) {
		place[i] = length++;
		length += i < count && !kernel_as_it_is && is_cmpxchg32(&from[i]);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct bpf_insn *insn = &to[place[i]];

		*insn = from[i];
		if (place[i + 1] - place[i] > 1)
			insn[1] = clear;
		if (insn->code == (BPF_LD | BPF_IMM | BPF_DW) &&
		    (insn->src_reg == BPF_PSEUDO_MAP_FD || insn->src_reg == BPF_PSEUDO_MAP_VALUE))
			insn->imm = map_fds[insn->imm & 1];
		correct_distance(insn, i, place);
	}
	return place[count];
}

static int load(enum bpf_prog_type type, const struct bpf_insn *insns, uint32_t count, char *error, size_t size)
{
	static struct bpf_insn copy[2 * MACHINE_MOST];
	union bpf_attr attributes = { .prog_type = type, .insns = (uint64_t)copy, .license = (uint64_t)"GPL" };
	int fd, code;

	if (count > MACHINE_MOST || open_maps()) {
		snprintf(error, size, "%s", count > MACHINE_MOST ? "too long" : kernel_missing());
		return -EINVAL;
	}
	attributes.insn_cnt = prepare(copy, insns, count);
	fd = bpf(BPF_PROG_LOAD, &attributes);
	if (fd >= 0)
		return fd;
	attributes.log_level = 1; /* costs time: only for programs that are refused */
	attributes.log_buf = (uint64_t)log_text;
	attributes.log_size = sizeof(log_text);
	*log_text = '\0';
	fd = bpf(BPF_PROG_LOAD, &attributes);
	code = errno;
	if (fd >= 0)
		return fd;
	snprintf(error, size, "%s: %s", strerror(code), log_text + (strlen(log_text) > 1500 ? strlen(log_text) - 1500 : 0));
	return -code;
}

static int copy_value(enum bpf_cmd command, int fd, uint32_t index, void *value)
{
	union bpf_attr attributes = { .map_fd = (uint32_t)fd, .key = (uint64_t)&index, .value = (uint64_t)value };

	return bpf(command, &attributes) ? -errno : 0;
}

static int copy_memory(enum bpf_cmd command, struct image *image)
{
	int result = copy_value(command, map_fds[1], 0, image->data);

	for (uint32_t i = 0; i < MACHINE_ENTRIES && !result; i++)
		result = copy_value(command, map_fds[0], i, image->values[i]);
	return result;
}

int kernel_run(const struct bpf_insn *insns, uint32_t count, struct image *image, char *error, size_t size)
{
	uint64_t context[8] = { 0 };
	union bpf_attr attributes = { 0 };
	int fd = load(BPF_PROG_TYPE_RAW_TRACEPOINT, insns, count, error, size), result;

	if (fd < 0)
		return fd;
	attributes.test.prog_fd = (uint32_t)fd;
	attributes.test.ctx_in = (uint64_t)context;
	attributes.test.ctx_size_in = sizeof(context);
	result = copy_memory(BPF_MAP_UPDATE_ELEM, image);
	if (!result && bpf(BPF_PROG_TEST_RUN, &attributes))
		result = -errno;
	if (!result)
		result = copy_memory(BPF_MAP_LOOKUP_ELEM, image);
	if (result)
		snprintf(error, size, "test run: %s", strerror(-result));
	image->r0 = attributes.test.retval;
	close(fd);
	return result;
}

double kernel_time(const struct bpf_insn *insns, uint32_t count, struct machine_rounds rounds, uint32_t *result, char *error,
		   size_t size)
{
	static char packet[MACHINE_SEED + 14];
	union bpf_attr attributes = { 0 };
	int fd = load(BPF_PROG_TYPE_SOCKET_FILTER, insns, count, error, size), failed = 0;
	double best = -1;

	if (fd < 0)
		return -1;
	attributes.test.prog_fd = (uint32_t)fd;
	attributes.test.data_in = (uint64_t)packet;
	attributes.test.data_size_in = sizeof(packet);
	attributes.test.repeat = rounds.times;
	for (uint32_t round = 0; round < rounds.rounds && !failed; round++) {
		failed = bpf(BPF_PROG_TEST_RUN, &attributes);
		if (!failed && (best < 0 || attributes.test.duration < best))
			best = attributes.test.duration;
	}
	if (failed)
		snprintf(error, size, "test run: %s", strerror(errno));
	*result = attributes.test.retval;
	close(fd);
	return failed ? -1 : best;
}
