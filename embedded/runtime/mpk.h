/*
 * The segment behind a protection key (EMBEDDED_PROTECT=1): outside of hits and of the agent's own work, the application cannot write to
 * maps, whatever its bugs. Each hit opens the segment for its thread and closes it again, two writes to a register.
 *
 * A thread's access is what it was before when a hit ends: a signal may have interrupted another hit, and the system has closed
 * everything for the signal's handler. Threads that were there before the key see it closed altogether.
 */
#ifndef EB_MPK_H
#define EB_MPK_H

#include "runtime/pkey.h"

/* The key; 0: the segment is not protected. */
extern int eb_mpk_key;

/*
 * Puts the open segment, and all that will be mapped beside it, behind a key, and sees that a write without it faults. 0 or a
 * negative errno with the reason.
 */
int eb_mpk_start(char *error, size_t size);

/* On the hit path, where there is a key: what it returns is for the closing. */
static inline uint32_t eb_mpk_open(void)
{
	uint32_t before = eb_pkru();

	eb_set_pkru(before & ~(3u << (2 * eb_mpk_key)));
	return before;
}

static inline void eb_mpk_close(uint32_t before)
{
	eb_set_pkru(before);
}

/* The same elsewhere: nothing where there is no key. */
static inline uint32_t eb_mpk_enter(void)
{
	return eb_mpk_key ? eb_mpk_open() : 0;
}

static inline void eb_mpk_leave(uint32_t before)
{
	if (eb_mpk_key)
		eb_mpk_close(before);
}

#endif
