#include "hook/decode.h"
#include "hook/text.h"

#include <Zydis/Zydis.h>

#define LONGEST 15

static enum eb_kind kind_of(const ZydisDecodedInstruction *decoded)
{
	int relative = decoded->raw.imm[0].is_relative;

	switch (decoded->mnemonic) {
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JRCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
		return EB_LOOP;
	case ZYDIS_MNEMONIC_XBEGIN: /* counts as a conditional branch, too */
		return EB_ODD;
	case ZYDIS_MNEMONIC_INT3:
		return EB_BREAKPOINT;
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_HLT:
		return EB_STOP;
	case ZYDIS_MNEMONIC_SYSCALL:
		return EB_SYSCALL;
	case ZYDIS_MNEMONIC_RET:
		return EB_RETURN;
	case ZYDIS_MNEMONIC_JMP:
		return relative ? EB_JUMP : EB_JUMP_INDIRECT;
	case ZYDIS_MNEMONIC_CALL:
		return relative ? EB_CALL : EB_CALL_INDIRECT;
	default:
		break;
	}
	if (decoded->meta.category == ZYDIS_CATEGORY_COND_BR)
		return relative ? EB_BRANCH : EB_ODD;
	if (decoded->meta.category == ZYDIS_CATEGORY_NOP || decoded->meta.category == ZYDIS_CATEGORY_WIDENOP)
		return EB_NOP;
	return relative ? EB_ODD : EB_PLAIN;
}

static void look_at_memory(struct eb_instruction *instruction, const ZydisDecodedInstruction *decoded)
{
	const unsigned char *next = instruction->at + instruction->length;

	instruction->modrm = decoded->raw.modrm.offset;
	if (decoded->raw.modrm.mod == 3)
		return;
	if (decoded->raw.modrm.mod == 0 && decoded->raw.modrm.rm == 5) {
		instruction->relative = decoded->raw.disp.offset;
		instruction->target = next + decoded->raw.disp.value;
	}
	instruction->uses_sp = decoded->raw.modrm.rm == 4 && decoded->raw.sib.base == 4;
}

struct eb_instruction eb_decode(const unsigned char *at, const unsigned char *end)
{
	static ZydisDecoder decoder;
	static int ready;
	ZydisDecodedInstruction decoded;
	ZydisDecoderContext context;
	struct eb_instruction instruction = { .at = at, .kind = EB_UNKNOWN, .length = 1 };
	size_t most = end - at < LONGEST ? (size_t)(end - at) : LONGEST;
	unsigned char copy[LONGEST];

	if (!ready) {
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ready = 1;
	}
	if (at >= end || !ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, &context, eb_text_pristine(at, most, copy),
								     most, &decoded)))
		return instruction;
	instruction.kind = kind_of(&decoded);
	instruction.length = decoded.length;
	instruction.opcode = decoded.opcode;
	if (decoded.raw.imm[0].is_relative) {
		instruction.target = at + decoded.length + decoded.raw.imm[0].value.s;
		if (decoded.raw.imm[0].size == 16)
			instruction.kind = EB_ODD;
	} else if (decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM) {
		look_at_memory(&instruction, &decoded);
	}
	instruction.pops = instruction.kind == EB_RETURN && decoded.raw.imm[0].size;
	return instruction;
}
