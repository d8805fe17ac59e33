#include "machine.h"

#include "kernel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct image memory __attribute__((aligned(64)));

/* Loads with BPF_PSEUDO_MAP_FD are resolved to the addresses of these. */
static const struct map {
	uint8_t *values;
	uint32_t entries;
} maps[] = { { memory.values[0], MACHINE_ENTRIES }, { memory.data, 1 } };

#define MAPS (sizeof(maps) / sizeof(*maps))

static uint64_t map_lookup(uint64_t map, uint64_t key, uint64_t r3, uint64_t r4, uint64_t r5)
{
	const struct map *in = (const struct map *)map;
	uint32_t index = *(uint32_t *)key;

	(void)r3, (void)r4, (void)r5;
	return index >= in->entries ? 0 : (uint64_t)(in->values + (size_t)index * MACHINE_VALUE);
}

static uint64_t map_update(uint64_t map, uint64_t key, uint64_t value, uint64_t flags, uint64_t r5)
{
	const struct map *in = (const struct map *)map;
	uint32_t index = *(uint32_t *)key;

	(void)r5;
	if (flags > BPF_EXIST)
		return (uint64_t)-EINVAL;
	if (index >= in->entries)
		return (uint64_t)-E2BIG;
	if (flags == BPF_NOEXIST)
		return (uint64_t)-EEXIST;
	memmove(in->values + (size_t)index * MACHINE_VALUE, (void *)value, MACHINE_VALUE);
	return 0;
}

static uint64_t loop(uint64_t times, uint64_t callback, uint64_t context, uint64_t flags, uint64_t r5)
{
	eb_helper *call = (eb_helper *)callback;

	(void)r5;
	if (flags)
		return (uint64_t)-EINVAL;
	if ((uint32_t)times > 1u << 23)
		return (uint64_t)-E2BIG;
	for (uint32_t i = 0; i < (uint32_t)times; i++)
		if (call(i, context, 0, 0, 0))
			return i + 1;
	return (uint32_t)times;
}

static eb_helper *find_helper(void *user, uint32_t id, uint64_t map)
{
	(void)user, (void)map;
	return id == BPF_FUNC_map_lookup_elem ? map_lookup : id == BPF_FUNC_map_update_elem ? map_update :
	       id == BPF_FUNC_loop ? loop : NULL;
}

static int resolve(void *user, const struct bpf_insn *load, uint64_t *value)
{
	(void)user;
	if ((uint32_t)load->imm >= MAPS)
		return -ENOENT;
	if (load->src_reg == BPF_PSEUDO_MAP_FD)
		*value = (uint64_t)&maps[load->imm];
	else if (load->src_reg == BPF_PSEUDO_MAP_VALUE && (uint32_t)load[1].imm < MACHINE_VALUE)
		*value = (uint64_t)maps[load->imm].values + (uint32_t)load[1].imm;
	else
		return -ENOENT;
	return 0;
}

static int array(void *user, uint64_t map, struct eb_array *found)
{
	const struct map *in = (const struct map *)map;

	(void)user;
	*found = (struct eb_array){ .values = (uint64_t)in->values, .stride = MACHINE_VALUE, .entries = in->entries };
	return 1;
}

static const struct machine {
	const char *name;
	enum eb_engine engine;
	uint32_t options;
} machines[] = {
	[MACHINE_INTERPRETER] = { "interpreter", EB_INTERPRETER, 0 },
	[MACHINE_JIT] = { "jit", EB_JIT, 0 },
	[MACHINE_JIT_PLAIN] = { "jit-plain", EB_JIT, EB_OPTION_NO_BMI2 | EB_OPTION_NO_INLINE | EB_OPTION_FAR },
	[MACHINE_LLVM] = { "llvm", EB_LLVM, 0 },
	[MACHINE_KERNEL] = { "kernel", 0, 0 },
};

const char *machine_name(enum machine_kind kind)
{
	return machines[kind].name;
}

const char *machine_missing(enum machine_kind kind)
{
	if (kind == MACHINE_KERNEL)
		return kernel_missing();
	return eb_engine_available(machines[kind].engine) ? NULL : "not in this build";
}

static int compile(enum machine_kind kind, const struct bpf_insn *insns, uint32_t count, struct eb_code *code, char *error,
		   size_t size)
{
	struct eb_environment environment = {
		.helper = find_helper, .resolve = resolve, .array = array, .options = machines[kind].options,
	};
	struct eb_program program = { insns, count, "test" };

	return eb_compile(machines[kind].engine, &program, &environment, code, error, size);
}

int machine_run(enum machine_kind kind, const struct bpf_insn *insns, uint32_t count, struct image *image, char *error,
		size_t size)
{
	struct eb_code code;
	int result;

	if (kind == MACHINE_KERNEL)
		return kernel_run(insns, count, image, error, size);
	result = compile(kind, insns, count, &code, error, size);
	if (result)
		return result;
	memory = *image;
	memory.r0 = eb_run(&code, memory.data);
	*image = memory;
	eb_free(&code);
	return 0;
}

/* Leaves that byte in the stack below, where the next call's frames will be. */
static __attribute__((noinline)) void dirty_stack(int byte)
{
	char stack[16384];

	memset(stack, byte, sizeof(stack));
	__asm__ volatile("" : : "r"(stack) : "memory");
}

static void run_dirty(const struct eb_code *code, struct image *image, int byte)
{
	memory = *image;
	dirty_stack(byte);
	memory.r0 = eb_run(code, (void *)(0x1010101010101010u * (unsigned)byte));
	*image = memory;
}

bool machine_is_vague(const struct bpf_insn *insns, uint32_t count, const struct image *image)
{
	struct image first = *image, second = *image;
	struct eb_code code;
	char error[200];

	if (compile(MACHINE_INTERPRETER, insns, count, &code, error, sizeof(error)))
		return false;
	run_dirty(&code, &first, 0x00);
	run_dirty(&code, &second, 0xa5);
	eb_free(&code);
	return memcmp(&first, &second, sizeof(first));
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

double machine_time(enum machine_kind kind, const struct bpf_insn *insns, uint32_t count, struct machine_rounds rounds,
		    uint32_t *result, char *error, size_t size)
{
	struct eb_code code;
	double start, spent, best = -1;

	if (kind == MACHINE_KERNEL)
		return kernel_time(insns, count, rounds, result, error, size);
	if (compile(kind, insns, count, &code, error, size))
		return -1;
	memcpy(memory.data, &(uint32_t){ MACHINE_SEED }, 4);
	for (uint32_t round = 0; round < rounds.rounds; round++) {
		start = now();
		for (uint32_t i = 0; i < rounds.times; i++)
			*result = (uint32_t)eb_run(&code, memory.data);
		spent = now() - start;
		if (best < 0 || spent < best)
			best = spent;
	}
	eb_free(&code);
	return best / rounds.times;
}
