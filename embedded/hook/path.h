/*
 * What the paths of functions, instructions and system calls have in common. In all of them
 *
 *	rbp  the registers of the hit	r12  the flags, as lahf and seto give them	r15  this thread
 *	rbx  the site			r14  what the guard was				r13  next handler
 */
#pragma once

#include "layout.h"

	.hidden	eb_self, eb_thread_here, eb_nested

/* \cfa: what the registers' place has to be added to be the canonical frame address. */
.macro	frame cfa
	.cfi_offset rbx, REGS_BX - \cfa
	.cfi_offset rbp, REGS_BP - \cfa
	.cfi_offset r12, REGS_R12 - \cfa
	.cfi_offset r13, REGS_R13 - \cfa
	.cfi_offset r14, REGS_R14 - \cfa
	.cfi_offset r15, REGS_R15 - \cfa
.endm

/* rsp is where the registers go and rax is there already; \above: to rsp as it was; \site: rax is the site. */
.macro	save above, cfa, site
	mov	%rbx, REGS_BX(%rsp)
	mov	%rbp, REGS_BP(%rsp)
	mov	%r12, REGS_R12(%rsp)
	mov	%r13, REGS_R13(%rsp)
	mov	%r14, REGS_R14(%rsp)
	mov	%r15, REGS_R15(%rsp)
	frame	\cfa
	.if	\site
	mov	%rax, %rbx
	.endif
	lahf
	seto	%al
	mov	%rsp, %rbp
	.cfi_def_cfa rbp, \cfa
	mov	%rcx, REGS_CX(%rbp)
	mov	%rdx, REGS_DX(%rbp)
	mov	%rsi, REGS_SI(%rbp)
	mov	%rdi, REGS_DI(%rbp)
	mov	%r8, REGS_R8(%rbp)
	mov	%r9, REGS_R9(%rbp)
	mov	%r10, REGS_R10(%rbp)
	mov	%r11, REGS_R11(%rbp)
	mov	%eax, %r12d
	movzbl	%ah, %ecx
	movzbl	%al, %edx
	shl	$11, %edx
	lea	FLAGS_ALWAYS(%rcx,%rdx), %ecx
	mov	%rcx, REGS_FLAGS(%rbp)
	lea	\above(%rbp), %rcx
	mov	%rcx, REGS_SP(%rbp)
	movq	$-1, REGS_ORIG_AX(%rbp)
	movq	$USER_CS, REGS_CS(%rbp)
	movq	$USER_SS, REGS_SS(%rbp)
	and	$-16, %rsp
	mov	eb_self@gottpoff(%rip), %rcx
	mov	%fs:(%rcx), %r15
.endm

/* Leaves rsp at the saved registers; what to jump to lies in their ss. */
.macro	restore
	mov	%r12d, %eax
	add	$0x7f, %al
	sahf
	mov	%rbp, %rsp
	.cfi_def_cfa_register rsp
	mov	REGS_R15(%rsp), %r15
	mov	REGS_R14(%rsp), %r14
	mov	REGS_R13(%rsp), %r13
	mov	REGS_R12(%rsp), %r12
	mov	REGS_BX(%rsp), %rbx
	mov	REGS_R11(%rsp), %r11
	mov	REGS_R10(%rsp), %r10
	mov	REGS_R9(%rsp), %r9
	mov	REGS_R8(%rsp), %r8
	mov	REGS_DI(%rsp), %rdi
	mov	REGS_SI(%rsp), %rsi
	mov	REGS_DX(%rsp), %rdx
	mov	REGS_CX(%rsp), %rcx
	mov	REGS_AX(%rsp), %rax
	mov	REGS_BP(%rsp), %rbp
	.cfi_restore rbx
	.cfi_restore rbp
	.cfi_restore r12
	.cfi_restore r13
	.cfi_restore r14
	.cfi_restore r15
.endm

/*
 * Takes the guard, or goes to \blocked. A first hit of a thread, and one that finds the guard taken, ask C.
 */
.macro	take_guard blocked
	test	%r15, %r15
	jz	71f
	mov	THREAD_GUARD(%r15), %r14
	cmp	$GUARD_FREE, %r14
	jne	72f
70:	mov	%rbp, THREAD_GUARD(%r15)
	.pushsection .text.eb_slow, "ax"
71:	call	eb_thread_here
	test	%rax, %rax
	jz	\blocked
	mov	%rax, %r15
	mov	THREAD_GUARD(%r15), %r14
	cmp	$GUARD_FREE, %r14
	je	70b
72:	mov	%r15, %rdi
	mov	%rbp, %rsi
	call	eb_nested
	mov	%rax, %r14
	test	%rax, %rax
	jnz	70b
	jmp	\blocked
	.popsection
.endm

/* Calls the handlers from r13 on. */
.macro	call_handlers
	mov	CALL_HANDLER(%r13), %rax
	test	%rax, %rax
	jz	81f
80:	mov	%rbp, %rdi
	mov	CALL_USER(%r13), %rsi
	call	*%rax
	mov	CALL_SIZE + CALL_HANDLER(%r13), %rax
	add	$CALL_SIZE, %r13
	test	%rax, %rax
	jnz	80b
81:
.endm
