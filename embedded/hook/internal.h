/* What the files of this folder share. */
#pragma once

#include "hook/hook.h"
#include "hook/layout.h"


/* Handlers of a site in the order they run; the one with no handler ends the list. Never changed once published. */
struct eb_call {
	eb_handler *handler;
	void *user;
};

/*
 * Some instructions of the text that a jump replaces, or has replaced once, and their copy elsewhere. Patches are kept
 * for ever, on or off: so no thread can be in code that is freed, and the memory is bounded by the number of places that
 * have ever been patched.
 */
struct eb_patch {
	struct eb_patch *next;
	unsigned char *at;
	unsigned char *stub;	/* where the jump goes */
	unsigned char *body;	/* in the arena: displaced instructions, then a jump to what follows them */
	unsigned char size;	/* of the jump */
	unsigned char displaced;	/* bytes of whole instructions, at least size */
	unsigned char on;
	unsigned char starts;	/* number of displaced instructions */
	unsigned char from[8], to[8];	/* their offsets from at, and from body */
	unsigned char original[16], jump[8];
};

/* A hooked address. */
struct eb_site {
	struct eb_call *entry, *ret;
	void *address;
	void *resume; /* in the arena: takes the frame away, then falls into the patch's body */
	void *body;
	void *path;
	/* the paths know what is above, C only what is below */
	struct eb_patch patch, hop; /* hop: of the padding that a short jump reaches, when patch is one */
	const char *no_return; /* why it can have no return handlers, NULL: it can */
};

_Static_assert(sizeof(struct eb_regs) == REGS_SIZE, "layout.h");
_Static_assert(offsetof(struct eb_regs, ax) == REGS_AX && offsetof(struct eb_regs, ss) == REGS_SS, "layout.h");
_Static_assert(offsetof(struct eb_regs, ip) == REGS_IP && offsetof(struct eb_regs, bx) == REGS_BX, "layout.h");
_Static_assert(offsetof(struct eb_site, ret) == SITE_RET && offsetof(struct eb_site, entry) == SITE_ENTRY, "layout.h");
_Static_assert(offsetof(struct eb_site, resume) == SITE_RESUME && offsetof(struct eb_site, path) == SITE_PATH, "layout.h");
_Static_assert(offsetof(struct eb_site, body) == SITE_BODY && offsetof(struct eb_site, address) == SITE_ADDRESS, "layout.h");
_Static_assert(offsetof(struct eb_call, user) == CALL_USER && sizeof(struct eb_call) == CALL_SIZE, "layout.h");

/* path.S */
extern const char eb_entry_path[], eb_probe_path[], eb_return_pad[], eb_skipped[];

/* Says in `error` why not, and is -1. */
int eb_refuse(char *error, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
