/*
 * Copies from and to addresses that may not be there. A fault between the marks `begin` and `end` makes the signal handler
 * (fault.c) go on at `fixup`; so nothing here may touch the stack, and only caller-saved registers are used.
 */

	.text
	.globl eb_copy_begin, eb_copy_end, eb_copy_fixup
	.hidden eb_copy_begin, eb_copy_end, eb_copy_fixup

	/* long eb_try_copy(void *to, const void *from, size_t size): 0 or −EFAULT */
	.p2align 6
	.globl eb_try_copy
	.hidden eb_try_copy
	.type eb_try_copy, @function
eb_copy_begin:
eb_try_copy:
	cmpq	$8, %rdx
	jne	1f
	movq	(%rsi), %rax
	movq	%rax, (%rdi)
	xorl	%eax, %eax
	ret
1:	cmpq	$256, %rdx
	jae	5f
	movq	%rdx, %rcx
	shrq	$3, %rcx
	jz	3f
2:	movq	(%rsi), %rax
	movq	%rax, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	decq	%rcx
	jnz	2b
3:	testb	$4, %dl
	jz	4f
	movl	(%rsi), %eax
	movl	%eax, (%rdi)
	addq	$4, %rsi
	addq	$4, %rdi
4:	testb	$2, %dl
	jz	6f
	movzwl	(%rsi), %eax
	movw	%ax, (%rdi)
	addq	$2, %rsi
	addq	$2, %rdi
6:	testb	$1, %dl
	jz	7f
	movzbl	(%rsi), %eax
	movb	%al, (%rdi)
7:	xorl	%eax, %eax
	ret
5:	movq	%rdx, %rcx
	rep movsb
	xorl	%eax, %eax
	ret
	.size eb_try_copy, . - eb_try_copy

	/* long eb_try_copy_string(char *to, const char *from, size_t size): bytes with the final 0, or −EFAULT; size > 0 */
	.p2align 6
	.globl eb_try_copy_string
	.hidden eb_try_copy_string
	.type eb_try_copy_string, @function
eb_try_copy_string:
	xorl	%ecx, %ecx
	decq	%rdx			/* room for the 0 */
1:	cmpq	%rdx, %rcx
	jae	2f
	movzbl	(%rsi, %rcx), %eax
	movb	%al, (%rdi, %rcx)
	incq	%rcx
	testb	%al, %al
	jnz	1b
	movq	%rcx, %rax
	ret
2:	movb	$0, (%rdi, %rcx)
	leaq	1(%rcx), %rax
	ret
	.size eb_try_copy_string, . - eb_try_copy_string
eb_copy_end:

eb_copy_fixup:
	movq	$-14, %rax
	ret

/*
 * void eb_with_state_saved(void (*function)(void *), void *argument): for the rare call from a hit into libc, which uses
 * vector registers that belong to whom we interrupted.
 */
	.p2align 4
	.globl eb_with_state_saved
	.hidden eb_with_state_saved
	.type eb_with_state_saved, @function
eb_with_state_saved:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	subq	$2816, %rsp
	andq	$-64, %rsp
	movq	%rdi, %r8
	movq	%rsi, %r9
	/* the area's header has to be zero where xsave does not write it */
	leaq	512(%rsp), %rdi
	movl	$8, %ecx
	xorl	%eax, %eax
	rep stosq
	movl	$0xe7, %eax		/* x87, SSE, AVX, AVX-512 */
	xorl	%edx, %edx
	xsave	(%rsp)
	movq	%r9, %rdi
	call	*%r8
	movl	$0xe7, %eax
	xorl	%edx, %edx
	xrstor	(%rsp)
	leave
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size eb_with_state_saved, . - eb_with_state_saved

	.section .note.GNU-stack, "", @progbits
