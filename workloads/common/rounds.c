#include "rounds.h"

#include <sched.h>
#include <time.h>

uint64_t clock_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

const char *rounds_schedule(int realtime)
{
	const struct sched_param priority = { .sched_priority = realtime ? 1 : 0 };

	sched_setscheduler(0, realtime ? SCHED_FIFO : SCHED_OTHER, &priority);
	return sched_getscheduler(0) == SCHED_FIFO ? "fifo" : "other";
}

void rounds_make(struct rounds *rounds, timed_calls *call, void *own, uint64_t calls, uint64_t wanted, uint64_t most)
{
	int before = gauge_calm(&rounds->core);

	rounds->made = rounds->calm = 0;
	while (rounds->made < most && rounds->calm < wanted) {
		uint64_t spent = call(own, calls);
		int after = gauge_calm(&rounds->core), calm = before && after;

		rounds->spent[rounds->made] = spent;
		rounds->was_calm[rounds->made++] = (unsigned char)calm;
		rounds->calm += (uint64_t)calm;
		before = after;
	}
}

void rounds_report(struct json *reply, const struct rounds *rounds)
{
	json_number(reply, "core", gauge_ratio(&rounds->core));
	json_string(reply, "clock", "CLOCK_MONOTONIC_RAW");
	json_open(reply, "rounds", '[');
	for (uint64_t i = 0; i < rounds->made; i++)
		json_number(reply, NULL, rounds->spent[i]);
	json_close(reply, ']');
	json_open(reply, "calm", '[');
	for (uint64_t i = 0; i < rounds->made; i++)
		json_number(reply, NULL, rounds->was_calm[i]);
	json_close(reply, ']');
}
