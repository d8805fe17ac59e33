/* Calls of helpers, of other functions, of other programs, and what replaces calls. */
#include "jit.h"

static bool needs_call(const struct call *call)
{
	return !(call->kind == CALL_ARRAY && !call->array.cpus) &&
	       !(call->kind == CALL_INLINE && call->hint.kind != EB_INLINE_TLS);
}

bool jit_calls_out(const struct program *program, const struct function *function)
{
	for (uint32_t at = function->first; function->calls && at < function->end; at++) {
		const struct bpf_insn *insn = &program->insns[at];

		if (program->at[at] & AT_SECOND)
			continue;
		if (isa_is_local_call(insn) || (isa_is_helper_call(insn) && needs_call(&program->calls[insn->imm])))
			return true;
	}
	return false;
}

/* op reg, %fs:offset */
static void thread_local(struct jit *jit, bool wide, unsigned opcode, int reg, int64_t offset)
{
	x86_byte(&jit->x, 0x64);
	x86_rex(&jit->x, wide, reg, 0, 0, false);
	x86_opcode(&jit->x, opcode);
	x86_byte(&jit->x, (unsigned)(reg & 7) << 3 | 4);
	x86_byte(&jit->x, 0x25);
	x86_word(&jit->x, (uint32_t)offset);
}

static void write_null(struct jit *jit, const struct cold *cold)
{
	x86_rr(&jit->x, false, X86_XOR, RAX, RAX);
	jit_jump(jit, ALWAYS, cold->back);
}

static void write_real_call(struct jit *jit, const struct cold *cold)
{
	jit_call_c(jit, (const void *)cold->call->function);
	jit_jump(jit, ALWAYS, cold->back);
}

/* rax = address of value number rax; the index is below 2^32 */
static void address_of_value(struct jit *jit, const struct eb_array *array)
{
	struct x86 *x = &jit->x;

	x86_constant(x, SCRATCH, array->values);
	if (array->stride <= 8 && !(array->stride & (array->stride - 1))) {
		x86_rm(x, true, X86_LEA, RAX, (struct place){ SCRATCH, RAX, __builtin_ctzll(array->stride), 0 });
		return;
	}
	if (array->stride & (array->stride - 1)) {
		x86_rr(x, true, 0x69, RAX, RAX);
		x86_word(x, (uint32_t)array->stride);
	} else {
		x86_shift(x, true, X86_SHL, RAX, (unsigned)__builtin_ctzll(array->stride));
	}
	x86_rr(x, true, X86_ADD, SCRATCH, RAX);
}

/* Adds what the CPU's number makes; returns the label behind a call for CPUs that the map knows nothing of. */
static uint32_t add_cpu(struct jit *jit, const struct call *call)
{
	struct x86 *x = &jit->x;
	struct cold *cold;
	uint32_t back;

	thread_local(jit, false, X86_LOAD, SCRATCH2, call->array.cpu_tls);
	x86_immediate(x, false, X86_CMP, SCRATCH2, (int32_t)call->array.cpus);
	cold = jit_cold(jit, CC_AE, write_real_call);
	cold->call = call;
	back = cold->back;
	x86_rr(x, true, 0x69, SCRATCH2, SCRATCH2);
	x86_word(x, (uint32_t)call->array.cpu_stride);
	return back;
}

/* After a look-up: does `if (!r0) goto …` follow? Then an index out of range goes there and the test is not needed. */
static bool null_test_follows(const struct jit *jit, uint32_t at)
{
	const struct bpf_insn *next = &jit->program->insns[at + 1];

	return jit_straight(jit, at, 1) && next->code == (BPF_JMP | BPF_JEQ | BPF_K) && next->dst_reg == 0 && !next->imm;
}

static void write_null_to(struct jit *jit, const struct cold *cold)
{
	x86_rr(&jit->x, false, X86_XOR, RAX, RAX);
	jit_jump(jit, ALWAYS, (uint32_t)cold->reg);
}

static uint32_t look_up(struct jit *jit, uint32_t at, const struct call *call)
{
	bool tested = null_test_follows(jit, at) && !call->array.cpus;
	uint32_t back, back_of_cpu = 0;
	struct cold *cold;

	x86_rm(&jit->x, false, X86_LOAD, RAX, (struct place){ RSI, NO_INDEX, 0, 0 });
	x86_immediate(&jit->x, false, X86_CMP, RAX, (int32_t)call->array.entries);
	cold = jit_cold(jit, CC_AE, tested ? write_null_to : write_null);
	cold->reg = tested ? (int)target_of(jit->program, at + 1) : 0;
	back = cold->back;
	if (call->array.cpus)
		back_of_cpu = add_cpu(jit, call);
	address_of_value(jit, &call->array);
	if (call->array.cpus)
		x86_rr(&jit->x, true, X86_ADD, SCRATCH2, RAX);
	if (jit->no_memory)
		return 1;
	jit_place_label(jit, back);
	if (call->array.cpus)
		jit_place_label(jit, back_of_cpu);
	return 1u + tested;
}

static void write_hint(struct jit *jit, const struct call *call)
{
	struct cold *cold;
	uint32_t back;

	x86_constant(&jit->x, RAX, call->hint.kind == EB_INLINE_TLS ? 0 : call->hint.value);
	if (call->hint.kind == EB_INLINE_LOAD)
		x86_rm(&jit->x, true, X86_LOAD, RAX, (struct place){ RAX, NO_INDEX, 0, 0 });
	if (call->hint.kind != EB_INLINE_TLS)
		return;
	jit->x.at -= 2; /* the zero */
	thread_local(jit, true, X86_LOAD, RAX, (int64_t)call->hint.value);
	x86_rr(&jit->x, true, X86_TEST, RAX, RAX);
	cold = jit_cold(jit, CC_E, write_real_call);
	cold->call = call;
	back = cold->back;
	if (!jit->no_memory)
		jit_place_label(jit, back);
}

/* r1 is the context, r2 the prog array, r3 the index; the callback gets its own argument in place of the context. */
static void tail_call(struct jit *jit)
{
	const struct eb_environment *environment = jit->program->environment;
	struct place kept = { RSP, NO_INDEX, 0, 0 };
	uint8_t *none_left, *no_program;
	struct x86 *x = &jit->x;

	x86_rr(x, false, X86_TEST, TAIL_CALLS_LEFT, TAIL_CALLS_LEFT);
	none_left = x86_skip(x, CC_E);
	x86_rm(x, true, X86_MOV, RDI, kept);
	x86_constant(x, RDI, (uint64_t)environment->user);
	jit_call_c(jit, (const void *)environment->tail_call);
	x86_rr(x, true, X86_TEST, RAX, RAX);
	no_program = x86_skip(x, CC_E);
	x86_rm(x, true, X86_LOAD, RDI, kept);
	x86_immediate(x, false, X86_SUB, TAIL_CALLS_LEFT, 1);
	x86_rm(x, true, X86_LOAD, RAX, (struct place){ RAX, NO_INDEX, 0, offsetof(struct eb_code, tail_entry) });
	jit_epilogue(jit);
	x86_byte(x, 0xff);
	x86_byte(x, 0xe0); /* jmp *%rax */
	x86_land(x, none_left);
	x86_land(x, no_program);
}

uint32_t jit_call(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	const struct call *call = &jit->program->calls[insn->imm];

	if (isa_is_local_call(insn)) {
		jit_call_label(jit, jit_function_label(jit, (uint32_t)insn->imm));
		return 1;
	}
	switch (call->kind) {
	case CALL_ARRAY:
		return look_up(jit, at, call);
	case CALL_INLINE:
		write_hint(jit, call);
		return 1;
	case CALL_TAIL:
		tail_call(jit);
		return 1;
	case CALL_PLAIN:
		jit_call_c(jit, (const void *)call->function);
	}
	return 1;
}
