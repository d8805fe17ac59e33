/* How much the programs work on. The kernel's verifier walks through every turn of every loop: it sets the limits. */
#pragma once

#define MEMORY 16384
#define SECOND 8192 /* where the second string, or the copy, begins */
#define RESULT_AT (MEMORY - 8)

#define LOGARITHMS 64
#define COPIED 4096
#define COMPARED 1024
#define DIFFERENT_AT 400
#define PRIMES_BELOW 300
#define SWITCHED 64
#define MIXED 256
#define ENTRIES 256

/* What the map `values` holds. */
#define VALUE(key) ((u64)(key) * 2654435761u + 7)
