/*
 * A reader that waits asks the shim, which discards what dead writers have left unfinished. One that only ever looks at
 * memory (ring_buffer__consume) asks nobody and would stop there for ever: a thread does it for that one.
 */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/ring.h"
#include "runtime/shim.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVERY 100000000 /* ns */

static int running;

static int still_a_user(void)
{
	return eb_load(&eb_view.segment->users[eb_view.user].pid) == (uint32_t)getpid();
}

static void *watch(void *unused)
{
	const struct timespec pause = { 0, EVERY };

	while (still_a_user()) {
		if (eb_program_has_ended())
			exit(0); /* as the last thread's pthread_exit would, but for this one */
		eb_rings_unblock();
		eb_system_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
	}
	return unused;
}

void shim_watch_rings(void)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;

	if (__atomic_exchange_n(&running, 1, __ATOMIC_ACQ_REL))
		return;
	sigfillset(&all); /* the loader's signals are for the loader's threads */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, 512 * 1024);
	if (pthread_create(&thread, &attributes, watch, NULL))
		eb_log_warning("no thread: ring_buffer__consume stops at what killed writers have left unfinished");
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void shim_rings_forked(void)
{
	if (__atomic_exchange_n(&running, 0, __ATOMIC_ACQ_REL))
		shim_watch_rings();
}
