#include "jit.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM 512 /* more than any instruction and its cold code need */
#define RED_ZONE 128

static void grow(struct jit *jit, void **array, uint32_t *room, uint32_t count, size_t size)
{
	uint32_t wanted = *room ? *room * 2 : 64;
	void *grown;

	if (count < *room)
		return;
	grown = realloc(*array, wanted * size);
	if (!grown) {
		jit->no_memory = true;
		return;
	}
	*array = grown;
	*room = wanted;
}

/* Makes sure that the next instruction has room in the draft. */
static bool make_room(struct jit *jit)
{
	size_t used = (size_t)(jit->x.at - jit->draft), size = (size_t)(jit->draft_end - jit->draft);
	uint8_t *grown;

	if (size - used >= ROOM)
		return !jit->no_memory;
	size = size ? size * 2 : 4096;
	grown = realloc(jit->draft, size);
	if (!grown) {
		jit->no_memory = true;
		return false;
	}
	jit->draft = grown;
	jit->draft_end = grown + size;
	jit->x.at = grown + used;
	return !jit->no_memory;
}

uint32_t jit_new_label(struct jit *jit)
{
	grow(jit, (void **)&jit->labels, &jit->label_room, jit->label_count, sizeof(*jit->labels));
	return jit->no_memory ? 0 : jit->label_count++;
}

void jit_place_label(struct jit *jit, uint32_t label)
{
	jit->labels[label] = (struct label){ (uint32_t)(jit->x.at - jit->draft), jit->item_count };
}

static struct item *new_item(struct jit *jit, enum item_kind kind, uint8_t size)
{
	static struct item nowhere;
	struct item *item;

	grow(jit, (void **)&jit->items, &jit->item_room, jit->item_count, sizeof(*jit->items));
	item = jit->no_memory ? &nowhere : &jit->items[jit->item_count++];
	*item = (struct item){ .at = (uint32_t)(jit->x.at - jit->draft), .kind = (uint8_t)kind, .draft_size = size, .size = size };
	jit->x.at += size;
	return item;
}

void jit_jump(struct jit *jit, int condition, uint32_t label)
{
	struct item *item = new_item(jit, ITEM_JUMP, condition == ALWAYS ? 5 : 6);

	item->condition = (uint8_t)condition;
	item->label = label;
}

void jit_align(struct jit *jit)
{
	new_item(jit, ITEM_ALIGN, 0);
}

void jit_call_c(struct jit *jit, const void *function)
{
	new_item(jit, ITEM_CALL, 5)->function = function;
}

void jit_call_label(struct jit *jit, uint32_t label)
{
	new_item(jit, ITEM_LOCAL, 5)->label = label;
}

void jit_address(struct jit *jit, int reg, uint32_t label)
{
	x86_rex(&jit->x, true, reg, 0, 0, false);
	x86_byte(&jit->x, X86_LEA);
	x86_byte(&jit->x, (unsigned)(reg & 7) << 3 | 5); /* relative to the next instruction */
	new_item(jit, ITEM_ADDRESS, 4)->label = label;
}

struct cold *jit_cold(struct jit *jit, int condition, void (*write)(struct jit *, const struct cold *))
{
	static struct cold nowhere;
	uint32_t entry = jit_new_label(jit), back = jit_new_label(jit);
	struct cold *cold;

	grow(jit, (void **)&jit->cold, &jit->cold_room, jit->cold_count, sizeof(*jit->cold));
	cold = jit->no_memory ? &nowhere : &jit->cold[jit->cold_count++];
	*cold = (struct cold){ .entry = entry, .back = back, .write = write };
	jit_jump(jit, condition, entry);
	return cold;
}

/* Registers for r6 … r9: those that the C calling convention preserves, or, where nothing is called, unused argument registers. */
static void assign_registers(struct jit *jit)
{
	static const uint8_t fixed[] = { RAX, RDI, RSI, RDX, RCX, R8 }, preserved[] = { RBX, RBP, R14, R15 };
	uint16_t touched = jit->function->touched;
	int taken = 0;

	memcpy(jit->map, fixed, sizeof(fixed));
	jit->saved_count = 0;
	for (int reg = 6; reg < ISA_FP; reg++) {
		int found = 0;

		jit->map[reg] = preserved[reg - 6];
		if (!(touched & 1 << reg))
			continue;
		/* r3 and r4 are rdx and rcx, which divisions and shifts need; r1 comes with a value */
		for (int candidate = 5; !found && candidate >= 2 && !jit->function->calls; candidate -= 3)
			if (!(touched & 1 << candidate) && !(taken & 1 << candidate))
				found = candidate;
		taken |= 1 << found;
		if (found)
			jit->map[reg] = fixed[found];
		else
			jit->saved[jit->saved_count++] = jit->map[reg];
	}
}

static void prologue(struct jit *jit)
{
	int32_t size = jit->function->depth + (jit->function->tail_calls ? 8 : 0);

	jit->calls_out = jit_calls_out(jit->program, jit->function);
	assign_registers(jit);
	for (int i = 0; i < jit->saved_count; i++)
		x86_push(&jit->x, jit->saved[i]);
	jit->frame = 0;
	if (!jit->calls_out && size <= RED_ZONE)
		return;
	/* calls want rsp to be a multiple of 16; 8 bytes are the return address */
	if (jit->calls_out && (8 + 8 * jit->saved_count + size) % 16)
		size += 8;
	jit->frame = size;
	if (size)
		x86_immediate(&jit->x, true, X86_SUB, RSP, size);
}

void jit_epilogue(struct jit *jit)
{
	if (jit->frame)
		x86_immediate(&jit->x, true, X86_ADD, RSP, jit->frame);
	for (int i = jit->saved_count; i-- > 0;)
		x86_pop(&jit->x, jit->saved[i]);
}

static void load_imm64(struct jit *jit, const struct bpf_insn *insn)
{
	if (insn->src_reg == BPF_PSEUDO_FUNC)
		jit_address(jit, jit->map[insn->dst_reg], jit_function_label(jit, (uint32_t)insn->imm));
	else
		x86_constant(&jit->x, jit->map[insn->dst_reg], isa_imm64(insn));
}

/* A value that nobody reads: what an inlined look-up would have been told, for one. */
static bool is_idle(const struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];

	return (isa_is_ld_imm64(insn) || (isa_is_alu(insn) && isa_op(insn) == BPF_MOV)) &&
	       jit_dead_after(jit, at, insn->dst_reg);
}

/* Writes the instruction, and those after it that one piece of code serves for; returns how many. */
static uint32_t write_some(struct jit *jit, uint32_t at)
{
	const struct bpf_insn *insn = &jit->program->insns[at];

	if (is_idle(jit, at))
		return 1u + isa_is_ld_imm64(insn);
	if (isa_is_alu(insn))
		return jit_alu(jit, at);
	if (isa_is_ld_imm64(insn)) {
		load_imm64(jit, insn);
		return 2;
	}
	if (!isa_is_jmp(insn))
		return jit_memory(jit, at);
	if (isa_is_any_call(insn))
		return jit_call(jit, at);
	if (isa_is_branch(insn))
		return jit_branch(jit, at);
	jit_epilogue(jit);
	x86_byte(&jit->x, 0xc3);
	return 1;
}

static void write_cold(struct jit *jit)
{
	for (uint32_t i = 0; i < jit->cold_count && make_room(jit); i++) {
		jit_place_label(jit, jit->cold[i].entry);
		jit->cold[i].write(jit, &jit->cold[i]);
	}
	jit->cold_count = 0;
}

static void write_function(struct jit *jit, uint32_t index)
{
	jit->function = &jit->program->functions[index];
	jit->flags.at = NO_TARGET;
	if (!make_room(jit))
		return;
	if (index)
		jit_align(jit);
	jit_place_label(jit, jit_function_label(jit, index));
	prologue(jit);
	for (jit->at = jit->function->first; jit->at < jit->function->end && make_room(jit);) {
		if (jit->program->at[jit->at] & AT_LOOP)
			jit_align(jit);
		jit_place_label(jit, jit->at);
		jit->at += write_some(jit, jit->at);
	}
	write_cold(jit);
}

/* How C enters a program with tail calls: the count must outlive the program's own frame, so it is kept below it. */
static void write_entry(struct jit *jit)
{
	if (!jit->program->tail_calls || !make_room(jit))
		return;
	x86_push(&jit->x, TAIL_CALLS_LEFT);
	x86_constant(&jit->x, TAIL_CALLS_LEFT, EB_TAIL_CALLS);
	jit_call_label(jit, jit_function_label(jit, 0));
	x86_pop(&jit->x, TAIL_CALLS_LEFT);
	x86_byte(&jit->x, 0xc3);
	jit_align(jit);
}

static void write_all(struct jit *jit)
{
	jit->label_count = jit->program->count + jit->program->function_count;
	jit->label_room = jit->label_count + 16;
	jit->labels = malloc(jit->label_room * sizeof(*jit->labels));
	jit->no_memory = !jit->labels;
	write_entry(jit);
	for (uint32_t i = 0; i < jit->program->function_count && !jit->no_memory; i++)
		write_function(jit, i);
}

static bool has_bmi2(const struct program *program)
{
	return __builtin_cpu_supports("bmi2") && !(program->environment->options & EB_OPTION_NO_BMI2);
}

int jit_compile(struct program *program, struct eb_code *code, const struct report *report)
{
	struct jit jit = { .program = program, .report = report, .bmi2 = has_bmi2(program) };
	int result;

	write_all(&jit);
	result = jit.no_memory ? report_error(report, -ENOMEM, "no memory to generate code") : jit_link(&jit, code);
	if (!result)
		code->run = (uint64_t (*)(void *, const struct eb_code *))code->text;
	free(jit.draft);
	free(jit.labels);
	free(jit.items);
	free(jit.cold);
	return result;
}
