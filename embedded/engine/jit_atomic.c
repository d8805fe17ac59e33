#include "jit.h"

#define LOCK 0xf0u

static void locked(struct jit *jit, bool wide, unsigned opcode, int reg, struct place place)
{
	x86_byte(&jit->x, LOCK);
	x86_rm(&jit->x, wide, opcode, reg, place);
}

static unsigned op_of(const struct bpf_insn *insn)
{
	switch (insn->imm & ~BPF_FETCH) {
	case BPF_AND:
		return X86_AND;
	case BPF_OR:
		return X86_OR;
	case BPF_XOR:
		return X86_XOR;
	}
	return X86_ADD;
}

/* x86 has no "fetch and and": try with compare and exchange, which wants rax, until nobody came between. */
static void fetch_loop(struct jit *jit, const struct bpf_insn *insn, bool wide, struct place place)
{
	int src = jit->map[insn->src_reg], operand = src == RAX ? SCRATCH : src;
	struct x86 *x = &jit->x;
	uint8_t *again;

	if (place.base == RAX) {
		x86_rm(x, true, X86_LEA, SCRATCH_FP, place);
		place = (struct place){ SCRATCH_FP, NO_INDEX, 0, 0 };
	}
	x86_move(x, true, SCRATCH, RAX);
	x86_rm(x, wide, X86_LOAD, RAX, place);
	again = x->at;
	x86_move(x, wide, SCRATCH2, RAX);
	x86_rr(x, wide, op_of(insn), operand, SCRATCH2);
	locked(jit, wide, X86_CMPXCHG, SCRATCH2, place);
	x86_byte(x, 0x75);
	x86_byte(x, (unsigned)(again - (x->at + 1)) & 0xff);
	if (src == RAX)
		return;
	x86_move(x, wide, src, RAX);
	x86_move(x, true, RAX, SCRATCH);
}

static void compare_exchange(struct jit *jit, const struct bpf_insn *insn, bool wide, struct place place)
{
	locked(jit, wide, X86_CMPXCHG, jit_source(jit, insn->src_reg), place);
	if (!wide) /* eax is not written, and so the upper half not cleared, where the exchange is made */
		x86_move(&jit->x, false, RAX, RAX);
}

static void exchange(struct jit *jit, const struct bpf_insn *insn, bool wide, struct place place)
{
	int src = jit->map[insn->src_reg];

	if (insn->imm == BPF_XCHG)
		x86_rm(&jit->x, wide, X86_XCHG, src, place); /* locks by itself */
	else if (insn->imm == (BPF_ADD | BPF_FETCH))
		locked(jit, wide, X86_XADD, src, place);
	else
		fetch_loop(jit, insn, wide, place);
}

/* Ordinary loads acquire and ordinary stores release on this processor. */
static void ordered(struct jit *jit, const struct bpf_insn *insn)
{
	static const uint16_t loads[] = { [1] = X86_MOVZX8, [2] = X86_MOVZX16, [4] = X86_LOAD, [8] = X86_LOAD };
	int bytes = isa_bytes(insn);

	if (insn->imm == BPF_LOAD_ACQ) {
		x86_rm(&jit->x, bytes == 8, loads[bytes], jit->map[insn->dst_reg], jit_place(jit, insn->src_reg, insn->off));
		return;
	}
	if (bytes == 1) {
		x86_rm_byte(&jit->x, 0x88, jit_source(jit, insn->src_reg), jit_place(jit, insn->dst_reg, insn->off));
		return;
	}
	if (bytes == 2)
		x86_byte(&jit->x, 0x66);
	x86_rm(&jit->x, bytes == 8, X86_MOV, jit_source(jit, insn->src_reg), jit_place(jit, insn->dst_reg, insn->off));
}

void jit_atomic(struct jit *jit, const struct bpf_insn *insn)
{
	struct place place = jit_place(jit, insn->dst_reg, insn->off);
	bool wide = isa_bytes(insn) == 8;

	if (insn->imm == BPF_LOAD_ACQ || insn->imm == BPF_STORE_REL)
		ordered(jit, insn);
	else if (insn->imm == BPF_CMPXCHG)
		compare_exchange(jit, insn, wide, place);
	else if (insn->imm & BPF_FETCH)
		exchange(jit, insn, wide, place);
	else
		locked(jit, wide, op_of(insn), jit_source(jit, insn->src_reg), place);
}
