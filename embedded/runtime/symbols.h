/* Symbols of an object's file that are not loaded into memory: .symtab, where it has not been stripped. */
#ifndef EB_SYMBOLS_H
#define EB_SYMBOLS_H

#include <stdint.h>

/* The function around `address` (of code in this process) in its file's symbol table; 0: there is none. */
int eb_symbol_around(const void *address, uint64_t *start, uint64_t *end);

#endif
