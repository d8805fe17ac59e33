#include "generate.h"

#include "../isa.h"
#include "random.h"

#include <string.h>

#define FUNCTIONS 3  /* the program and up to two others */
#define SLOTS 8	     /* words of stack in use */
#define SCRATCH 256  /* bytes of the data that programs play with; the rest takes what is to be compared at the end */
#define REGISTERS_AT 256
#define STACK_AT 384
#define ROOM_LEFT 160 /* instructions kept free for the end */

struct maker {
	struct generated *out;
	uint64_t random;
	int pointer, counter; /* registers: address of the data; of a loop */
	uint16_t scalars;     /* mask of the registers that hold numbers */
	int stack;	      /* offset from r10 of the lowest slot */
	int function;
	bool looping, calls_made;
	struct {
		uint32_t at;
		int function;
	} calls[64];
	int call_count;
};

static void statements(struct maker *maker, uint32_t count, int depth);

uint64_t random_interesting(uint64_t *state)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 7, 8, 10, 31, 32, 63, 64, 100, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
		0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff,
	};
	uint64_t edge = edges[random_below(state, sizeof(edges) / sizeof(*edges))];

	switch (random_below(state, 6)) {
	case 0:
		return random_next(state);
	case 1:
		return random_next(state) >> random_below(state, 64);
	case 2:
		return edge + random_below(state, 5) - 2;
	case 3:
		return -edge;
	}
	return edge;
}

static uint32_t pick(struct maker *maker, uint32_t below)
{
	return random_below(&maker->random, below);
}

static int32_t constant(struct maker *maker)
{
	return (int32_t)random_interesting(&maker->random);
}

static struct bpf_insn *emit(struct maker *maker, int code, int dst, int src, int off, int32_t imm)
{
	struct bpf_insn *insn = &maker->out->insns[maker->out->count++];

	*insn = (struct bpf_insn){ .code = (uint8_t)code, .dst_reg = dst & 15, .src_reg = src & 15, .off = (int16_t)off, .imm = imm };
	return insn;
}

static bool full(const struct maker *maker)
{
	return maker->out->count + ROOM_LEFT > GENERATE_MOST / (FUNCTIONS + 1) * (uint32_t)(maker->function + 2);
}

static int scalar(struct maker *maker)
{
	int reg;

	do
		reg = (int)pick(maker, 10);
	while (!(maker->scalars & 1 << reg));
	return reg;
}

static int other_scalar(struct maker *maker, int than)
{
	int reg;

	do
		reg = scalar(maker);
	while (reg == than);
	return reg;
}

static void emit_imm64(struct maker *maker, int dst, int src, uint64_t value)
{
	emit(maker, BPF_LD | BPF_IMM | BPF_DW, dst, src, 0, (int32_t)value);
	emit(maker, 0, 0, 0, 0, (int32_t)(value >> 32));
}

/* Gives a register some number. */
static void fill(struct maker *maker, int reg)
{
	switch (pick(maker, 4)) {
	case 0:
		emit(maker, BPF_ALU64 | BPF_MOV | BPF_K, reg, 0, 0, constant(maker));
		break;
	case 1:
		emit_imm64(maker, reg, 0, random_interesting(&maker->random));
		break;
	default:
		emit(maker, BPF_LDX | BPF_MEM | BPF_DW, reg, maker->pointer, (int)pick(maker, SCRATCH / 8) * 8, 0);
	}
	maker->scalars |= (uint16_t)(1 << reg);
}

static void refill_clobbered(struct maker *maker)
{
	for (int reg = 1; reg <= 5; reg++)
		fill(maker, reg);
}

static int any_class(struct maker *maker)
{
	return pick(maker, 2) ? BPF_ALU64 : BPF_ALU;
}

static void arithmetic(struct maker *maker)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR, BPF_AND, BPF_LSH, BPF_RSH, BPF_MOD, BPF_XOR,
				       BPF_MOV, BPF_ARSH };
	static const uint8_t extensions[] = { 0, 8, 16, 32 };
	int op = ops[pick(maker, sizeof(ops))], class = any_class(maker), dst = scalar(maker), off = 0;
	bool shift = op == BPF_LSH || op == BPF_RSH || op == BPF_ARSH, divide = op == BPF_DIV || op == BPF_MOD;
	int32_t imm;

	if (divide && pick(maker, 2))
		off = 1;
	if (pick(maker, 5) < 3) {
		if (op == BPF_MOV)
			off = extensions[pick(maker, class == BPF_ALU64 ? 4 : 3)];
		emit(maker, class | op | BPF_X, dst, scalar(maker), off, 0);
		return;
	}
	imm = shift ? (int32_t)pick(maker, class == BPF_ALU64 ? 64 : 32) : constant(maker);
	emit(maker, class | op | BPF_K, dst, 0, off, divide && !imm ? 3 : imm);
}

static void unary(struct maker *maker)
{
	int dst = scalar(maker), bits = 16 << pick(maker, 3);

	switch (pick(maker, 4)) {
	case 0:
		emit(maker, any_class(maker) | BPF_NEG, dst, 0, 0, 0);
		break;
	case 1:
		emit(maker, BPF_ALU64 | BPF_END, dst, 0, 0, bits);
		break;
	default:
		emit(maker, BPF_ALU | BPF_END | (pick(maker, 2) ? BPF_X : 0), dst, 0, 0, bits);
	}
}

/* A place in the data or the stack, aligned for accesses of that many bytes. */
static int place(struct maker *maker, int bytes, int *offset)
{
	if (pick(maker, 2)) {
		*offset = maker->stack + (int)pick(maker, (uint32_t)(SLOTS * 8 / bytes)) * bytes;
		return ISA_FP;
	}
	*offset = (int)pick(maker, (uint32_t)(SCRATCH / bytes)) * bytes;
	if (bytes < 8 || pick(maker, 4))
		return maker->pointer;
	*offset += (int)pick(maker, 8); /* data may be accessed unaligned */
	return maker->pointer;
}

static const struct {
	uint8_t size;
	int bytes;
} sizes[] = { { BPF_B, 1 }, { BPF_H, 2 }, { BPF_W, 4 }, { BPF_DW, 8 } };

static void load(struct maker *maker)
{
	uint32_t size = pick(maker, 4);
	int offset, base = place(maker, sizes[size].bytes, &offset);
	int mode = size < 3 && pick(maker, 3) == 0 ? BPF_MEMSX : BPF_MEM;

	emit(maker, BPF_LDX | mode | sizes[size].size, scalar(maker), base, offset, 0);
}

static void store(struct maker *maker)
{
	uint32_t size = pick(maker, 4);
	int offset, base = place(maker, sizes[size].bytes, &offset);

	if (pick(maker, 3))
		emit(maker, BPF_STX | BPF_MEM | sizes[size].size, base, scalar(maker), offset, 0);
	else
		emit(maker, BPF_ST | BPF_MEM | sizes[size].size, base, 0, offset, constant(maker));
}

static void ordered_access(struct maker *maker)
{
	uint32_t size = pick(maker, 4);
	int offset = (int)pick(maker, (uint32_t)(SCRATCH / sizes[size].bytes)) * sizes[size].bytes;
	int code = BPF_STX | BPF_ATOMIC | sizes[size].size;

	if (pick(maker, 2))
		emit(maker, code, scalar(maker), maker->pointer, offset, BPF_LOAD_ACQ);
	else
		emit(maker, code, maker->pointer, scalar(maker), offset, BPF_STORE_REL);
}

/*
 * Writes a byte of the stack back to where it was: the verifier then knows nothing of that word. It needs that, because (Linux 6.18)
 * it does not see that a fetching operation takes its result from the stack where it looks for what must be known exactly, takes
 * different states for the same, and removes branches that are not dead.
 */
static void forget_slot(struct maker *maker, int offset)
{
	int reg = scalar(maker);

	emit(maker, BPF_LDX | BPF_MEM | BPF_B, reg, ISA_FP, offset, 0);
	emit(maker, BPF_STX | BPF_MEM | BPF_B, ISA_FP, reg, offset, 0);
}

static void atomic(struct maker *maker)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_OR, BPF_AND, BPF_XOR, BPF_ADD | BPF_FETCH, BPF_OR | BPF_FETCH,
				       BPF_AND | BPF_FETCH, BPF_XOR | BPF_FETCH, BPF_XCHG, BPF_CMPXCHG };
	uint32_t size = 2 + pick(maker, 2);
	int offset, base = place(maker, sizes[size].bytes, &offset);

	if (pick(maker, 8) == 0) {
		ordered_access(maker);
		return;
	}
	offset &= -sizes[size].bytes;
	if (base == ISA_FP && !maker->out->as_it_is)
		forget_slot(maker, offset);
	/* compare and exchange that has a chance */
	if (pick(maker, 3) == 0)
		emit(maker, BPF_LDX | BPF_MEM | sizes[size].size, 0, base, offset, 0);
	emit(maker, BPF_STX | BPF_ATOMIC | sizes[size].size, base, scalar(maker), offset, ops[pick(maker, sizeof(ops))]);
}

/* load, change, store back: compilers make it of ++ and the like, engines may make one instruction of it */
static void update(struct maker *maker)
{
	static const uint8_t ops[] = { BPF_ADD, BPF_SUB, BPF_OR, BPF_AND, BPF_XOR, BPF_MUL };
	uint32_t size = pick(maker, 4), to = pick(maker, 8) ? size : pick(maker, 4);
	int offset, base = place(maker, 8, &offset), value = scalar(maker), op = ops[pick(maker, sizeof(ops))];

	offset &= -8;
	emit(maker, BPF_LDX | BPF_MEM | sizes[size].size, value, base, offset, 0);
	if (pick(maker, 2))
		emit(maker, any_class(maker) | op | BPF_X, value, scalar(maker), 0, 0);
	else
		emit(maker, any_class(maker) | op | BPF_K, value, 0, 0, constant(maker));
	emit(maker, BPF_STX | BPF_MEM | sizes[to].size, base, value, offset, 0);
	if (pick(maker, 2))
		fill(maker, value);
}

/* An access at a computed place: data + bounded index, or a pointer into the stack. */
static void indexed(struct maker *maker)
{
	int index = scalar(maker), address = other_scalar(maker, index), value = other_scalar(maker, address);
	uint32_t size = pick(maker, 4);
	int offset = (int)pick(maker, 64);

	if (pick(maker, 3)) {
		emit(maker, any_class(maker) | BPF_AND | BPF_K, index, 0, 0, 0x7f);
		emit(maker, BPF_ALU64 | BPF_MOV | BPF_X, address, maker->pointer, 0, 0);
		emit(maker, BPF_ALU64 | BPF_ADD | BPF_X, address, index, 0, 0);
	} else {
		emit(maker, BPF_ALU64 | BPF_MOV | BPF_X, address, ISA_FP, 0, 0);
		emit(maker, BPF_ALU64 | BPF_ADD | BPF_K, address, 0, 0, maker->stack);
		offset = (int)pick(maker, 8) * 8;
	}
	if (pick(maker, 2))
		emit(maker, BPF_STX | BPF_MEM | sizes[size].size, address, value, offset, 0);
	else
		emit(maker, BPF_LDX | BPF_MEM | sizes[size].size, pick(maker, 2) ? address : value, address, offset, 0);
	fill(maker, address);
}

/* Groups of instructions that engines may write as one. */
static void idiom(struct maker *maker)
{
	int dst = scalar(maker), src = scalar(maker), other = scalar(maker);

	switch (pick(maker, 5)) {
	case 0:
		emit(maker, BPF_ALU64 | BPF_LSH | BPF_K, dst, 0, 0, 32);
		emit(maker, BPF_ALU64 | (pick(maker, 2) ? BPF_RSH : BPF_ARSH) | BPF_K, dst, 0, 0, 32);
		break;
	case 1:
		emit(maker, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
		emit(maker, BPF_ALU64 | (pick(maker, 2) ? BPF_ADD : BPF_SUB) | BPF_K, dst, 0, 0, constant(maker));
		break;
	case 2:
		emit(maker, any_class(maker) | BPF_MOV | BPF_X, dst, src, 0, 0);
		emit(maker, any_class(maker) | BPF_ADD | BPF_X, dst, other, 0, 0);
		break;
	case 3:
		emit(maker, any_class(maker) | BPF_MOV | BPF_X, dst, src, 0, 0);
		emit(maker, any_class(maker) | (pick(maker, 2) ? BPF_LSH : BPF_ARSH) | BPF_X, dst, other, 0, 0);
		break;
	default:
		emit(maker, any_class(maker) | BPF_MUL | BPF_K, dst, 0, 0, 1 << pick(maker, 12));
	}
}

static void look_up(struct maker *maker)
{
	uint32_t jump;

	emit(maker, BPF_ST | BPF_MEM | BPF_W, ISA_FP, 0, maker->stack - 8, (int32_t)pick(maker, 6));
	emit_imm64(maker, 1, BPF_PSEUDO_MAP_FD, 0);
	emit(maker, BPF_ALU64 | BPF_MOV | BPF_X, 2, ISA_FP, 0, 0);
	emit(maker, BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, maker->stack - 8);
	emit(maker, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
	jump = maker->out->count;
	emit(maker, BPF_JMP | (pick(maker, 2) ? BPF_JEQ : BPF_JNE) | BPF_K, 0, 0, 0, 0);
	if (isa_op(&maker->out->insns[jump]) == BPF_JNE) {
		emit(maker, BPF_JMP | BPF_JA, 0, 0, 0, 0);
		maker->out->insns[jump].off = 1;
		jump++;
	}
	emit(maker, BPF_LDX | BPF_MEM | BPF_DW, 1, 0, (int)pick(maker, 32) * 8, 0);
	emit(maker, BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, 1);
	emit(maker, BPF_STX | BPF_MEM | BPF_DW, 0, 1, (int)pick(maker, 32) * 8, 0);
	maker->out->insns[jump].off = (int16_t)(maker->out->count - jump - 1);
	fill(maker, 0);
	refill_clobbered(maker);
}

static void call_function(struct maker *maker)
{
	int to = maker->function + 1 + (int)pick(maker, (uint32_t)(FUNCTIONS - 1 - maker->function));

	emit(maker, BPF_ALU64 | BPF_MOV | BPF_X, 1, maker->pointer, 0, 0);
	maker->calls[maker->call_count].at = maker->out->count;
	maker->calls[maker->call_count++].function = to;
	emit(maker, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 0);
	refill_clobbered(maker);
}

/* A conditional jump whose offset is still to be set. */
static uint32_t condition(struct maker *maker)
{
	static const uint8_t ops[] = { BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET, BPF_JNE, BPF_JSGT, BPF_JSGE, BPF_JLT, BPF_JLE,
				       BPF_JSLT, BPF_JSLE };
	int code = (pick(maker, 2) ? BPF_JMP : BPF_JMP32) | ops[pick(maker, sizeof(ops))], dst = scalar(maker);
	uint32_t at;

	/* often one that asks for what the instruction before has found */
	if (maker->out->count && pick(maker, 3) == 0 && maker->scalars & 1 << maker->out->insns[maker->out->count - 1].dst_reg)
		dst = maker->out->insns[maker->out->count - 1].dst_reg;
	at = maker->out->count;
	if (pick(maker, 2))
		emit(maker, code | BPF_X, dst, scalar(maker), 0, 0);
	else
		emit(maker, code | BPF_K, dst, 0, 0, pick(maker, 3) ? constant(maker) : 0);
	return at;
}

static void land(struct maker *maker, uint32_t jump)
{
	maker->out->insns[jump].off = (int16_t)(maker->out->count - jump - 1);
}

static void branch(struct maker *maker, int depth)
{
	uint32_t jump = condition(maker), over;

	statements(maker, 1 + pick(maker, 4), depth + 1);
	if (pick(maker, 2)) {
		land(maker, jump);
		return;
	}
	over = maker->out->count;
	if (pick(maker, 3))
		emit(maker, BPF_JMP | BPF_JA, 0, 0, 0, 0);
	else
		emit(maker, BPF_JMP32 | BPF_JA, 0, 0, 0, 0);
	land(maker, jump);
	statements(maker, 1 + pick(maker, 4), depth + 1);
	if (isa_class(&maker->out->insns[over]) == BPF_JMP)
		land(maker, over);
	else
		maker->out->insns[over].imm = (int32_t)(maker->out->count - over - 1);
}

static void loop(struct maker *maker, int depth)
{
	bool up = pick(maker, 2);
	int32_t times = 1 + (int32_t)pick(maker, 6);
	uint32_t start;

	maker->looping = true;
	emit(maker, BPF_ALU64 | BPF_MOV | BPF_K, maker->counter, 0, 0, up ? 0 : times);
	start = maker->out->count;
	statements(maker, 1 + pick(maker, 4), depth + 2);
	emit(maker, BPF_ALU64 | BPF_ADD | BPF_K, maker->counter, 0, 0, up ? 1 : -1);
	emit(maker, BPF_JMP | (up ? BPF_JLT : BPF_JNE) | BPF_K, maker->counter, 0, (int)start - (int)maker->out->count - 1,
	     up ? times : 0);
	maker->looping = false;
}

static void statement(struct maker *maker, int depth)
{
	uint32_t kind = pick(maker, 100);

	if (kind < 40)
		arithmetic(maker);
	else if (kind < 45)
		unary(maker);
	else if (kind < 54)
		load(maker);
	else if (kind < 62)
		store(maker);
	else if (kind < 69)
		atomic(maker);
	else if (kind < 73)
		update(maker);
	else if (kind < 77)
		indexed(maker);
	else if (kind < 82)
		idiom(maker);
	else if (kind < 92 && depth < 3)
		branch(maker, depth);
	else if (kind < 95 && !maker->looping && depth < 2)
		loop(maker, depth);
	else if (kind < 97 && maker->calls_made && maker->call_count < 60)
		look_up(maker);
	else if (kind < 99 && maker->calls_made && maker->function + 1 < FUNCTIONS && maker->call_count < 60 && !maker->looping)
		call_function(maker);
	else
		fill(maker, scalar(maker));
}

static void statements(struct maker *maker, uint32_t count, int depth)
{
	while (count-- > 0 && !full(maker))
		statement(maker, depth);
}

/* Registers and stack all hold something before the statements begin. */
static void begin(struct maker *maker, int function)
{
	maker->function = function;
	maker->looping = false;
	maker->pointer = 6 + (int)pick(maker, 4);
	maker->counter = 6 + (maker->pointer - 6 + 1 + (int)pick(maker, 3)) % 4;
	maker->stack = -SLOTS * 8 - (function || pick(maker, 2) ? 0 : (int)pick(maker, 20) * 8);
	if (function)
		emit(maker, BPF_ALU64 | BPF_MOV | BPF_X, maker->pointer, 1, 0, 0);
	else
		emit(maker, BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, 0); /* nothing may depend on the context */
	if (!function)
		emit_imm64(maker, maker->pointer, BPF_PSEUDO_MAP_VALUE, 1);
	maker->scalars = 0;
	for (int reg = 0; reg < ISA_FP; reg++)
		if (reg != maker->pointer && reg != maker->counter)
			fill(maker, reg);
	for (int slot = 0; slot < SLOTS; slot++)
		emit(maker, BPF_STX | BPF_MEM | BPF_DW, ISA_FP, scalar(maker), maker->stack + slot * 8, 0);
}

/* Everything that can be compared goes into the data. */
static void finish(struct maker *maker)
{
	for (int reg = 0; reg < ISA_FP && !maker->function; reg++)
		if (maker->scalars & 1 << reg)
			emit(maker, BPF_STX | BPF_MEM | BPF_DW, maker->pointer, reg, REGISTERS_AT + 8 * reg, 0);
	for (int slot = 0; slot < SLOTS && !maker->function; slot++) {
		emit(maker, BPF_LDX | BPF_MEM | BPF_DW, 1, ISA_FP, maker->stack + slot * 8, 0);
		emit(maker, BPF_STX | BPF_MEM | BPF_DW, maker->pointer, 1, STACK_AT + 8 * slot, 0);
	}
	emit(maker, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void resolve_calls(struct maker *maker, const uint32_t *starts)
{
	for (int i = 0; i < maker->call_count; i++)
		maker->out->insns[maker->calls[i].at].imm = (int32_t)(starts[maker->calls[i].function] - maker->calls[i].at - 1);
}

static bool is_called(const struct maker *maker, int function)
{
	for (int i = 0; i < maker->call_count; i++)
		if (maker->calls[i].function == function)
			return true;
	return false;
}

void generate(struct generated *program, uint64_t seed, uint32_t size)
{
	struct maker maker = { .out = program, .random = seed };
	uint32_t starts[FUNCTIONS] = { 0 };

	random_next(&maker.random);
	program->count = 0;
	maker.calls_made = pick(&maker, 2);
	for (int function = 0; function < FUNCTIONS; function++) {
		if (function && !is_called(&maker, function))
			continue;
		starts[function] = program->count;
		begin(&maker, function);
		statements(&maker, function ? size / 3 : size, 0);
		finish(&maker);
	}
	resolve_calls(&maker, starts);
}

void generate_memory(void *memory, uint32_t size, uint64_t seed)
{
	uint64_t value;

	for (uint32_t at = 0; at + 8 <= size; at += 8) {
		value = random_interesting(&seed);
		memcpy((char *)memory + at, &value, 8);
	}
}
