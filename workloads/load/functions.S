/* work_0 … work_99: small functions with room for any kind of probe, each on a cache line of its own. */

.altmacro
.macro function n
	.p2align 6
	.globl work_\n
	.type work_\n, @function
work_\n:
	.cfi_startproc
	pushq %rbp
	.cfi_adjust_cfa_offset 8
	movslq %edi, %rax
	addq $\n, %rax
	popq %rbp
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_endproc
	.size work_\n, . - work_\n
.endm

.macro entry n
	.quad work_\n
.endm

	.text
	.set i, 0
	.rept 100
	function %i
	.set i, i + 1
	.endr

	.section .data.rel.ro, "aw"
	.p2align 3
	.globl functions
	.type functions, @object
functions:
	.set i, 0
	.rept 100
	entry %i
	.set i, i + 1
	.endr
	.size functions, . - functions

	.section .note.GNU-stack, "", @progbits
