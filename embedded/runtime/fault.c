/*
 * SIGSEGV and SIGBUS of our copying code lead to its fix-up; all others belong to the application. So that both can have
 * handlers, what the application asks for through libc is kept here and not given to the kernel (fault_signals.c); an application
 * that goes round libc is noticed by the agent's thread, which puts itself before it.
 */
#include "runtime/fault.h"
#include "common/common.h"
#include "common/log.h"
#include "runtime/fault_signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

extern const char eb_copy_begin[], eb_copy_end[], eb_copy_fixup[];
long eb_try_copy(void *to, const void *from, size_t size);
long eb_try_copy_string(char *to, const char *from, size_t size);

static const int caught[] = { SIGSEGV, SIGBUS };
static int installed;

int eb_fault_signal(int signal)
{
	return installed && (signal == SIGSEGV || signal == SIGBUS);
}

static struct sigaction kept[EB_COUNT(caught)];

struct sigaction *eb_fault_kept(int signal)
{
	return &kept[signal == SIGBUS];
}

/* The kernel has already blocked the signal and set up the stack; the rest of what the application asked for is done here. */
static void call_application(int signal, siginfo_t *info, void *context)
{
	struct sigaction action = *eb_fault_kept(signal);
	sigset_t mask = action.sa_mask;

	if (action.sa_flags & SA_RESETHAND)
		eb_fault_kept(signal)->sa_handler = SIG_DFL;
	eb_real_sigmask(SIG_BLOCK, &mask, NULL);
	if (action.sa_flags & SA_NODEFER) {
		sigemptyset(&mask);
		sigaddset(&mask, signal);
		eb_real_sigmask(SIG_UNBLOCK, &mask, NULL);
	}
	if (action.sa_flags & SA_SIGINFO)
		action.sa_sigaction(signal, info, context);
	else
		action.sa_handler(signal);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	const char *at = (const char *)registers[REG_RIP];
	const struct sigaction *application = eb_fault_kept(signal);
	int sent = info->si_code <= 0; /* by kill() and the like */

	if (at >= eb_copy_begin && at < eb_copy_end && !sent) {
		registers[REG_RIP] = (greg_t)eb_copy_fixup;
		return;
	}
	if (application->sa_handler == SIG_IGN && sent)
		return;
	if (application->sa_handler != SIG_DFL && application->sa_handler != SIG_IGN) {
		call_application(signal, info, context);
		return;
	}
	/* the instruction faults again, and nobody stops it this time; what was sent is sent again */
	eb_real_sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	if (sent)
		raise(signal);
}

static int take_signal(int signal)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART }, old;

	sigemptyset(&action.sa_mask);
	if (eb_real_sigaction(signal, &action, &old))
		return -errno;
	if (old.sa_sigaction != on_fault)
		*eb_fault_kept(signal) = old;
	return 0;
}

int eb_fault_install(void)
{
	for (size_t i = 0; i < EB_COUNT(caught) && !installed; i++) {
		int error = take_signal(caught[i]);

		if (error)
			return error;
	}
	eb_store(&installed, 1);
	return 0;
}

void eb_fault_check(void)
{
	for (size_t i = 0; i < EB_COUNT(caught) && installed; i++) {
		struct sigaction now;

		if (!eb_real_sigaction(caught[i], NULL, &now) && now.sa_sigaction != on_fault) {
			eb_log_info("the application took signal %d by a plain system call: sharing it", caught[i]);
			take_signal(caught[i]);
		}
	}
}

/* --- copying --- */

static long copy_by_system(void *to, const void *from, size_t size, int write)
{
	struct iovec local = { write ? (void *)from : to, size }, remote = { write ? to : (void *)from, size };
	int kept_error = errno;
	ssize_t n = write ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0)
			  : process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	errno = kept_error;
	return n == (ssize_t)size ? 0 : -EFAULT;
}

long eb_fetch(void *to, const void *from, size_t size)
{
	long result;

	if (eb_likely(installed))
		result = eb_try_copy(to, from, size);
	else
		result = size ? copy_by_system(to, from, size, 0) : 0;
	if (eb_unlikely(result))
		eb_zero(to, size);
	return result;
}

long eb_fetch_string(char *to, const char *from, size_t size)
{
	long result = -EFAULT;
	size_t n = 0;

	if (!size)
		return 0;
	if (eb_likely(installed)) {
		result = eb_try_copy_string(to, from, size);
	} else {
		while (n < size && !copy_by_system(to + n, from + n, 1, 0) && to[n])
			n++;
		if (n == size)
			to[n - 1] = '\0';
		if (n == size || (n < size && !copy_by_system(to + n, from + n, 1, 0)))
			result = (long)(n == size ? n : n + 1);
	}
	if (eb_unlikely(result < 0))
		eb_zero(to, size);
	return result;
}

long eb_put(void *to, const void *from, size_t size)
{
	if (eb_likely(installed))
		return eb_try_copy(to, from, size);
	return size ? copy_by_system(to, from, size, 1) : 0;
}
