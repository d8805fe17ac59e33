/*
 * What is known of the client's descriptors: which directory they are, and where in it they read. A descriptor's number means something
 * else after close and dup2, so these are counted as changes are: `begun` when the call begins, `ended` when it is over. What cannot be
 * followed ends all answering.
 */
#pragma once

#define DESCRIPTORS 1024
#define DESCRIPTIONS 4096

struct descriptor {
	__u64 begun, ended;
	/* which directory it is: read from a fstat of it */
	__u64 version;
	__u64 inode, guard, generation;
	__u32 description; /* one more than its number; 0: none */
	__u32 bound;
};

/* START: the kernel's position is the beginning. BEGUN: one answer was given by the kernel. ENDED: all was given by us, and the kernel's
 * position is the beginning still. ELSEWHERE: the kernel goes on by itself. */
enum { ELSEWHERE, START, BEGUN, ENDED };

/* An open directory, which several descriptors may be of. */
struct description {
	__u32 used; /* by how many descriptors */
	__u32 state;
	__s64 last;
	__u64 generation, version;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DESCRIPTORS);
	__type(key, __u32);
	__type(value, struct descriptor);
} descriptors SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DESCRIPTIONS);
	__type(key, __u32);
	__type(value, struct description);
} descriptions SEC(".maps");

static __always_inline struct descriptor *descriptor_of(__u64 number)
{
	__u32 key = (__u32)number;

	return bpf_map_lookup_elem(&descriptors, &key);
}

static __always_inline struct description *numbered(__u32 number)
{
	__u32 key = number - 1;

	return number ? bpf_map_lookup_elem(&descriptions, &key) : NULL;
}

static __always_inline struct description *description_of(__u64 number)
{
	struct descriptor *descriptor = descriptor_of(number);

	return descriptor && descriptor->begun == descriptor->ended ? numbered(descriptor->description) : NULL;
}

/*
 * Completes a question about what is in the directory `number`, or of it `itself`; 0: it must not be kept. A directory is known by its inode while
 * nothing has changed since its fstat, so that other descriptors of it find the same answers; otherwise, and itself, by its number and guard.
 */
static __always_inline int ask(struct question *question, __u64 number, int itself)
{
	struct descriptor *descriptor = descriptor_of(number);
	__u64 version, ended = coherence.ended, inode;

	if (!descriptor || settings.uncached || coherence.lost || !coherence.agreed)
		return 0;
	IN_ORDER();
	question->generation = coherence.begun;
	question->guard = *(volatile __u64 *)&descriptor->ended;
	IN_ORDER();
	if (ended != question->generation || *(volatile __u64 *)&descriptor->begun != question->guard)
		return 0;
	question->place = 1ull << 63 | (__u64)(settings.incarnation & 0xfffff) << 43 | (number & 0x3ff) << 33 | (question->guard & 0x1ffffffff);
	version = *(volatile __u64 *)&descriptor->version;
	IN_ORDER();
	if (itself) {
		question->asked = 1; /* its own fstat says whether it is on the file system at all */
		return 1;
	}
	if (!descriptor->bound || descriptor->guard != question->guard)
		return 0;
	if (descriptor->generation == question->generation) {
		inode = descriptor->inode;
		IN_ORDER();
		if (!(version & 1) && *(volatile __u64 *)&descriptor->version == version)
			question->place = inode;
	}
	question->asked = 1;
	return 1;
}

/* Whether what the kernel has answered meanwhile is an answer to the thread's question. */
static __always_inline int is_still_true(const struct thread *thread)
{
	struct descriptor *descriptor = descriptor_of(thread->descriptor);

	return descriptor && descriptor->begun == thread->question.guard && coherence.links == thread->links &&
	       is_current(thread->question.generation);
}

static __always_inline void bind_to(struct descriptor *descriptor, __u64 inode, __u64 guard, __u64 generation)
{
	__u64 taken;

	if (!take(&descriptor->version, &taken))
		return;
	descriptor->inode = inode;
	descriptor->guard = guard;
	descriptor->generation = generation;
	descriptor->bound = 1;
	IN_ORDER();
	*(volatile __u64 *)&descriptor->version = taken + 1;
}

/* The thread has asked what its descriptor is: this, which is on the file system. */
static __always_inline void bind(const struct thread *thread, __u64 inode)
{
	struct descriptor *descriptor = descriptor_of(thread->descriptor);

	if (descriptor && thread->question.asked)
		bind_to(descriptor, inode, thread->question.guard, thread->question.generation);
}

/* A directory was opened. */
static __always_inline int describe(__u64 number)
{
	struct descriptor *descriptor = descriptor_of(number);
	__u32 next = (__u32)__sync_fetch_and_add(&coherence.descriptions, 1) % DESCRIPTIONS;
	struct description *description = bpf_map_lookup_elem(&descriptions, &next);

	if (!descriptor || !description || __sync_val_compare_and_swap(&description->used, 0, 1) != 0)
		return 0; /* all are in use: it is not described */
	description->state = START;
	descriptor->description = next + 1;
	return 0;
}

static __always_inline void undescribe(struct descriptor *descriptor)
{
	struct description *description = numbered(__sync_lock_test_and_set(&descriptor->description, 0));

	if (description)
		__sync_fetch_and_sub(&description->used, 1);
}

/* --- numbers that mean something else from now on --- */

static __always_inline int number_ends(__u64 number, __u64 what, __u64 old)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct descriptor *descriptor = is_client(id) ? descriptor_of(number) : NULL;
	struct thread *thread = is_client(id) ? begin(id) : NULL;

	if (!descriptor)
		return 0;
	ADD(descriptor->begun, 1);
	if (thread)
		wait_for_end(thread, what, number, old, 0);
	return 0;
}

ENTER(close)
{
	return number_ends(call->arguments[0], CLOSE, 0);
}

EXIT(close)
{
	struct thread *thread = waiting(CLOSE, CLOSE);
	struct descriptor *descriptor = thread ? descriptor_of(thread->descriptor) : NULL;

	if (!descriptor)
		return 0;
	if (call->result != -EBADF)
		undescribe(descriptor);
	ADD(descriptor->ended, 1);
	return 0;
}

/* A second descriptor of the same open file. */
static __always_inline int follow_duplicate(struct left *call)
{
	struct thread *thread = waiting(DUPLICATE, DUPLICATE);
	struct descriptor *new, *old;
	struct description *description;

	if (!thread)
		return 0;
	new = descriptor_of(thread->descriptor < 0 ? call->result : thread->descriptor);
	old = descriptor_of(thread->buffer);
	if (!new)
		return 0;
	if (call->result >= 0 && old && old != new) {
		undescribe(new);
		description = numbered(old->description);
		if (description) {
			ADD(description->used, 1);
			new->description = old->description;
		}
	}
	if (thread->descriptor >= 0)
		ADD(new->ended, 1);
	if (call->result >= 0 && old && old != new && old->bound && old->guard == old->begun && old->begun == old->ended)
		bind_to(new, old->inode, new->ended, old->generation);
	return 0;
}

static __always_inline int duplicate(__u64 old)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct thread *thread = is_client(id) ? begin(id) : NULL;

	if (thread)
		wait_for_end(thread, DUPLICATE, -1, old, 0);
	return 0;
}

ENTER(dup)
{
	return duplicate(call->arguments[0]);
}

ENTER(dup2)
{
	return number_ends(call->arguments[1], DUPLICATE, call->arguments[0]);
}

ENTER(dup3)
{
	return number_ends(call->arguments[1], DUPLICATE, call->arguments[0]);
}

ENTER(fcntl)
{
	__u64 command = call->arguments[1] & 0xffffffff, id = bpf_get_current_pid_tgid();

	if (command == 0 || command == 1030) /* F_DUPFD, F_DUPFD_CLOEXEC */
		return duplicate(call->arguments[0]);
	if (is_client(id))
		begin(id);
	return 0;
}

EXIT(dup)
{
	return follow_duplicate(call);
}

EXIT(dup2)
{
	return follow_duplicate(call);
}

EXIT(dup3)
{
	return follow_duplicate(call);
}

EXIT(fcntl)
{
	return follow_duplicate(call);
}

/*
 * Other rights, other descriptors, another program; rings through which descriptors are closed without a call. The loader puts this on all
 * tracepoints of such calls.
 */
SEC("tracepoint")
int cannot_follow(struct entered *call)
{
	(void)call;
	if (is_client(bpf_get_current_pid_tgid()))
		coherence.lost = 1;
	return 0;
}
