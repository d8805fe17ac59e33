#include "reduce.h"

#include "../isa.h"
#include "../tests/assembly.h"
#include "generate.h"

#include <stdio.h>
#include <string.h>

static const struct bpf_insn nothing = { .code = BPF_JMP | BPF_JA };

static bool is_nothing(const struct bpf_insn *insn)
{
	return !memcmp(insn, &nothing, sizeof(nothing));
}

/* The kernel's result has 32 bits. */
static bool same(const struct image *a, const struct image *b)
{
	return (uint32_t)a->r0 == (uint32_t)b->r0 && !memcmp(a->values, b->values, sizeof(a->values)) &&
	       !memcmp(a->data, b->data, sizeof(a->data));
}

static void describe(enum machine_kind a, enum machine_kind b, const struct image *of_a, const struct image *of_b, char *text,
		     size_t size)
{
	int used = snprintf(text, size, "%s and %s differ: r0 %#llx, %#llx", machine_name(a), machine_name(b),
			    (unsigned long long)of_a->r0, (unsigned long long)of_b->r0);

	for (uint32_t at = 0; at < MACHINE_VALUE && used > 0 && (size_t)used < size; at += 8)
		if (memcmp(of_a->data + at, of_b->data + at, 8))
			used += snprintf(text + used, size - (size_t)used, "; data+%u %#llx, %#llx", at,
					 *(unsigned long long *)(of_a->data + at), *(unsigned long long *)(of_b->data + at));
}

enum trial_result try_program(const struct trial *trial, const struct bpf_insn *insns, uint32_t count, char *error, size_t size)
{
	struct image first, image;
	int first_kind = -1;

	/* the kernel first: what it refuses may do anything */
	for (int kind = MACHINE_KINDS; kind-- > 0;) {
		int length;

		if (!trial->use[kind])
			continue;
		length = snprintf(error, size, "%s: ", machine_name(kind));
		generate_memory(&image, sizeof(image), trial->seed);
		if (machine_run(kind, insns, count, &image, error + length, size - (size_t)length))
			return TRIAL_REFUSED;
		if (first_kind < 0) {
			first_kind = kind;
			first = image;
		} else if (!same(&first, &image)) {
			describe(first_kind, kind, &first, &image, error, size);
			return TRIAL_DIFFERENT;
		}
	}
	return TRIAL_SAME;
}

static bool still_differs(const struct trial *trial, const struct bpf_insn *insns, uint32_t count)
{
	struct image image;
	char error[2000];

	if (try_program(trial, insns, count, error, sizeof(error)) != TRIAL_DIFFERENT)
		return false;
	generate_memory(&image, sizeof(image), trial->seed);
	return !machine_is_vague(insns, count, &image);
}

/* What counts a loop or makes an address in the stack: without it the loop does not end, or the return address is written over. */
static bool may_hold_together(const struct bpf_insn *insn)
{
	return insn->code == (BPF_ALU64 | BPF_ADD | BPF_K);
}

/* Without the kernel nobody checks that a smaller program is still a sound one: then only what has no effect on control is cut. */
static bool may_cut(const struct trial *trial, const struct bpf_insn *insn)
{
	if (is_nothing(insn))
		return false;
	return trial->use[MACHINE_KERNEL] ||
	       (isa_is_alu(insn) && isa_op(insn) != BPF_AND && isa_op(insn) != BPF_MOV && !may_hold_together(insn));
}

/* Replaces stretches of instructions by nothing, long ones first. Returns whether anything could be. */
static bool cut(const struct trial *trial, struct bpf_insn *insns, uint32_t count, uint32_t length)
{
	struct bpf_insn kept[64];
	bool any = false;

	/* the first one takes r1, which differs, out of sight */
	for (uint32_t at = 1; at + length <= count; at += length > 1 ? length / 2 : 1) {
		bool changes = false;

		memcpy(kept, insns + at, length * sizeof(*kept));
		for (uint32_t i = at; i < at + length; i++) {
			bool second = i > 0 && isa_is_ld_imm64(&insns[i - 1]) && i - 1 >= at;

			if (!second && !may_cut(trial, &insns[i]))
				continue;
			insns[i] = nothing;
			changes = true;
		}
		if (changes && still_differs(trial, insns, count))
			any = true;
		else
			memcpy(insns + at, kept, length * sizeof(*kept));
	}
	return any;
}

/* Takes nothings out of from[0 … count - 1], all or (only >= 0) just that one, and corrects the distances that span them. */
static uint32_t squeeze(struct bpf_insn *to, const struct bpf_insn *from, uint32_t count, int64_t only)
{
	static uint32_t place[MACHINE_MOST + 1];
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		place[i] = kept;
		kept += !(is_nothing(&from[i]) && (only < 0 || only == i));
	}
	place[count] = kept;
	for (uint32_t i = 0; i < count; i++) {
		struct bpf_insn insn = from[i];
		int64_t next = (int64_t)i + 1;

		if (place[i + 1] == place[i])
			continue;
		if (isa_is_local_call(&insn) || insn.code == (BPF_JMP32 | BPF_JA))
			insn.imm = (int32_t)(place[next + insn.imm] - place[i] - 1);
		else if (isa_is_branch(&insn))
			insn.off = (int16_t)(place[next + insn.off] - place[i] - 1);
		to[place[i]] = insn;
	}
	return kept;
}

/* The verifier may look at a program differently for the nothings in it: then as many go as can. */
static uint32_t shrink(const struct trial *trial, struct bpf_insn *insns, uint32_t count)
{
	static struct bpf_insn squeezed[MACHINE_MOST];
	uint32_t kept = squeeze(squeezed, insns, count, -1);

	if (still_differs(trial, squeezed, kept)) {
		memcpy(insns, squeezed, kept * sizeof(*insns));
		return kept;
	}
	for (uint32_t i = count; i-- > 0;) {
		if (!is_nothing(&insns[i]))
			continue;
		kept = squeeze(squeezed, insns, count, i);
		if (!still_differs(trial, squeezed, kept))
			continue;
		memcpy(insns, squeezed, kept * sizeof(*insns));
		count = kept;
	}
	return count;
}

void reduce_and_print(const struct trial *trial, struct bpf_insn *insns, uint32_t count)
{
	char error[2000];
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t length = 32; length; length /= 2)
			again |= cut(trial, insns, count, length);
	}
	count = shrink(trial, insns, count);
	try_program(trial, insns, count, error, sizeof(error));
	printf("# %s\nseed %llu\n", error, (unsigned long long)trial->seed);
	print_program(stdout, insns, count);
	fflush(stdout);
}
