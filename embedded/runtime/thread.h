/*
 * This thread, as the hit path knows it: its name in locks, and the CPU whose values it may touch.
 *
 * "Per CPU" in user space: a thread may be moved to another CPU between two instructions, and then two threads would add to
 * the same value without noticing each other. So a program that uses per-CPU maps claims one CPU's slot for the whole of its run,
 * that of the CPU it runs on if it is free, else another one. Its values are then its own, and sums are exact; which of
 * them was added to is not said by the number of the CPU alone. A slot whose owner has died, or does not move for
 * long, is taken over.
 */
#ifndef EB_THREAD_H
#define EB_THREAD_H

#include "common/common.h"
#include "runtime/segment.h"

#define EB_NO_SLOT UINT32_MAX

/* More than programs have at one time; of others, a jump out of a signal's handler leaves a ring buffer blocked. */
#define EB_MOST_RECORDS 8

struct eb_hit;

struct eb_thread {
	uint32_t slot;	    /* claimed, or EB_NO_SLOT */
	uint32_t sequence;  /* makes every claim and every lock different */
	uint64_t self;	    /* user, generation and tid, or 0: not known yet */
	struct eb_hit *hit; /* that runs now, for helpers that ask for it */
	uint64_t pid_tgid;  /* bpf_get_current_pid_tgid's, or 0: not known yet */
	uint64_t random;
	uint32_t left; /* `sequence` when runs before that were left for good; 0: never */
	uint32_t n_records;
	void *records[EB_MOST_RECORDS]; /* of ring buffers, reserved and not finished; NULL from n_records on */
};

extern __thread struct eb_thread eb_thread __attribute__((tls_model("initial-exec")));

/* Fills eb_thread.self. */
uint64_t eb_thread_name(void);
/* Forgets it: in a child after fork. */
void eb_thread_forget(void);
/* Gives back what runs held that a longjmp has left: hook/ notices that, see eb_hook_on_left. */
void eb_thread_left(void);
/* Whether the thread of that name (without its sequence) may still be running. */
int eb_thread_lives(uint64_t name);

#define EB_NAME_BITS 48
#define EB_NAME_MASK ((1ull << EB_NAME_BITS) - 1)

/* A name for one claim or lock of this thread; never 0. */
static inline uint64_t eb_thread_token(void)
{
	uint64_t self = eb_thread.self;

	if (eb_unlikely(!self))
		self = eb_thread_name();
	return self | (uint64_t)++eb_thread.sequence << EB_NAME_BITS;
}

/* The CPU that this thread runs on, at this moment. */
uint32_t eb_cpu(void);

/* Claims a slot, or uses the one that this thread has: 0, nothing to release; else how, for its release. */
#define EB_CLAIMED 1
#define EB_BORROWED 2
int eb_slot_claim(void);
void eb_slot_release(int how);

/* The slot claimed, or the CPU where none is. */
static inline uint32_t eb_slot(void)
{
	uint32_t slot = eb_thread.slot;

	return eb_likely(slot != EB_NO_SLOT) ? slot : eb_cpu();
}

/* --- a lock in shared memory that the dead cannot keep --- */

struct eb_lock {
	uint64_t word;	  /* 0, or the owner's token */
	uint64_t suspect; /* a token that somebody waited for in vain … */
	uint64_t since;	  /* … for the first time then, in ms */
	uint64_t spare;
};

/*
 * For the few instructions that change a ring or a queue; they must leave it whole wherever they are cut off. 0: not to be had now, also
 * when this very thread has it (a signal came in between): the operation is then refused, nobody waits for ever.
 */
int eb_acquire(struct eb_lock *lock, uint64_t *token);
static inline void eb_release(struct eb_lock *lock, uint64_t token)
{
	if (eb_likely(eb_peek(&lock->word) == token)) /* or it was taken from us */
		eb_store(&lock->word, 0);
}

#endif
