/* From the draft to text: short jumps, aligned loops, distances, and ways to helpers that are too far for a near call. */
#include "jit.h"
#include "text.h"

#include <errno.h>
#include <stdlib.h>

#define ALIGNMENT 16u
#define STUB 13 /* bytes of movabs $function, %r11; jmp *%r11 */

/* How much later things lie in the text than in the draft, before each item and behind the last; negative: earlier. */
struct layout {
	int32_t *shift;
	uint32_t size;
};

static uint32_t label_at(const struct jit *jit, const struct layout *layout, uint32_t label)
{
	return (uint32_t)((int32_t)jit->labels[label].at + layout->shift[jit->labels[label].items]);
}

static uint32_t item_at(const struct jit *jit, const struct layout *layout, uint32_t item)
{
	return (uint32_t)((int32_t)jit->items[item].at + layout->shift[item]);
}

static void lay_out(const struct jit *jit, struct layout *layout, bool real_padding)
{
	int32_t shift = 0;

	for (uint32_t i = 0; i < jit->item_count; i++) {
		struct item *item = &jit->items[i];

		layout->shift[i] = shift;
		if (item->kind == ITEM_ALIGN) /* while jumps are shortened, the padding is taken to be the most possible */
			item->size = (uint8_t)(real_padding ? -item_at(jit, layout, i) & (ALIGNMENT - 1) : ALIGNMENT - 1);
		shift += item->size - item->draft_size;
	}
	layout->shift[jit->item_count] = shift;
	layout->size = (uint32_t)((jit->x.at - jit->draft) + shift);
}

static bool shorten(struct jit *jit, const struct layout *layout)
{
	bool changed = false;

	for (uint32_t i = 0; i < jit->item_count; i++) {
		struct item *item = &jit->items[i];
		int32_t distance;

		if (item->kind != ITEM_JUMP || item->size == 2)
			continue;
		distance = (int32_t)(label_at(jit, layout, item->label) - item_at(jit, layout, i) - item->size);
		if (distance == (int8_t)distance) {
			item->size = 2;
			changed = true;
		}
	}
	return changed;
}

static void write_padding(struct x86 *x, unsigned size)
{
	static const uint8_t nops[][9] = {
		{ 0x90 },
		{ 0x66, 0x90 },
		{ 0x0f, 0x1f, 0x00 },
		{ 0x0f, 0x1f, 0x40, 0x00 },
		{ 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00 },
		{ 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
		{ 0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
	};

	while (size) {
		unsigned now = size > 9 ? 9 : size;

		memcpy(x->at, nops[now - 1], now);
		x->at += now;
		size -= now;
	}
}

/* Whether a call from anywhere in the text reaches the function. */
static bool reaches(const struct jit *jit, const uint8_t *text, uint32_t size, const void *function)
{
	int64_t from_start = (const uint8_t *)function - text;

	return !(jit->program->environment->options & EB_OPTION_FAR) && from_start == (int32_t)from_start &&
	       from_start - size == (int32_t)(from_start - size);
}

/* Distance from the end of the item, which is at `next`, to where it leads; *stubs is moved on if it takes a stub. */
static int64_t item_distance(const struct jit *jit, const struct layout *layout, const struct item *item, uint8_t *text,
			     const uint8_t *next, uint8_t **stubs)
{
	struct x86 x = { *stubs };

	if (item->kind != ITEM_CALL)
		return text + label_at(jit, layout, item->label) - next;
	if (reaches(jit, text, layout->size, item->function))
		return (const uint8_t *)item->function - next;
	x86_byte(&x, 0x49);
	x86_byte(&x, 0xbb);
	x86_quad(&x, (uint64_t)item->function);
	x86_byte(&x, 0x41);
	x86_byte(&x, 0xff);
	x86_byte(&x, 0xe3);
	*stubs += STUB;
	return x.at - STUB - next;
}

static void write_item(const struct jit *jit, const struct layout *layout, const struct item *item, uint8_t *text,
		       struct x86 *x, uint8_t **stubs)
{
	int64_t distance;

	if (item->kind == ITEM_ALIGN) {
		write_padding(x, item->size);
		return;
	}
	distance = item_distance(jit, layout, item, text, x->at + item->size, stubs);
	if (item->kind == ITEM_JUMP && item->size == 2) {
		x86_byte(x, item->condition == ALWAYS ? 0xeb : 0x70u | item->condition);
		x86_byte(x, (unsigned)distance & 0xff);
		return;
	}
	if (item->kind == ITEM_JUMP && item->condition != ALWAYS) {
		x86_byte(x, 0x0f);
		x86_byte(x, 0x80u | item->condition);
	} else if (item->kind != ITEM_ADDRESS) {
		x86_byte(x, item->kind == ITEM_JUMP ? 0xe9 : 0xe8);
	}
	x86_word(x, (uint32_t)distance);
}

static void write_text(const struct jit *jit, const struct layout *layout, uint8_t *text)
{
	const uint8_t *from = jit->draft;
	uint8_t *stubs = text + layout->size;
	struct x86 x = { text };

	for (uint32_t i = 0; i < jit->item_count; i++) {
		const struct item *item = &jit->items[i];
		size_t plain = (size_t)(jit->draft + item->at - from);

		memcpy(x.at, from, plain);
		x.at += plain;
		from += plain + item->draft_size;
		write_item(jit, layout, item, text, &x, &stubs);
	}
	memcpy(x.at, from, (size_t)(jit->x.at - from));
}

static uint32_t count_calls(const struct jit *jit)
{
	uint32_t calls = 0;

	for (uint32_t i = 0; i < jit->item_count; i++)
		calls += jit->items[i].kind == ITEM_CALL;
	return calls;
}

/* Text that has room for a stub of every call; near the first helper, if any is called. */
static uint8_t *allocate(const struct jit *jit, uint32_t size, size_t *allocated)
{
	const void *near = NULL;

	for (uint32_t i = 0; i < jit->item_count && !near; i++)
		if (jit->items[i].kind == ITEM_CALL)
			near = jit->items[i].function;
	*allocated = size + (size_t)count_calls(jit) * STUB;
	return text_allocate(*allocated, near);
}

static int place_text(struct jit *jit, const struct layout *layout, struct eb_code *code)
{
	uint8_t *text = allocate(jit, layout->size, &code->text_size);
	int result;

	if (!text)
		return report_error(jit->report, -ENOMEM, "no memory for %u bytes of code", layout->size);
	write_text(jit, layout, text);
	result = text_protect(text, code->text_size);
	if (result) {
		text_free(text, code->text_size);
		return report_error(jit->report, result, "generated code may not be made executable here");
	}
	code->text = text;
	code->tail_entry = text + label_at(jit, layout, jit_function_label(jit, 0));
	return 0;
}

int jit_link(struct jit *jit, struct eb_code *code)
{
	struct layout layout = { .shift = malloc((jit->item_count + 1) * sizeof(int32_t)) };
	int result;

	if (!layout.shift)
		return report_error(jit->report, -ENOMEM, "no memory to place %u jumps", jit->item_count);
	do
		lay_out(jit, &layout, false);
	while (shorten(jit, &layout));
	lay_out(jit, &layout, true);
	result = place_text(jit, &layout, code);
	free(layout.shift);
	return result;
}

void jit_free(struct eb_code *code)
{
	text_free((void *)(uintptr_t)code->text, code->text_size);
}
