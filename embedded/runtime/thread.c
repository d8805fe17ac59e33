#include "runtime/thread.h"
#include "hook/raw.h"
#include "runtime/fault.h"
#include "runtime/process.h"
#include "runtime/ring.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 200	  /* before the first yield */
#define NOTICE 1	  /* ms for which one owner has a lock until we ask whether it lives */
#define PATIENCE 100	  /* ms for which one living owner has a lock until it is refused: a busy machine may have taken it off its CPU */
#define LONGEST 1000	  /* ms to wait for a lock that others have in turn */
#define SLOT_PATIENCE 100 /* ms to wait for a living owner of a slot */
#define ABANDONED 1000	  /* ms after which a lock that never changed hands is taken from a living owner: it jumped out */

__thread struct eb_thread eb_thread = { .slot = EB_NO_SLOT };

/* sequence:16 generation:14 user:10 tid:24 */
uint64_t eb_thread_name(void)
{
	uint32_t user = eb_view.user, generation = eb_view.segment->users[user].generation & 0x3fff;
	pid_t tid = (pid_t)raw(SYS_gettid);

	eb_thread.self = (uint64_t)generation << 34 | (uint64_t)user << 24 | (uint32_t)tid;
	return eb_thread.self;
}

void eb_thread_forget(void)
{
	eb_thread.self = 0;
	eb_thread.pid_tgid = 0;
	eb_thread.random = 0;
	eb_thread.slot = EB_NO_SLOT;
	eb_thread.hit = NULL;
	while (eb_thread.n_records)
		eb_thread.records[--eb_thread.n_records] = NULL;
}

static int is_ours(uint32_t slot)
{
	return eb_thread.self && (eb_peek(&eb_view.segment->slots[slot].owner) & EB_NAME_MASK) == eb_thread.self;
}

/* Also a slot of which only the segment knows that it is ours: a run may be left between any two instructions. */
void eb_thread_left(void)
{
	eb_poke(&eb_thread.slot, EB_NO_SLOT);
	for (uint32_t i = 0; i < eb_view.segment->cpus; i++)
		if (is_ours(i))
			eb_store(&eb_view.segment->slots[i].owner, 0);
	eb_thread.hit = NULL;
	eb_thread.left = eb_thread.sequence;
	eb_ring_left();
}

struct question {
	const struct eb_user *user; /* NULL: one that has left; then it is the thread that is asked about */
	pid_t thread;
	int lives;
};

/* Reads a file below /proc with libc. */
static void ask(void *argument)
{
	struct question *question = argument;

	question->lives = question->user ? eb_user_lives(question->user) : eb_process_is((uint32_t)question->thread, 0, 0);
}

int eb_thread_lives(uint64_t name)
{
	const struct eb_user *user = &eb_view.segment->users[name >> 24 & 0x3ff];
	pid_t pid = (pid_t)eb_peek(&user->pid);
	struct question question = { user, (pid_t)(name & 0xffffff), 0 };

	/* a process that has said that it leaves runs on until it ends */
	if ((user->generation & 0x3fff) != (name >> 34 & 0x3fff) || !pid)
		question.user = NULL;
	/* the number of a thread that has ended may be that of another process's thread by now */
	else if (raw(SYS_tgkill, pid, question.thread, 0) == -ESRCH)
		return 0;
	eb_with_state_saved(ask, &question);
	return question.lives;
}

/* glibc keeps the kernel's restartable-sequence area, and with it the CPU's number, at an offset from the thread pointer. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

uint32_t eb_cpu(void)
{
	uint32_t cpu = UINT32_MAX;

	if (&__rseq_offset && __rseq_size)
		cpu = eb_peek((uint32_t *)((char *)__builtin_thread_pointer() + __rseq_offset + 4));
	/* −1 in a thread that the kernel has not seen yet: ask the segment limit, as the vDSO does */
	if (eb_unlikely((int32_t)cpu < 0)) {
		uint64_t limit;

		__asm__("lsl %1, %0" : "=r"(limit) : "r"(0x7bul) : "cc");
		cpu = limit & 0xfff;
	}
	return eb_likely(cpu < eb_view.segment->cpus) ? cpu : 0;
}

static int take(uint32_t slot, uint64_t from, uint64_t token)
{
	if (eb_peek(&eb_view.segment->slots[slot].owner) != from ||
	    !__atomic_compare_exchange_n(&eb_view.segment->slots[slot].owner, &from, token, 0, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return 0;
	eb_thread.slot = slot;
	return 1;
}

static int take_any(uint64_t token)
{
	for (uint32_t i = 0; i < eb_view.segment->cpus; i++)
		if (take(i, 0, token))
			return 1;
	return 0;
}

/* A signal has come while this thread took or gave back a slot: the hit in its handler may use that meanwhile. */
static int borrow(void)
{
	for (uint32_t i = 0; i < eb_view.segment->cpus; i++)
		if (is_ours(i)) {
			eb_thread.slot = i;
			return 1;
		}
	return 0;
}

/* All slots are taken: by threads that were interrupted in a hit, or by dead ones. */
static int claim_slowly(uint32_t cpu, uint64_t token)
{
	int error = errno;
	uint64_t owner = eb_peek(&eb_view.segment->slots[cpu].owner), since = eb_milliseconds();

	if (borrow())
		return EB_BORROWED;
	while (!take_any(token)) {
		uint64_t now_owner = eb_peek(&eb_view.segment->slots[cpu].owner), now = eb_milliseconds();

		if (now_owner != owner) {
			owner = now_owner;
			since = now;
		} else if (owner && (now - since > SLOT_PATIENCE || !eb_thread_lives(owner & EB_NAME_MASK))) {
			if (take(cpu, owner, token))
				break;
		}
		raw(SYS_sched_yield);
	}
	errno = error;
	return EB_CLAIMED;
}

int eb_slot_claim(void)
{
	uint64_t token;
	uint32_t cpu;

	if (eb_unlikely(eb_thread.slot != EB_NO_SLOT))
		return 0;
	token = eb_thread_token();
	cpu = eb_cpu();
	if (eb_likely(take(cpu, 0, token)) || take_any(token))
		return EB_CLAIMED;
	return claim_slowly(cpu, token);
}

void eb_slot_release(int how)
{
	uint64_t *owner = &eb_view.segment->slots[eb_thread.slot].owner;

	/* first here: a signal's hit in between would use a slot that is no longer ours */
	eb_thread.slot = EB_NO_SLOT;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	/* or it was taken from us */
	if (eb_likely((eb_peek(owner) & EB_NAME_MASK) == eb_thread.self) && eb_likely(how == EB_CLAIMED))
		eb_store(owner, 0);
}

/* Whether a run of this thread that has been left took it; a token has only 16 bits to tell older from newer. */
static int has_left(uint64_t owner)
{
	return (owner & EB_NAME_MASK) == eb_thread.self && eb_thread.left && eb_thread.sequence - eb_thread.left < 0x4000 &&
	       (uint16_t)(eb_thread.left - (owner >> EB_NAME_BITS)) < 0x4000;
}

static int is_own(uint64_t owner)
{
	return (owner & EB_NAME_MASK) == eb_thread.self;
}

/* For how many ms anybody has found that owner with the lock; UINT64_MAX: it is dead, or has left for good. */
static uint64_t held_for(struct eb_lock *lock, uint64_t owner)
{
	uint64_t now = eb_milliseconds();

	if (has_left(owner) || (!is_own(owner) && !eb_thread_lives(owner & EB_NAME_MASK)))
		return UINT64_MAX;
	if (eb_peek(&lock->suspect) != owner) {
		eb_poke(&lock->since, now);
		eb_store(&lock->suspect, owner);
	}
	return now - eb_peek(&lock->since);
}

/*
 * Waits until it is ours: 1. 0: `owner` has had it for NOTICE ms, or the time is over. What counts is that one owner keeps it: the
 * lock passes from hand to hand within nanoseconds, and whoever comes back to a CPU late finds it with somebody new.
 */
static int wait_for_lock(struct eb_lock *lock, uint64_t token, uint64_t *owner, uint64_t until)
{
	uint64_t seen = 0, since = 0;

	for (unsigned spins = 0;; spins++) {
		uint64_t now;

		*owner = eb_peek(&lock->word);
		if (!*owner && __atomic_compare_exchange_n(&lock->word, owner, token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return 1;
		if (spins < SPINS) {
			eb_pause();
			continue;
		}
		now = eb_milliseconds();
		if (now > until || (*owner == seen && now - since > NOTICE))
			return 0;
		if (*owner != seen) {
			seen = *owner;
			since = now;
		}
		raw(SYS_sched_yield);
	}
}

/* A thread does not wait for itself: a signal has come while it had the lock. */
static int lock_slowly(struct eb_lock *lock, uint64_t token)
{
	uint64_t until = eb_milliseconds() + LONGEST, owner = eb_peek(&lock->word), held;
	int error = errno, taken = 0;

	while (!taken && (is_own(owner) || !(taken = wait_for_lock(lock, token, &owner, until)))) {
		held = held_for(lock, owner);
		if (held > ABANDONED)
			taken = __atomic_compare_exchange_n(&lock->word, &owner, token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
		else if (is_own(owner) || held > PATIENCE || eb_milliseconds() > until)
			break;
	}
	if (taken) /* its next owner may have the same token one day */
		eb_poke(&lock->suspect, 0);
	errno = error;
	return taken;
}

int eb_acquire(struct eb_lock *lock, uint64_t *token)
{
	uint64_t nobody = 0;

	*token = eb_thread_token();
	if (eb_likely(__atomic_compare_exchange_n(&lock->word, &nobody, *token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
		return 1;
	return lock_slowly(lock, *token);
}
