/*
 * Whether this CPU has its core to itself. Two virtual CPUs of different machines often are the two hardware threads of one
 * core: while the neighbour computes, our code is a third to two thirds slower, for milliseconds to seconds, and no counter
 * that a guest can read says so. What it can do is measure what the neighbour takes away: issue slots. A loop of independent
 * operations needs all of them; a chain of dependent ones needs few and hardly suffers. The ratio of the two is the gauge;
 * it does not depend on the clock's frequency, and it knows nothing of what is being measured.
 */
#pragma once

#include <stdint.h>

struct gauge {
	uint64_t chain;	   /* the fastest so far, ns: taken for what the chain takes at this frequency */
	uint64_t broad;	   /* the fastest so far, ns */
	uint64_t limit;	   /* permille of the chain that a broad loop may take on a calm core; 0: as `broad` tells */
};

/* Runs both loops some hundred times (about 2 ms); `calm` is the ratio of a calm core in permille, or 0 for "not known". */
void gauge_start(struct gauge *gauge, uint64_t calm);

/* Runs the broad loop once (some microseconds); 1 if the core is ours alone, as far as is known by now. */
int gauge_calm(struct gauge *gauge);

/* The lowest ratio that was seen, in permille: what a later process is told as `calm`. */
uint64_t gauge_ratio(const struct gauge *gauge);
