/*
 * The functions that are probed: a[b] + c for (const char *a, int b, unsigned long c), the same four instructions
 * each and on a cache line of its own; they differ in the instruction before. In assembly, because a compiler chooses
 * the first instruction by version, options and distribution, and the first instruction decides what a kernel probe
 * costs: the kernel emulates some (push, nop, …) and single-steps the others through a debug trap, which is dear,
 * above all in a virtual machine. The ordinary cases use bench_push, which keeps that trap out of the floor of
 * everything else.
 */

/* `first` is put before the body, `last` before its return. */
.macro function name, first="", last="", pushed=0
	.p2align 6
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	\first
	.cfi_adjust_cfa_offset \pushed
	movslq %esi, %rcx
	movsbq (%rdi, %rcx), %rax
	addq %rdx, %rax
	\last
	.cfi_adjust_cfa_offset -\pushed
	ret
	.cfi_endproc
	.size \name, . - \name
.endm

	.text
	function bench_push, "pushq %rbp", "popq %rbp", 8
	function bench_mov, "movq %rdi, %rax"
	function bench_movslq
	function bench_nop1, "nop"
	function bench_nop5, ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00"
	function bench_endbr64, "endbr64"

	/* Called outside the timed part, to undo what the timed call did. */
	function bench_refill, "pushq %rbp", "popq %rbp", 8
	/* Never called: a probe here must count nothing. */
	function bench_uncalled, "pushq %rbp", "popq %rbp", 8

	.section .note.GNU-stack, "", @progbits
