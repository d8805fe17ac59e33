/* Writing to text that other threads may be executing. */
#pragma once

#include "hook/internal.h"

/*
 * Writes to memory that is mapped readable and executable, and stays so: no page is ever writable and executable, or
 * not executable for a moment. 0 or −errno.
 */
int eb_text_write(void *at, const void *bytes, size_t size);

/* Makes the patch known, for ever: from now on eb_text_elsewhere finds it. */
void eb_text_add(struct eb_patch *patch);

/* Goes through the patches that are in the text. */
void eb_text_each(void (*visit)(const struct eb_patch *patch, void *data), void *data);

/* The patch in the text that covers some of the bytes, other than `but`. */
struct eb_patch *eb_text_overlapping(const unsigned char *at, size_t size, const struct eb_patch *but);

/*
 * Copies text as it would be without patches. Returns `at` itself when nothing near is patched, and copies nothing then.
 */
const unsigned char *eb_text_pristine(const unsigned char *at, size_t size, unsigned char *copy);

/* Whether these are the bytes where the patch goes; not, where nothing is mapped any more. */
int eb_text_holds(const struct eb_patch *patch, const unsigned char *bytes);

/* Puts the patch's jump into the text, or the original bytes back. 0 or -1 with the reason, and nothing changed. */
int eb_text_switch(struct eb_patch *patch, int on, char *error, size_t size);

/* Where a thread goes on that has run into a breakpoint at `at`; NULL if it is none of ours. Any context. */
unsigned char *eb_text_elsewhere(unsigned char *at);
