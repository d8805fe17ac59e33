/* Programs: from the segment to code of this process, and one run of them. */
#ifndef EB_PROGRAM_H
#define EB_PROGRAM_H

#include "engine/engine.h"
#include "runtime/segment.h"

#include <time.h>

/* A program as this process has compiled it. */
struct eb_loaded {
	uint32_t id;
	uint32_t needs;	   /* EB_NEEDS_… */
	uint32_t users;	   /* attachments */
	uint64_t compile_ns; /* what compiling it took */
	struct eb_code code;
	char name[EB_NAME];
};

/* A program at a place. */
struct eb_attachment {
	struct eb_loaded *program;
	uint64_t cookie;
	uint64_t address; /* of the probed instruction */
};

/* One run of a program that asks about itself. */
struct eb_hit {
	void *context;
	const struct eb_attachment *attachment;
	void (*skip)(struct eb_hit *hit, uint64_t result); /* bpf_override_return; NULL: not here */
	struct eb_hit *outer;				   /* that it interrupted */
	uint64_t result;
	int skipped;
};

static inline uint64_t eb_clock_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The engine that the settings name, brought in if it is a library. 0, or a negative errno with the reason. */
int eb_program_engine(enum eb_engine *engine, char *error, size_t size);
/*
 * Compiles a program, or finds that it has been. NULL with the reason. A program found before it was compiled elsewhere in its
 * prog arrays is compiled too.
 */
struct eb_loaded *eb_program_load(uint32_t id, enum eb_engine engine, char *error, size_t size);
/* Compiles instructions whose map references hold object ids. */
int eb_program_compile(enum eb_engine engine, const struct bpf_insn *insns, uint32_t count, const char *name,
		       struct eb_code *code, uint32_t *needs, char *error, size_t size);
/* Frees programs and maps of this process that have died. Nobody may be running them. */
void eb_program_collect(void);

/* Runs an attached program with what it needs around it. */
uint64_t eb_program_run(const struct eb_attachment *attachment, void *context,
			void (*skip)(struct eb_hit *hit, uint64_t result), struct eb_hit *hit);

#endif
