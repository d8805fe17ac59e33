/* Every instruction by itself: is it one that we know, and are the fields that it does not use zero? */
#include "program.h"

#include <errno.h>

static const char *check_alu_source(const struct bpf_insn *insn)
{
	if (isa_is_x(insn))
		return insn->imm ? "immediate operand not zero" : NULL;
	return insn->src_reg ? "source register not zero" : NULL;
}

static const char *check_move(const struct bpf_insn *insn)
{
	bool wide = isa_class(insn) == BPF_ALU64;

	if (!insn->off)
		return NULL;
	if (isa_is_x(insn) && (insn->off == 8 || insn->off == 16 || (insn->off == 32 && wide)))
		return NULL;
	if (isa_is_x(insn) && insn->off == 1 && wide)
		return "addr_space_cast is not supported";
	return "unknown kind of move";
}

static const char *check_swap(const struct bpf_insn *insn)
{
	if (insn->src_reg || insn->off)
		return "unused field of a byte swap not zero";
	if (isa_class(insn) == BPF_ALU64 && isa_is_x(insn))
		return "unknown opcode";
	return insn->imm == 16 || insn->imm == 32 || insn->imm == 64 ? NULL : "byte swap of other than 16, 32 or 64 bits";
}

static const char *check_alu(const struct bpf_insn *insn)
{
	switch (isa_op(insn)) {
	case BPF_END:
		return check_swap(insn);
	case BPF_NEG:
		return isa_is_x(insn) || insn->src_reg || insn->off || insn->imm ? "unused field of a negation not zero" : NULL;
	case BPF_MOV: {
		const char *wrong = check_move(insn);

		return isa_is_x(insn) && insn->off == 1 ? wrong : wrong ? wrong : check_alu_source(insn);
	}
	case BPF_DIV:
	case BPF_MOD:
		return insn->off != 0 && insn->off != 1 ? "unknown kind of division" : check_alu_source(insn);
	case BPF_ADD:
	case BPF_SUB:
	case BPF_MUL:
	case BPF_OR:
	case BPF_AND:
	case BPF_LSH:
	case BPF_RSH:
	case BPF_XOR:
	case BPF_ARSH:
		return insn->off ? "offset not zero" : check_alu_source(insn);
	}
	return "unknown opcode";
}

static const char *check_call(const struct bpf_insn *insn)
{
	if (insn->code != (BPF_JMP | BPF_CALL))
		return insn->code == (BPF_JMP | BPF_CALL | BPF_X) ? "calls through a register are not supported" : "unknown opcode";
	if (insn->src_reg == 2)
		return "calls of kernel functions (kfuncs) are not supported";
	if (insn->src_reg > 1 || insn->dst_reg || insn->off)
		return "unknown kind of call";
	return NULL;
}

static const char *check_jmp(const struct bpf_insn *insn)
{
	switch (isa_op(insn)) {
	case BPF_CALL:
		return check_call(insn);
	case BPF_EXIT:
		return insn->code != (BPF_JMP | BPF_EXIT) || insn->dst_reg || insn->src_reg || insn->off || insn->imm
			       ? "unused field of an exit not zero" : NULL;
	case BPF_JA:
		if (isa_is_x(insn) || insn->dst_reg || insn->src_reg)
			return "unused field of a jump not zero";
		return (isa_class(insn) == BPF_JMP ? insn->imm : insn->off) ? "both offsets of a jump are set" : NULL;
	case 0xe0:
		return "may_goto is not supported";
	case 0xf0:
		return "unknown opcode";
	}
	return check_alu_source(insn);
}

static const char *check_atomic(const struct bpf_insn *insn)
{
	bool word = isa_size(insn) == BPF_W || isa_size(insn) == BPF_DW;

	switch (insn->imm) {
	case BPF_LOAD_ACQ:
	case BPF_STORE_REL:
		return NULL;
	case BPF_ADD:
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
	case BPF_ADD | BPF_FETCH:
	case BPF_AND | BPF_FETCH:
	case BPF_OR | BPF_FETCH:
	case BPF_XOR | BPF_FETCH:
	case BPF_XCHG:
	case BPF_CMPXCHG:
		return word ? NULL : "atomic operation on other than 4 or 8 bytes";
	}
	return "unknown atomic operation";
}

static const char *check_memory(const struct bpf_insn *insn)
{
	switch (isa_class(insn)) {
	case BPF_LDX:
		if (isa_mode(insn) == BPF_MEM || (isa_mode(insn) == BPF_MEMSX && isa_size(insn) != BPF_DW))
			return insn->imm ? "immediate operand of a load not zero" : NULL;
		return "unknown kind of load";
	case BPF_ST:
		if (isa_mode(insn) != BPF_MEM)
			return "unknown kind of store";
		return insn->src_reg ? "source register not zero" : NULL;
	case BPF_STX:
		if (isa_mode(insn) == BPF_ATOMIC)
			return check_atomic(insn);
		if (isa_mode(insn) != BPF_MEM)
			return "unknown kind of store";
		return insn->imm ? "immediate operand of a store not zero" : NULL;
	}
	if (isa_mode(insn) == BPF_ABS || isa_mode(insn) == BPF_IND)
		return "packet loads (BPF_ABS, BPF_IND) are not supported";
	return "unknown opcode";
}

/* A 64-bit load needs two instructions. */
static const char *check_pair(const struct program *program, uint32_t at)
{
	const struct bpf_insn *insn = &program->insns[at], *second = insn + 1;

	if (at + 1 == program->count)
		return "second half of a 64-bit load is missing";
	if (second->code || second->dst_reg || second->src_reg || second->off || insn->off)
		return "unused field of a 64-bit load not zero";
	return insn->src_reg > BPF_PSEUDO_MAP_IDX_VALUE ? "unknown kind of 64-bit load" : NULL;
}

/* Whether it changes its destination register; the checks on r10 and the analyses need to know. */
static bool writes_dst(const struct bpf_insn *insn)
{
	return isa_is_alu(insn) || isa_class(insn) == BPF_LDX || isa_class(insn) == BPF_LD ||
	       (isa_is_atomic(insn) && insn->imm == BPF_LOAD_ACQ);
}

static bool writes_src(const struct bpf_insn *insn)
{
	return isa_is_atomic(insn) && insn->imm != BPF_CMPXCHG && insn->imm != BPF_LOAD_ACQ && insn->imm != BPF_STORE_REL &&
	       (insn->imm & BPF_FETCH);
}

static const char *check_registers(const struct bpf_insn *insn)
{
	if (insn->dst_reg > ISA_FP || insn->src_reg > ISA_FP)
		return "no such register";
	if ((writes_dst(insn) && insn->dst_reg == ISA_FP) || (writes_src(insn) && insn->src_reg == ISA_FP))
		return "the frame pointer r10 is read-only";
	return NULL;
}

static const char *check_one(struct program *program, uint32_t at)
{
	const struct bpf_insn *insn = &program->insns[at];

	if (isa_is_ld_imm64(insn)) {
		const char *wrong = check_pair(program, at);

		if (!wrong)
			program->at[at + 1] |= AT_SECOND;
		return wrong;
	}
	if (isa_is_alu(insn))
		return check_alu(insn);
	return isa_is_jmp(insn) ? check_jmp(insn) : check_memory(insn);
}

int check_instructions(struct program *program, const struct report *report)
{
	for (uint32_t at = 0; at < program->count; at++) {
		const struct bpf_insn *insn = &program->insns[at];
		const char *wrong;

		if (program->at[at] & AT_SECOND)
			continue;
		wrong = check_registers(insn);
		if (!wrong)
			wrong = check_one(program, at);
		if (wrong)
			return report_at(report, at, "%s (code 0x%02x, dst %d, src %d, off %d, imm %d)", wrong, insn->code,
					 insn->dst_reg, insn->src_reg, insn->off, insn->imm);
	}
	return 0;
}
