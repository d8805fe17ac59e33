/* gum.py and gum.js, as the library carries them along. */
	.section .rodata
	.globl	eb_gum_py, eb_gum_js
	.hidden	eb_gum_py, eb_gum_js
eb_gum_py:
	.incbin	"hook/gum.py"
	.byte	0
eb_gum_js:
	.incbin	"hook/gum.js"
	.byte	0

	.section .note.GNU-stack, "", @progbits
