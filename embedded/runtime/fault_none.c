/* For the shim, which shares no signals with the loader: programs run there only when they are tested. */
#include "runtime/fault_signals.h"

#include <pthread.h>

int eb_real_sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
	return sigaction(signal, action, old);
}

int eb_real_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	return pthread_sigmask(how, set, old);
}
