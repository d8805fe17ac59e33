/*
 * Receives what programs send through a ring buffer or a perf event array, in a thread of its own, and counts it. With a
 * capture file every event is also written there: its size in four bytes, little-endian, then itself.
 */
#pragma once

#include "object.h"

/* Begins to receive from the map; `capture` may be NULL. */
void events_start(struct object *object, const char *map, const char *capture);

/* Answers `EVENTS {"received", "bytes", "lost"}`; what was sent a moment ago may still be on its way. */
void events_report(void);
