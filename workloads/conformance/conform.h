/* What conform.c asks of an engine: it runs one small program at a time, on the memory that embedded/engine/tests/machine.h describes. */
#pragma once

#include "engine/tests/machine.h"

/* Finds the engine; returns its name as it says it itself, or NULL and why not. */
const char *conform_start(const char *engine, const char **wrong);
/* As machine_run(), but all 64 bits of the result are there on every engine. */
int conform_run(const struct bpf_insn *insns, uint32_t count, struct image *image, char *error, size_t size);
