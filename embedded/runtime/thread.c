#include "runtime/thread.h"
#include "runtime/fault.h"
#include "runtime/process.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 200	  /* before the first yield */
#define PATIENCE 20	  /* ms to wait for a living owner of a lock */
#define SLOT_PATIENCE 100 /* ms to wait for a living owner of a slot */
#define ABANDONED 1000	  /* ms after which a lock that never changed hands is taken from a living owner: it jumped out */

__thread struct eb_thread eb_thread = { .slot = EB_NO_SLOT };

/* sequence:16 generation:14 user:10 tid:24 */
uint64_t eb_thread_name(void)
{
	uint32_t user = eb_view.user, generation = eb_view.segment->users[user].generation & 0x3fff;
	pid_t tid = gettid();

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

void eb_thread_left(void)
{
	if (eb_thread.slot != EB_NO_SLOT)
		eb_slot_release();
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
	if (kill((pid_t)(name & 0xffffff), 0) < 0 && errno == ESRCH)
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

/* All slots are taken: by threads that were interrupted in a hit, or by dead ones. */
static int claim_slowly(uint32_t cpu, uint64_t token)
{
	int error = errno;
	uint64_t owner = eb_peek(&eb_view.segment->slots[cpu].owner), since = eb_milliseconds();

	while (!take_any(token)) {
		uint64_t now_owner = eb_peek(&eb_view.segment->slots[cpu].owner), now = eb_milliseconds();

		if (now_owner != owner) {
			owner = now_owner;
			since = now;
		} else if (owner && (now - since > SLOT_PATIENCE || !eb_thread_lives(owner & EB_NAME_MASK))) {
			if (take(cpu, owner, token))
				break;
		}
		sched_yield();
	}
	errno = error;
	return 1;
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
		return 1;
	return claim_slowly(cpu, token);
}

void eb_slot_release(void)
{
	uint64_t *owner = &eb_view.segment->slots[eb_thread.slot].owner;

	/* or it was taken from us */
	if (eb_likely((eb_peek(owner) & EB_NAME_MASK) == eb_thread.self))
		eb_store(owner, 0);
	eb_thread.slot = EB_NO_SLOT;
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

static int lock_slowly(struct eb_lock *lock, uint64_t token)
{
	int error = errno, taken = 0;
	uint64_t until = eb_milliseconds() + PATIENCE, owner = 0;

	for (unsigned spins = 0; !taken; spins++) {
		owner = eb_peek(&lock->word);
		if (!owner)
			taken = __atomic_compare_exchange_n(&lock->word, &owner, token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
		else if ((owner & EB_NAME_MASK) == (token & EB_NAME_MASK) || (spins > SPINS && eb_milliseconds() > until))
			break;
		else if (spins < SPINS)
			eb_pause();
		else
			sched_yield();
	}
	if (!taken && may_be_taken(lock, owner))
		taken = __atomic_compare_exchange_n(&lock->word, &owner, token, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
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
