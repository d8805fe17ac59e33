/* Processes and futexes, by plain system calls: usable from a hook and in a child after fork. */
#ifndef EB_PROCESS_H
#define EB_PROCESS_H

#include <stdint.h>

/* A system call without libc's syscall(), which the shim replaces; −errno on failure. */
long eb_system_call(long nr, long a, long b, long c, long d, long e, long f);

/*
 * When a process started, in ticks since boot; 0 if there is no such process or it cannot be seen. If `image` is not NULL it gets a
 * number that an exec changes; 0 if that cannot be seen.
 */
uint64_t eb_process_start(uint32_t pid, uint64_t *image);
/* Whether the process that started then, and has not executed another program since, still lives (0: any). */
int eb_process_is(uint32_t pid, uint64_t start, uint64_t image);
/* Whether the first thread of this process has ended, and all others but the one that asks. */
int eb_program_has_ended(void);
/* CPUs that this system may ever have, as libbpf counts them. */
uint32_t eb_possible_cpus(void);

/* Sleeps while *word is `value`; milliseconds < 0: for ever. 0 or a negative errno. */
int eb_futex_wait(uint32_t *word, uint32_t value, int milliseconds);
void eb_futex_wake(uint32_t *word);

uint64_t eb_milliseconds(void);

#endif
