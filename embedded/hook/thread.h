/* Threads that have hit something: their guards, and when none of them is in a handler. */
#pragma once

#include "hook/internal.h"

struct eb_thread {
	/*
	 * GUARD_FREE; GUARD_SUSPENDED; or the registers of the hit whose handler runs (the innermost, when signals
	 * interrupt handlers). Written by its thread only.
	 */
	uint64_t guard;
	uint64_t before_suspension;
	uint64_t suspensions;
	int32_t tid, pid; /* tid 0: nobody's */
} __attribute__((aligned(64)));

extern __thread struct eb_thread *eb_self __attribute__((tls_model("initial-exec")));

/* This thread, made known; NULL when memory is out. Callable from anywhere. */
struct eb_thread *eb_thread_here(void);

/*
 * This thread, whose guard is taken, hits with `regs`. 0: it is its handler's doing, run none. Otherwise run them: the
 * value that the guard gets back after that.
 */
uint64_t eb_nested(struct eb_thread *self, struct eb_regs *regs);

/* Handlers may be in the object that this address is code of: calls from there may be a handler's. */
void eb_handlers_at(const void *handler);

/*
 * After unpublishing something that only guarded threads use: waits until no other thread can be using it. 0, or 1 if
 * a thread still may after two seconds or this thread itself is in a handler.
 */
int eb_quiesce(void);

/* All threads of the process see text as it is now, and memory that was written before. */
void eb_synchronise(void);

extern uint64_t eb_missed;
