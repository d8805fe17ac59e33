/*
 * How long generated code runs and how long generating it takes, on every engine and the kernel, interleaved: one line a program
 * with nanoseconds (the least of the rounds) and ratios to the kernel. Not a test: nothing depends on the figures.
 * usage: speed rounds file … (raw instructions, the name says which program)
 *        speed samples blocks file …: measures every program on every compiler once a block, in a new order each time, and
 *        prints a line `BLOCK PROGRAM ENGINE NANOSECONDS` for each; benchmarks/embedded_engines.py makes figures of them
 */
#include "../tests/kernel.h"

#include "../engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const enum machine_kind kinds[] = { MACHINE_KERNEL, MACHINE_JIT, MACHINE_LLVM, MACHINE_INTERPRETER };

#define KINDS (sizeof(kinds) / sizeof(*kinds))

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint32_t read_program(const char *name, struct bpf_insn *insns)
{
	FILE *file = fopen(name, "rb");
	size_t count = file ? fread(insns, sizeof(*insns), MACHINE_MOST, file) : 0;

	if (file)
		fclose(file);
	if (!count)
		fprintf(stderr, "%s: no program\n", name);
	return (uint32_t)count;
}

static const char *base(const char *name)
{
	return strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
}

/* All must return the same. */
static double time_once(enum machine_kind kind, const struct bpf_insn *insns, uint32_t count, struct machine_rounds rounds,
			int64_t *expected)
{
	uint32_t result = 0;
	char error[2000];
	double ns = machine_time(kind, insns, count, rounds, &result, error, sizeof(error));

	if (ns < 0)
		fprintf(stderr, "%s: %s\n", machine_name(kind), error);
	else if (*expected >= 0 && result != *expected)
		fprintf(stderr, "%s: result %u, not %u\n", machine_name(kind), result, (uint32_t)*expected);
	if (ns < 0 || (*expected >= 0 && result != *expected))
		exit(1);
	*expected = result;
	return ns;
}

static void time_program(const char *name, uint32_t rounds, double *logarithms, uint32_t *programs)
{
	static struct bpf_insn insns[MACHINE_MOST];
	uint32_t count = read_program(name, insns);
	double best[KINDS];
	int64_t expected = -1;

	for (size_t i = 0; i < KINDS; i++)
		best[i] = INFINITY;
	for (uint32_t round = 0; round < rounds && count; round++)
		for (size_t i = 0; i < KINDS; i++) {
			struct machine_rounds once = { 1, kinds[i] == MACHINE_INTERPRETER ? 50 : 2000 };
			double ns = machine_missing(kinds[i]) ? NAN : time_once(kinds[i], insns, count, once, &expected);

			if (ns < best[i])
				best[i] = ns;
		}
	printf("%-10s %5u insns", base(name), count);
	for (size_t i = 0; i < KINDS; i++) {
		printf("  %s %.0f", machine_name(kinds[i]), best[i]);
		if (i)
			printf(" (%.2f)", best[i] / best[0]);
		logarithms[i] += log(best[i] / best[0]);
	}
	(*programs)++;
	printf("\n");
}

static void shuffle(uint32_t *order, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n; i > 1; i--) {
		uint32_t other = (uint32_t)rand() % i, kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
}

/*
 * One block: for each program and compiler 8 rounds of about a millisecond, of which some are left alone, and the fastest counts. (In
 * shorter ones the kernel has not yet learnt the branches: entering it makes the processor forget them.)
 */
static void sample_block(uint32_t block, char **names, uint32_t programs)
{
	static const enum machine_kind compilers[] = { MACHINE_KERNEL, MACHINE_JIT, MACHINE_LLVM };
	static struct bpf_insn insns[MACHINE_MOST];
	uint32_t order[64], turn[3];

	shuffle(order, programs);
	for (uint32_t i = 0; i < programs; i++) {
		uint32_t count = read_program(names[order[i]], insns);
		int64_t expected = -1;

		shuffle(turn, 3);
		for (uint32_t k = 0; k < 3; k++) {
			enum machine_kind kind = compilers[turn[k]];

			if (!machine_missing(kind))
				printf("%u %s %s %.3f\n", block, base(names[order[i]]), machine_name(kind),
				       time_once(kind, insns, count, (struct machine_rounds){ 8, 2000 }, &expected));
		}
	}
}

static int sample(uint32_t blocks, char **names, uint32_t programs)
{
	if (programs > 64)
		return 2;
	for (uint32_t block = 0; block < blocks; block++)
		sample_block(block, names, programs);
	return 0;
}

/* A program of that many instructions of all common kinds. */
static uint32_t long_program(struct bpf_insn *insns, uint32_t wanted)
{
	uint32_t count = 0;

	for (int reg = 0; reg < 10; reg++)
		insns[count++] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = reg & 15, .imm = reg };
	while (count < wanted - 1) {
		static const struct bpf_insn pattern[] = {
			{ .code = BPF_ALU64 | BPF_ADD | BPF_X, .dst_reg = 1, .src_reg = 2 },
			{ .code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 10, .src_reg = 1, .off = -8 },
			{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 1 },
			{ .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = 3, .imm = 0xff },
			{ .code = BPF_JMP | BPF_JGT | BPF_K, .dst_reg = 3, .off = 2, .imm = 5 },
			{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 4, .src_reg = 10, .off = -8 },
			{ .code = BPF_ALU64 | BPF_LSH | BPF_K, .dst_reg = 4, .imm = 3 },
			{ .code = BPF_ALU64 | BPF_XOR | BPF_X, .dst_reg = 6, .src_reg = 4 },
		};

		insns[count] = pattern[count % 8];
		count++;
	}
	insns[count - 2] = insns[count - 1] = (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K };
	insns[count - 3] = insns[count - 1];
	insns[count++] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	return count;
}

static void time_compiling(enum eb_engine engine, uint32_t length, uint32_t times)
{
	static struct bpf_insn insns[MACHINE_MOST];
	struct eb_program program = { insns, long_program(insns, length), "long" };
	struct eb_environment environment = { 0 };
	double best = INFINITY;
	char error[200];

	for (uint32_t i = 0; i < times && eb_engine_available(engine); i++) {
		struct eb_code code;
		double start = now(), took;
		int result = eb_compile(engine, &program, &environment, &code, error, sizeof(error));

		took = now() - start;
		if (result)
			fprintf(stderr, "%s\n", error);
		if (took < best)
			best = took;
		eb_free(&code);
	}
	printf("compiling %u instructions: %s %.1f us\n", program.count, eb_engine_name(engine), best / 1e3);
}

int main(int argc, char **argv)
{
	double logarithms[KINDS] = { 0 };
	uint32_t programs = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: %s rounds program... | samples blocks program...\n", *argv);
		return 2;
	}
	if (!strcmp(argv[1], "samples"))
		return sample((uint32_t)atoi(argv[2]), argv + 3, (uint32_t)(argc - 3));
	for (int i = 2; i < argc; i++)
		time_program(argv[i], (uint32_t)atoi(argv[1]), logarithms, &programs);
	printf("geometric mean, relative to the kernel:");
	for (size_t i = 1; i < KINDS; i++)
		printf("  %s %.2f", machine_name(kinds[i]), exp(logarithms[i] / programs));
	printf("\n");
	time_compiling(EB_JIT, 20, 200);
	time_compiling(EB_JIT, 1000, 200);
	time_compiling(EB_INTERPRETER, 1000, 200);
	time_compiling(EB_LLVM, 1000, 5);
	return 0;
}
