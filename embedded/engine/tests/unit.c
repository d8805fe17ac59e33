/*
 * What case files cannot say: tail calls, hints, messages, what calls preserve, memory protection, threads. Runs every test on every
 * engine of this build; a line a failure, exit 0 if there is none.
 */
#include "../engine.h"
#include "assembly.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *test_name;
static enum eb_engine engine;
static int failures;

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(int good, const char *what, int line)
{
	if (good)
		return;
	printf("%s on %s, line %d: not so: %s\n", test_name, eb_engine_name(engine), line, what);
	failures++;
}

static uint64_t memory[8]; /* what lddw_value refers to */
static struct eb_code slots[4];
static uint64_t prog_array, map_a, map_b; /* their addresses are the maps */
static int calls;
static size_t misaligned;

static uint64_t plain(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	misaligned += (uint64_t)__builtin_frame_address(0) % 16;
	calls++;
	return r1 + 2 * r2 + 3 * r3 + 4 * r4 + 5 * r5;
}

static uint64_t special(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
{
	(void)r1, (void)r2, (void)r3, (void)r4, (void)r5;
	return 4711;
}

static uint64_t call_back(uint64_t callback, uint64_t argument, uint64_t r3, uint64_t r4, uint64_t r5)
{
	(void)r3, (void)r4, (void)r5;
	return ((eb_helper *)callback)(argument, 1, 2, 3, 4) + 1;
}

/* 7: plain; 8: special for map a; 9: calls a callback; 1: look-up that is counted */
static eb_helper *find_helper(void *user, uint32_t id, uint64_t map)
{
	(void)user;
	if (id == 8)
		return map == (uint64_t)&map_a ? special : plain;
	return id == 7 || id == 1 ? plain : id == 9 ? call_back : NULL;
}

static const char *name_helper(void *user, uint32_t id)
{
	(void)user;
	return id == 77 ? "bpf_frobnicate" : NULL;
}

/* maps: 0 is the prog array, 1 map a, 2 map b; values: map 1 is memory */
static int resolve(void *user, const struct bpf_insn *load, uint64_t *value)
{
	static uint64_t *const maps[] = { &prog_array, &map_a, &map_b };

	(void)user;
	if (load->src_reg == BPF_PSEUDO_MAP_VALUE)
		*value = (uint64_t)memory + (uint32_t)load[1].imm;
	else
		*value = (uint64_t)maps[load->imm];
	return 0;
}

static const struct eb_code *tail(void *user, uint64_t map, uint32_t index)
{
	(void)user;
	return map == (uint64_t)&prog_array && index < 4 && slots[index].run ? &slots[index] : NULL;
}

static const struct eb_environment plain_environment = {
	.helper = find_helper, .helper_name = name_helper, .resolve = resolve, .tail_call = tail,
};

static int compile_in(const struct eb_environment *environment, const char *text, struct eb_code *code, char *error, size_t size)
{
	static struct assembly assembly;
	char copy[2000], *rest = copy, *line;
	struct eb_program program = { assembly.insns, 0, "unit" };

	memset(&assembly, 0, sizeof(assembly));
	snprintf(copy, sizeof(copy), "%s", text);
	while ((line = strsep(&rest, ";")))
		if (assemble_line(&assembly, line))
			abort();
	if (assemble_end(&assembly))
		abort();
	program.count = assembly.count;
	return eb_compile(engine, &program, environment, code, error, size);
}

static struct eb_code compile(const char *text)
{
	struct eb_code code;
	char error[300];

	if (compile_in(&plain_environment, text, &code, error, sizeof(error))) {
		check(0, error, __LINE__);
		exit(1);
	}
	return code;
}

static uint64_t run_text(const struct eb_environment *environment, const char *text)
{
	struct eb_code code;
	char error[300];
	uint64_t result;

	if (compile_in(environment, text, &code, error, sizeof(error))) {
		check(0, error, __LINE__);
		return 0;
	}
	result = eb_run(&code, memory);
	eb_free(&code);
	return result;
}

static void free_slots(void)
{
	for (int i = 0; i < 4; i++)
		eb_free(&slots[i]);
	memset(memory, 0, sizeof(memory));
}

#define COUNT(at) "lddw_value r6, 1, " #at "; ldxdw r7, [r6+0]; add64 r7, 1; stxdw [r6+0], r7; "
#define TAIL(slot) "lddw_map r2, 0; mov64 r3, " #slot "; call 12; "

static void tail_calls_are_limited(void)
{
	slots[0] = compile("mov64 r9, r1;" COUNT(0) "mov64 r1, r9;" TAIL(0) "mov64 r0, 5; exit");
	CHECK(eb_run(&slots[0], memory) == 5);
	CHECK(memory[0] == 1 + EB_TAIL_CALLS);
	CHECK(eb_run(&slots[0], memory) == 5); /* every run counts from the start */
	CHECK(memory[0] == 2 + 2 * EB_TAIL_CALLS);
	free_slots();
}

static void tail_calls_change_frames(void)
{
	slots[0] = compile("mov64 r6, 1; mov64 r7, 2; stdw [r10-200], 7;" TAIL(1) "mov64 r0, 1; exit");
	slots[1] = compile("mov64 r8, r1; stdw [r10-8], 3;" COUNT(8) "mov64 r1, r8;" TAIL(2) "mov64 r0, 2; exit");
	slots[2] = compile("ldxdw r0, [r1+8]; add64 r0, 100; exit");
	CHECK(eb_run(&slots[0], memory) == 101);
	free_slots();
}

static void tail_call_into_nothing_goes_on(void)
{
	slots[0] = compile(TAIL(3) "mov64 r0, 1; exit");
	CHECK(eb_run(&slots[0], memory) == 1);
	eb_free(&slots[0]);
	slots[0] = compile(TAIL(400) "mov64 r0, 2; exit");
	CHECK(eb_run(&slots[0], memory) == 2);
	free_slots();
}

static void tail_call_of_a_function_returns_to_its_caller(void)
{
	slots[0] = compile("mov64 r6, 10; call_local f; add64 r0, r6; exit; f:; mov64 r6, 3;" TAIL(1) "mov64 r0, 7; exit");
	slots[1] = compile("mov64 r6, 55; mov64 r0, 1000; exit");
	CHECK(eb_run(&slots[0], memory) == 1010);
	eb_free(&slots[1]);
	CHECK(eb_run(&slots[0], memory) == 17);
	free_slots();
}

static void tail_calls_of_functions_count_together(void)
{
	slots[0] = compile("mov64 r9, r1;" COUNT(0) "mov64 r1, r9; call_local f; mov64 r1, r9;" TAIL(0) "exit; f: ;" TAIL(0)
			   "mov64 r0, 0; exit");
	eb_run(&slots[0], memory);
	CHECK(memory[0] == 1 + EB_TAIL_CALLS);
	free_slots();
}

static void tail_calls_in_callbacks_are_refused(void)
{
	struct eb_code code;
	char error[300];

	CHECK(compile_in(&plain_environment, "lddw_func r1, f; call 9; exit; f: ;" TAIL(0) "exit", &code, error, sizeof(error)) ==
	      -EINVAL);
	CHECK(strstr(error, "tail calls in callbacks") != NULL);
}

static void callbacks_are_called(void)
{
	CHECK(run_text(&plain_environment, "lddw_func r1, f; mov64 r2, 40; call 9; exit;"
					   "f: ; mov64 r0, r1; add64 r0, r5; exit") == 45);
}

static void helpers_get_their_arguments(void)
{
	misaligned = 0;
	CHECK(run_text(&plain_environment, "mov64 r1, 1; mov64 r2, 2; mov64 r3, 3; mov64 r4, 4; mov64 r5, 5; call 7; exit") == 55);
	CHECK(run_text(&plain_environment, "mov64 r6, 1; stdw [r10-24], 0; call_local f; exit; f: ; mov64 r7, 1; mov64 r8, 1; "
					   "stdw [r10-8], 1; mov64 r1, 9; mov64 r2, 0; mov64 r3, 0; mov64 r4, 0; mov64 r5, 0; "
					   "call 7; exit") == 9);
	CHECK(!misaligned);
}

static void helpers_may_depend_on_the_map(void)
{
	CHECK(run_text(&plain_environment, "lddw_map r1, 1; mov64 r2, 0; call 8; exit") == 4711);
	CHECK(run_text(&plain_environment, "lddw_map r6, 1; mov64 r1, r6; mov64 r2, 0; call 8; exit") == 4711);
	CHECK(run_text(&plain_environment, "mov64 r1, 1; mov64 r2, 0; mov64 r3, 0; mov64 r4, 0; mov64 r5, 0; call 8; exit") == 1);
	/* two maps may come here: nothing is known */
	CHECK(run_text(&plain_environment, "ldxdw r3, [r1+0]; lddw_map r1, 1; jeq64 r3, 0, +2; lddw_map r1, 2; mov64 r2, 0; mov64 r3, 0;"
					   "mov64 r4, 0; mov64 r5, 0; call 8; exit") == (uint64_t)&map_a);
}

static __thread uint32_t cpu __attribute__((tls_model("initial-exec")));
static __thread uint64_t cached __attribute__((tls_model("initial-exec")));
static uint64_t values[4][16], loaded = 99;

static int64_t thread_offset(void *variable)
{
	char *self;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	return (char *)variable - self;
}

static int array_per_cpu(void *user, uint64_t map, struct eb_array *array)
{
	(void)user;
	*array = (struct eb_array){ (uint64_t)values, 24, 5, 4, sizeof(values[0]), thread_offset(&cpu) };
	return map == (uint64_t)&map_a;
}

#define LOOK_UP(key) "stw [r10-4], " #key "; lddw_map r1, 1; mov64 r2, r10; add64 r2, -4; call 1; exit"

static void per_cpu_arrays_are_looked_up(void)
{
	struct eb_environment environment = plain_environment;

	if (engine == EB_INTERPRETER)
		return; /* takes no hints */
	environment.array = array_per_cpu;
	calls = 0;
	for (cpu = 0; cpu < 4; cpu++)
		CHECK(run_text(&environment, LOOK_UP(3)) == (uint64_t)values[cpu] + 3 * 24);
	CHECK(run_text(&environment, LOOK_UP(5)) == 0);
	CHECK(run_text(&environment, LOOK_UP(-1)) == 0);
	CHECK(calls == 0);
	cpu = (uint32_t)-1; /* a thread that the kernel has not told its CPU yet */
	run_text(&environment, LOOK_UP(3));
	CHECK(calls == 1);
	cpu = 0;
}

static struct eb_inline hint;

static int give_hint(void *user, uint32_t id, struct eb_inline *out)
{
	(void)user;
	*out = hint;
	return id == 7;
}

static void hints_replace_calls(void)
{
	struct eb_environment environment = plain_environment;
	const char *text = "mov64 r6, 5; mov64 r1, 0; mov64 r2, 0; mov64 r3, 0; mov64 r4, 0; mov64 r5, 0; call 7; add64 r0, r6; exit";

	if (engine == EB_INTERPRETER)
		return;
	environment.inlined = give_hint;
	calls = 0;
	hint = (struct eb_inline){ EB_INLINE_CONSTANT, 0xfedcba9876543210 };
	CHECK(run_text(&environment, text) == 0xfedcba9876543215);
	hint = (struct eb_inline){ EB_INLINE_LOAD, (uint64_t)&loaded };
	CHECK(run_text(&environment, text) == 104);
	hint = (struct eb_inline){ EB_INLINE_TLS, (uint64_t)thread_offset(&cached) };
	cached = 7;
	CHECK(run_text(&environment, text) == 12);
	CHECK(calls == 0);
	cached = 0;
	CHECK(run_text(&environment, text) == 5);
	CHECK(calls == 1);
	environment.options = EB_OPTION_NO_INLINE;
	cached = 7;
	CHECK(run_text(&environment, text) == 5);
	CHECK(calls == 2);
}

static void messages_name_what_is_missing(void)
{
	struct eb_code code;
	char error[300], tiny[8];

	CHECK(compile_in(&plain_environment, "mov64 r0, 0; call 77; exit", &code, error, sizeof(error)) == -ENOTSUP);
	CHECK(!strcmp(error, "unit: instruction 1: helper 77 (bpf_frobnicate) is not supported"));
	CHECK(code.run == NULL);
	eb_free(&code);
	CHECK(compile_in(&plain_environment, "call 78; exit", &code, error, sizeof(error)) == -ENOTSUP);
	CHECK(!strcmp(error, "unit: instruction 0: helper 78 is not supported"));
	CHECK(compile_in(&plain_environment, "call 78; exit", &code, tiny, sizeof(tiny)) == -ENOTSUP);
	CHECK(strlen(tiny) == 7);
	CHECK(compile_in(&plain_environment, "call 78; exit", &code, NULL, 0) == -ENOTSUP);
}

static void deep_nesting_is_refused(void)
{
	char text[2000] = "call_local f1; exit;", error[300];
	struct eb_code code;

	for (int i = 1; i < EB_FRAMES; i++) {
		CHECK(run_text(&plain_environment, "mov64 r0, 0; exit") == 0);
		snprintf(text + strlen(text), 100, "f%d: ; call_local f%d; exit;", i, i + 1);
	}
	snprintf(text + strlen(text), 100, "f%d: ; mov64 r0, 3; exit", EB_FRAMES);
	CHECK(compile_in(&plain_environment, text, &code, error, sizeof(error)) == -EINVAL);
	CHECK(strstr(error, "deeper than 8 frames") != NULL);
}

/* Calls run with patterns in all registers that a callee must leave alone, and in those of SSE, which generated code must not touch. */
static int registers_survive(const struct eb_code *code)
{
	uint64_t before[16][2], after[16][2];
	void *run = (void *)code->run, *context = memory;
	int changed = 0;

	memset(before, 0x5a, sizeof(before));
	before[3][1] = 3;
	__asm__ volatile(
		"push %%rbx\n push %%rbp\n push %%r12\n push %%r13\n push %%r14\n push %%r15\n push %[after]\n"
		".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqu 16*\\n(%[before]), %%xmm\\n\n .endr\n"
		"mov $11, %%ebx\n mov $12, %%ebp\n mov $13, %%r12d\n mov $14, %%r13d\n mov $15, %%r14d\n mov $16, %%r15d\n"
		"sub $8, %%rsp\n call *%[run]\n add $8, %%rsp\n pop %%rcx\n"
		".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqu %%xmm\\n, 16*\\n(%%rcx)\n .endr\n"
		"xor %%eax, %%eax\n cmp $11, %%rbx\n setne %%al\n mov %%eax, %%edx\n cmp $12, %%rbp\n setne %%al\n or %%eax, %%edx\n"
		"cmp $13, %%r12\n setne %%al\n or %%eax, %%edx\n cmp $14, %%r13\n setne %%al\n or %%eax, %%edx\n"
		"cmp $15, %%r14\n setne %%al\n or %%eax, %%edx\n cmp $16, %%r15\n setne %%al\n or %%eax, %%edx\n"
		"pop %%r15\n pop %%r14\n pop %%r13\n pop %%r12\n pop %%rbp\n pop %%rbx\n"
		: "=&d"(changed), "+D"(context), "+S"(code), [run] "+a"(run)
		: [before] "r"(before), [after] "r"(after)
		: "rcx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
		  "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	return !changed && !memcmp(before, after, sizeof(before));
}

static void registers_of_the_caller_survive(void)
{
	struct eb_code code = compile("mov64 r6, 1; mov64 r7, 2; mov64 r8, 3; mov64 r9, 4; mov64 r0, r10; add64 r0, -400; mov64 r2, 0;"
				      "again: ; stdw [r0+0], 0; stdw [r0+8], 0; stdw [r0+16], 0; stdw [r0+24], 0; add64 r0, 32;"
				      "add64 r2, 1; jlt64 r2, 12, again; lddw_map r2, 0; mov64 r3, 1; call 12; mov64 r0, 0; exit");

	CHECK(registers_survive(&code));
	slots[1] = compile("mov64 r6, 1; mov64 r7, 2; mov64 r8, 3; mov64 r9, 4; stdw [r10-504], 0; call_local f; exit;"
			   "f: ; mov64 r6, 1; mov64 r7, 2; mov64 r8, 3; mov64 r9, 4; mov64 r0, 0; exit");
	CHECK(registers_survive(&code));
	eb_free(&code);
	free_slots();
}

/* Returns how many mappings may be written and executed, and whether the text may be executed only. */
static int count_writable_code(const void *text, int *is_executable)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[600], mode[8];
	int both = 0;

	*is_executable = 0;
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3) {
			both += mode[1] == 'w' && mode[2] == 'x';
			if ((unsigned long)text >= from && (unsigned long)text < to)
				*is_executable = mode[1] == '-' && mode[2] == 'x';
		}
	if (maps)
		fclose(maps);
	return both;
}

static void code_is_never_writable(void)
{
	struct eb_code code = compile("lddw_func r1, f; mov64 r2, 0; call 9; exit; f: ; mov64 r0, 3; exit");
	int executable;

	CHECK(count_writable_code(code.text, &executable) == 0);
	CHECK(executable || engine == EB_INTERPRETER);
	CHECK(!code.text == (engine == EB_INTERPRETER));
	CHECK(!code.text_size == (engine == EB_INTERPRETER));
	eb_free(&code);
}

static void *run_often(void *argument)
{
	const struct eb_code *code = argument;
	uint64_t own = (uint64_t)pthread_self(), wrong = 0;

	for (int i = 0; i < 2000; i++) {
		uint64_t context = own + (uint64_t)i;

		wrong += eb_run(code, &context) != 2 * context;
	}
	return (void *)wrong;
}

static void threads_share_code(void)
{
	struct eb_code code = compile("ldxdw r6, [r1+0]; stxdw [r10-8], r6; call_local f; ldxdw r1, [r10-8]; add64 r0, r1; exit;"
				      "f: ; ldxdw r2, [r1+0]; stxdw [r10-8], r2; ldxdw r0, [r10-8]; exit");
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, run_often, &code));
	for (int i = 0; i < 4; i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		CHECK(!wrong);
	}
	eb_free(&code);
}

static void engines_have_names(void)
{
	CHECK(eb_engine_of(eb_engine_name(engine)) == (int)engine);
	CHECK(eb_engine_of("jit2") < 0);
	CHECK(eb_engine_name((enum eb_engine)17) == NULL);
	CHECK(!eb_engine_available((enum eb_engine)17));
}

static void odd_sizes_are_refused(void)
{
	static struct bpf_insn one = { .code = BPF_JMP | BPF_EXIT };
	struct eb_program none = { &one, 0, "none" }, many = { &one, EB_MOST + 1, NULL };
	struct eb_code code;
	char error[200];

	CHECK(eb_compile(engine, &none, &plain_environment, &code, error, sizeof(error)) == -EINVAL);
	CHECK(eb_compile(engine, &many, &plain_environment, &code, error, sizeof(error)) == -EINVAL);
	CHECK(eb_compile((enum eb_engine)9, &none, &plain_environment, &code, error, sizeof(error)) == -EINVAL);
}

static const struct test {
	const char *name;
	void (*run)(void);
} tests[] = {
#define TEST(name) { #name, name }
	TEST(tail_calls_are_limited), TEST(tail_calls_change_frames), TEST(tail_call_into_nothing_goes_on),
	TEST(tail_call_of_a_function_returns_to_its_caller), TEST(tail_calls_of_functions_count_together),
	TEST(tail_calls_in_callbacks_are_refused), TEST(callbacks_are_called), TEST(helpers_get_their_arguments),
	TEST(helpers_may_depend_on_the_map), TEST(per_cpu_arrays_are_looked_up), TEST(hints_replace_calls),
	TEST(messages_name_what_is_missing), TEST(deep_nesting_is_refused), TEST(registers_of_the_caller_survive),
	TEST(code_is_never_writable), TEST(threads_share_code), TEST(engines_have_names), TEST(odd_sizes_are_refused),
};

int main(void)
{
	for (engine = EB_JIT; eb_engine_name(engine); engine++) {
		if (!eb_engine_available(engine))
			continue;
		for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
			test_name = tests[i].name;
			tests[i].run();
		}
		printf("engine %s: %zu tests\n", eb_engine_name(engine), sizeof(tests) / sizeof(*tests));
	}
	printf("failures %d\n", failures);
	return failures != 0;
}
