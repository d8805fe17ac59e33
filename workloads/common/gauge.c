#include "gauge.h"

#include <time.h>

enum {
	STEPS = 2500,	 /* of each loop: 3 µs or so, short against a round of half a millisecond */
	LOOKS = 300,	 /* at the start, to see each loop undisturbed by interrupts */
	TOLERANCE = 110, /* percent of a calm core's ratio; a busy neighbour makes it 130 to 170 */
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Every addition waits for the one before: one issue slot a cycle, whoever else is there. */
static uint64_t time_chain(void)
{
	uint64_t sum = 1, start = now();

	for (int i = 0; i < STEPS; i++)
		__asm__ volatile("add $1, %0; add $3, %0; add $5, %0; add $7, %0" : "+r"(sum) : : "cc");
	return now() - start;
}

/* Twelve additions that wait for nobody but the turn before: as many a cycle as the core can issue. */
static uint64_t time_broad(void)
{
	uint64_t a = 1, b = 1, c = 1, d = 1, e = 1, f = 1, start = now();

	for (int i = 0; i < STEPS; i++)
		__asm__ volatile("add $1, %0; add $1, %1; add $1, %2; add $1, %3; add $1, %4; add $1, %5\n\t"
				 "add $3, %0; add $3, %1; add $3, %2; add $3, %3; add $3, %4; add $3, %5"
				 : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f)
				 :
				 : "cc");
	return now() - start;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void gauge_start(struct gauge *gauge, uint64_t calm)
{
	*gauge = (struct gauge){ .chain = UINT64_MAX, .broad = UINT64_MAX, .limit = calm };
	for (int i = 0; i < LOOKS; i++) {
		gauge->chain = least(gauge->chain, time_chain());
		gauge->broad = least(gauge->broad, time_broad());
	}
}

uint64_t gauge_ratio(const struct gauge *gauge)
{
	uint64_t seen = gauge->broad * 1000 / gauge->chain;

	return gauge->limit ? least(seen, gauge->limit) : seen;
}

int gauge_calm(struct gauge *gauge)
{
	uint64_t spent = time_broad();

	gauge->broad = least(gauge->broad, spent);
	return spent * 1000 * 100 <= gauge->chain * gauge_ratio(gauge) * TOLERANCE;
}
