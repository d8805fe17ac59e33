/*
 * The counters of loaded programs. Program P counts in the global variable `count_P` (struct count in bpf_core.h),
 * which lies in the map that libbpf makes of .bss; its place there comes from the object's own BTF. Read and written
 * with the ordinary map calls and not through mmap, so that any runtime that has arrays will do.
 */
#pragma once

#include "object.h"

/* Sets all counters to 0. Nothing must be hitting a probe meanwhile. */
void counters_reset(struct object *object);
/* Answers `COUNTERS {"hits": {program: n, …}, "inner": {program: n, …}}` with the loaded programs. */
void counters_report(struct object *object);
