/* One answer of HTTP/1.1 as it comes in, in pieces: only what a file server with Content-Length says is understood. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MOST_HEADER 4096

enum answer_state {
	ANSWER_GOES_ON,
	ANSWER_DONE,	   /* the whole of it is here, and nothing more */
	ANSWER_STATUS,	   /* its status is not 200 */
	ANSWER_UNREADABLE, /* not understood, of another length than expected, or followed by something */
};

struct answer {
	char header[MOST_HEADER + 1];
	size_t used;   /* of the header */
	int in_body;
	uint64_t left; /* of the body */
};

/* Begins a new answer. */
void answer_begin(struct answer *answer);
/* Takes what has come in; the body must have `body` bytes. Not to be called again once it has said anything but GOES_ON. */
enum answer_state answer_take(struct answer *answer, const char *data, size_t size, uint64_t body);
