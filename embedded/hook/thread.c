#include "hook/thread.h"
#include "hook/raw.h"
#include "hook/signals.h"
#include "common/common.h"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

#define BLOCK_THREADS 1023
#define PATIENCE_NS 2000000000

struct block {
	struct block *next;
	struct eb_thread threads[BLOCK_THREADS] __attribute__((aligned(64)));
};

__thread struct eb_thread *eb_self __attribute__((tls_model("initial-exec")));
uint64_t eb_missed;
static struct block *blocks;

static int32_t process(void)
{
	return (int32_t)raw(SYS_getpid);
}

static int is_dead(const struct eb_thread *thread, int32_t pid)
{
	/* After a fork, those of the parent are of no interest, but may be in use: a raw fork does not tell us. */
	return thread->pid == pid && raw(SYS_tgkill, pid, thread->tid, 0) == -3 /* ESRCH */;
}

static int claim(struct eb_thread *thread, int32_t from, int32_t pid)
{
	if (!__atomic_compare_exchange_n(&thread->tid, &from, (int32_t)raw(SYS_gettid), 0, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return 0;
	thread->guard = GUARD_FREE;
	thread->suspensions = 0;
	eb_poke(&thread->pid, pid);
	eb_self = thread;
	return 1;
}

static int claim_in(struct block *block, int32_t pid, int also_of_dead)
{
	for (unsigned i = 0; i < BLOCK_THREADS; i++) {
		struct eb_thread *thread = &block->threads[i];
		int32_t tid = eb_peek(&thread->tid);

		if ((!tid || (also_of_dead && is_dead(thread, pid))) && claim(thread, tid, pid))
			return 1;
	}
	return 0;
}

static struct block *add_block(void)
{
	long at = raw(SYS_mmap, 0, sizeof(struct block), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct block *block = (struct block *)at;

	if (at < 0 && at > -4096)
		return NULL;
	block->next = eb_load(&blocks);
	while (!__atomic_compare_exchange_n(&blocks, &block->next, block, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
	return block;
}

struct eb_thread *eb_thread_here(void)
{
	int32_t pid;
	struct block *block;

	if (eb_likely(eb_self))
		return eb_self;
	pid = process();
	for (int also_of_dead = 0; also_of_dead <= 1; also_of_dead++)
		for (block = eb_load(&blocks); block; block = block->next)
			if (claim_in(block, pid, also_of_dead))
				return eb_self;
	block = add_block();
	return block && claim_in(block, pid, 0) ? eb_self : NULL;
}

void eb_hook_after_fork(void)
{
	if (eb_self) {
		eb_self->tid = (int32_t)raw(SYS_gettid);
		eb_self->pid = process();
	}
}

void eb_hook_suspend(void)
{
	struct eb_thread *self = eb_thread_here();

	if (self && !self->suspensions++) {
		self->before_suspension = self->guard;
		eb_poke(&self->guard, GUARD_SUSPENDED);
	}
}

void eb_hook_resume(void)
{
	struct eb_thread *self = eb_thread_here();

	if (self && !--self->suspensions)
		eb_poke(&self->guard, self->before_suspension);
}

uint64_t eb_hook_missed(void)
{
	return eb_peek(&eb_missed);
}

/* What the path has written to registers that no handler has a reason to change. */
static int looks_alive(const struct eb_regs *regs, uint64_t at)
{
	return regs->orig_ax == -1ul && regs->cs == USER_CS && regs->ss == USER_SS &&
	       (regs->sp == at + REGS_SIZE || regs->sp == at + REGS_SIZE + 8 ||
		regs->sp == at + REGS_SIZE + RED_ZONE);
}

uint64_t eb_nested(struct eb_thread *self, struct eb_regs *regs)
{
	uint64_t guard = self->guard, here = (uint64_t)regs;

	if (guard == GUARD_SUSPENDED)
		return 0;
	/*
	 * A longjmp out of a signal's handler leaves the handler that the signal interrupted. Its registers are then deeper
	 * in the stack than we are, or something else lies there.
	 */
	if (!looks_alive((const struct eb_regs *)guard, guard))
		return GUARD_FREE;
	if (here >= guard)
		return eb_on_signal_stack(here, guard) ? guard : GUARD_FREE;
	if (eb_in_signal(here, guard))
		return guard;
	__atomic_fetch_add(&eb_missed, 1, __ATOMIC_RELAXED);
	return 0;
}

static int is_idle(struct eb_thread *thread, int32_t pid)
{
	struct eb_regs copy;
	uint64_t guard = eb_load(&thread->guard);

	if (guard == GUARD_SUSPENDED)
		guard = eb_peek(&thread->before_suspension);
	if (!eb_peek(&thread->tid) || thread->pid != pid || guard == GUARD_FREE || is_dead(thread, pid))
		return 1;
	/* left for good? Its stack may be gone. */
	if (raw(SYS_process_vm_readv, pid, (&(struct iovec){ &copy, sizeof(copy) }), 1,
		(&(struct iovec){ (void *)guard, sizeof(copy) }), 1, 0) != sizeof(copy))
		return eb_load(&thread->guard) == guard;
	return !looks_alive(&copy, guard) && eb_load(&thread->guard) == guard;
}

static uint64_t now(void)
{
	struct timespec time;

	raw(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int wait_for(struct eb_thread *thread, int32_t pid, uint64_t deadline)
{
	static const struct timespec moment = { 0, 50000 };

	for (unsigned i = 0; !is_idle(thread, pid); i++) {
		if (i < 100)
			eb_pause();
		else if (now() > deadline)
			return 0;
		else
			raw(SYS_nanosleep, &moment, 0);
	}
	return 1;
}

int eb_quiesce(void)
{
	int32_t pid = process();
	uint64_t deadline = now() + PATIENCE_NS;
	struct eb_thread *self = eb_self;
	int busy = self && self->guard != GUARD_FREE &&
		   (self->guard != GUARD_SUSPENDED || self->before_suspension != GUARD_FREE);

	/* A thread that takes its guard after this sees what was published before it. */
	eb_synchronise();
	for (struct block *block = eb_load(&blocks); block; block = block->next)
		for (unsigned i = 0; i < BLOCK_THREADS; i++)
			if (&block->threads[i] != self && eb_peek(&block->threads[i].tid))
				busy |= !wait_for(&block->threads[i], pid, deadline);
	return busy;
}

void eb_synchronise(void)
{
	static int registered; /* the pid that is: a child of fork inherits it, but not one of exec */

	if (!registered) {
		raw(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
		registered = 1;
	}
	if (raw(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) &&
	    raw(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		__sync_synchronize();
}
