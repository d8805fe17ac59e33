#include "thunks.h"

#include "text.h"

#include <string.h>

#define THUNK 32 /* bytes from one to the next; 23 are used */

/* movabs $callback, %r9; movabs $run, %rax; jmp *%rax: the sixth argument is added, the others stay where they are. */
static void write_thunk(uint8_t *at, const struct callback *callback, callback_runner *run)
{
	static const uint8_t code[] = { 0x49, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0 };

	memset(at, 0xcc, THUNK);
	memcpy(at, code, sizeof(code));
	memcpy(at + 2, &callback, sizeof(callback));
	memcpy(at + 12, &run, sizeof(run));
}

void *make_thunks(struct callback *callbacks, uint32_t count, callback_runner *run)
{
	uint8_t *text = text_allocate((size_t)count * THUNK, NULL);

	if (!text)
		return NULL;
	for (uint32_t i = 0; i < count; i++) {
		callbacks[i].thunk = text + (size_t)i * THUNK;
		write_thunk(text + (size_t)i * THUNK, &callbacks[i], run);
	}
	if (text_protect(text, (size_t)count * THUNK)) {
		text_free(text, (size_t)count * THUNK);
		return NULL;
	}
	return text;
}

void free_thunks(void *thunks, uint32_t count)
{
	text_free(thunks, (size_t)count * THUNK);
}
