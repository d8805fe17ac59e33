/* System call instructions and the jumps that replace them. */
#pragma once

#include "hook/hook.h"
#include "hook/internal.h"
#include "hook/module.h"

/* One system call instruction that has been replaced; kept for ever, as patches are. */
struct eb_gate {
	void *next;	/* what is executed after the call: behind the instruction, or its copy */
	void *raw;	/* makes the call with nothing around it and goes on there */
	void *address;	/* of the instruction */
	const void *path;
	/* the path knows what is above */
	struct eb_patch patch, hop; /* hop: of the padding that a short jump reaches, when patch is one */
	struct eb_gate *next_gate;
};

_Static_assert(offsetof(struct eb_gate, next) == GATE_NEXT && offsetof(struct eb_gate, raw) == GATE_RAW, "layout.h");
_Static_assert(offsetof(struct eb_gate, address) == GATE_ADDRESS && offsetof(struct eb_gate, path) == GATE_PATH, "layout.h");

struct eb_syscalls {
	eb_syscall_enter *enter;
	eb_syscall_exit *exit;
	void *user;
};
_Static_assert(offsetof(struct eb_syscalls, exit) == SYSCALLS_EXIT && offsetof(struct eb_syscalls, user) == SYSCALLS_USER,
	       "layout.h");

/* gate.S */
extern const char eb_gate_path[];
extern struct eb_syscalls *eb_syscalls; /* the handlers, or NULL */

/*
 * Makes a gate for the instruction at `at` and opens it: by a short jump to padding between functions nearby, or else by
 * moving the instructions around it. 0 when neither can be done.
 */
int eb_gate_make(const struct eb_module *module, const struct eb_extent *function, unsigned char *at);

/* Puts all gates' jumps into the text, or the instructions back. */
void eb_gates_switch(int on);
