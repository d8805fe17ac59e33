/* Loads, stores and atomic operations. */
#include "jit.h"

static void write_load(struct jit *jit, const struct bpf_insn *insn, struct place place)
{
	static const uint16_t zero[] = { [1] = X86_MOVZX8, [2] = X86_MOVZX16, [4] = X86_LOAD, [8] = X86_LOAD };
	static const uint16_t sign[] = { [1] = X86_MOVSX8, [2] = X86_MOVSX16, [4] = X86_MOVSXD };
	int bytes = isa_bytes(insn), dst = jit->map[insn->dst_reg];

	if (isa_mode(insn) == BPF_MEMSX)
		x86_rm(&jit->x, true, sign[bytes], dst, place);
	else
		x86_rm(&jit->x, bytes == 8, zero[bytes], dst, place);
}

static void write_store(struct jit *jit, const struct bpf_insn *insn, struct place place)
{
	int bytes = isa_bytes(insn), src = jit_source(jit, insn->src_reg);

	if (bytes == 1) {
		x86_rm_byte(&jit->x, 0x88, src, place);
		return;
	}
	if (bytes == 2)
		x86_byte(&jit->x, 0x66);
	x86_rm(&jit->x, bytes == 8, X86_MOV, src, place);
}

static void write_store_constant(struct jit *jit, const struct bpf_insn *insn, struct place place)
{
	int bytes = isa_bytes(insn);

	if (bytes == 2)
		x86_byte(&jit->x, 0x66);
	x86_rm(&jit->x, bytes == 8, bytes == 1 ? 0xc6 : 0xc7, 0, place);
	if (bytes == 1) {
		x86_byte(&jit->x, (unsigned)insn->imm & 0xff);
	} else if (bytes == 2) {
		x86_byte(&jit->x, (unsigned)insn->imm & 0xff);
		x86_byte(&jit->x, (unsigned)insn->imm >> 8 & 0xff);
	} else {
		x86_word(&jit->x, (uint32_t)insn->imm);
	}
}

static void write_plain(struct jit *jit, const struct bpf_insn *insn, struct place place)
{
	if (isa_class(insn) == BPF_LDX)
		write_load(jit, insn, place);
	else if (isa_class(insn) == BPF_STX)
		write_store(jit, insn, place);
	else
		write_store_constant(jit, insn, place);
}

/* The access at `at` through a register that is the place's address and serves nothing else. */
bool jit_fuse_memory(struct jit *jit, uint32_t at, struct place place)
{
	const struct bpf_insn *insn = &jit->program->insns[at], *add = insn - 1;
	bool load = isa_class(insn) == BPF_LDX;
	int base = load ? insn->src_reg : insn->dst_reg;
	int64_t offset = (int64_t)place.offset + insn->off;

	if (isa_is_alu(insn) || isa_is_jmp(insn) || isa_is_ld_imm64(insn) || isa_is_atomic(insn) || base != add->dst_reg ||
	    offset != (int32_t)offset)
		return false;
	if (isa_class(insn) == BPF_STX && insn->src_reg == base)
		return false;
	if (!(load && insn->dst_reg == base) && !jit_dead_after(jit, at, base))
		return false;
	place.offset = (int32_t)offset;
	write_plain(jit, insn, place);
	return true;
}

/* load, change, store back, and nobody needs the value: one instruction that changes memory. */
static bool fuse_update(struct jit *jit, uint32_t at)
{
	static const uint8_t ops[16] = {
		[BPF_ADD >> 4] = X86_ADD, [BPF_SUB >> 4] = X86_SUB, [BPF_OR >> 4] = X86_OR,
		[BPF_AND >> 4] = X86_AND, [BPF_XOR >> 4] = X86_XOR,
	};
	const struct bpf_insn *load = &jit->program->insns[at], *change = load + 1, *store = load + 2;
	bool wide = isa_bytes(load) == 8;
	int value = load->dst_reg, op;
	struct place place;

	if (load->code != (BPF_LDX | BPF_MEM | BPF_W) && load->code != (BPF_LDX | BPF_MEM | BPF_DW))
		return false;
	if (!jit_straight(jit, at, 2) || store->code != (BPF_STX | BPF_MEM | isa_size(load)) || store->src_reg != value ||
	    store->dst_reg != load->src_reg || store->off != load->off || load->src_reg == value ||
	    !jit_dead_after(jit, at + 2, value))
		return false;
	op = isa_is_alu(change) && change->dst_reg == value ? ops[isa_op(change) >> 4] : 0;
	if (!op || (wide && isa_class(change) != BPF_ALU64) || (isa_is_x(change) && change->src_reg == value))
		return false;
	place = jit_place(jit, load->src_reg, load->off);
	if (isa_is_x(change)) {
		x86_rm(&jit->x, wide, (unsigned)op, jit_source(jit, change->src_reg), place);
		return true;
	}
	x86_rm(&jit->x, wide, change->imm == (int8_t)change->imm ? 0x83 : 0x81, op >> 3, place);
	if (change->imm == (int8_t)change->imm)
		x86_byte(&jit->x, (unsigned)change->imm & 0xff);
	else
		x86_word(&jit->x, (uint32_t)change->imm);
	return true;
}

uint32_t jit_memory(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];
	int base = isa_class(insn) == BPF_LDX ? insn->src_reg : insn->dst_reg;

	if (isa_is_atomic(insn)) {
		jit_atomic(jit, insn);
		return 1;
	}
	if (fuse_update(jit, at))
		return 3;
	write_plain(jit, insn, jit_place(jit, base, insn->off));
	return 1;
}
