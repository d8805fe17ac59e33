/*
 * A program compiled by an engine of the embedded runtime that is linked in. Its maps are plain arrays, with the two functions that
 * programs call on them; the engine may put a look-up into the code, as it does in the runtime.
 */
#pragma once

#include "engine.h"
#include "sizes.h"

#include "engine/engine.h"

/* What the maps `memory` and `values` hold. */
extern uint8_t embedded_memory[MEMORY];
extern uint64_t embedded_values[ENTRIES];

/* Finds an engine by name, one of a library of its own (EMBEDDED_LLVM) too; returns NULL, or what is wrong. */
const char *embedded_choose(const char *name, enum eb_engine *engine);
/* Reads the program from an object and compiles it; returns NULL, or what is wrong. */
const char *embedded_load(const char *path, const char *name, enum eb_engine engine, struct eb_code *code, struct loaded *loaded);
