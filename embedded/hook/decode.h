/* x86-64 instructions, as far as moving them to another address goes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum eb_kind {
	EB_UNKNOWN,
	EB_PLAIN,
	EB_NOP,
	EB_JUMP,	  /* to target */
	EB_BRANCH,	  /* jcc to target */
	EB_LOOP,	  /* loop*, jrcxz: to target, which is always near */
	EB_CALL,	  /* of target */
	EB_JUMP_INDIRECT,
	EB_CALL_INDIRECT,
	EB_RETURN,
	EB_SYSCALL,
	EB_BREAKPOINT,
	EB_STOP,	  /* ud2, hlt: nothing after it is executed */
	EB_ODD,		  /* cannot be moved: transactions, 16-bit branches */
};

struct eb_instruction {
	const unsigned char *at;
	const unsigned char *target; /* of branches; what is addressed when `relative` */
	enum eb_kind kind;
	unsigned char length;
	unsigned char relative;	/* offset of a 32-bit displacement from the instruction pointer, or 0 */
	unsigned char modrm;	/* offset of the ModRM byte, or 0 */
	unsigned char opcode;
	unsigned char uses_sp;	/* its memory operand is addressed by the stack pointer */
	unsigned char pops;	/* return that takes arguments from the stack */
};

/* Decodes what is at `at` when no patches are, not reading from `end` on. Unknown instructions have length 1. */
struct eb_instruction eb_decode(const unsigned char *at, const unsigned char *end);
