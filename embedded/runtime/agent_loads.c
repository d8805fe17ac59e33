/*
 * A function of a library that is loaded later is hit from its first call on: the dynamic linker calls a function that does
 * nothing, for debuggers, when its list of objects has changed, before what is new runs. A hook there wakes the agent's
 * thread and waits until it has looked.
 */
#include "common/common.h"
#include "hook/hook.h"
#include "hook/raw.h"
#include "runtime/agent.h"
#include "runtime/mpk.h"
#include "runtime/process.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>

#define PATIENCE 300 /* ms: the thread may need a lock that we have */

static uint32_t loads, looked; /* how often the list has changed, and up to where it has been looked at; a futex */
static int looker;	       /* the process that has a thread which looks */

static int looked_at(uint32_t number)
{
	return (int32_t)(eb_load(&looked) - number) >= 0;
}

static void on_change(struct eb_regs *regs, void *user)
{
	const struct r_debug *debug = user;
	uint32_t number, closed;
	uint64_t until;
	int error = errno;

	(void)regs;
	if (debug->r_state != RT_CONSISTENT || eb_load(&looker) != (int)raw(SYS_getpid))
		return;
	eb_hook_suspend();
	until = eb_milliseconds() + PATIENCE;
	number = __atomic_add_fetch(&loads, 1, __ATOMIC_SEQ_CST);
	while (!looked_at(number) && eb_milliseconds() < until) {
		uint32_t seen = eb_load(&looked);

		closed = eb_mpk_enter();
		eb_futex_wake(&eb_view.segment->doorbell); /* again and again: it may have been about to sleep */
		eb_mpk_leave(closed);
		eb_futex_wait(&looked, seen, 2);
	}
	eb_hook_resume();
	errno = error;
}

void agent_watch_loads(void)
{
	static struct eb_hook *hook;
	struct r_debug *debug = dlsym(RTLD_DEFAULT, "_r_debug");
	char error[128];

	if (!hook && debug && debug->r_brk)
		hook = eb_hook_function((void *)debug->r_brk, on_change, NULL, debug, error, sizeof(error));
}

void agent_looks_at_loads(void)
{
	eb_store(&looker, (int)raw(SYS_getpid));
}

int agent_has_loads_to_look_at(void)
{
	return !looked_at(eb_load(&loads));
}

uint32_t agent_loads(void)
{
	return eb_load(&loads);
}

void agent_has_looked_at_loads(uint32_t number)
{
	if (looked_at(number))
		return;
	eb_store(&looked, number);
	eb_futex_wake(&looked);
}
