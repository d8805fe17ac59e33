/*
 * Runs case files (see tests/cases/README.md) on every engine there is, and on the kernel where it lets us. One line of output a
 * case and machine that went wrong, one with totals at the end; exit 0 if none did.
 */
#include "assembly.h"
#include "kernel.h"

#include "../fuzz/generate.h"
#include "../isa.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECKS 16
#define LINE 512

struct word {
	uint32_t at; /* in the data */
	uint64_t value;
};

enum expectation { EXPECT_NOTHING, EXPECT_RESULT, EXPECT_REFUSAL, EXPECT_AGREEMENT };

struct test_case {
	char name[128], refusal[200];
	enum expectation expectation;
	uint64_t result, seed;
	struct word before[CHECKS], after[CHECKS];
	uint32_t before_count, after_count;
	bool not_kernel;
	struct assembly assembly;
};

struct totals {
	const char *file;
	uint32_t line, cases, runs, wrong;
	bool use[MACHINE_KINDS];
};

static void wrong(struct totals *totals, const struct test_case *test, const char *machine, const char *text)
{
	printf("%s: %s: %s: %s\n", totals->file, test->name, machine, text);
	totals->wrong++;
}

static int run(enum machine_kind kind, const struct test_case *test, struct image *image, char *error, size_t size)
{
	static struct bpf_insn wrapped[ASSEMBLY_MOST + 8];
	int result;

	if (kind != MACHINE_KERNEL || test->expectation == EXPECT_AGREEMENT)
		return machine_run(kind, test->assembly.insns, test->assembly.count, image, error, size);
	result = machine_run(kind, wrapped, kernel_wrap(wrapped, test->assembly.insns, test->assembly.count), image, error, size);
	memcpy(&image->r0, image->data + KERNEL_RESULT_AT, 8);
	return result;
}

static void prepare(const struct test_case *test, struct image *image)
{
	memset(image, 0, sizeof(*image));
	if (test->expectation == EXPECT_AGREEMENT)
		generate_memory(image, sizeof(*image), test->seed);
	for (uint32_t i = 0; i < test->before_count; i++)
		memcpy(image->data + test->before[i].at, &test->before[i].value, 8);
}

static void check(struct totals *totals, const struct test_case *test, enum machine_kind kind, const struct image *image,
		  const struct image *first)
{
	char text[200];

	if (test->expectation == EXPECT_RESULT && image->r0 != test->result) {
		snprintf(text, sizeof(text), "r0 is %#llx, not %#llx", (unsigned long long)image->r0,
			 (unsigned long long)test->result);
		wrong(totals, test, machine_name(kind), text);
	}
	if (test->expectation == EXPECT_AGREEMENT && (memcmp(image->data, first->data, sizeof(image->data)) ||
						       memcmp(image->values, first->values, sizeof(image->values))))
		wrong(totals, test, machine_name(kind), "memory is not what the interpreter leaves");
	for (uint32_t i = 0; i < test->after_count; i++) {
		uint64_t value;

		memcpy(&value, image->data + test->after[i].at, 8);
		if (value == test->after[i].value)
			continue;
		snprintf(text, sizeof(text), "data+%u is %#llx, not %#llx", test->after[i].at, (unsigned long long)value,
			 (unsigned long long)test->after[i].value);
		wrong(totals, test, machine_name(kind), text);
	}
}

static void run_on(struct totals *totals, const struct test_case *test, enum machine_kind kind, struct image *first)
{
	struct image image;
	char error[2000] = "";
	int result;

	prepare(test, &image);
	result = run(kind, test, &image, error, sizeof(error));
	totals->runs++;
	if (test->expectation == EXPECT_REFUSAL && !result)
		wrong(totals, test, machine_name(kind), "is not refused");
	else if (test->expectation == EXPECT_REFUSAL && !strstr(error, test->refusal))
		wrong(totals, test, machine_name(kind), error);
	else if (test->expectation != EXPECT_REFUSAL && result)
		wrong(totals, test, machine_name(kind), error);
	if (kind == MACHINE_INTERPRETER)
		*first = image;
	if (test->expectation != EXPECT_REFUSAL && !result)
		check(totals, test, kind, &image, first);
}

static void run_case(struct totals *totals, struct test_case *test)
{
	struct image first;
	const char *nowhere;

	if (!*test->name)
		return;
	nowhere = assemble_end(&test->assembly);
	if (nowhere || test->expectation == EXPECT_NOTHING || !test->assembly.count) {
		wrong(totals, test, "file", nowhere ? "there is no such label" : "no instructions or nothing expected");
		return;
	}
	totals->cases++;
	for (int kind = 0; kind < MACHINE_KINDS; kind++)
		if (totals->use[kind] &&
		    (kind != MACHINE_KERNEL || (!test->not_kernel && test->expectation != EXPECT_REFUSAL)))
			run_on(totals, test, kind, &first);
}

static void read_word(struct word *words, uint32_t *count, const char *text)
{
	char *end;

	if (*count == CHECKS)
		return;
	words[*count].at = (uint32_t)strtoul(text, &end, 0);
	words[(*count)++].value = *end == ' ' && end[1] == '-' ? (uint64_t)strtoll(end, NULL, 0) : strtoull(end, NULL, 0);
}

static void expect(struct test_case *test, const char *text)
{
	if (!strncmp(text, "refused ", 8)) {
		test->expectation = EXPECT_REFUSAL;
		snprintf(test->refusal, sizeof(test->refusal), "%s", text + 8);
		return;
	}
	test->expectation = EXPECT_RESULT;
	test->result = *text == '-' ? (uint64_t)strtoll(text, NULL, 0) : strtoull(text, NULL, 0);
}

/* Instructions with ; between them. */
static bool read_instructions(struct test_case *test, char *text)
{
	char *rest = text, *one;

	while ((one = strsep(&rest, ";")))
		if (assemble_line(&test->assembly, one))
			return false;
	return true;
}

static void trim(char *text)
{
	for (size_t length = strlen(text); length && (text[length - 1] == ' ' || text[length - 1] == '\t'); length--)
		text[length - 1] = '\0';
}

/* name | instructions | expectation */
static bool read_row(struct test_case *test, char *line)
{
	char *name = strsep(&line, "|"), *instructions = strsep(&line, "|");

	if (!line || !instructions)
		return false;
	snprintf(test->name, sizeof(test->name), "%.100s", name);
	trim(test->name);
	expect(test, line + strspn(line, " \t"));
	return read_instructions(test, instructions);
}

static bool read_line(struct test_case *test, char *line)
{
	if (strchr(line, '|'))
		return read_row(test, line);
	if (!strncmp(line, "result ", 7))
		expect(test, line + 7);
	else if (!strncmp(line, "refused ", 8))
		expect(test, line);
	else if (!strncmp(line, "before ", 7))
		read_word(test->before, &test->before_count, line + 7);
	else if (!strncmp(line, "after ", 6))
		read_word(test->after, &test->after_count, line + 6);
	else if (!strcmp(line, "not kernel"))
		test->not_kernel = true;
	else if (!strncmp(line, "seed ", 5))
		test->expectation = EXPECT_AGREEMENT, test->seed = strtoull(line + 5, NULL, 0);
	else
		return read_instructions(test, line);
	return true;
}

static void take_line(struct totals *totals, struct test_case *test, char *line)
{
	line[strcspn(line, "#\n")] = '\0';
	trim(line);
	if (!*line)
		return;
	if (!strncmp(line, "case ", 5) || strchr(line, '|')) {
		run_case(totals, test);
		memset(test, 0, sizeof(*test));
		snprintf(test->name, sizeof(test->name), "%.100s", line + 5);
		if (!strchr(line, '|'))
			return;
	}
	if (!read_line(test, line)) {
		printf("%s:%u: cannot be understood: %s\n", totals->file, totals->line, line);
		totals->wrong++;
	}
}

static void run_file(struct totals *totals, const char *name)
{
	static struct test_case test;
	FILE *file = fopen(name, "r");
	char line[LINE];

	totals->file = name;
	totals->line = 0;
	memset(&test, 0, sizeof(test));
	if (!file) {
		printf("%s: %s\n", name, strerror(errno));
		totals->wrong++;
		return;
	}
	for (; fgets(line, sizeof(line), file); totals->line++)
		take_line(totals, &test, line);
	run_case(totals, &test);
	fclose(file);
}

int main(int argc, char **argv)
{
	struct totals totals = { 0 };

	for (int kind = 0; kind < MACHINE_KINDS; kind++) {
		const char *missing = machine_missing(kind);

		totals.use[kind] = !missing;
		printf("machine %s: %s\n", machine_name(kind), missing ? missing : "used");
	}
	for (int i = 1; i < argc; i++)
		run_file(&totals, argv[i]);
	printf("cases %u, runs %u, wrong %u\n", totals.cases, totals.runs, totals.wrong);
	return totals.wrong || !totals.cases;
}
