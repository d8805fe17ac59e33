/*
 * What lies between the module and an engine. An engine is a shared library with one symbol, `gate_engine`; the module loads the
 * one that the configuration names, in the worker. The module is the same file for all of them.
 */
#pragma once

#include "rule.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* The file of rules, mapped by the module. Whoever changes it makes the generation odd, changes it, and makes it even. */
struct gate_file {
	uint64_t generation;
	struct gate_rules rules;
};

enum gate_opened {
	GATE_OPEN,
	GATE_UNSUPPORTED, /* cannot be had on this machine, by this user */
	GATE_FAILED,
};

/* What an engine says of itself. */
struct gate_about {
	char engine[32];	/* what runs the rule, as it says itself */
	char bounded_by[160];	/* what keeps the rule's hands off nginx's memory, in plain words */
	uint64_t compile_ns;	/* reading, verifying and compiling; 0: nothing of the kind is done */
	uint64_t code_size;	/* bytes of machine code; 0: not known */
	char wrong[1024];	/* why it was not opened, or did not answer */
};

struct gate_engine {
	/* Called once, before anything else. `words` are the engine's own arguments. */
	enum gate_opened (*open)(char *const *words, size_t n_words, struct gate_about *about);
	/* New rules; they have been checked. 0, or -1. */
	int (*set)(const struct gate_rules *rules);
	/* 1: may pass; 0: may not; -1: the engine did not answer. */
	int (*decide)(const uint8_t *path, size_t length);
	int (*count)(struct gate_counters *counters);
	/*
	 * Runs a bad rule that tries to read the byte at `target`, which is nginx's. Returns 1 and the byte if it got one from outside
	 * of its own memory, else 0; `said` says what stopped it.
	 */
	int (*trespass)(const uint8_t *target, uint8_t *found, char *said, size_t size);
};

#define GATE_ENGINE "gate_engine"
extern const struct gate_engine gate_engine;

/* Most of an engine with memory of its own: shows it the path. Returns the bytes shown. */
static inline uint32_t gate_show(struct gate_request *request, const uint8_t *path, size_t length)
{
	uint32_t shown = length < GATE_PATH ? (uint32_t)length : GATE_PATH;

	request->length = shown;
	__builtin_memcpy(request->path, path, shown);
	return shown;
}

static inline uint64_t gate_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
