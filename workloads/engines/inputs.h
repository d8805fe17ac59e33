/* What programs find in their memory: the same for all engines. */
#pragma once

#include <stdint.h>

/* Fills `memory` (MEMORY bytes) for a case, and `values` (ENTRIES). */
void inputs_fill(const char *input, uint8_t *memory, uint64_t *values);
/* FNV-1a of MEMORY bytes. */
uint64_t inputs_digest(const uint8_t *memory);
