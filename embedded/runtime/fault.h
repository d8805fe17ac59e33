/* Access to addresses that may not be there: -EFAULT instead of a crash. */
#ifndef EB_FAULT_H
#define EB_FAULT_H

#include <stddef.h>

/*
 * Catches SIGSEGV and SIGBUS in this process, beside the application: its own handlers are kept and called for faults of its
 * own (see fault.c). Without it, eb_fetch and eb_put ask the system, which is slow. 0 or −errno.
 */
int eb_fault_install(void);
/* Looks whether somebody has replaced the handler by a plain system call, and takes it back. */
void eb_fault_check(void);

/* 0, or −EFAULT with `to` full of zeroes. */
long eb_fetch(void *to, const void *from, size_t size);
/* Bytes copied with the final 0, which is always there; −EFAULT, then `to` is full of zeroes. */
long eb_fetch_string(char *to, const char *from, size_t size);
/* 0 or −EFAULT; a part may have been written. */
long eb_put(void *to, const void *from, size_t size);

/* Calls function(argument) with vector registers saved: for a hit that must call libc. */
void eb_with_state_saved(void (*function)(void *), void *argument);

#endif
