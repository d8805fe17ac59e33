/*
 * The life of a system call that goes through our handlers. The instruction has been replaced by a jump to a stub, which
 * loads rcx, lost to a system call anyway, with the gate and jumps here. The call is made here, too, on the stack it came
 * with: what a handler of a signal or a cancelled thread's unwinder sees is described as everywhere.
 */
#include "path.h"

#define NR_RT_SIGRETURN 15
#define NR_CLONE 56
#define NR_VFORK 58
#define NR_CLONE3 435

#define ARGUMENTS 0 /* from rsp: rdi, rsi, rdx, r10, r8, r9 */
#define RESULT 48

	.hidden	eb_gate_path, eb_syscalls
	.globl	eb_gate_path

	.section .text.eb_slow, "ax"
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rbp, PROBE_SIZE
	.cfi_offset rip, REGS_IP - PROBE_SIZE
	frame	PROBE_SIZE
	.text
	.p2align 6
eb_gate_path:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rcx
	lea	-PROBE_SIZE(%rsp), %rsp
	.cfi_def_cfa rsp, PROBE_SIZE
	mov	%rax, REGS_AX(%rsp)
	save	PROBE_SIZE, PROBE_SIZE, 0
	mov	REGS_CX(%rbp), %rbx
	mov	GATE_ADDRESS(%rbx), %rcx
	mov	%rcx, REGS_IP(%rbp)
	.cfi_offset rip, REGS_IP - PROBE_SIZE
	mov	REGS_AX(%rbp), %rax
	/* what returns twice, on another stack, or not at all */
	cmp	$NR_RT_SIGRETURN, %eax
	je	raw
	cmp	$NR_CLONE, %eax
	je	raw
	cmp	$NR_VFORK, %eax
	je	raw
	cmp	$NR_CLONE3, %eax
	je	raw
	take_guard raw
	mov	eb_syscalls(%rip), %r13
	test	%r13, %r13
	jz	raw_unguard
	sub	$64, %rsp
	mov	REGS_DI(%rbp), %rdi
	mov	REGS_SI(%rbp), %rsi
	mov	REGS_DX(%rbp), %rdx
	mov	REGS_R10(%rbp), %r10
	mov	REGS_R8(%rbp), %r8
	mov	REGS_R9(%rbp), %r9
	mov	%rdi, ARGUMENTS(%rsp)
	mov	%rsi, ARGUMENTS + 8(%rsp)
	mov	%rdx, ARGUMENTS + 16(%rsp)
	mov	%r10, ARGUMENTS + 24(%rsp)
	mov	%r8, ARGUMENTS + 32(%rsp)
	mov	%r9, ARGUMENTS + 40(%rsp)
	mov	SYSCALLS_ENTER(%r13), %rax
	test	%rax, %rax
	jz	make_call
	mov	SYSCALLS_USER(%r13), %rdi
	movslq	REGS_AX(%rbp), %rsi
	mov	%rsp, %rdx
	lea	RESULT(%rsp), %rcx
	call	*%rax
	test	%eax, %eax
	jnz	skip_call
	mov	ARGUMENTS(%rsp), %rdi
	mov	ARGUMENTS + 8(%rsp), %rsi
	mov	ARGUMENTS + 16(%rsp), %rdx
	mov	ARGUMENTS + 24(%rsp), %r10
	mov	ARGUMENTS + 32(%rsp), %r8
	mov	ARGUMENTS + 40(%rsp), %r9
make_call:
	mov	%r14, THREAD_GUARD(%r15)
	mov	REGS_AX(%rbp), %rax
	syscall
	mov	%rax, RESULT(%rsp)
	take_guard called
	mov	eb_syscalls(%rip), %r13
	test	%r13, %r13
	jz	no_exit
called_exit:
	mov	SYSCALLS_EXIT(%r13), %rax
	test	%rax, %rax
	jz	no_exit
	mov	SYSCALLS_USER(%r13), %rdi
	movslq	REGS_AX(%rbp), %rsi
	mov	%rsp, %rdx
	mov	RESULT(%rsp), %rcx
	call	*%rax
no_exit:
	mov	%r14, THREAD_GUARD(%r15)
called:
	mov	RESULT(%rsp), %rax
	mov	%rax, REGS_AX(%rbp)
	.cfi_remember_state
	restore
	lea	PROBE_SIZE(%rsp), %rsp
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rcx
	mov	GATE_NEXT(%rcx), %rcx
	jmp	*%rcx
	.cfi_restore_state
skip_call:
	jmp	called_exit
raw_unguard:
	mov	%r14, THREAD_GUARD(%r15)
raw:
	restore
	lea	PROBE_SIZE(%rsp), %rsp
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rcx
	jmp	*GATE_RAW(%rcx)
	.cfi_endproc
	.section .text.eb_slow, "ax"
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
