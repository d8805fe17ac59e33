#include "assembly.h"

#include "../isa.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum form {
	FORM_ALU,    /* dst, src or constant */
	FORM_MOVE,   /* dst, src; off says which */
	FORM_UNARY,  /* dst; imm says which */
	FORM_LOAD,   /* dst, [src+off] */
	FORM_STORE,  /* [dst+off], src */
	FORM_CONST,  /* [dst+off], constant */
	FORM_JUMP,   /* dst, src or constant, target */
	FORM_JA,     /* target */
	FORM_JAL,    /* target, far */
	FORM_CALL,   /* helper's number */
	FORM_LOCAL,  /* target */
	FORM_EXIT,
	FORM_WIDE,   /* dst, 64-bit constant */
	FORM_MAP,    /* dst, number of the map */
	FORM_VALUE,  /* dst, number of the map, offset */
	FORM_FUNC,   /* dst, target */
	FORM_RAW,    /* code, dst, src, off, imm */
};

#define OFF 1 /* the offset is part of what the mnemonic says */
#define IMM 2 /* the immediate is */

#define ALU(name, op) { name "64", BPF_ALU64 | op, FORM_ALU, OFF, 0, 0, 0 }, { name "32", BPF_ALU | op, FORM_ALU, OFF, 0, 0, 0 }
#define SIGNED(name, op) { name "64", BPF_ALU64 | op, FORM_ALU, OFF, 1, 0, 0 }, { name "32", BPF_ALU | op, FORM_ALU, OFF, 1, 0, 0 }
#define MOVS(bits) { "movs" #bits "_64", BPF_ALU64 | BPF_MOV | BPF_X, FORM_MOVE, OFF, bits, 0, 0 }, \
		   { "movs" #bits "_32", BPF_ALU | BPF_MOV | BPF_X, FORM_MOVE, OFF, bits, 0, 0 }
#define END(bits) { "le" #bits, BPF_ALU | BPF_END, FORM_UNARY, IMM, 0, bits, 0 }, \
		  { "be" #bits, BPF_ALU | BPF_END | BPF_X, FORM_UNARY, IMM, 0, bits, 0 }, \
		  { "bswap" #bits, BPF_ALU64 | BPF_END, FORM_UNARY, IMM, 0, bits, 0 }
#define MEMORY(letters, size) { "ldx" letters, BPF_LDX | BPF_MEM | size, FORM_LOAD, 0, 0, 0, 0 }, \
			      { "ldxs" letters, BPF_LDX | BPF_MEMSX | size, FORM_LOAD, 0, 0, 0, 0 }, \
			      { "stx" letters, BPF_STX | BPF_MEM | size, FORM_STORE, 0, 0, 0, 0 }, \
			      { "st" letters, BPF_ST | BPF_MEM | size, FORM_CONST, 0, 0, 0, 0 }, \
			      { "load_acquire_" letters, BPF_STX | BPF_ATOMIC | size, FORM_LOAD, IMM, 0, BPF_LOAD_ACQ, 0 }, \
			      { "store_release_" letters, BPF_STX | BPF_ATOMIC | size, FORM_STORE, IMM, 0, BPF_STORE_REL, 0 }
#define ATOMIC(name, op) { name "64", BPF_STX | BPF_ATOMIC | BPF_DW, FORM_STORE, IMM, 0, op, 0 }, \
			 { name "32", BPF_STX | BPF_ATOMIC | BPF_W, FORM_STORE, IMM, 0, op, 0 }
#define JUMP(name, op) { name "64", BPF_JMP | op, FORM_JUMP, 0, 0, 0, 0 }, { name "32", BPF_JMP32 | op, FORM_JUMP, 0, 0, 0, 0 }

static const struct mnemonic {
	const char *name;
	uint8_t code;
	enum form form;
	int fixed;
	int16_t off;
	int32_t imm;
	uint8_t src;
} mnemonics[] = {
	ALU("add", BPF_ADD), ALU("sub", BPF_SUB), ALU("mul", BPF_MUL), ALU("div", BPF_DIV), ALU("or", BPF_OR), ALU("and", BPF_AND),
	ALU("lsh", BPF_LSH), ALU("rsh", BPF_RSH), ALU("mod", BPF_MOD), ALU("xor", BPF_XOR), ALU("mov", BPF_MOV),
	ALU("arsh", BPF_ARSH), SIGNED("sdiv", BPF_DIV), SIGNED("smod", BPF_MOD), MOVS(8), MOVS(16), MOVS(32),
	{ "neg64", BPF_ALU64 | BPF_NEG, FORM_UNARY, IMM, 0, 0, 0 }, { "neg32", BPF_ALU | BPF_NEG, FORM_UNARY, IMM, 0, 0, 0 },
	END(16), END(32), END(64), MEMORY("b", BPF_B), MEMORY("h", BPF_H), MEMORY("w", BPF_W), MEMORY("dw", BPF_DW),
	ATOMIC("atomic_add", BPF_ADD), ATOMIC("atomic_or", BPF_OR), ATOMIC("atomic_and", BPF_AND), ATOMIC("atomic_xor", BPF_XOR),
	ATOMIC("fetch_add", BPF_ADD | BPF_FETCH), ATOMIC("fetch_or", BPF_OR | BPF_FETCH), ATOMIC("fetch_and", BPF_AND | BPF_FETCH),
	ATOMIC("fetch_xor", BPF_XOR | BPF_FETCH), ATOMIC("xchg", BPF_XCHG), ATOMIC("cmpxchg", BPF_CMPXCHG),
	JUMP("jeq", BPF_JEQ), JUMP("jne", BPF_JNE), JUMP("jgt", BPF_JGT), JUMP("jge", BPF_JGE), JUMP("jlt", BPF_JLT),
	JUMP("jle", BPF_JLE), JUMP("jset", BPF_JSET), JUMP("jsgt", BPF_JSGT), JUMP("jsge", BPF_JSGE), JUMP("jslt", BPF_JSLT),
	JUMP("jsle", BPF_JSLE),
	{ "ja", BPF_JMP | BPF_JA, FORM_JA, 0, 0, 0, 0 }, { "jal", BPF_JMP32 | BPF_JA, FORM_JAL, 0, 0, 0, 0 },
	{ "call", BPF_JMP | BPF_CALL, FORM_CALL, 0, 0, 0, 0 }, { "call_local", BPF_JMP | BPF_CALL, FORM_LOCAL, 0, 0, 0, BPF_PSEUDO_CALL },
	{ "exit", BPF_JMP | BPF_EXIT, FORM_EXIT, 0, 0, 0, 0 }, { "lddw", BPF_LD | BPF_IMM | BPF_DW, FORM_WIDE, 0, 0, 0, 0 },
	{ "lddw_map", BPF_LD | BPF_IMM | BPF_DW, FORM_MAP, 0, 0, 0, BPF_PSEUDO_MAP_FD },
	{ "lddw_value", BPF_LD | BPF_IMM | BPF_DW, FORM_VALUE, 0, 0, 0, BPF_PSEUDO_MAP_VALUE },
	{ "lddw_func", BPF_LD | BPF_IMM | BPF_DW, FORM_FUNC, 0, 0, 0, BPF_PSEUDO_FUNC },
	{ "raw", 0, FORM_RAW, 0, 0, 0, 0 },
};

#define MNEMONICS (sizeof(mnemonics) / sizeof(*mnemonics))

/* Reading: each function takes what it reads off the front of *text and returns whether it was there. */
struct reader {
	struct assembly *assembly;
	const char *text;
	bool good;
};

static void skip_space(struct reader *reader)
{
	while (isspace((unsigned char)*reader->text) || *reader->text == ',')
		reader->text++;
}

static bool take(struct reader *reader, char wanted)
{
	skip_space(reader);
	if (*reader->text != wanted)
		return false;
	reader->text++;
	return true;
}

static int64_t read_number(struct reader *reader)
{
	char *end;
	uint64_t value;

	skip_space(reader);
	value = *reader->text == '-' ? (uint64_t)strtoll(reader->text, &end, 0) : strtoull(reader->text, &end, 0);
	reader->good &= end != reader->text;
	reader->text = end;
	return (int64_t)value;
}

static bool at_register(struct reader *reader)
{
	skip_space(reader);
	return *reader->text == 'r' && isdigit((unsigned char)reader->text[1]);
}

static uint8_t read_register(struct reader *reader)
{
	if (!at_register(reader)) {
		reader->good = false;
		return 0;
	}
	reader->text++;
	return (uint8_t)read_number(reader) & 15;
}

static void read_place(struct reader *reader, struct bpf_insn *insn, bool is_source)
{
	uint8_t reg;

	reader->good &= take(reader, '[');
	reg = read_register(reader);
	if (is_source)
		insn->src_reg = reg & 15;
	else
		insn->dst_reg = reg & 15;
	skip_space(reader);
	insn->off = *reader->text == ']' ? 0 : (int16_t)read_number(reader);
	reader->good &= take(reader, ']');
}

/* A distance with its sign, or a label whose distance is set later. Negative distances have no label's form. */
static int32_t read_target(struct reader *reader)
{
	struct assembly *assembly = reader->assembly;
	int length = 0;

	skip_space(reader);
	if (*reader->text == '+' || *reader->text == '-')
		return (int32_t)read_number(reader);
	while (isalnum((unsigned char)reader->text[length]) || reader->text[length] == '_')
		length++;
	if (!length || length > 31 || assembly->use_count == ASSEMBLY_LABELS) {
		reader->good = false;
		return 0;
	}
	snprintf(assembly->uses[assembly->use_count].name, 32, "%.*s", length, reader->text);
	assembly->uses[assembly->use_count++].at = assembly->count;
	reader->text += length;
	return 0;
}

static void read_operand(struct reader *reader, struct bpf_insn *insn)
{
	if (at_register(reader)) {
		insn->code |= BPF_X;
		insn->src_reg = read_register(reader) & 15;
	} else {
		insn->imm = (int32_t)read_number(reader);
	}
}

static void read_raw(struct reader *reader, struct bpf_insn *insn)
{
	insn->code = (uint8_t)read_number(reader);
	insn->dst_reg = (uint8_t)read_number(reader) & 15;
	insn->src_reg = (uint8_t)read_number(reader) & 15;
	insn->off = (int16_t)read_number(reader);
	insn->imm = (int32_t)read_number(reader);
}

/* Sets *second where the instruction has one. */
static void read_wide(struct reader *reader, enum form form, struct bpf_insn *insn, struct bpf_insn *second)
{
	uint64_t value;

	insn->dst_reg = read_register(reader) & 15;
	if (form == FORM_FUNC) {
		insn->imm = read_target(reader);
		return;
	}
	value = (uint64_t)read_number(reader);
	insn->imm = (int32_t)value;
	second->imm = form == FORM_WIDE ? (int32_t)(value >> 32) : form == FORM_VALUE ? (int32_t)read_number(reader) : 0;
}

static void read_operands(struct reader *reader, enum form form, struct bpf_insn *insn, struct bpf_insn *second)
{
	switch (form) {
	case FORM_ALU:
	case FORM_JUMP:
		insn->dst_reg = read_register(reader) & 15;
		read_operand(reader, insn);
		if (form == FORM_JUMP)
			insn->off = (int16_t)read_target(reader);
		break;
	case FORM_MOVE:
		insn->dst_reg = read_register(reader) & 15;
		insn->src_reg = read_register(reader) & 15;
		break;
	case FORM_UNARY:
		insn->dst_reg = read_register(reader) & 15;
		break;
	case FORM_LOAD:
		insn->dst_reg = read_register(reader) & 15;
		read_place(reader, insn, true);
		break;
	case FORM_STORE:
		read_place(reader, insn, false);
		insn->src_reg = read_register(reader) & 15;
		break;
	case FORM_CONST:
		read_place(reader, insn, false);
		insn->imm = (int32_t)read_number(reader);
		break;
	case FORM_JA:
		insn->off = (int16_t)read_target(reader);
		break;
	case FORM_JAL:
	case FORM_LOCAL:
		insn->imm = read_target(reader);
		break;
	case FORM_CALL:
		insn->imm = (int32_t)read_number(reader);
		break;
	case FORM_RAW:
		read_raw(reader, insn);
		break;
	case FORM_EXIT:
		break;
	default:
		read_wide(reader, form, insn, second);
	}
}

static const struct mnemonic *find_mnemonic(const char *name, size_t length)
{
	for (size_t i = 0; i < MNEMONICS; i++)
		if (strlen(mnemonics[i].name) == length && !memcmp(mnemonics[i].name, name, length))
			return &mnemonics[i];
	return NULL;
}

static int read_label(struct assembly *assembly, const char *name, size_t length)
{
	if (length > 31 || assembly->label_count == ASSEMBLY_LABELS)
		return -1;
	snprintf(assembly->labels[assembly->label_count].name, 32, "%.*s", (int)length, name);
	assembly->labels[assembly->label_count++].at = assembly->count;
	return 0;
}

int assemble_line(struct assembly *assembly, const char *line)
{
	struct reader reader = { assembly, line, true };
	const struct mnemonic *mnemonic;
	struct bpf_insn insn = { 0 }, second = { 0 };
	size_t length;

	skip_space(&reader);
	length = strcspn(reader.text, " \t\n:");
	if (reader.text[length] == ':')
		return read_label(assembly, reader.text, length);
	mnemonic = find_mnemonic(reader.text, length);
	if (!mnemonic || assembly->count + 2 > ASSEMBLY_MOST)
		return -1;
	reader.text += length;
	insn = (struct bpf_insn){ .code = mnemonic->code, .src_reg = mnemonic->src & 15, .off = mnemonic->off, .imm = mnemonic->imm };
	read_operands(&reader, mnemonic->form, &insn, &second);
	skip_space(&reader);
	if (!reader.good || (*reader.text && *reader.text != '#'))
		return -1;
	assembly->insns[assembly->count++] = insn;
	if (mnemonic->form >= FORM_WIDE && mnemonic->form <= FORM_FUNC)
		assembly->insns[assembly->count++] = second;
	return 0;
}

const char *assemble_end(struct assembly *assembly)
{
	for (uint32_t use = 0; use < assembly->use_count; use++) {
		struct bpf_insn *insn = &assembly->insns[assembly->uses[use].at];
		uint32_t label = 0;
		int32_t distance;

		while (label < assembly->label_count && strcmp(assembly->labels[label].name, assembly->uses[use].name))
			label++;
		if (label == assembly->label_count)
			return assembly->uses[use].name;
		distance = (int32_t)(assembly->labels[label].at - assembly->uses[use].at - 1);
		if (isa_is_any_call(insn) || isa_is_ld_imm64(insn) || insn->code == (BPF_JMP32 | BPF_JA))
			insn->imm = distance;
		else
			insn->off = (int16_t)distance;
	}
	return NULL;
}

static bool is_mnemonic_of(const struct mnemonic *mnemonic, const struct bpf_insn *insn)
{
	bool operand = mnemonic->form == FORM_ALU || mnemonic->form == FORM_JUMP;

	if (mnemonic->form == FORM_RAW)
		return true;
	if ((operand ? insn->code & ~BPF_X : insn->code) != mnemonic->code)
		return false;
	if ((mnemonic->fixed & OFF && insn->off != mnemonic->off) || (mnemonic->fixed & IMM && insn->imm != mnemonic->imm))
		return false;
	return (mnemonic->form < FORM_CALL || mnemonic->form > FORM_FUNC) || insn->src_reg == mnemonic->src;
}

static void print_operand(FILE *to, const struct bpf_insn *insn)
{
	if (isa_is_x(insn))
		fprintf(to, " r%d, r%d", insn->dst_reg, insn->src_reg);
	else
		fprintf(to, " r%d, %d", insn->dst_reg, insn->imm);
}

static void print_operands(FILE *to, enum form form, const struct bpf_insn *insn)
{
	switch (form) {
	case FORM_ALU:
		print_operand(to, insn);
		break;
	case FORM_JUMP:
		print_operand(to, insn);
		fprintf(to, ", %+d", insn->off);
		break;
	case FORM_MOVE:
		fprintf(to, " r%d, r%d", insn->dst_reg, insn->src_reg);
		break;
	case FORM_UNARY:
		fprintf(to, " r%d", insn->dst_reg);
		break;
	case FORM_LOAD:
		fprintf(to, " r%d, [r%d%+d]", insn->dst_reg, insn->src_reg, insn->off);
		break;
	case FORM_STORE:
		fprintf(to, " [r%d%+d], r%d", insn->dst_reg, insn->off, insn->src_reg);
		break;
	case FORM_CONST:
		fprintf(to, " [r%d%+d], %d", insn->dst_reg, insn->off, insn->imm);
		break;
	case FORM_JA:
		fprintf(to, " %+d", insn->off);
		break;
	case FORM_JAL:
	case FORM_LOCAL:
		fprintf(to, " %+d", insn->imm);
		break;
	case FORM_CALL:
		fprintf(to, " %d", insn->imm);
		break;
	case FORM_EXIT:
		break;
	case FORM_WIDE:
		fprintf(to, " r%d, %#llx", insn->dst_reg, (unsigned long long)isa_imm64(insn));
		break;
	case FORM_MAP:
		fprintf(to, " r%d, %d", insn->dst_reg, insn->imm);
		break;
	case FORM_VALUE:
		fprintf(to, " r%d, %d, %d", insn->dst_reg, insn->imm, insn[1].imm);
		break;
	case FORM_FUNC:
		fprintf(to, " r%d, %+d", insn->dst_reg, insn->imm);
		break;
	case FORM_RAW:
		fprintf(to, " %#x %d %d %d %d", insn->code, insn->dst_reg, insn->src_reg, insn->off, insn->imm);
	}
}

void print_program(FILE *to, const struct bpf_insn *insns, uint32_t count)
{
	for (uint32_t at = 0; at < count; at++) {
		const struct mnemonic *mnemonic = mnemonics;

		while (!is_mnemonic_of(mnemonic, &insns[at]))
			mnemonic++;
		fprintf(to, "\t%s", mnemonic->name);
		print_operands(to, mnemonic->form, &insns[at]);
		fputc('\n', to);
		at += mnemonic->form >= FORM_WIDE && mnemonic->form <= FORM_FUNC;
	}
}
