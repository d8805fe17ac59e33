/*
 * The plainest possible execution of a program: what the other engines are compared with. One C function call a BPF function,
 * so that frames are where C puts them.
 */
#include "interpreter.h"

#include "program.h"
#include "thunks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t run_function(const struct interpreted *interpreted, const struct function *function, uint64_t *arguments,
			     uint32_t *tail_calls);

static uint64_t divide(uint64_t a, uint64_t b)
{
	return b ? a / b : 0;
}

static uint64_t modulo(uint64_t a, uint64_t b)
{
	return b ? a % b : a;
}

/* Negation of unsigned numbers instead of signed division, which has an overflow that traps. */
static uint64_t divide_signed(int64_t a, int64_t b)
{
	return b == -1 ? -(uint64_t)a : b ? (uint64_t)(a / b) : 0;
}

static uint64_t modulo_signed(int64_t a, int64_t b)
{
	return b == -1 ? 0 : b ? (uint64_t)(a % b) : (uint64_t)a;
}

static uint64_t sign_extend(uint64_t value, int bits)
{
	return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

static uint64_t zero_extend(uint64_t value, int bits)
{
	return bits == 64 ? value : value & ((1ull << bits) - 1);
}

static uint64_t swap(uint64_t value, int bits)
{
	return __builtin_bswap64(value) >> (64 - bits);
}

static uint64_t end(const struct bpf_insn *insn, uint64_t value)
{
	bool swaps = isa_class(insn) == BPF_ALU64 || isa_is_x(insn); /* ALU64: bswap; ALU: to big endian */

	return swaps ? swap(value, insn->imm) : zero_extend(value, insn->imm);
}

/* Result of an operation on 64 bits, or on 32 if both operands were cut to that; the caller cuts the result. */
static uint64_t alu(const struct bpf_insn *insn, uint64_t a, uint64_t b, int bits)
{
	bool is_signed = insn->off == 1;

	switch (isa_op(insn)) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_NEG:
		return -a;
	case BPF_LSH:
		return a << (b & (unsigned)(bits - 1));
	case BPF_RSH:
		return a >> (b & (unsigned)(bits - 1));
	case BPF_ARSH:
		return (uint64_t)((int64_t)sign_extend(a, bits) >> (b & (unsigned)(bits - 1)));
	case BPF_MOV:
		return insn->off ? sign_extend(b, insn->off) : b;
	case BPF_DIV:
		return is_signed ? divide_signed((int64_t)sign_extend(a, bits), (int64_t)sign_extend(b, bits)) : divide(a, b);
	case BPF_MOD:
		return is_signed ? modulo_signed((int64_t)sign_extend(a, bits), (int64_t)sign_extend(b, bits)) : modulo(a, b);
	}
	return end(insn, a);
}

static void run_alu(const struct bpf_insn *insn, uint64_t *r)
{
	uint64_t operand = isa_is_x(insn) ? r[insn->src_reg] : (uint64_t)(int64_t)insn->imm;
	uint64_t *dst = &r[insn->dst_reg];

	if (isa_op(insn) == BPF_END)
		*dst = end(insn, *dst);
	else if (isa_class(insn) == BPF_ALU64)
		*dst = alu(insn, *dst, operand, 64);
	else
		*dst = (uint32_t)alu(insn, (uint32_t)*dst, (uint32_t)operand, 32);
}

static bool compare(uint8_t op, uint64_t a, uint64_t b, int64_t signed_a, int64_t signed_b)
{
	switch (op) {
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
	case BPF_JSGT:
		return signed_a > signed_b;
	case BPF_JSGE:
		return signed_a >= signed_b;
	case BPF_JSLT:
		return signed_a < signed_b;
	case BPF_JSLE:
		return signed_a <= signed_b;
	}
	return a & b; /* BPF_JSET */
}

static bool is_taken(const struct bpf_insn *insn, const uint64_t *r)
{
	uint64_t a = r[insn->dst_reg], b = isa_is_x(insn) ? r[insn->src_reg] : (uint64_t)(int64_t)insn->imm;

	if (isa_op(insn) == BPF_JA)
		return true;
	if (isa_class(insn) == BPF_JMP32)
		return compare(isa_op(insn), (uint32_t)a, (uint32_t)b, (int32_t)a, (int32_t)b);
	return compare(isa_op(insn), a, b, (int64_t)a, (int64_t)b);
}

/* Programs may access memory unaligned. No memcpy() of a size that the compiler does not know: the library's may use SSE. */
struct anywhere {
	union {
		uint8_t b;
		uint16_t h;
		uint32_t w;
		uint64_t dw;
	} __attribute__((packed, may_alias));
} __attribute__((packed, may_alias));

static uint64_t load(const struct bpf_insn *insn, uint64_t address)
{
	const struct anywhere *at = (const struct anywhere *)address;
	int bytes = isa_bytes(insn);
	uint64_t value = bytes == 1 ? at->b : bytes == 2 ? at->h : bytes == 4 ? at->w : at->dw;

	return isa_mode(insn) == BPF_MEMSX ? sign_extend(value, 8 * bytes) : value;
}

static void store(const struct bpf_insn *insn, uint64_t address, uint64_t value)
{
	struct anywhere *at = (struct anywhere *)address;

	switch (isa_bytes(insn)) {
	case 1:
		at->b = (uint8_t)value;
		break;
	case 2:
		at->h = (uint16_t)value;
		break;
	case 4:
		at->w = (uint32_t)value;
		break;
	default:
		at->dw = value;
	}
}

#define ATOMIC(type)                                                                                                    \
	static uint64_t atomic_##type(int32_t op, type *at, type operand, uint64_t r0)                                  \
	{                                                                                                               \
		type expected = (type)r0;                                                                               \
                                                                                                                        \
		switch (op & ~BPF_FETCH) {                                                                              \
		case BPF_ADD:                                                                                           \
			return __atomic_fetch_add(at, operand, __ATOMIC_SEQ_CST);                                       \
		case BPF_AND:                                                                                           \
			return __atomic_fetch_and(at, operand, __ATOMIC_SEQ_CST);                                       \
		case BPF_OR:                                                                                            \
			return __atomic_fetch_or(at, operand, __ATOMIC_SEQ_CST);                                        \
		case BPF_XOR:                                                                                           \
			return __atomic_fetch_xor(at, operand, __ATOMIC_SEQ_CST);                                       \
		case BPF_XCHG & ~BPF_FETCH:                                                                             \
			return __atomic_exchange_n(at, operand, __ATOMIC_SEQ_CST);                                      \
		}                                                                                                       \
		__atomic_compare_exchange_n(at, &expected, operand, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);             \
		return expected;                                                                                        \
	}

ATOMIC(uint32_t)
ATOMIC(uint64_t)

static void run_atomic(const struct bpf_insn *insn, uint64_t *r)
{
	uint64_t address = r[insn->dst_reg] + (uint64_t)(int64_t)insn->off, old;

	if (insn->imm == BPF_LOAD_ACQ) {
		r[insn->dst_reg] = load(insn, r[insn->src_reg] + (uint64_t)(int64_t)insn->off);
		return;
	}
	if (insn->imm == BPF_STORE_REL) {
		store(insn, address, r[insn->src_reg]);
		return;
	}
	if (isa_size(insn) == BPF_W)
		old = atomic_uint32_t(insn->imm, (uint32_t *)address, (uint32_t)r[insn->src_reg], r[0]);
	else
		old = atomic_uint64_t(insn->imm, (uint64_t *)address, r[insn->src_reg], r[0]);
	if (insn->imm == BPF_CMPXCHG)
		r[0] = old;
	else if (insn->imm & BPF_FETCH)
		r[insn->src_reg] = old;
}

static void run_memory(const struct bpf_insn *insn, uint64_t *r)
{
	uint64_t offset = (uint64_t)(int64_t)insn->off;

	if (isa_class(insn) == BPF_LDX)
		r[insn->dst_reg] = load(insn, r[insn->src_reg] + offset);
	else if (isa_is_atomic(insn))
		run_atomic(insn, r);
	else
		store(insn, r[insn->dst_reg] + offset,
		      isa_class(insn) == BPF_STX ? r[insn->src_reg] : (uint64_t)(int64_t)insn->imm);
}

static void load_imm64(const struct interpreted *interpreted, const struct bpf_insn *insn, uint64_t *r)
{
	r[insn->dst_reg] = insn->src_reg == BPF_PSEUDO_FUNC ? (uint64_t)interpreted->callbacks[insn->imm].thunk : isa_imm64(insn);
}

/* Returns whether the tail call was made; then r[0] is what the other program returned. */
static bool run_tail_call(const struct interpreted *interpreted, uint64_t *r, uint32_t *tail_calls)
{
	const struct eb_environment *environment = &interpreted->environment;
	const struct interpreted *to;
	const struct eb_code *code;

	if (*tail_calls >= EB_TAIL_CALLS)
		return false;
	code = environment->tail_call(environment->user, r[2], (uint32_t)r[3]);
	if (!code)
		return false;
	++*tail_calls;
	to = code->own;
	r[0] = run_function(to, to->program.functions, r, tail_calls);
	return true;
}

static bool run_call(const struct interpreted *interpreted, const struct bpf_insn *insn, uint64_t *r, uint32_t *tail_calls)
{
	const struct call *call = &interpreted->program.calls[insn->imm];

	if (insn->src_reg == BPF_PSEUDO_CALL) {
		r[0] = run_function(interpreted, &interpreted->program.functions[insn->imm], r, tail_calls);
		return false;
	}
	if (call->kind == CALL_TAIL)
		return run_tail_call(interpreted, r, tail_calls);
	r[0] = call->function(r[1], r[2], r[3], r[4], r[5]);
	return false;
}

/* arguments: r0 … r5 of the caller, of which r1 … r5 count. */
static uint64_t run_function(const struct interpreted *interpreted, const struct function *function, uint64_t *arguments,
			     uint32_t *tail_calls)
{
	uint64_t stack[EB_STACK / 8], r[ISA_REGISTERS] = { 0 };
	const struct bpf_insn *insn = &interpreted->program.insns[function->first];

	memcpy(r, arguments, 6 * sizeof(*r));
	r[ISA_FP] = (uint64_t)stack + EB_STACK;
	for (;; insn++) {
		if (isa_is_alu(insn)) {
			run_alu(insn, r);
		} else if (isa_is_ld_imm64(insn)) {
			load_imm64(interpreted, insn, r);
			insn++;
		} else if (!isa_is_jmp(insn)) {
			run_memory(insn, r);
		} else if (isa_is_exit(insn)) {
			return r[0];
		} else if (isa_is_any_call(insn)) {
			if (run_call(interpreted, insn, r, tail_calls))
				return r[0];
		} else if (is_taken(insn, r)) {
			insn += isa_distance(insn);
		}
	}
}

static uint64_t run_interpreted(void *ctx, const struct eb_code *code)
{
	const struct interpreted *interpreted = code->own;
	uint64_t arguments[6] = { 0, (uint64_t)ctx };
	uint32_t tail_calls = 0;

	return run_function(interpreted, interpreted->program.functions, arguments, &tail_calls);
}

/* A helper calls a callback: the thunk has added the last argument. */
static uint64_t run_callback(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5, const struct callback *callback)
{
	const struct interpreted *interpreted = callback->of;
	uint64_t arguments[6] = { 0, r1, r2, r3, r4, r5 };
	uint32_t tail_calls = 0;

	return run_function(interpreted, callback->function, arguments, &tail_calls);
}

static int make_callbacks(struct interpreted *interpreted, const struct report *report)
{
	const struct program *program = &interpreted->program;

	if (!program->callbacks)
		return 0;
	interpreted->callbacks = calloc(program->function_count, sizeof(*interpreted->callbacks));
	if (!interpreted->callbacks)
		return report_error(report, -ENOMEM, "no memory for callbacks");
	for (uint32_t i = 0; i < program->function_count; i++)
		interpreted->callbacks[i] = (struct callback){ interpreted, &program->functions[i], NULL };
	interpreted->thunks = make_thunks(interpreted->callbacks, program->function_count, run_callback);
	return interpreted->thunks ? 0 : report_error(report, -ENOMEM, "no memory for code that calls callbacks");
}

int interpreter_compile(struct program *program, struct eb_code *code, const struct report *report)
{
	struct interpreted *interpreted = calloc(1, sizeof(*interpreted));
	int result;

	if (!interpreted)
		return report_error(report, -ENOMEM, "no memory");
	interpreted->program = *program;
	interpreted->environment = *program->environment;
	*program = (struct program){ 0 };
	code->own = interpreted;
	result = make_callbacks(interpreted, report);
	if (result) {
		interpreter_free(code);
		return result;
	}
	code->run = run_interpreted;
	code->tail_entry = interpreted;
	return 0;
}

void interpreter_free(struct eb_code *code)
{
	struct interpreted *interpreted = code->own;

	if (interpreted->thunks)
		free_thunks(interpreted->thunks, interpreted->program.function_count);
	free(interpreted->callbacks);
	program_free(&interpreted->program);
	free(interpreted);
}
