#include "hook/thread.h"
#include "hook/module.h"
#include "hook/raw.h"
#include "hook/signals.h"
#include "common/common.h"

#include <link.h>
#include <linux/membarrier.h>
#include <string.h>
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

/* --- where calls that a handler makes can come from: the objects that handlers are in, libc and the dynamic linker --- */

#define MOST_MODULES 16

static struct eb_extent territory[MOST_MODULES];
static unsigned n_territory;
static void (*on_left)(void);

static int in_territory(uint64_t address)
{
	for (unsigned i = 0; i < eb_load(&n_territory); i++)
		if (address >= (uint64_t)territory[i].start && address < (uint64_t)territory[i].end)
			return 1;
	return 0;
}

static void add_territory(const void *address)
{
	struct eb_module module;

	if (n_territory == MOST_MODULES || in_territory((uint64_t)address) || !eb_module_of(address, &module))
		return;
	territory[n_territory] = module.text;
	eb_store(&n_territory, n_territory + 1);
}

static int add_system(struct dl_phdr_info *info, size_t size, void *data)
{
	const char *name = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;

	(void)size, (void)data;
	if (!name || (strncmp(name, "/libc.", 6) && strncmp(name, "/libc-", 6) && strncmp(name, "/ld-", 4)))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X && n_territory < MOST_MODULES) {
			const unsigned char *start = (const unsigned char *)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

			territory[n_territory] = (struct eb_extent){ start, start + info->dlpi_phdr[i].p_memsz };
			eb_store(&n_territory, n_territory + 1);
		}
	return 0;
}

void eb_handlers_at(const void *handler)
{
	if (!n_territory) {
		dl_iterate_phdr(add_system, NULL);
		add_territory((const void *)eb_handlers_at);
	}
	if (handler)
		add_territory(handler);
}

void eb_hook_on_left(void (*left)(void))
{
	on_left = left;
}

/* What called the hooked function, or is returned to; for other places, the place. 0: not to be told. */
static uint64_t origin(const struct eb_regs *regs)
{
	uint64_t caller;

	if (regs->sp != (uint64_t)regs + REGS_SIZE)
		return regs->ip;
	caller = *(const uint64_t *)regs->sp;
	return caller == (uint64_t)eb_return_pad ? 0 : caller;
}

/*
 * A longjmp out of a signal's handler leaves the handler of ours that the signal interrupted, and nobody tells us. It has been
 * left if its registers are deeper in the stack than we are, or something else lies there, or a signal has come since
 * whose frame lies over it, or we are called by code that no handler calls.
 */
static int has_been_left(const struct eb_regs *regs, uint64_t guard, int signal)
{
	uint64_t here = (uint64_t)regs, from;

	if (signal)
		return signal < 0;
	if (here >= guard)
		return 1;
	from = origin(regs);
	return from && !in_territory(from);
}

uint64_t eb_nested(struct eb_thread *self, struct eb_regs *regs)
{
	uint64_t guard = self->guard;
	int alive, signal = 0;

	if (guard == GUARD_SUSPENDED)
		return 0;
	if (guard == GUARD_FREE) /* by the hit of a signal that has come since the path looked */
		return GUARD_FREE;
	alive = looks_alive((const struct eb_regs *)guard, guard);
	if (alive)
		signal = eb_signal_between((uint64_t)regs, guard);
	if (!alive || has_been_left(regs, guard, signal)) {
		self->guard = GUARD_FREE;
		if (on_left)
			on_left();
		return GUARD_FREE;
	}
	if (signal)
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
