/* One thread at a time changes text, sites and gates. */
#pragma once

void eb_lock(void);
void eb_unlock(void);

/*
 * Looks for new objects now, or, when somebody holds the lock (who may himself be waiting for the dynamic linker, in
 * which we are), as soon as it is given back.
 */
void eb_sweep_soon(void);

/* syscalls.c */
void eb_sweep(void);
