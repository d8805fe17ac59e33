/* What linux/bpf.h of older systems lacks of the instruction set, and short ways to take instructions apart. */
#ifndef EB_ISA_H
#define EB_ISA_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef BPF_MEMSX
#define BPF_MEMSX 0x80 /* load with sign extension */
#endif
#ifndef BPF_LOAD_ACQ
#define BPF_LOAD_ACQ 0x100
#define BPF_STORE_REL 0x110
#endif

#define ISA_REGISTERS 11
#define ISA_FP 10 /* the frame pointer, read-only */

static inline uint8_t isa_class(const struct bpf_insn *insn)
{
	return insn->code & 0x07;
}

/* Operation of the classes ALU, ALU64, JMP, JMP32. */
static inline uint8_t isa_op(const struct bpf_insn *insn)
{
	return insn->code & 0xf0;
}

/* Mode and size of the classes LD, LDX, ST, STX. */
static inline uint8_t isa_mode(const struct bpf_insn *insn)
{
	return insn->code & 0xe0;
}

static inline uint8_t isa_size(const struct bpf_insn *insn)
{
	return insn->code & 0x18;
}

static inline int isa_bytes(const struct bpf_insn *insn)
{
	static const uint8_t bytes[] = { [BPF_W >> 3] = 4, [BPF_H >> 3] = 2, [BPF_B >> 3] = 1, [BPF_DW >> 3] = 8 };

	return bytes[isa_size(insn) >> 3];
}

static inline bool isa_is_alu(const struct bpf_insn *insn)
{
	return isa_class(insn) == BPF_ALU || isa_class(insn) == BPF_ALU64;
}

static inline bool isa_is_jmp(const struct bpf_insn *insn)
{
	return isa_class(insn) == BPF_JMP || isa_class(insn) == BPF_JMP32;
}

/* Whether the second operand is a register. */
static inline bool isa_is_x(const struct bpf_insn *insn)
{
	return insn->code & BPF_X;
}

static inline bool isa_is_ld_imm64(const struct bpf_insn *insn)
{
	return insn->code == (BPF_LD | BPF_IMM | BPF_DW);
}

static inline bool isa_is_exit(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_EXIT);
}

static inline bool isa_is_ja(const struct bpf_insn *insn)
{
	return isa_is_jmp(insn) && isa_op(insn) == BPF_JA;
}

static inline bool isa_is_any_call(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_CALL);
}

/* A call of another function of the same program. */
static inline bool isa_is_local_call(const struct bpf_insn *insn)
{
	return isa_is_any_call(insn) && insn->src_reg == BPF_PSEUDO_CALL;
}

static inline bool isa_is_helper_call(const struct bpf_insn *insn)
{
	return isa_is_any_call(insn) && insn->src_reg == 0;
}

/* A jump that has a target in the same function. */
static inline bool isa_is_branch(const struct bpf_insn *insn)
{
	return isa_is_jmp(insn) && !isa_is_any_call(insn) && !isa_is_exit(insn);
}

static inline bool isa_is_atomic(const struct bpf_insn *insn)
{
	return isa_class(insn) == BPF_STX && isa_mode(insn) == BPF_ATOMIC;
}

/* How far the target lies from the next instruction. */
static inline int64_t isa_distance(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP32 | BPF_JA) ? insn->imm : insn->off;
}

static inline uint64_t isa_imm64(const struct bpf_insn *insn)
{
	return (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
}

#endif
