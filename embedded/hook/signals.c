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

int eb_on_signal_stack(uint64_t here, uint64_t guard)
{
	stack_t stack;
	uint64_t low;

	if (raw(SYS_sigaltstack, 0, &stack) || !(stack.ss_flags & SS_ONSTACK))
		return 0;
	low = (uint64_t)stack.ss_sp;
	return here - low < stack.ss_size && guard - low >= stack.ss_size;
}

/* The frame that the kernel makes: the restorer's address, then the context. */
static int is_frame(uint64_t at, uint64_t guard)
{
	const ucontext_t *context = (const ucontext_t *)(at + 8);
	uint64_t sp;

	if (*(const uint64_t *)at != restorer)
		return 0;
	sp = (uint64_t)context->uc_mcontext.gregs[REG_RSP];
	return sp > at && sp <= guard;
}

int eb_in_signal(uint64_t here, uint64_t guard)
{
	if (restorer && guard - here < FAR)
		for (uint64_t at = (here + REGS_SIZE) & ~7ul; at < guard; at += 8)
			if (is_frame(at, guard))
				return 1;
	return eb_on_signal_stack(here, guard);
}
