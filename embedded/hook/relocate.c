#include "hook/relocate.h"
#include "hook/internal.h"
#include "common/common.h"

static int ends_flow(enum eb_kind kind)
{
	return kind == EB_JUMP || kind == EB_JUMP_INDIRECT || kind == EB_RETURN || kind == EB_STOP;
}

static int append(struct eb_moved *moved, const struct eb_instruction *instruction)
{
	if (moved->count == EB_MOST_MOVED)
		return 0;
	moved->from[moved->count] = (unsigned char)moved->displaced;
	moved->instructions[moved->count++] = *instruction;
	moved->displaced += instruction->length;
	return 1;
}

/* Behind the function's last instruction, bytes up to where the next one starts that nobody executes. */
static int is_padding(const unsigned char *from, const unsigned char *to, const unsigned char *limit)
{
	while (from < to) {
		struct eb_instruction instruction = eb_decode(from, limit);

		if (from[0] == 0 && from + 1 <= limit)
			from++; /* an assembler's .align in data's style */
		else if (instruction.kind == EB_NOP || instruction.kind == EB_BREAKPOINT)
			from += instruction.length;
		else
			return 0;
	}
	return from <= limit;
}

int eb_move_choose(struct eb_moved *moved, const unsigned char *at, unsigned least, const unsigned char *end,
		   const unsigned char *limit, char *error, size_t size)
{
	moved->count = moved->displaced = 0;
	while (moved->displaced < least) {
		struct eb_instruction instruction = eb_decode(at + moved->displaced, end);

		if (instruction.kind == EB_UNKNOWN && at + moved->displaced < end)
			return eb_refuse(error, size, "byte %u starts no known instruction", moved->displaced);
		if (instruction.kind == EB_BREAKPOINT)
			return eb_refuse(error, size, "there is a breakpoint in it");
		if (instruction.kind == EB_ODD)
			return eb_refuse(error, size, "byte %u starts an instruction that cannot be moved", moved->displaced);
		if (at + moved->displaced >= end || !append(moved, &instruction))
			return eb_refuse(error, size, "it has only %u bytes, %u are needed", moved->displaced, least);
		if (ends_flow(instruction.kind) && moved->displaced < least) {
			if (!is_padding(at + moved->displaced, at + least, limit) ||
			    at + moved->displaced < end)
				return eb_refuse(error, size, "it ends after %u bytes, %u are needed", moved->displaced,
						 least);
			return 0;
		}
	}
	return 0;
}

struct writer {
	unsigned char *at;
	const unsigned char *to; /* where `at` will be executed */
	int too_far;
};

static void bytes(struct writer *writer, const unsigned char *from, unsigned n)
{
	eb_copy(writer->at, from, n);
	writer->at += n;
	writer->to += n;
}

static void byte(struct writer *writer, unsigned value)
{
	unsigned char one = (unsigned char)value;

	bytes(writer, &one, 1);
}

static void word(struct writer *writer, uint32_t value)
{
	bytes(writer, (unsigned char *)&value, 4);
}

/* A 32-bit distance to `target`, `behind` bytes before the end of its instruction. */
static void distance(struct writer *writer, const unsigned char *target, unsigned behind)
{
	int64_t value = target - (writer->to + 4 + behind);

	writer->too_far |= value != (int32_t)value;
	word(writer, (uint32_t)value);
}

static void jump(struct writer *writer, const unsigned char *target)
{
	byte(writer, 0xe9);
	distance(writer, target, 0);
}

/* Pushes an address without touching flags or registers. */
static void push(struct writer *writer, uint64_t value)
{
	bytes(writer, (const unsigned char[]){ 0x48, 0x8d, 0x64, 0x24, 0xf8, 0xc7, 0x04, 0x24 }, 8); /* lea -8(%rsp), %rsp; movl */
	word(writer, (uint32_t)value);
	bytes(writer, (const unsigned char[]){ 0xc7, 0x44, 0x24, 0x04 }, 4);
	word(writer, (uint32_t)(value >> 32));
}

static void plain(struct writer *writer, const struct eb_instruction *instruction, const unsigned char *from)
{
	unsigned offset = instruction->relative;

	if (!offset) {
		bytes(writer, from, instruction->length);
		return;
	}
	bytes(writer, from, offset);
	distance(writer, instruction->target, instruction->length - offset - 4u);
	bytes(writer, from + offset + 4, instruction->length - offset - 4u);
}

/* call *x becomes: push the return address, jmp *x. */
static void call_indirect(struct writer *writer, const struct eb_instruction *instruction)
{
	unsigned char copy[16];

	push(writer, (uint64_t)(instruction->at + instruction->length));
	eb_copy(copy, instruction->at, instruction->length);
	copy[instruction->modrm] = (unsigned char)((copy[instruction->modrm] & ~0x38) | 4 << 3);
	plain(writer, instruction, copy);
}

static void write_one(struct writer *writer, const struct eb_instruction *instruction, const unsigned char *target)
{
	switch (instruction->kind) {
	case EB_JUMP:
		jump(writer, target);
		break;
	case EB_BRANCH: /* 70..7f or 0f 80..8f */
		byte(writer, 0x0f);
		byte(writer, 0x80u | (instruction->opcode & 0x0f));
		distance(writer, target, 0);
		break;
	case EB_LOOP: /* over a short jump that is not taken then, to a long one */
		bytes(writer, instruction->at, instruction->length - 1u);
		bytes(writer, (const unsigned char[]){ 0x02, 0xeb, 0x05 }, 3);
		jump(writer, target);
		break;
	case EB_CALL:
		push(writer, (uint64_t)(instruction->at + instruction->length));
		jump(writer, target);
		break;
	case EB_CALL_INDIRECT:
		call_indirect(writer, instruction);
		break;
	default:
		plain(writer, instruction, instruction->at);
	}
}

static const char *why_not(const struct eb_moved *moved, unsigned i, unsigned least)
{
	const struct eb_instruction *instruction = &moved->instructions[i];
	int calls = instruction->kind == EB_CALL || instruction->kind == EB_CALL_INDIRECT;

	if (calls && moved->from[i] + (unsigned)instruction->length < least)
		return "a call among its first bytes returns into them";
	if (instruction->kind == EB_CALL_INDIRECT && instruction->uses_sp)
		return "a call among its first bytes finds its target on the stack";
	if (instruction->kind == EB_CALL_INDIRECT && instruction->modrm == 0)
		return "a call among its first bytes is written in an unknown way";
	return NULL;
}

/* Where in the copy a target among the moved instructions is; the very first one is the function's entry, and stays. */
static const unsigned char *moved_target(const struct eb_moved *moved, const unsigned char *target, const unsigned char *to)
{
	const unsigned char *at = moved->instructions[0].at;

	for (unsigned i = 1; i < moved->count; i++)
		if (target == at + moved->from[i])
			return to + moved->to[i];
	return target;
}

static int is_branch(enum eb_kind kind)
{
	return kind == EB_JUMP || kind == EB_BRANCH || kind == EB_LOOP || kind == EB_CALL;
}

static void write_all(struct eb_moved *moved, const unsigned char *to, struct writer *writer)
{
	*writer = (struct writer){ moved->code, to, 0 };
	for (unsigned i = 0; i < moved->count; i++) {
		const struct eb_instruction *instruction = &moved->instructions[i];
		const unsigned char *target = instruction->target;

		moved->to[i] = (unsigned char)(writer->at - moved->code);
		if (is_branch(instruction->kind))
			target = moved_target(moved, target, to);
		write_one(writer, instruction, target);
	}
	jump(writer, moved->instructions[0].at + moved->displaced);
	moved->size = (unsigned)(writer->at - moved->code);
}

int eb_move_write(struct eb_moved *moved, const unsigned char *to, unsigned least, char *error, size_t size)
{
	struct writer writer;

	for (unsigned i = 0; i < moved->count; i++) {
		const char *why = why_not(moved, i, least);

		if (why)
			return eb_refuse(error, size, "%s", why);
	}
	/* twice: the first time finds out where forward branches among the instructions go */
	write_all(moved, to, &writer);
	write_all(moved, to, &writer);
	if (writer.too_far)
		return eb_refuse(error, size, "what its first instructions refer to is out of reach of any free memory");
	return 0;
}
