/*
 * Memory for generated code: writable first, executable then, never both. Every program has pages of its own, so that making one
 * never takes the right to execute away from another. Internal.
 */
#ifndef EB_TEXT_H
#define EB_TEXT_H

#include <stddef.h>

/* Writable memory of at least that size, near an address if possible; NULL if there is none. */
void *text_allocate(size_t size, const void *near);
/* Makes it executable and no longer writable; 0 or a negative errno. */
int text_protect(void *text, size_t size);
void text_free(void *text, size_t size);

#endif
