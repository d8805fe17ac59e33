/* Puts entries into maps before anything is attached. */
#pragma once

#include "object.h"

/*
 * Puts the keys 0 … entries−1 into a map of u32 → u64, each with its key as the value, on every CPU where the map has
 * one value a CPU. Fails in stage "fill" if the map is another kind or does not take them.
 */
void map_fill(struct object *object, const char *map, uint32_t entries);
