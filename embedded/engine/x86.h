/* Writing x86-64 instructions of the general registers, one function a form. Internal. */
#ifndef EB_X86_H
#define EB_X86_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* "op register, r/m" is written X86_OP | 2, "op r/m, register" X86_OP */
enum { X86_ADD = 0x01, X86_OR = 0x09, X86_AND = 0x21, X86_SUB = 0x29, X86_XOR = 0x31, X86_CMP = 0x39, X86_MOV = 0x89 };
enum { X86_TEST = 0x85, X86_XCHG = 0x87, X86_LEA = 0x8d, X86_MOVSXD = 0x63, X86_LOAD = 0x8b };
enum { X86_MOVZX8 = 0x0fb6, X86_MOVZX16 = 0x0fb7, X86_MOVSX8 = 0x0fbe, X86_MOVSX16 = 0x0fbf, X86_IMUL = 0x0faf };
enum { X86_XADD = 0x0fc1, X86_CMPXCHG = 0x0fb1 };
enum { X86_ROL = 0, X86_SHL = 4, X86_SHR = 5, X86_SAR = 7 }; /* in the register field of a shift */
enum { X86_NOT = 2, X86_NEG = 3, X86_MUL = 4, X86_DIV = 6, X86_IDIV = 7 }; /* in that of 0xf7 */
enum { CC_B = 2, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_L = 12, CC_GE, CC_LE, CC_G };

#define NO_INDEX (-1)

/* base + index << scale + offset */
struct place {
	int base, index, scale;
	int32_t offset;
};

struct x86 {
	uint8_t *at;
};

static inline void x86_byte(struct x86 *x, unsigned value)
{
	*x->at++ = (uint8_t)value;
}

static inline void x86_word(struct x86 *x, uint32_t value)
{
	memcpy(x->at, &value, 4);
	x->at += 4;
}

static inline void x86_quad(struct x86 *x, uint64_t value)
{
	memcpy(x->at, &value, 8);
	x->at += 8;
}

static inline void x86_rex(struct x86 *x, bool wide, int reg, int index, int base, bool force)
{
	unsigned rex = 0x40u | (unsigned)wide << 3 | (unsigned)(reg >> 3) << 2 | (unsigned)(index >> 3) << 1 | (unsigned)(base >> 3);

	if (rex != 0x40 || force)
		x86_byte(x, rex);
}

static inline void x86_opcode(struct x86 *x, unsigned opcode)
{
	if (opcode > 0xff)
		x86_byte(x, opcode >> 8);
	x86_byte(x, opcode & 0xff);
}

/* opcode with registers: reg is the second operand in the order of AT&T for X86_ADD and its like's r/m */
static inline void x86_rr(struct x86 *x, bool wide, unsigned opcode, int reg, int rm)
{
	x86_rex(x, wide, reg, 0, rm, false);
	x86_opcode(x, opcode);
	x86_byte(x, 0xc0u | (unsigned)(reg & 7) << 3 | (unsigned)(rm & 7));
}

/* The same where r/m is a byte register: spl, bpl, sil and dil need a prefix. */
static inline void x86_rr_byte(struct x86 *x, bool wide, unsigned opcode, int reg, int rm)
{
	x86_rex(x, wide, reg, 0, rm, rm >= RSP && rm <= RDI);
	x86_opcode(x, opcode);
	x86_byte(x, 0xc0u | (unsigned)(reg & 7) << 3 | (unsigned)(rm & 7));
}

static inline void x86_place(struct x86 *x, int reg, struct place place)
{
	bool indexed = place.index != NO_INDEX, sib = indexed || (place.base & 7) == RSP;
	unsigned mode = place.offset == 0 && (place.base & 7) != RBP ? 0 : place.offset == (int8_t)place.offset ? 1 : 2;
	unsigned index = indexed ? (unsigned)(place.index & 7) : RSP;

	x86_byte(x, mode << 6 | (unsigned)(reg & 7) << 3 | (sib ? RSP : (unsigned)(place.base & 7)));
	if (sib)
		x86_byte(x, (indexed ? (unsigned)place.scale : 0) << 6 | index << 3 | (unsigned)(place.base & 7));
	if (mode == 1)
		x86_byte(x, (unsigned)place.offset & 0xff);
	else if (mode == 2)
		x86_word(x, (uint32_t)place.offset);
}

static inline void x86_rm(struct x86 *x, bool wide, unsigned opcode, int reg, struct place place)
{
	x86_rex(x, wide, reg, place.index == NO_INDEX ? 0 : place.index, place.base, false);
	x86_opcode(x, opcode);
	x86_place(x, reg, place);
}

/* The same where reg is a byte register. */
static inline void x86_rm_byte(struct x86 *x, unsigned opcode, int reg, struct place place)
{
	x86_rex(x, false, reg, place.index == NO_INDEX ? 0 : place.index, place.base, reg >= RSP && reg <= RDI);
	x86_opcode(x, opcode);
	x86_place(x, reg, place);
}

static inline void x86_move(struct x86 *x, bool wide, int to, int from)
{
	if (to != from || !wide)
		x86_rr(x, wide, X86_MOV, from, to);
}

/* op: X86_ADD … X86_CMP */
static inline void x86_immediate(struct x86 *x, bool wide, unsigned op, int reg, int32_t value)
{
	bool small = value == (int8_t)value;

	if (!small && reg == RAX) { /* has a shorter form */
		x86_rex(x, wide, 0, 0, 0, false);
		x86_byte(x, op + 4);
		x86_word(x, (uint32_t)value);
		return;
	}
	x86_rex(x, wide, 0, 0, reg, false);
	x86_byte(x, small ? 0x83 : 0x81);
	x86_byte(x, 0xc0u | (op & 0x38) | (unsigned)(reg & 7));
	if (small)
		x86_byte(x, (unsigned)value & 0xff);
	else
		x86_word(x, (uint32_t)value);
}

/* one-operand group 0xf7: X86_NOT … X86_IDIV */
static inline void x86_unary(struct x86 *x, bool wide, unsigned op, int reg)
{
	x86_rr(x, wide, 0xf7, (int)op, reg);
}

static inline void x86_shift(struct x86 *x, bool wide, unsigned op, int reg, unsigned count)
{
	x86_rr(x, wide, count == 1 ? 0xd1 : 0xc1, (int)op, reg);
	if (count != 1)
		x86_byte(x, count);
}

static inline void x86_shift_cl(struct x86 *x, bool wide, unsigned op, int reg)
{
	x86_rr(x, wide, 0xd3, (int)op, reg);
}

/* BMI2: to = from shifted by count, flags untouched */
static inline void x86_shift_by(struct x86 *x, bool wide, unsigned op, int to, int from, int count)
{
	unsigned prefix = op == X86_SHL ? 1 : op == X86_SHR ? 3 : 2;

	x86_byte(x, 0xc4);
	x86_byte(x, (to < 8 ? 0x80u : 0) | 0x40 | (from < 8 ? 0x20u : 0) | 2);
	x86_byte(x, (unsigned)wide << 7 | (unsigned)(~count & 15) << 3 | prefix);
	x86_byte(x, 0xf7);
	x86_byte(x, 0xc0u | (unsigned)(to & 7) << 3 | (unsigned)(from & 7));
}

/* Leaves the flags alone unless value is 0. */
static inline void x86_constant(struct x86 *x, int reg, uint64_t value)
{
	if (!value) {
		x86_rr(x, false, X86_XOR, reg, reg);
	} else if (value == (uint32_t)value) {
		x86_rex(x, false, 0, 0, reg, false);
		x86_byte(x, 0xb8u | (unsigned)(reg & 7));
		x86_word(x, (uint32_t)value);
	} else if (value == (uint64_t)(int64_t)(int32_t)value) {
		x86_rr(x, true, 0xc7, 0, reg);
		x86_word(x, (uint32_t)value);
	} else {
		x86_rex(x, true, 0, 0, reg, false);
		x86_byte(x, 0xb8u | (unsigned)(reg & 7));
		x86_quad(x, value);
	}
}

static inline void x86_push(struct x86 *x, int reg)
{
	x86_rex(x, false, 0, 0, reg, false);
	x86_byte(x, 0x50u | (unsigned)(reg & 7));
}

static inline void x86_pop(struct x86 *x, int reg)
{
	x86_rex(x, false, 0, 0, reg, false);
	x86_byte(x, 0x58u | (unsigned)(reg & 7));
}

/* to = upper half of rdx * from (mulx): needs BMI2, changes nothing else. */
static inline void x86_multiply_high(struct x86 *x, int to, int from)
{
	x86_byte(x, 0xc4);
	x86_byte(x, (to < 8 ? 0x80u : 0) | 0x40 | (from < 8 ? 0x20u : 0) | 2);
	x86_byte(x, 0x80u | (unsigned)(~to & 15) << 3 | 3);
	x86_byte(x, 0xf6);
	x86_byte(x, 0xc0u | (unsigned)(to & 7) << 3 | (unsigned)(from & 7));
}

/* A jump over code that follows at once; x86_land() gives it its target, at most 127 bytes on. */
static inline uint8_t *x86_skip(struct x86 *x, int condition)
{
	x86_byte(x, 0x70u | (unsigned)condition);
	x86_byte(x, 0);
	return x->at;
}

static inline uint8_t *x86_skip_always(struct x86 *x)
{
	x86_byte(x, 0xeb);
	x86_byte(x, 0);
	return x->at;
}

static inline void x86_land(const struct x86 *x, uint8_t *after_skip)
{
	after_skip[-1] = (uint8_t)(x->at - after_skip);
}

#endif
