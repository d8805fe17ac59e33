#include "runtime/thread.h"
#include "hook/raw.h"
#include "runtime/fault.h"
#include "runtime/process.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 200	  /* before the first yield */
#define PATIENCE 20	  /* ms to wait for a living owner of a lock */
#define TRIES 8		  /* owners of a lock that are waited for, one after the other, before it is refused */
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
}

struct question {
	uint64_t name;
	int lives;
};

/* Reads a file below /proc with libc. */
static void ask(void *argument)
{
	struct question *question = argument;
	const struct eb_user *user = &eb_view.segment->users[question->name >> 24 & 0x3ff];

	question->lives = eb_process_lives(user->pid, user->start);
}

int eb_thread_lives(uint64_t name)
{
	const struct eb_user *user = &eb_view.segment->users[name >> 24 & 0x3ff];
	struct question question = { name, 0 };

	if ((user->generation & 0x3fff) != (name >> 34 & 0x3fff) || !eb_peek(&user->pid))
		return 0;
	if (raw(SYS_kill, (pid_t)(name & 0xffffff), 0) == -ESRCH)
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

/* Whether a lock that we waited for may be taken: its owner is dead, or has been found with it long ago. */
static int may_be_taken(struct eb_lock *lock, uint64_t owner)
{
	if (has_left(owner))
		return 1;
	if (!eb_thread_lives(owner & EB_NAME_MASK))
		return 1;
	if (eb_peek(&lock->suspect) == owner)
		return eb_milliseconds() - eb_peek(&lock->since) > ABANDONED;
	eb_poke(&lock->since, eb_milliseconds());
	eb_store(&lock->suspect, owner);
	return 0;
}

/* Waits until it is ours, or patience ends; then `owner` has it still. A thread does not wait for itself. */
static int wait_for_lock(struct eb_lock *lock, uint64_t token, uint64_t *owner)
{
	uint64_t until = eb_milliseconds() + PATIENCE;

	for (unsigned spins = 0;; spins++) {
		*owner = eb_peek(&lock->word);
		if (!*owner && __atomic_compare_exchange_n(&lock->word, owner, token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return 1;
		if (*owner && ((*owner & EB_NAME_MASK) == (token & EB_NAME_MASK) || (spins > SPINS && eb_milliseconds() > until)))
			return 0;
		if (spins < SPINS)
			eb_pause();
		else
			raw(SYS_sched_yield);
	}
}

static int lock_slowly(struct eb_lock *lock, uint64_t token)
{
	int error = errno, taken = 0;
	uint64_t owner;

	/* Whoever waited for a dead owner as long as we did may have been faster: then it is that one whom we wait for. */
	for (int tries = 0; !taken && tries < TRIES; tries++) {
		taken = wait_for_lock(lock, token, &owner);
		if (!taken && !may_be_taken(lock, owner))
			break;
		if (!taken)
			taken = __atomic_compare_exchange_n(&lock->word, &owner, token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
	}
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
