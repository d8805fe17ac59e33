/* Names of system calls, as in the names of tracepoints. */
#ifndef EB_SYSCALL_NAMES_H
#define EB_SYSCALL_NAMES_H

/* NULL, or −1, for those that there are not. */
const char *eb_syscall_name(int number);
int eb_syscall_number(const char *name);

#endif
