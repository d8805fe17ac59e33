/* A program after the checks that all engines share: every jump, call and reference in it is known to be good. Internal. */
#ifndef EB_PROGRAM_H
#define EB_PROGRAM_H

#include "engine.h"
#include "isa.h"

#include <stdbool.h>

enum {
	AT_TARGET = 1,	 /* a jump leads here */
	AT_LOOP = 2,	 /* a jump from further down leads here */
	AT_FUNCTION = 4, /* a function begins here */
	AT_SECOND = 8,	 /* second half of a 64-bit load */
};

/* Instructions first … end - 1. */
struct function {
	uint32_t first, end;
	uint16_t depth;	   /* bytes of stack that it can reach */
	uint16_t touched;  /* bit n: register n occurs */
	bool calls;	   /* calls anything, inlined or not */
	bool tail_calls;   /* has a tail call of its own */
	bool callback;	   /* its address is taken: helpers may call it */
	uint8_t nesting;   /* frames that its calls need, with its own; 0: not known yet */
};

enum call_kind { CALL_PLAIN, CALL_ARRAY, CALL_INLINE, CALL_TAIL };

/* A helper as one or more call instructions use it. */
struct call {
	enum call_kind kind;
	uint32_t id;
	uint64_t map; /* known value of r1, or 0 */
	eb_helper *function;
	struct eb_array array;
	struct eb_inline hint;
};

/*
 * In its instructions 64-bit loads hold their final values (src_reg stays; with BPF_PSEUDO_FUNC imm is the index of the
 * function), helper calls hold the index of a struct call in imm, local calls the index of a function.
 */
struct program {
	const char *name;
	const struct eb_environment *environment;
	struct bpf_insn *insns;
	uint32_t count;
	uint8_t *at; /* AT_* of every instruction */
	uint16_t *live; /* bit n: register n is read at or after this instruction before it is written */
	struct function *functions;
	uint32_t function_count;
	struct call *calls;
	uint32_t call_count;
	bool tail_calls, callbacks;
};

/* Where messages go. */
struct report {
	char *text;
	size_t size;
	const char *name;
};

/* Writes "<program>: instruction <at>: …" and returns -EINVAL. */
int report_at(const struct report *report, uint32_t at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for what belongs to no instruction. Returns code. */
int report_error(const struct report *report, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Checks and resolves; 0 or a negative errno. What it made is freed by program_free() in either case. */
int program_load(struct program *program, const struct eb_program *from, const struct eb_environment *environment,
		 const struct report *report);
void program_free(struct program *program);

/* The steps of program_load(), in this order. */
int check_instructions(struct program *program, const struct report *report);
int find_functions(struct program *program, const struct report *report);
int check_jumps(struct program *program, const struct report *report);
int resolve(struct program *program, const struct report *report);
int find_live(struct program *program, const struct report *report);
int measure_functions(struct program *program, const struct report *report);

/* The function that begins at that instruction; NULL if none does. */
struct function *function_at(const struct program *program, int64_t at);

/* Registers that are still needed after an instruction: bit n is register n. */
uint16_t live_after(const struct program *program, uint32_t at);

/* Target of a branch; only for checked programs. */
static inline uint32_t target_of(const struct program *program, uint32_t at)
{
	return (uint32_t)(at + 1 + isa_distance(&program->insns[at]));
}

/* Makers of code: 0 or a negative errno; they take over *program (and empty it) if they need it for longer. */
typedef int compile_function(struct program *program, struct eb_code *code, const struct report *report);
typedef void free_function(struct eb_code *code);

compile_function jit_compile, interpreter_compile;
compile_function llvm_compile __attribute__((weak)); /* where it is linked in; else see library.h */
free_function jit_free, interpreter_free;
free_function llvm_free __attribute__((weak));

#endif
