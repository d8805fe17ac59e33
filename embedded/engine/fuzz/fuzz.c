/*
 * Runs random programs on every engine there is and compares what is left in memory. A program on which they differ is made
 * smaller and printed in the form of tests/cases/.
 */
#include "../tests/kernel.h"
#include "generate.h"
#include "reduce.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
	uint64_t seed, count;
	uint32_t size;
	bool kernel, verbose, first;
};

struct totals {
	uint64_t programs, instructions, refused, mismatches;
	bool used[MACHINE_KINDS];
};

static struct options read_options(int argc, char **argv)
{
	struct options options = { 1, 1000, 25, true, false, false };
	int option;

	while ((option = getopt(argc, argv, "s:n:z:fkvx")) != -1) {
		if (option == 's')
			options.seed = strtoull(optarg, NULL, 0);
		else if (option == 'n')
			options.count = strtoull(optarg, NULL, 0);
		else if (option == 'z')
			options.size = (uint32_t)strtoul(optarg, NULL, 0);
		else if (option == 'f')
			options.first = true;
		else if (option == 'k')
			options.kernel = false;
		else if (option == 'v')
			options.verbose = true;
		else if (option == 'x')
			kernel_as_it_is = true;
		else
			exit(2);
	}
	if (optind == argc)
		return options;
	fprintf(stderr, "usage: %s [-s first seed] [-n count] [-z statements] [-f: no further than the first difference]\n"
		"       [-k: without the kernel] [-x: with what the kernel's verifier is known to get wrong] [-v: say who refused what]\n", *argv);
	exit(2);
}

static void fuzz_one(const struct options *options, uint64_t seed, struct totals *totals)
{
	static struct generated program;
	char error[2000] = "";
	struct trial trial = { .seed = seed };

	memcpy(trial.use, totals->used, sizeof(trial.use));
	program.as_it_is = kernel_as_it_is;
	generate(&program, seed, options->size);
	totals->programs++;
	totals->instructions += program.count;
	switch (try_program(&trial, program.insns, program.count, error, sizeof(error))) {
	case TRIAL_REFUSED:
		totals->refused++;
		if (options->verbose)
			printf("seed %llu: %s\n", (unsigned long long)seed, error);
		return;
	case TRIAL_SAME:
		return;
	case TRIAL_DIFFERENT:
		totals->mismatches++;
		printf("# seed %llu: %s\n", (unsigned long long)seed, error);
		reduce_and_print(&trial, program.insns, program.count);
	}
}

int main(int argc, char **argv)
{
	struct options options = read_options(argc, argv);
	struct totals totals = { 0 };

	for (int kind = 0; kind < MACHINE_KINDS; kind++) {
		const char *missing = kind == MACHINE_KERNEL && !options.kernel ? "not asked for" : machine_missing(kind);

		totals.used[kind] = !missing;
		printf("# %s: %s\n", machine_name(kind), missing ? missing : "used");
	}
	fflush(stdout);
	for (uint64_t i = 0; i < options.count && !(options.first && totals.mismatches); i++)
		fuzz_one(&options, options.seed + i, &totals);
	printf("programs %llu, instructions %llu, refused %llu, mismatches %llu\n", (unsigned long long)totals.programs,
	       (unsigned long long)totals.instructions, (unsigned long long)totals.refused,
	       (unsigned long long)totals.mismatches);
	return totals.mismatches ? 1 : 0;
}
