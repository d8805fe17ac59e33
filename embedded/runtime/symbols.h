/* Symbols of an object's file that are not loaded into memory: .symtab, where it has not been stripped. */
#ifndef EB_SYMBOLS_H
#define EB_SYMBOLS_H

#include <stdint.h>

/*
 * The function around `address` (of code in this process) in its file's symbol table; 0: there is none. Files stay mapped
 * until eb_symbols_forget, or until an object comes or goes. For one thread at a time.
 */
int eb_symbol_around(const void *address, uint64_t *start, uint64_t *end);
void eb_symbols_forget(void);

#endif
