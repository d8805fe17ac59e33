/*
 * Diverting control: handlers at the entry and the return of functions, at any instruction, and around system calls of
 * the running process. x86-64 Linux. README.md says how it works and what is refused.
 *
 * Handlers run on the thread that hits, with the registers it had. They and all they call must not touch SSE or x87
 * state (compile them -mgeneral-regs-only) and must not throw or longjmp. A signal may interrupt a handler, and a hit
 * in that signal's handler runs. A hooked function that a handler itself calls is not hit again.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The kernel's struct pt_regs. What a handler writes to the general registers, but sp, is what the thread goes on with. */
struct eb_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};

/*
 * At an entry, ip is the hooked address and sp what it was there ([sp] is the return address of a function). At a
 * return, ip is where the function returns to, sp is above the return address, ax the result.
 */
typedef void eb_handler(struct eb_regs *regs, void *user);

struct eb_hook;

/*
 * Hooks the function at `address` in this process, whatever other threads are doing; either handler may be NULL. Several
 * hooks may be on one address: they run in the order they came. An address that is no function's entry can be hooked
 * too (a nop of a USDT probe), without `ret`. Returns NULL with the reason in `error` if it cannot be done safely.
 */
struct eb_hook *eb_hook_function(void *address, eb_handler *entry, eb_handler *ret, void *user, char *error, size_t size);

/*
 * Says beforehand where long branches of the same text lead to at `address` and behind it: bit i is the byte at address + i. Otherwise the
 * whole text is searched for that. Holds for one address at a time; NULL: none.
 */
void eb_hook_hint(const void *address, uint32_t targets);

/*
 * Takes the hook away and restores the text when it was the last one there. 0: no thread is in its handlers or ever
 * will be, what they use may be freed. 1: gone, but a thread was still in a handler after two seconds (or it is a
 * handler that asks): what they use must stay. Functions that have been entered return without a hit.
 */
int eb_unhook(struct eb_hook *hook);

/* From an entry handler: the function is not executed, its caller gets `result`. Its return handlers do not run. */
void eb_skip(struct eb_regs *regs, uint64_t result);

/* Between the two, nothing that this thread does is a hit. Can be nested, also in handlers. */
void eb_hook_suspend(void);
void eb_hook_resume(void);

/*
 * Handlers of this thread that a signal had interrupted will not be finished: a longjmp has left them. Called when that is
 * noticed, at the thread's next hit, before its handlers; so that they can give back what they held. One function, or NULL.
 */
void eb_hook_on_left(void (*left)(void));

/* Hits that ran no handler because they were met in a handler (not in a signal's), or memory was out; all threads. */
uint64_t eb_hook_missed(void);

/* "trampoline" (default) or "gum"; 0 or −errno with the reason. Before the first hook. */
int eb_hook_select(const char *backend, char *error, size_t size);
const char *eb_hook_backend_name(void);

/* In the child of a fork that went past pthread_atfork. */
void eb_hook_after_fork(void);

/* 1: the call is not made and *result (a value or −errno, as the kernel returns it) is its result. */
typedef int eb_syscall_enter(void *user, long nr, uint64_t args[6], int64_t *result);
typedef void eb_syscall_exit(void *user, long nr, const uint64_t args[6], int64_t result);

/*
 * Rewrites the system call instructions of all objects that are loaded, and of those that will be. Either handler may be
 * NULL. clone, clone3, vfork and rt_sigreturn are never handled; a call that does not return has no exit. One set of
 * handlers at a time. 0 or −errno with the reason.
 */
int eb_hook_syscalls(eb_syscall_enter *enter, eb_syscall_exit *exit, void *user, char *error, size_t size);
/* No handler runs any more when it returns 0; 1 as for eb_unhook. */
int eb_unhook_syscalls(void);

struct eb_coverage {
	const char *object;	/* path, "" is the program */
	unsigned found;		/* system call instructions */
	unsigned rewritten;	/* of them: go through the handlers */
	unsigned never;		/* only ever make calls that are never handled */
	unsigned no_room;	/* left alone: no jump fits there safely */
};
/* Of the i-th object looked at, 0 when there is none. */
int eb_syscall_coverage(unsigned i, struct eb_coverage *coverage);
