/* Stopping threads of injection's target, and letting them go. */
#pragma once

#include "hook/inject_target.h"

#include <sys/types.h>

struct user_regs_struct;

/*
 * Signals that threads must not block: SIGTRAP is for those who run into a patch that is being made, the others are for programs
 * that read a bad address. The agent sees to it in what is preloaded with it, but not in threads that were there before.
 */
#define NEEDED (1ull << (SIGTRAP - 1) | 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1))

long now_ms(void);

/* Waits for a stop of the thread: its status, 0 when there was none by then, -1: it has ended. */
int wait_stop(pid_t tid, long until);

/* Gets or sets (PTRACE_GETREGSET, PTRACE_SETREGSET) the general registers of a stopped thread. */
void registers(pid_t tid, int request, struct user_regs_struct *regs);

/* Stops some thread of the target, target->tid then, where it can do it; or fails. */
void stop_some_thread(struct target *target, struct user_regs_struct *regs);

/*
 * The kernel restarts a call that we interrupted; but some (epoll_wait is one) fail with EINTR instead, though no signal
 * came: those are to be made once more. 1: the registers were changed so.
 */
int try_again(const struct target *target, pid_t tid, struct user_regs_struct *regs, uint64_t mask);

/* Unblocks what is NEEDED in all threads but the one that is stopped. */
void unblock_all(const struct target *target);
