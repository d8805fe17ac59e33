/* What is kept, and what a thread waits for. */
#pragma once

#define NAME 64
#define LISTING 8192
#define WAYS 4

/* In the upper half of a question's `what`; the flags are in the lower. */
#define STAT_NAME (1ull << 32)
#define STAT_SELF (2ull << 32)
#define OPEN_NAME (3ull << 32)
#define LIST (4ull << 32)
#define SEEK (5ull << 32)
#define CLOSE (6ull << 32)
#define DUPLICATE (7ull << 32)

/* struct stat: st_dev and st_ino come first. */
struct status {
	__u64 words[18];
};

struct question {
	__u64 what;
	__u64 place;	  /* which directory, or which descriptor itself */
	__u64 generation; /* the count of changes */
	__u64 asked;	  /* 0: of something that is not for us; only the descriptor is minded */
	__u64 guard;	  /* the descriptor's, or it may have become another file's */
	char name[NAME];
};

/*
 * The call that a thread is making. Signals' handlers make calls, too, in the midst of anything: `valid` is the `sequence` of the call that
 * is described, and whoever comes in between makes them differ.
 */
struct thread {
	__u64 sequence, valid;
	__u64 buffer, flags, links;
	__s64 descriptor;
	struct question question;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct thread);
} threads SEC(".maps");

/* Odd while it is written; a writer that died in the midst of it leaves it so, and it is not used again. */
struct name {
	__u64 version;
	__u64 generation, place, what;
	__s64 result;
	char name[NAME];
	struct status status;
};

/* The loader sets the number of both, a power of 2. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct name);
} names SEC(".maps");

struct listing {
	__u64 version;
	__u64 generation, place;
	__u32 size, complete;
	__s64 last; /* the position behind it */
	char data[LISTING];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct listing);
} listings SEC(".maps");

#define MIX 0x9e3779b97f4a7c15ull

static const struct thread nothing = {};

static __always_inline int is_client(__u64 thread)
{
	return thread >> 32 == settings.client;
}

static __always_inline int pass(void)
{
	COUNT(uncacheable);
	return 0;
}

/* A call begins: whatever was waited for is forgotten. */
static __always_inline struct thread *begin(__u64 id)
{
	struct thread *thread = bpf_map_lookup_elem(&threads, &id);

	if (!thread) {
		bpf_map_update_elem(&threads, &id, &nothing, BPF_NOEXIST);
		thread = bpf_map_lookup_elem(&threads, &id);
	}
	if (thread)
		thread->sequence++;
	return thread;
}

/* A call goes to the kernel; its end will want to know what it was. */
static __always_inline void wait_for(struct thread *thread, const struct question *question, __s64 descriptor, __u64 buffer, __u64 flags)
{
	__u64 sequence = *(volatile __u64 *)&thread->sequence;

	thread->question = *question;
	thread->descriptor = (__s32)descriptor;
	thread->buffer = buffer;
	thread->flags = flags;
	thread->links = coherence.links;
	IN_ORDER();
	*(volatile __u64 *)&thread->valid = sequence;
}

/* The same for a call that asks nothing. */
static __always_inline void wait_for_end(struct thread *thread, __u64 what, __s64 descriptor, __u64 buffer, __u64 flags)
{
	__u64 sequence = *(volatile __u64 *)&thread->sequence;

	thread->question.what = what;
	thread->descriptor = (__s32)descriptor;
	thread->buffer = buffer;
	thread->flags = flags;
	IN_ORDER();
	*(volatile __u64 *)&thread->valid = sequence;
}

/* A call has ended: the thread, if it was waiting for one of these kinds. */
static __always_inline struct thread *waiting(__u64 one, __u64 other)
{
	__u64 id = bpf_get_current_pid_tgid(), kind;
	struct thread *thread = is_client(id) ? bpf_map_lookup_elem(&threads, &id) : NULL;

	if (!thread || thread->valid != thread->sequence)
		return NULL;
	kind = thread->question.what >> 32;
	if (kind != one >> 32 && kind != other >> 32)
		return NULL;
	thread->sequence++; /* once */
	return thread;
}

static __always_inline int is_current(__u64 generation)
{
	return coherence.begun == generation && coherence.agreed && !coherence.lost;
}

/* --- names --- */

static __always_inline __u32 place_of(const struct question *question)
{
	const __u64 *words = (const __u64 *)question->name;
	__u64 hash = question->place * MIX ^ question->what;

	for (int i = 0; i < NAME / 8; i++) {
		if (i && !words[i])
			break;
		hash = (hash ^ words[i]) * MIX;
		hash ^= hash >> 29;
	}
	return (__u32)(hash >> 32) & settings.names_mask & ~(WAYS - 1);
}

static __always_inline int is_that(const struct name *name, const struct question *question)
{
	const __u64 *ours = (const __u64 *)name->name, *theirs = (const __u64 *)question->name;
	__u64 differs = name->place ^ question->place;

	differs |= name->what ^ question->what;
	for (int i = 0; i < NAME / 8; i++)
		differs |= ours[i] ^ theirs[i];
	return !differs;
}

static __always_inline int find(const struct question *question, __s64 *result, struct status *status)
{
	__u32 place = place_of(question);

	for (__u32 i = 0; i < WAYS; i++) {
		__u32 at = place + i;
		const struct name *name = bpf_map_lookup_elem(&names, &at);
		__u64 version;

		if (!name)
			return 0;
		version = *(volatile __u64 *)&name->version;
		IN_ORDER();
		if (version & 1 || name->generation != question->generation || !is_that(name, question))
			continue;
		*result = name->result;
		if (status)
			*status = name->status;
		IN_ORDER();
		return *(volatile __u64 *)&name->version == version;
	}
	return 0;
}

/* Where a new answer goes: to its old place, to one that is free or not true any more, or to that of some other, in turn. */
static __always_inline struct name *place_for(const struct question *question)
{
	__u32 place = place_of(question), at = place + (numbers.kept & (WAYS - 1));
	struct name *chosen = bpf_map_lookup_elem(&names, &at);

	/* backwards: the first ones are found first */
	for (__u32 i = 0; i < WAYS; i++) {
		struct name *name;

		at = place + WAYS - 1 - i;
		name = bpf_map_lookup_elem(&names, &at);
		if (!name)
			return NULL;
		if (is_that(name, question))
			return name;
		if (!name->what || name->generation != question->generation)
			chosen = name;
	}
	return chosen;
}

static __always_inline int take(__u64 *version, __u64 *taken)
{
	__u64 old = *(volatile __u64 *)version;

	*taken = old + 1;
	return !(old & 1) && __sync_val_compare_and_swap(version, old, old + 1) == old;
}

static __always_inline void keep(const struct question *question, __s64 result, const struct status *status)
{
	struct name *name = place_for(question);
	__u64 taken;

	if (!name || !take(&name->version, &taken))
		return;
	name->generation = question->generation;
	name->place = question->place;
	name->what = question->what;
	name->result = result;
	__builtin_memcpy(name->name, question->name, NAME);
	if (status)
		name->status = *status;
	IN_ORDER();
	*(volatile __u64 *)&name->version = taken + 1;
	COUNT(kept);
}

/* --- listings --- */

static __always_inline struct listing *listing_of(const struct question *question)
{
	__u32 at = (__u32)(question->place * MIX >> 32) & settings.listings_mask;

	return bpf_map_lookup_elem(&listings, &at);
}

/* The size of the answer that was put to `buffer`; 0: there is none. */
static __always_inline __s64 list(const struct question *question, __u64 buffer, __u64 room, __s64 *last)
{
	struct listing *listing = listing_of(question);
	__u64 version;
	__u32 size;

	if (!listing)
		return 0;
	version = *(volatile __u64 *)&listing->version;
	IN_ORDER();
	size = listing->size;
	if (version & 1 || listing->generation != question->generation || listing->place != question->place || !listing->complete ||
	    size > room || !size || size > LISTING)
		return 0;
	if (bpf_probe_write_user((void *)buffer, listing->data, size))
		return 0;
	*last = listing->last;
	IN_ORDER();
	return *(volatile __u64 *)&listing->version == version ? size : 0;
}

struct walk {
	struct listing *listing;
	__u32 at, size;
	__s64 last;
};

struct entry {
	__u64 inode;
	__s64 next;
	__u16 length;
};

static long step(__u32 i, void *own)
{
	struct walk *walk = own;
	struct entry entry;
	__u32 at = walk->at;

	(void)i;
	if (at + 24 > walk->size || at > LISTING - 24)
		return 1;
	if (bpf_probe_read_kernel(&entry, 18, walk->listing->data + at))
		return 1;
	walk->last = entry.next;
	walk->at = at + entry.length;
	return entry.length < 24;
}

/* The version of what was kept, not yet complete; 0: nothing was. */
static __always_inline __u64 keep_listing(const struct question *question, __u64 buffer, __s64 size, __s64 *last)
{
	struct listing *listing = listing_of(question);
	struct walk walk = { listing, 0, (__u32)size, 0 };
	__u64 taken;

	if (size <= 0 || size > LISTING || !listing || !take(&listing->version, &taken))
		return 0;
	listing->complete = 0;
	listing->generation = question->generation;
	listing->place = question->place;
	listing->size = (__u32)size;
	if (bpf_probe_read_user(listing->data, (__u32)size, (void *)buffer))
		listing->size = 0;
	else
		bpf_loop(LISTING / 24, step, &walk, 0);
	*last = listing->last = walk.last;
	IN_ORDER();
	*(volatile __u64 *)&listing->version = taken + 1;
	return taken + 1;
}

/* The call after it has returned 0: that was all. */
static __always_inline void complete_listing(const struct question *question, __u64 version)
{
	struct listing *listing = listing_of(question);
	__u64 taken;

	if (!listing || *(volatile __u64 *)&listing->version != version || !take(&listing->version, &taken))
		return;
	if (taken == version + 1)
		listing->complete = 1;
	IN_ORDER();
	*(volatile __u64 *)&listing->version = taken + 1;
	COUNT(kept);
}
