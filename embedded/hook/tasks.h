/* The other threads of the process: where they are. */
#pragma once

#include <stddef.h>

/* There are none, as far as one can see. */
int eb_tasks_alone(void);

/*
 * Waits until no thread blocks SIGTRAP: one that does is killed by a breakpoint. 0, or -1 with the reason when one
 * goes on doing so.
 */
int eb_tasks_wait_trap(char *error, size_t size);

/*
 * Waits until every thread has been seen outside of [from, to), where breakpoints keep them from going on inside. 0, or
 * -1 with the reason when one cannot be seen to leave.
 */
int eb_tasks_wait_outside(const unsigned char *from, const unsigned char *to, char *error, size_t size);
