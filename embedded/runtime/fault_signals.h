/* Between fault.c and the functions of libc that it stands before (fault_signals.c). */
#ifndef EB_FAULT_SIGNALS_H
#define EB_FAULT_SIGNALS_H

#include <signal.h>

/* Whether that signal is shared with the application. */
int eb_fault_signal(int signal);
/* What the application wants done with it. */
struct sigaction *eb_fault_kept(int signal);

/* libc's own. */
int eb_real_sigaction(int signal, const struct sigaction *action, struct sigaction *old);
int eb_real_sigmask(int how, const sigset_t *set, sigset_t *old);

#endif
