#include "hook/signals.h"
#include "hook/raw.h"
#include "hook/text.h"
#include "common/common.h"

#include <signal.h>
#include <string.h>
#include <sys/ucontext.h>

#define FAR (1ul << 20) /* bytes of stack in which a signal's frame is looked for */

/* As the kernel has it. */
struct action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static uint64_t restorer; /* libc's: the return address of every signal's handler */
static struct sigaction before;

static void pass_on(int signal, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(signal, info, context);
	} else if (before.sa_handler == SIG_DFL) {
		struct action fallback = { SIG_DFL, 0, NULL, 0 };

		raw(SYS_rt_sigaction, signal, &fallback, 0, 8);
		raw(SYS_tgkill, raw(SYS_getpid), raw(SYS_gettid), signal);
	} else if (before.sa_handler != SIG_IGN) {
		before.sa_handler(signal);
	}
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *ip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	unsigned char *other = eb_text_elsewhere((unsigned char *)*ip - 1);

	if (other && info->si_code == SI_KERNEL)
		*ip = (greg_t)other;
	else
		pass_on(signal, info, context);
}

int eb_signals_prepare(char *error, size_t size)
{
	struct action seen;
	struct sigaction ours = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK };

	raw(SYS_rt_sigaction, SIGTRAP, 0, &seen, 8);
	if (seen.handler == (void *)on_trap)
		return 0;
	if (sigaction(SIGTRAP, &ours, &before))
		return eb_refuse(error, size, "no handler for SIGTRAP can be installed");
	raw(SYS_rt_sigaction, SIGTRAP, 0, &seen, 8);
	restorer = (uint64_t)seen.restorer;
	return 0;
}

/* The stack pointer that was interrupted, where the kernel has put a signal's frame: the restorer's address, then the context. */
static uint64_t interrupted_at(uint64_t at)
{
	return *(const uint64_t *)at == restorer ? (uint64_t)((const ucontext_t *)(at + 8))->uc_mcontext.gregs[REG_RSP] : 0;
}

/*
 * Looks for frames from `here` up to `end`, of signals that interrupted something outside of [low, high). What lies in the
 * holes of other frames may look like one, too: that the frame was there counts more, since that does no harm.
 */
static int look_for_frames(uint64_t here, uint64_t end, uint64_t low, uint64_t high, uint64_t guard)
{
	int found = 0;

	for (uint64_t at = (here + REGS_SIZE) & ~7ul; at < end; at += 8) {
		uint64_t sp = interrupted_at(at);

		if (!sp || (sp >= low && sp < high))
			continue;
		if (sp <= guard && guard - sp < FAR)
			return 1;
		if (sp > guard && sp - guard < FAR)
			found = -1;
	}
	return found;
}

int eb_signal_between(uint64_t here, uint64_t guard)
{
	stack_t stack;
	uint64_t low;
	int found;

	if (!restorer)
		return 0;
	if (!raw(SYS_sigaltstack, 0, &stack) && stack.ss_flags & SS_ONSTACK) {
		low = (uint64_t)stack.ss_sp;
		if (here - low < stack.ss_size && guard - low >= stack.ss_size) {
			found = look_for_frames(here, low + stack.ss_size, low, low + stack.ss_size, guard);
			return found ? found : 1;
		}
	}
	return here < guard && guard - here < FAR ? look_for_frames(here, guard, here, here, guard) : 0;
}
