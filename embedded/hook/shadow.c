#include "hook/shadow.h"
#include "hook/raw.h"
#include "hook/thread.h"
#include "common/common.h"

#include <sys/mman.h>

#define CHUNK_SIZE (2ul << SHADOW_SHIFT)
#define BATCH 512
#define DEEPEST 65536

char *eb_shadow[SHADOW_CHUNKS] __attribute__((visibility("hidden")));

/* A site, and what the slot's entry said before its function was jumped to. */
struct link {
	struct eb_site *site;
	uint64_t before; /* a site, or a link with SHADOW_CHAIN set */
	uint64_t depth;
};

static void *map(size_t size)
{
	long at = raw(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

static char *chunk_of(uint64_t slot)
{
	char **place = &eb_shadow[slot >> SHADOW_SHIFT], *chunk, *others = NULL;

	if (slot >> SHADOW_SHIFT >= SHADOW_CHUNKS)
		return NULL;
	if (eb_load(place))
		return *place;
	chunk = map(CHUNK_SIZE);
	if (!chunk || __atomic_compare_exchange_n(place, &others, chunk, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return chunk;
	raw(SYS_munmap, chunk, CHUNK_SIZE);
	return others;
}

/*
 * Links are rare and taken one at a time from a list that all threads share. A lock that a signal could find taken
 * would hang its handler; so the head of the list is exchanged as a whole: whoever holds it has it alone, others find it
 * empty and make a new batch.
 */
static struct link *spare;

static struct link *next_spare(struct link *link)
{
	return (struct link *)link->before;
}

static void put_back(struct link *list)
{
	struct link *last = list, *head = NULL;

	if (__atomic_compare_exchange_n(&spare, &head, list, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return;
	while (last && next_spare(last))
		last = next_spare(last);
	if (!last)
		return;
	do
		last->before = (uint64_t)head;
	while (!__atomic_compare_exchange_n(&spare, &head, list, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

static void put_back_one(struct link *link)
{
	struct link *head = eb_load(&spare);

	do
		link->before = (uint64_t)head;
	while (!__atomic_compare_exchange_n(&spare, &head, link, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

static struct link *take(void)
{
	struct link *list = __atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL);

	if (!list) {
		list = map(BATCH * sizeof(struct link));
		if (!list)
			return NULL;
		for (unsigned i = 0; i + 1 < BATCH; i++)
			list[i].before = (uint64_t)&list[i + 1];
	}
	put_back(next_spare(list));
	list->before = 0;
	return list;
}

static struct link *link_of(uint64_t what)
{
	return what & SHADOW_CHAIN ? (struct link *)(what & ~(uint64_t)SHADOW_CHAIN) : NULL;
}

static void drop(struct eb_shadow_entry *entry)
{
	for (struct link *link = link_of(entry->what); link; link = link_of(entry->what)) {
		entry->what = link->before;
		put_back_one(link);
	}
}

int eb_arm_slowly(struct eb_site *site, uint64_t *slot)
{
	char *chunk = chunk_of((uint64_t)slot);
	struct eb_shadow_entry *entry;
	struct link *link, *last;

	if (!chunk)
		goto missed;
	entry = (struct eb_shadow_entry *)(chunk + 2 * ((uint64_t)slot & SHADOW_MASK));
	if (*slot != (uint64_t)eb_return_pad) {
		drop(entry); /* of a chain that something jumped out of */
		entry->ra = *slot;
		entry->what = (uint64_t)site;
		return 1;
	}
	last = link_of(entry->what);
	link = last && last->depth >= DEEPEST ? NULL : take();
	if (!link)
		goto missed;
	link->site = site;
	link->before = entry->what;
	link->depth = last ? last->depth + 1 : 1;
	entry->what = (uint64_t)link | SHADOW_CHAIN;
	return 1;
missed:
	__atomic_fetch_add(&eb_missed, 1, __ATOMIC_RELAXED);
	return 0;
}

static void run_handlers(struct eb_site *site, struct eb_regs *regs)
{
	for (struct eb_call *call = eb_load(&site->ret); call->handler; call++)
		call->handler(regs, call->user);
}

void eb_return_chain(struct eb_regs *regs, struct eb_shadow_entry *entry, int run)
{
	for (struct link *link = link_of(entry->what); link; link = link_of(entry->what)) {
		struct eb_site *site = link->site;

		entry->what = link->before;
		put_back_one(link);
		if (run)
			run_handlers(site, regs);
	}
	if (run)
		run_handlers((struct eb_site *)entry->what, regs);
}
