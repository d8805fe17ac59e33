/*
 * libc's sigaction, signal, sigprocmask and pthread_sigmask as the application sees them in a target: SIGSEGV and SIGBUS are
 * shared with it, and never blocked (a fault while the signal is blocked kills the process, and a program may read a bad
 * address anywhere). Nor is SIGTRAP, which threads get that run into a patch which is being made.
 */
#include "runtime/fault_signals.h"
#include "common/common.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

typedef int sigaction_function(int, const struct sigaction *, struct sigaction *);
typedef int sigmask_function(int, const sigset_t *, sigset_t *);

static void *real(const char *name, void **found)
{
	if (!eb_load(found))
		eb_store(found, dlsym(RTLD_NEXT, name));
	return *found;
}

int eb_real_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
	static void *found;

	return ((sigaction_function *)real("sigaction", &found))(signal, action, old);
}

int eb_real_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	static void *found;

	return ((sigmask_function *)real("pthread_sigmask", &found))(how, set, old);
}

static void never_blocked(sigset_t *set)
{
	sigdelset(set, SIGSEGV);
	sigdelset(set, SIGBUS);
	sigdelset(set, SIGTRAP);
}

EB_EXPORT int sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction changed;

	if (!eb_fault_signal(signal)) {
		if (action) {
			changed = *action;
			never_blocked(&changed.sa_mask);
		}
		return eb_real_sigaction(signal, action ? &changed : NULL, old);
	}
	changed = *eb_fault_kept(signal);
	if (action)
		*eb_fault_kept(signal) = *action;
	if (old)
		*old = changed;
	return 0;
}

EB_EXPORT sighandler_t signal(int signal, sighandler_t handler)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART }, old;

	sigemptyset(&action.sa_mask);
	sigaddset(&action.sa_mask, signal);
	return sigaction(signal, &action, &old) ? SIG_ERR : old.sa_handler;
}

EB_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t changed;

	if (set && how != SIG_UNBLOCK) {
		changed = *set;
		never_blocked(&changed);
		set = &changed;
	}
	return eb_real_sigmask(how, set, old);
}

EB_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int error = pthread_sigmask(how, set, old);

	if (error)
		errno = error;
	return error ? -1 : 0;
}
