/* The rule as C inside nginx: what an extension costs that nothing keeps from anything. The baseline. */
#include "gate.h"

#include <stdio.h>

static struct gate_rules rules;
static struct gate_counters counters;

static enum gate_opened open_rule(char *const *words, size_t n_words, struct gate_about *about)
{
	(void)words, (void)n_words;
	snprintf(about->engine, sizeof(about->engine), "c");
	snprintf(about->bounded_by, sizeof(about->bounded_by), "nothing");
	return GATE_OPEN;
}

static int set(const struct gate_rules *given)
{
	rules = *given;
	return 0;
}

static int decide(const uint8_t *path, size_t length)
{
	return gate_decide(&counters, &rules, path, length < GATE_PATH ? (uint32_t)length : GATE_PATH);
}

static int count(struct gate_counters *found)
{
	*found = counters;
	return 0;
}

static int trespass(const uint8_t *target, uint8_t *found, char *said, size_t size)
{
	*found = *(const volatile uint8_t *)target;
	snprintf(said, size, "nothing stopped it");
	return 1;
}

const struct gate_engine gate_engine = { open_rule, set, decide, count, trespass };
