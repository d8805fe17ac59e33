/* Timed rounds: the same number of calls again and again, each round with the word of the gauge on whether the core was ours. */
#pragma once

#include "gauge.h"
#include "json.h"

#define MOST_ROUNDS 10000

/* Makes that many calls and returns the nanoseconds they took. */
typedef uint64_t timed_calls(void *own, uint64_t calls);

struct rounds {
	struct gauge core;
	uint64_t made, calm; /* how many, and how many of them had the core to themselves */
	uint64_t spent[MOST_ROUNDS];
	unsigned char was_calm[MOST_ROUNDS];
};

/* Nanoseconds of a clock that nobody sets. */
uint64_t clock_ns(void);
/* Real time, or not; returns the policy in force then ("fifo" or "other"): real time is not for everybody. */
const char *rounds_schedule(int realtime);
/* Makes rounds until `wanted` of them were calm, before and after, or `most` are made. */
void rounds_make(struct rounds *rounds, timed_calls *call, void *own, uint64_t calls, uint64_t wanted, uint64_t most);
/* Fields `core`, `clock`, `rounds` and `calm` of a DONE line. */
void rounds_report(struct json *reply, const struct rounds *rounds);
