/*
 * The x86-64 code generator. Functions are written one after another into a draft in which every jump has its long form;
 * jit_link.c then shortens what can be shortened and makes the text. Internal.
 *
 * r0 is rax and r1 … r5 are the argument registers of the C calling convention, so that helpers and callbacks are called and call
 * without a move. r6 … r9 are preserved registers (or, in a function that calls nothing, free argument registers). r10 has no
 * register: the stack is addressed through rsp. r9, r10 and r11 of the processor are scratch; r12 counts tail calls that are left.
 */
#ifndef EB_JIT_H
#define EB_JIT_H

#include "program.h"
#include "x86.h"

#define SCRATCH_FP R9 /* r10 of the program where it has to be in a register; also the third scratch register */
#define SCRATCH R10
#define SCRATCH2 R11
#define TAIL_CALLS_LEFT R12
#define NO_TARGET UINT32_MAX

enum item_kind {
	ITEM_JUMP,     /* to a label */
	ITEM_ALIGN,    /* a loop begins */
	ITEM_CALL,     /* to a C function */
	ITEM_LOCAL,    /* call of a label */
	ITEM_ADDRESS,  /* lea of a label, of which this is the distance */
};

/* A place in the draft whose bytes depend on where everything comes to lie. */
struct item {
	uint32_t at; /* in the draft */
	uint32_t label;
	uint8_t kind, condition, draft_size, size; /* bytes in the draft and now */
	const void *function;
};

#define ALWAYS 0xff

/* Labels 0 … count - 1 are instructions, the next ones functions (before their prologue), the rest made as needed. */
struct label {
	uint32_t at, items; /* in the draft; items before it */
};

struct jit;

/* Code that is rarely needed and lies behind the function. */
struct cold {
	uint32_t entry, back; /* labels */
	void (*write)(struct jit *jit, const struct cold *cold);
	int reg;
	bool wide;
	const struct call *call;
};

struct jit {
	struct x86 x;
	const struct program *program;
	const struct function *function;
	const struct report *report;
	uint8_t *draft, *draft_end;
	struct label *labels;
	uint32_t label_count, label_room;
	struct item *items;
	uint32_t item_count, item_room;
	struct cold *cold;
	uint32_t cold_count, cold_room;
	uint32_t at;		 /* the instruction being written */
	uint8_t map[ISA_FP];	 /* r0 … r9 */
	uint8_t saved[8];	 /* preserved registers in use, in the order of pushing */
	int saved_count;
	int32_t frame;		 /* r10 is rsp + frame */
	bool calls_out;		 /* the function makes real calls */
	bool bmi2;
	struct {
		uint32_t at; /* the instruction that finds the flags set by the result in reg */
		int reg;
		bool wide, logical; /* logical: carry and overflow are 0 */
	} flags;
	bool no_memory;
};

/* Number of instructions that were written as one, from `at` on; 0: they are not of that kind. */
uint32_t jit_alu(struct jit *jit, uint32_t at);
uint32_t jit_memory(struct jit *jit, uint32_t at);
void jit_divide(struct jit *jit, const struct bpf_insn *insn);
void jit_atomic(struct jit *jit, const struct bpf_insn *insn);
uint32_t jit_branch(struct jit *jit, uint32_t at);
uint32_t jit_call(struct jit *jit, uint32_t at);
bool jit_fuse_memory(struct jit *jit, uint32_t at, struct place place);

/* Undoes the prologue; the return is the caller's. */
void jit_epilogue(struct jit *jit);
/* Whether any call of the function ends in a call instruction. */
bool jit_calls_out(const struct program *program, const struct function *function);

uint32_t jit_new_label(struct jit *jit);
void jit_place_label(struct jit *jit, uint32_t label);
void jit_jump(struct jit *jit, int condition, uint32_t label);
void jit_align(struct jit *jit);
void jit_call_c(struct jit *jit, const void *function);
void jit_call_label(struct jit *jit, uint32_t label);
void jit_address(struct jit *jit, int reg, uint32_t label);
struct cold *jit_cold(struct jit *jit, int condition, void (*write)(struct jit *, const struct cold *));

/* Makes the text; sets text, text_size and tail_entry. */
int jit_link(struct jit *jit, struct eb_code *code);

static inline uint32_t jit_function_label(const struct jit *jit, uint32_t function)
{
	return jit->program->count + function;
}

/* Whether instructions `at` … `at + more` always run one after another. */
static inline bool jit_straight(const struct jit *jit, uint32_t at, uint32_t more)
{
	if (at + more >= jit->function->end)
		return false;
	for (uint32_t i = at + 1; i <= at + more; i++)
		if (jit->program->at[i] & (AT_TARGET | AT_SECOND))
			return false;
	return true;
}

static inline bool jit_dead_after(const struct jit *jit, uint32_t at, int reg)
{
	return !(live_after(jit->program, at) & 1 << reg);
}

/* The register of a program's register to read; r10 is put into `fp` first. */
static inline int jit_source_in(struct jit *jit, int reg, int fp)
{
	if (reg != ISA_FP)
		return jit->map[reg];
	x86_rm(&jit->x, true, X86_LEA, fp, (struct place){ RSP, NO_INDEX, 0, jit->frame });
	return fp;
}

static inline int jit_source(struct jit *jit, int reg)
{
	return jit_source_in(jit, reg, SCRATCH_FP);
}

static inline struct place jit_place(const struct jit *jit, int reg, int32_t offset)
{
	if (reg == ISA_FP)
		return (struct place){ RSP, NO_INDEX, 0, jit->frame + offset };
	return (struct place){ jit->map[reg], NO_INDEX, 0, offset };
}

/* The next instruction finds flags that tell of the result in a program's register. */
static inline void jit_set_flags(struct jit *jit, uint32_t next, int reg, bool wide, bool logical)
{
	jit->flags.at = next;
	jit->flags.reg = reg;
	jit->flags.wide = wide;
	jit->flags.logical = logical;
}

#endif
