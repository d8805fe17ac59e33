/*
 * The rule as WebAssembly, made C by wasm2c and compiled into this library. What it does outside of its memory ends in a trap: by
 * pages around the memory that nobody may touch (as RLBox does it), or where GATE_CHECKED by a comparison before each access.
 *
 * A fault is the rule's if it lies in the space that its memory has, and comes while it runs; any other is left to whoever had
 * the signal before.
 */
#include "gate.h"
#include "rule-wasm2c.h"

#include "wasm-rt-impl.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SPACE 0x200000000ull /* wasm-rt reserves as much: an index and an offset of 32 bits each lead nowhere else */

static Z_rule_instance_t instance;
static struct gate_memory *memory;
static sigjmp_buf way_out;
static volatile sig_atomic_t inside;

_Noreturn void gate_trap(int code)
{
	inside = 0;
	siglongjmp(way_out, code);
}

/* Runs a call of the module; evaluates to what trapped, 0 if nothing did. No mask of signals is kept: that would be a system call. */
#define GUARDED(call)                            \
	({                                       \
		int code_ = sigsetjmp(way_out, 0); \
		if (!code_) {                    \
			inside = 1;              \
			call;                    \
			inside = 0;              \
		}                                \
		code_;                           \
	})

#if !defined(GATE_CHECKED)
static struct sigaction before;

static void on_fault(int number, siginfo_t *information, void *context)
{
	uintptr_t at = (uintptr_t)information->si_addr, from = (uintptr_t)Z_ruleZ_memory(&instance)->data;

	(void)context;
	if (inside && at - from < SPACE)
		gate_trap(WASM_RT_TRAP_OOB);
	sigaction(number, &before, NULL); /* not ours: it happens again, and means then what it meant before */
}

static int guard(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGSEGV, &action, &before);
}
#define HOW "pages that nobody may touch, around its memory"
#define NAME "wasm2c"
#else
static int guard(void)
{
	return 0;
}
#define HOW "a comparison before each access"
#define NAME "wasm2c-checked"
#endif

static enum gate_opened open_rule(char *const *words, size_t n_words, struct gate_about *about)
{
	uint32_t at = 0;

	(void)words, (void)n_words;
	wasm_rt_init();
	Z_rule_init_module();
	Z_rule_instantiate(&instance);
	if (guard()) {
		snprintf(about->wrong, sizeof(about->wrong), "no way to see faults: %s", strerror(errno));
		return GATE_FAILED;
	}
	if (GUARDED(at = Z_ruleZ_memory_at(&instance)) || at + sizeof(*memory) > Z_ruleZ_memory(&instance)->size) {
		snprintf(about->wrong, sizeof(about->wrong), "the module does not say where its memory is");
		return GATE_FAILED;
	}
	memory = (struct gate_memory *)(Z_ruleZ_memory(&instance)->data + at);
	snprintf(about->engine, sizeof(about->engine), NAME);
	snprintf(about->bounded_by, sizeof(about->bounded_by), HOW);
	return GATE_OPEN;
}

static int set(const struct gate_rules *rules)
{
	memory->rules = *rules;
	return 0;
}

static int decide(const uint8_t *path, size_t length)
{
	volatile int passes = -1;

	gate_show(&memory->request, path, length);
	return GUARDED(passes = (int)Z_ruleZ_decide(&instance)) ? -1 : passes;
}

static int count(struct gate_counters *found)
{
	*found = memory->counters;
	return 0;
}

/* As far as an address of 32 bits goes: towards the target, right behind the memory, and at the very end. */
static int trespass(const uint8_t *target, uint8_t *found, char *said, size_t size)
{
	const wasm_rt_memory_t *linear = Z_ruleZ_memory(&instance);
	const uint32_t places[] = { (uint32_t)(target - linear->data), linear->size, UINT32_MAX };

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		volatile uint32_t got = 0;
		int code;

		if (places[i] < linear->size)
			continue; /* its own */
		memory->target = places[i];
		code = GUARDED(got = Z_ruleZ_trespass(&instance));
		snprintf(said, size, "%s", code ? wasm_rt_strerror(code) : "nothing stopped it");
		*found = (uint8_t)got;
		if (!code)
			return 1;
	}
	return 0;
}

const struct gate_engine gate_engine = { open_rule, set, decide, count, trespass };
