/* What the programs of the syscount experiment keep for each system call, and how many numbers there are. */
#pragma once

#define MOST_CALLS 512 /* above the highest number of a call */

struct call_total {
	unsigned long long calls;
	unsigned long long ns; /* from entry to exit, as far as the entry was seen */
};
