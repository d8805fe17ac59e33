/*
 * The rule as BPF, run by the embedded runtime's engine inside nginx: OBJECT [ENGINE].
 *
 * libbpf reads the object and has the kernel verify it; what the kernel was given is what is compiled here. Programs and maps of the
 * kernel are closed then: nothing runs there. Where nobody verifies, nothing would bound the rule's memory, and it is not run.
 */
#include "gate.h"

#include "engine/engine.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LOG_SIZE = 1 << 16 };

static struct gate_memory *memory;
static struct eb_code decision;
static enum eb_engine engine = EB_JIT;
static const char *object_file;
static char verifier_log[LOG_SIZE];
static int data_map; /* the descriptor that instructions have where they mean the program's memory */

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

static int resolve(void *user, const struct bpf_insn *load, uint64_t *value)
{
	(void)user;
	if (load->src_reg != BPF_PSEUDO_MAP_VALUE || load->imm != data_map || (uint32_t)load[1].imm >= sizeof(*memory))
		return -1;
	*value = (uint64_t)memory + (uint32_t)load[1].imm;
	return 0;
}

/* The line in which the verifier says why: the last one before its statistics. */
static void reason(char *text, size_t size)
{
	const char *found = "", *line = strtok(verifier_log, "\n");

	for (; line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10) && strncmp(line, "verification time", 17) && strncmp(line, "stack depth", 11))
			found = line;
	snprintf(text, size, "%s", found);
}

static int compile(struct bpf_object *object, struct bpf_program *program, struct eb_code *code, char *text, size_t size)
{
	const struct eb_environment environment = { .resolve = resolve };
	struct bpf_map *data = bpf_object__next_map(object, NULL);
	const struct eb_program given = { bpf_program__insns(program), (uint32_t)bpf_program__insn_cnt(program), bpf_program__name(program) };

	if (!data || bpf_object__next_map(object, data) || bpf_map__value_size(data) < sizeof(*memory)) {
		snprintf(text, size, "the object has other maps than the rule's memory");
		return -EINVAL;
	}
	data_map = bpf_map__fd(data);
	return eb_compile(engine, &given, &environment, code, text, size);
}

/* 0: verified and compiled; else a negative errno, and what is wrong. */
static int make(const char *name, struct eb_code *code, char *text, size_t size)
{
	struct bpf_object *object = bpf_object__open_file(object_file, NULL);
	struct bpf_program *program, *each;
	int failed;

	if (!object) {
		snprintf(text, size, "%s: %s", object_file, strerror(errno));
		return -errno;
	}
	bpf_object__for_each_program(each, object)
		bpf_program__set_autoload(each, !strcmp(bpf_program__name(each), name));
	program = bpf_object__find_program_by_name(object, name);
	failed = program ? 0 : -ENOENT;
	snprintf(text, size, "the object has no program %s", name);
	if (!failed) {
		memset(verifier_log, 0, sizeof(verifier_log));
		bpf_program__set_log_buf(program, verifier_log, sizeof(verifier_log));
		bpf_program__set_log_level(program, 0); /* the log is written for a refusal alone */
		failed = bpf_object__load(object);
		reason(text, size);
		if (failed && !*text)
			snprintf(text, size, "%s", strerror(-failed));
	}
	if (!failed)
		failed = compile(object, program, code, text, size);
	bpf_object__close(object);
	return failed;
}

static enum gate_opened open_rule(char *const *words, size_t n_words, struct gate_about *about)
{
	int number = n_words > 1 ? eb_engine_of(words[1]) : EB_JIT, failed;
	uint64_t start = gate_now();
	char text[512];

	if (!n_words || number < 0) {
		snprintf(about->wrong, sizeof(about->wrong), "wanted: OBJECT [jit|interpreter]");
		return GATE_FAILED;
	}
	engine = (enum eb_engine)number;
	object_file = words[0];
	memory = mmap(NULL, sizeof(*memory), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		snprintf(about->wrong, sizeof(about->wrong), "no memory for the rule: %s", strerror(errno));
		return GATE_FAILED;
	}
	libbpf_set_print(quiet);
	failed = make("decide", &decision, text, sizeof(text));
	if (failed) {
		snprintf(about->wrong, sizeof(about->wrong), failed == -EPERM ? "nobody verifies programs for this user: %s" : "%s", text);
		return failed == -EPERM ? GATE_UNSUPPORTED : GATE_FAILED;
	}
	about->compile_ns = gate_now() - start;
	about->code_size = decision.text_size;
	snprintf(about->engine, sizeof(about->engine), "%s", eb_engine_name(decision.engine));
	snprintf(about->bounded_by, sizeof(about->bounded_by), "the kernel's verifier");
	return GATE_OPEN;
}

static int set(const struct gate_rules *rules)
{
	memory->rules = *rules;
	return 0;
}

static int decide(const uint8_t *path, size_t length)
{
	gate_show(&memory->request, path, length);
	return (int)eb_run(&decision, NULL);
}

static int count(struct gate_counters *found)
{
	*found = memory->counters;
	return 0;
}

static int trespass(const uint8_t *target, uint8_t *found, char *said, size_t size)
{
	struct eb_code code = {};

	memory->target = (uint64_t)target;
	if (make("trespass", &code, said, size))
		return 0;
	*found = (uint8_t)eb_run(&code, NULL);
	eb_free(&code);
	snprintf(said, size, "nothing stopped it");
	return 1;
}

const struct gate_engine gate_engine = { open_rule, set, decide, count, trespass };
