/* One call that moved plaintext, as the programs send it and as the harness reads it from a capture. Little-endian. */
#pragma once

#define MOST_DATA 16384 /* what one record of TLS holds, and so what nginx writes at once */

enum { FROM_CLIENT, TO_CLIENT };

struct event {
	unsigned int pid, thread;
	unsigned int direction;
	unsigned int length; /* of the data; what the call moved, cut at MOST_DATA */
	char data[MOST_DATA];
};

#define HEADER 16
