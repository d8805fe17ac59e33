/*
 * An engine inside the process that uses it, without any hook: `--object FILE --engine NAME`, or the engine `native`, which is
 * the same program as code of the machine. A call of `none` is one of the function alone, of `once` one with an execution before
 * it, of `twice` one with an execution before and one behind, as probes on entry and return would make.
 */
#include "embedded_program.h"
#include "rounds.h"

#include <stdio.h>
#include <string.h>

/* The registers that a program is handed: the kernel's struct pt_regs. */
struct registers {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};

typedef unsigned long function(const char *a, int b, unsigned long c);

static char buffer[] = "abcdefghijklmnop";
static const char *path;
static int is_native;
static enum eb_engine chosen;
static struct eb_code code;
static unsigned executions;

static __attribute__((noinline)) unsigned long work(const char *a, int b, unsigned long c)
{
	return (unsigned long)a[b] + c;
}

static __attribute__((noinline)) uint64_t native_probe(void *context, const struct eb_code *unused)
{
	const struct registers *registers = context;
	uint64_t seen = registers->si * 1000 + registers->dx;

	(void)unused;
	__atomic_fetch_add(&embedded_values[0], 1, __ATOMIC_RELAXED);
	memcpy(embedded_memory + RESULT_AT, &seen, sizeof(seen));
	return 0;
}

const char *engine_start(int argc, char **argv)
{
	if (argc != 5 || strcmp(argv[1], "--object") || strcmp(argv[3], "--engine"))
		return "usage: embed --object FILE --engine NAME";
	path = argv[2];
	is_native = !strcmp(argv[4], "native");
	return is_native ? NULL : embedded_choose(argv[4], &chosen);
}

const char *engine_load(const char *name, struct loaded *loaded, int *unsupported)
{
	static const char *const names[] = { "none", "once", "twice" };

	(void)unsupported;
	for (executions = 0; executions < 3 && strcmp(names[executions], name); executions++)
		;
	if (executions == 3)
		return "expected none, once or twice";
	if (!is_native) {
		eb_free(&code);
		return embedded_load(path, "probe", chosen, &code, loaded);
	}
	code.run = native_probe;
	loaded->engine = "native";
	return NULL;
}

void engine_put(const uint8_t *memory, const uint64_t *values)
{
	memcpy(embedded_memory, memory, MEMORY);
	memcpy(embedded_values, values, sizeof(embedded_values));
	embedded_values[0] = 0;
}

void engine_get(uint8_t *memory)
{
	memcpy(memory, embedded_memory, MEMORY);
}

uint64_t engine_hits(void)
{
	return __atomic_exchange_n(&embedded_values[0], 0, __ATOMIC_RELAXED);
}

static inline __attribute__((always_inline)) void execute(uint64_t (*run)(void *, const struct eb_code *))
{
	struct registers registers;

	memset(&registers, 0, sizeof(registers));
	registers.di = (unsigned long)buffer;
	registers.si = 3;
	registers.dx = 42;
	run(&registers, &code);
}

static inline __attribute__((always_inline)) uint64_t calls_with(unsigned n, uint64_t calls)
{
	uint64_t (*run)(void *, const struct eb_code *) = code.run;
	function *called = work;
	unsigned long sum = 0;
	uint64_t start = clock_ns();

	for (uint64_t i = 0; i < calls; i++) {
		__asm__ volatile("" : "+r"(run), "+r"(called) : : "memory");
		if (n >= 1)
			execute(run);
		sum += called(buffer, 3, 42);
		if (n >= 2)
			execute(run);
	}
	__asm__ volatile("" : : "r"(sum) : "memory");
	return clock_ns() - start;
}

uint64_t engine_run(uint64_t calls)
{
	return executions == 2 ? calls_with(2, calls) : executions == 1 ? calls_with(1, calls) : calls_with(0, calls);
}
