/*
 * The life of a hit. A hooked address jumps to its stub, which makes room for a struct eb_regs below the stack pointer,
 * saves rax there, loads it with the site and jumps to the site's path below. Nothing here changes flags, SSE or x87
 * state as the hooked code sees them; path.h says which register holds what.
 *
 * Frames are described for unwinders at every instruction: profilers come at any of them, and exceptions pass through
 * the return pad.
 */
#include "path.h"

	.hidden	eb_shadow, eb_arm_slowly, eb_return_chain, eb_return_pad
	.hidden	eb_entry_path, eb_probe_path, eb_skipped
	.globl	eb_entry_path, eb_probe_path, eb_return_pad, eb_skipped

	.section .text.eb_slow, "ax"
	.cfi_startproc
	.cfi_def_cfa rbp, REGS_SIZE + 8
	frame	REGS_SIZE + 8
	.text
	.p2align 6
eb_entry_path:
	.cfi_startproc
	.cfi_def_cfa rsp, REGS_SIZE + 8
	save	REGS_SIZE, REGS_SIZE + 8, 1
	mov	SITE_ADDRESS(%rbx), %rcx
	mov	%rcx, REGS_IP(%rbp)
	take_guard entry_blocked
	mov	SITE_ENTRY(%rbx), %r13
	call_handlers
	mov	SITE_ADDRESS(%rbx), %rax
	mov	SITE_RET(%rbx), %rcx
	cmp	%rax, REGS_IP(%rbp)
	jne	entry_diverted
	cmpq	$0, CALL_HANDLER(%rcx)
	jne	entry_arm
	mov	%r14, THREAD_GUARD(%r15)
entry_go_on:
	mov	SITE_RESUME(%rbx), %rax
	mov	%rax, REGS_SS(%rbp)
	.cfi_remember_state
	restore
	jmp	*REGS_SS(%rsp)

	/* The call came for its return too: the shadow of the stack slot remembers where to, and for whom. */
	.cfi_restore_state
	.p2align 4
entry_arm:
	lea	REGS_SIZE(%rbp), %rdx
	lea	eb_shadow(%rip), %rax
	mov	%rdx, %rcx
	shr	$SHADOW_SHIFT, %rcx
	mov	(%rax,%rcx,8), %rax
	test	%rax, %rax
	jz	entry_arm_slowly
	and	$SHADOW_MASK, %edx
	lea	(%rax,%rdx,2), %rdx
	mov	REGS_SIZE(%rbp), %rcx
	lea	eb_return_pad(%rip), %rax
	cmp	%rax, %rcx
	je	entry_arm_slowly
	testb	$SHADOW_CHAIN, SHADOW_WHAT(%rdx)
	jnz	entry_arm_slowly
	mov	%rcx, SHADOW_RA(%rdx)
	mov	%rbx, SHADOW_WHAT(%rdx)
entry_armed:
	mov	%r14, THREAD_GUARD(%r15)
	mov	SITE_BODY(%rbx), %rax
	mov	%rax, REGS_SS(%rbp)
	.cfi_remember_state
	restore
	lea	REGS_SIZE + 8(%rsp), %rsp
	.cfi_def_cfa rsp, 0
	jmp	eb_call_pad

	.cfi_restore_state
	.section .text.eb_slow, "ax"
entry_arm_slowly:
	mov	%rbx, %rdi
	lea	REGS_SIZE(%rbp), %rsi
	call	eb_arm_slowly
	test	%eax, %eax
	jnz	entry_armed
	mov	%r14, THREAD_GUARD(%r15)
entry_blocked:
	jmp	entry_go_on
	.text

	/* A handler changed ip: go there, or, to eb_skipped, nowhere but back to the caller. */
entry_diverted:
	mov	%r14, THREAD_GUARD(%r15)
	lea	eb_skipped(%rip), %rax
	cmp	%rax, REGS_IP(%rbp)
	je	entry_skip
	mov	REGS_IP(%rbp), %rax
	mov	%rax, REGS_SS(%rbp)
	.cfi_remember_state
	restore
	lea	REGS_SIZE(%rsp), %rsp
	.cfi_def_cfa rsp, 8
	/* below the stack pointer, but in the red zone, which no signal touches */
	jmp	*REGS_SS - REGS_SIZE(%rsp)
	.cfi_restore_state
entry_skip:
	.cfi_remember_state
	restore
	lea	REGS_SIZE(%rsp), %rsp
	.cfi_def_cfa rsp, 8
eb_skipped:
	ret
	.cfi_restore_state
	.cfi_endproc
	.section .text.eb_slow, "ax"
	.cfi_endproc
	.text

/*
 * Where a function with return handlers is called from and so returns to. The call is made with the stack pointer above
 * the slot of the return address, so that it fills that very slot, and the processor's return predictor (a hardware
 * shadow stack, too) sees pairs of calls and returns. Its target lies in the red zone.
 *
 * Seen by an unwinder, the pad is a frame of no size whose return address the shadow of the slot knows. The expression
 * finds it as the code below does; its only constant is eb_shadow's distance from the pad, which lies before the pad,
 * because unwind tables hold no addresses that a linker could not finish. The frame counts as a signal's: unwinders take
 * two frames with one CFA apart by that. They then use the address as it is, so it is made to lie in the call, as
 * they would have done.
 */
	.p2align 6
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 0
	.skip	56, 0xcc
	.long	eb_shadow - eb_return_pad
eb_call_pad:
	.byte	0xff	/* call *-16(%rsp); an unwinder looks for its last byte, a signal finds its first */
	.cfi_escape	0x16, 16, 37		/* the return address is the value of	[CFA] */
	.cfi_escape	0x38, 0x1c		/* lit8 minus				slot */
	.cfi_escape	0x12, 0x06		/* dup deref				slot pad */
	.cfi_escape	0x12, 0x38, 0x1c	/* dup lit8 minus			slot pad pad-8 */
	.cfi_escape	0x94, 4			/* deref_size 4				slot pad distance */
	.cfi_escape	0x08, 32, 0x24		/* const1u 32 shl */
	.cfi_escape	0x08, 32, 0x26		/* const1u 32 shra */
	.cfi_escape	0x22			/* plus					slot shadow */
	.cfi_escape	0x14, 0x08, SHADOW_SHIFT, 0x25	/* over const1u shift shr	slot shadow chunk */
	.cfi_escape	0x33, 0x24, 0x22, 0x06	/* lit3 shl plus deref			slot base */
	.cfi_escape	0x14			/* over					slot base slot */
	.cfi_escape	0x0c, 0xff, 0xff, 0xff, 0x03, 0x1a	/* const4u mask and	slot base offset */
	.cfi_escape	0x31, 0x24, 0x22	/* lit1 shl plus			slot entry */
	.cfi_escape	0x06, 0x31, 0x1c	/* deref lit1 minus			slot ra-1 */
	.byte	0x54, 0x24, -16
eb_return_pad:
	lea	-REGS_SIZE - 8(%rsp), %rsp
	.cfi_def_cfa rsp, REGS_SIZE + 8
	mov	%rax, REGS_AX(%rsp)
	save	REGS_SIZE + 8, REGS_SIZE + 8, 0
	lea	eb_shadow(%rip), %rax
	lea	REGS_SIZE(%rbp), %rdx
	mov	%rdx, %rcx
	shr	$SHADOW_SHIFT, %rcx
	mov	(%rax,%rcx,8), %rax
	and	$SHADOW_MASK, %edx
	lea	(%rax,%rdx,2), %r13
	mov	SHADOW_RA(%r13), %rcx
	mov	%rcx, REGS_IP(%rbp)
	mov	SHADOW_WHAT(%r13), %rbx
	mov	%rcx, REGS_SIZE(%rbp)
	.cfi_offset rip, -8
	take_guard return_blocked
	test	$SHADOW_CHAIN, %bl
	jnz	return_chain
	mov	SITE_RET(%rbx), %r13
	call_handlers
return_done:
	mov	%r14, THREAD_GUARD(%r15)
return_go_on:
	restore
	lea	REGS_SIZE(%rsp), %rsp
	.cfi_def_cfa rsp, 8
	ret
	.cfi_endproc
	.section .text.eb_slow, "ax"
	.cfi_startproc
	.cfi_def_cfa rbp, REGS_SIZE + 8
	frame	REGS_SIZE + 8
return_chain:
	mov	%rbp, %rdi
	mov	%r13, %rsi
	mov	$1, %edx
	call	eb_return_chain
	jmp	return_done
return_blocked:
	test	$SHADOW_CHAIN, %bl
	jz	return_go_on
	mov	%rbp, %rdi
	mov	%r13, %rsi
	xor	%edx, %edx
	call	eb_return_chain
	jmp	return_go_on
	.cfi_endproc
	.text

/* Not at a function's entry: the red zone is somebody's, there is no return address, and ip stays. */
	.section .text.eb_slow, "ax"
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rbp, PROBE_SIZE
	.cfi_offset rip, REGS_IP - PROBE_SIZE
	frame	PROBE_SIZE
	.text
	.p2align 6
eb_probe_path:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, PROBE_SIZE
	save	PROBE_SIZE, PROBE_SIZE, 1
	mov	SITE_ADDRESS(%rbx), %rcx
	mov	%rcx, REGS_IP(%rbp)
	.cfi_offset rip, REGS_IP - PROBE_SIZE
	take_guard probe_blocked
	mov	SITE_ENTRY(%rbx), %r13
	call_handlers
	mov	%r14, THREAD_GUARD(%r15)
probe_go_on:
	mov	SITE_RESUME(%rbx), %rax
	mov	%rax, REGS_SS(%rbp)
	restore
	jmp	*REGS_SS(%rsp)
	.cfi_endproc
	.section .text.eb_slow, "ax"
probe_blocked:
	jmp	probe_go_on
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
