#include "hook/internal.h"
#include "hook/arena.h"
#include "hook/backend.h"
#include "hook/front.h"
#include "hook/jump.h"
#include "hook/lock.h"
#include "hook/relocate.h"
#include "hook/scan.h"
#include "hook/signals.h"
#include "hook/text.h"
#include "hook/thread.h"
#include "hook/twice.h"
#include "common/common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define STUB_SIZE 64

struct eb_hook {
	struct eb_site *site;
	struct eb_call entry, ret;
	struct eb_hook *next; /* on the same site, in the order they came */
};

/* What C knows of a site's hooks. */
struct place {
	struct eb_site site;
	struct eb_hook *hooks;
	struct place *next;
	int by_gum, wants; /* what gum has been asked for: 1 entries, 2 returns */
};

static struct eb_call none[1];
static struct place *places;

int eb_refuse(char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (error && size)
		vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return -1;
}

void eb_skip(struct eb_regs *regs, uint64_t result)
{
	regs->ax = result;
	regs->ip = (unsigned long)eb_skipped;
}

/* The stub: room for the registers, rax among them, the site in rax; then to its path. And before the body, the way back. */
static int write_stub(struct place *place, unsigned char *stub, const struct eb_moved *moved, unsigned room)
{
	struct eb_site *site = &place->site;
	unsigned char code[STUB_SIZE + 8 + EB_MOVED_SIZE];
	uint64_t address = (uint64_t)site;
	int32_t down = -(int32_t)room, up = (int32_t)room;

	for (unsigned i = 0; i < sizeof(code); i++)
		code[i] = 0xcc;
	eb_copy(code, (const char[]){ 0x48, 0x8d, (char)0xa4, 0x24 }, 4); /* lea down(%rsp), %rsp */
	eb_copy(code + 4, &down, 4);
	eb_copy(code + 8, (const char[]){ 0x48, (char)0x89, 0x44, 0x24, REGS_AX, 0x48, (char)0xb8 }, 7);
	eb_copy(code + 15, &address, 8); /* mov %rax, REGS_AX(%rsp); mov $site, %rax */
	eb_copy(code + 23, (const char[]){ (char)0xff, 0x60, SITE_PATH }, 3); /* jmp *SITE_PATH(%rax) */
	eb_copy(code + STUB_SIZE, (const char[]){ 0x48, (char)0x8d, (char)0xa4, 0x24 }, 4); /* lea up(%rsp), %rsp */
	eb_copy(code + STUB_SIZE + 4, &up, 4);
	eb_copy(code + STUB_SIZE + 8, moved->code, moved->size);
	return eb_text_write(stub, code, STUB_SIZE + 8 + moved->size);
}

static void fill_patch(struct eb_patch *patch, const struct eb_moved *moved)
{
	if (patch->displaced < moved->displaced)
		patch->displaced = (unsigned char)moved->displaced;
	patch->starts = (unsigned char)moved->count;
	eb_copy(patch->from, moved->from, sizeof(patch->from));
	eb_copy(patch->to, moved->to, sizeof(patch->to));
}

/* The first byte after `end` that may be more than padding: where the next function starts, or 16 bytes on. */
static const unsigned char *padding_limit(const struct eb_module *module, const unsigned char *end)
{
	struct eb_extent other;
	const unsigned char *limit = end;

	while (limit < end + 16 && limit < module->text.end && !eb_function_around(module, limit, &other))
		limit++;
	return limit;
}

/* Where a place is and what is around it. */
struct around {
	struct eb_module module;
	struct eb_extent function;
	unsigned char *hole; /* when the jump is a short one */
	unsigned size;	     /* of the jump */
	struct eb_front front; /* at: NULL when the jump is at the place itself */
};

static int choose(struct place *place, struct eb_moved *moved, const struct around *around, char *error, size_t size)
{
	unsigned char *at = place->site.patch.at;
	const struct eb_module *module = &around->module;
	const struct eb_extent *function = &around->function;
	/* what is behind a function that is long enough does not matter, and looking for its end is slow */
	const unsigned char *limit = at + around->size > function->end ? padding_limit(module, function->end) : function->end;
	struct eb_scan scan;

	if (eb_move_choose(moved, at, around->size, function->end, limit, error, size))
		return -1;
	if (eb_text_overlapping(at, moved->displaced, NULL))
		return eb_refuse(error, size, "another patch is in the way");
	eb_scan(module, function, at, at + around->size, &scan);
	if (scan.into)
		return eb_refuse(error, size, "its first %u bytes are jumped into", around->size);
	if (scan.pops)
		place->site.no_return = "it takes its arguments from the stack";
	return 0;
}

/* A jump before the place, for instructions in the middle of functions. */
static int choose_front(struct place *place, struct eb_moved *moved, struct around *around)
{
	unsigned char *at = place->site.patch.at;
	const struct eb_extent *function = &around->function;
	char ignored[8];

	if (place->site.path != (void *)eb_probe_path ||
	    eb_move_choose(moved, at, 1, function->end, function->end, ignored, sizeof(ignored)))
		return -1;
	around->size = LONG_JUMP;
	around->hole = NULL;
	if (!eb_front_choose(&around->front, &around->module, function, at, LONG_JUMP))
		return 0;
	around->size = SHORT_JUMP;
	if (eb_front_choose(&around->front, &around->module, function, at, SHORT_JUMP))
		return -1;
	around->hole = eb_hole_near(&around->module, around->front.at);
	return around->hole ? 0 : -1;
}

/* With a long jump if possible, else with a short one to a hole, else with one before the place. The reason is the first one's. */
static int choose_jump(struct place *place, struct eb_moved *moved, struct around *around, char *error, size_t size)
{
	unsigned char *at = place->site.patch.at;
	char ignored[8];

	if (!eb_module_of(at, &around->module))
		return eb_refuse(error, size, "%p is in the code of no loaded object", (void *)at);
	if (!eb_function_around(&around->module, at, &around->function))
		return eb_refuse(error, size, "neither unwind tables nor symbols tell where the function at %p ends",
				 (void *)at);
	place->site.path = (void *)(at == around->function.start ? eb_entry_path : eb_probe_path);
	around->size = LONG_JUMP;
	around->hole = NULL;
	around->front.at = NULL;
	if (!choose(place, moved, around, error, size))
		return 0;
	around->size = SHORT_JUMP;
	around->hole = eb_hole_near(&around->module, at);
	if (around->hole && !choose(place, moved, around, ignored, sizeof(ignored)))
		return 0;
	return choose_front(place, moved, around);
}

static const char *why_no_return(const struct eb_site *site)
{
	if (site->path != (void *)eb_entry_path)
		return "not the address of a function";
	return site->no_return ? site->no_return : eb_twice(site->address);
}

/* gum moves the instructions itself, and takes any address for a function. */
static int check_for_gum(struct place *place, char *error, size_t size)
{
	struct eb_module module;
	struct eb_extent function;

	if (!eb_module_of(place->site.address, &module) || !eb_function_around(&module, place->site.address, &function) ||
	    function.start != place->site.address)
		return eb_refuse(error, size, "%p is not the address of a function, and gum hooks nothing else",
				 place->site.address);
	place->site.path = (void *)eb_entry_path;
	place->by_gum = 1;
	return 0;
}

static void put_jump(struct place *place, const struct around *around, unsigned char *enter)
{
	struct eb_patch *patch = &place->site.patch, *hop = &place->site.hop;
	unsigned char *at = around->front.at ? around->front.at : patch->at;

	if (around->hole) {
		eb_hop_fill(patch, hop, at, around->hole, enter);
		eb_text_add(hop);
		return;
	}
	eb_patch_fill(patch, at, LONG_JUMP);
	eb_put_jump(patch->jump, at, enter);
	patch->stub = enter;
}

/* The stub, the copy of what its jump displaces, and the jump, which is not put into the text yet. */
static int prepare(struct place *place, char *error, size_t size)
{
	struct eb_patch *patch = &place->site.patch;
	unsigned char *at = patch->at, *stub, *enter, *body;
	struct eb_moved moved;
	struct around around;
	unsigned room;

	if (choose_jump(place, &moved, &around, error, size))
		return -1;
	room = REGS_SIZE + (place->site.path == (void *)eb_entry_path ? 0 : RED_ZONE);
	stub = eb_arena_take(at, STUB_SIZE + 8 + EB_MOVED_SIZE);
	if (!stub)
		return eb_refuse(error, size, "there is no free memory within reach of a jump");
	enter = stub;
	body = stub + STUB_SIZE + 8;
	if (eb_move_write(&moved, body, around.front.at ? moved.displaced : around.size, error, size))
		return -1;
	place->site.resume = stub + STUB_SIZE;
	place->site.body = body;
	if (around.front.at && eb_front_write(&around.front, stub, &enter, &body, error, size))
		return -1;
	put_jump(place, &around, enter);
	patch->body = body;
	fill_patch(patch, around.front.at ? &around.front.whole : &moved);
	if (write_stub(place, stub, &moved, room))
		return eb_refuse(error, size, "/proc/self/mem cannot be written");
	eb_text_add(patch);
	return 0;
}

static struct place *make(void *address, char *error, size_t size)
{
	struct place *place = calloc(1, sizeof(*place));

	if (!place) {
		eb_refuse(error, size, "out of memory");
		return NULL;
	}
	place->site.address = place->site.patch.at = address;
	place->site.entry = place->site.ret = none;
	if (eb_backend_is_gum() ? check_for_gum(place, error, size) : prepare(place, error, size)) {
		free(place);
		return NULL;
	}
	place->next = places;
	places = place;
	return place;
}

static struct place *find(void *address)
{
	for (struct place *place = places; place; place = place->next)
		if (place->site.address == address && (place->by_gum || place->site.patch.on ||
						       eb_equal(place->site.patch.original, place->site.patch.at, LONG_JUMP)))
			return place;
	return NULL;
}

/* The handlers of all hooks of the site, as the paths want them. */
static struct eb_call *list(const struct place *place, int ret)
{
	size_t n = 0;
	struct eb_call *calls;

	for (struct eb_hook *hook = place->hooks; hook; hook = hook->next)
		n += ret ? !!hook->ret.handler : !!hook->entry.handler;
	if (!n)
		return none;
	calls = calloc(n + 1, sizeof(*calls));
	n = 0;
	for (struct eb_hook *hook = place->hooks; calls && hook; hook = hook->next)
		if (ret ? !!hook->ret.handler : !!hook->entry.handler)
			calls[n++] = ret ? hook->ret : hook->entry;
	return calls;
}

/* Publishes the lists of the hooks as they are. 0 quiescent, 1 busy, -1 out of memory and nothing changed. */
static int publish(struct place *place, int wait)
{
	struct eb_call *entry = list(place, 0), *ret = list(place, 1);
	struct eb_call *old_entry = place->site.entry, *old_ret = place->site.ret;
	int busy;

	if (!entry || !ret)
		return -1;
	eb_store(&place->site.entry, entry);
	eb_store(&place->site.ret, ret);
	if (!wait && old_entry == none && old_ret == none)
		return 0;
	busy = eb_quiesce();
	if (!busy && old_entry != none)
		free(old_entry);
	if (!busy && old_ret != none)
		free(old_ret);
	return busy;
}

/* Makes the text, or gum, do what the hooks that there are want. 0 or -1 with the reason. */
static int divert(struct place *place, char *error, size_t size)
{
	int wants = (place->site.entry != none) | (place->site.ret != none) << 1;

	if (!place->by_gum)
		return eb_hop_switch(&place->site.patch, &place->site.hop, !!wants, error, size);
	if (wants == place->wants)
		return 0;
	if (place->wants)
		eb_gum_detach(&place->site);
	place->wants = wants;
	return wants ? eb_gum_attach(&place->site, wants, error, size) : 0;
}

static struct eb_hook **end_of(struct place *place)
{
	struct eb_hook **end = &place->hooks;

	while (*end)
		end = &(*end)->next;
	return end;
}

static struct eb_hook *attach(struct eb_hook *hook, void *address, char *error, size_t size)
{
	struct place *place = find(address);
	struct eb_hook **end;
	const char *why;

	if (eb_signals_prepare(error, size) || (!place && !(place = make(address, error, size))))
		return NULL;
	why = hook->ret.handler ? why_no_return(&place->site) : NULL;
	if (why) {
		eb_refuse(error, size, "its return cannot be hooked: %s", why);
		return NULL;
	}
	hook->site = &place->site;
	end = end_of(place);
	*end = hook;
	if (publish(place, 0) < 0 || divert(place, error, size)) {
		*end = NULL;
		publish(place, 1);
		return NULL;
	}
	return hook;
}

struct eb_hook *eb_hook_function(void *address, eb_handler *entry, eb_handler *ret, void *user, char *error, size_t size)
{
	struct eb_hook *hook, *made = NULL;

	if (!entry && !ret) {
		eb_refuse(error, size, "there is no handler");
		return NULL;
	}
	eb_hook_suspend();
	hook = calloc(1, sizeof(*hook));
	if (hook) {
		hook->entry = (struct eb_call){ entry, user };
		hook->ret = (struct eb_call){ ret, user };
		eb_lock();
		eb_handlers_at((const void *)entry);
		eb_handlers_at((const void *)ret);
		made = attach(hook, address, error, size);
		eb_unlock();
	}
	if (!made)
		free(hook);
	eb_hook_resume();
	return made;
}

static int detach(struct eb_hook *hook)
{
	struct place *place = (struct place *)hook->site;
	struct eb_hook **link = &place->hooks;
	char error[128];
	int busy;

	while (*link != hook)
		link = &(*link)->next;
	*link = hook->next;
	busy = publish(place, 1) != 0;
	/* when the text cannot be restored, hits go on but find no handlers */
	divert(place, error, sizeof(error));
	return busy;
}

int eb_unhook(struct eb_hook *hook)
{
	int busy;

	eb_hook_suspend();
	eb_lock();
	busy = detach(hook);
	eb_unlock();
	free(hook);
	eb_hook_resume();
	return busy;
}
