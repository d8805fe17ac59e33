/*
 * Protection keys of x86: a key on pages, and a register of each thread (PKRU) that says what it may do with pages of each key. A test
 * build has them emulated (tests/pkey_emulated.c), for machines that have none: the same calls, made of mprotect.
 */
#ifndef EB_PKEY_H
#define EB_PKEY_H

#include <stddef.h>
#include <stdint.h>

#ifdef EB_PKEY_EMULATED

int eb_pkey_alloc(void);
int eb_pkey_protect(void *from, size_t size, int key);
uint32_t eb_pkru(void);
void eb_set_pkru(uint32_t value);

#else

#include <errno.h>
#include <sys/mman.h>

/* A key whose pages this thread may read and not write. A negative errno: there is none. */
static inline int eb_pkey_alloc(void)
{
	int key = pkey_alloc(0, PKEY_DISABLE_WRITE);

	return key < 0 ? -errno : key;
}

static inline int eb_pkey_protect(void *from, size_t size, int key)
{
	return pkey_mprotect(from, size, PROT_READ | PROT_WRITE, key) ? -errno : 0;
}

/* Only where there is a key: the instructions do not exist otherwise. */
static inline uint32_t eb_pkru(void)
{
	uint32_t value;

	__asm__ volatile("rdpkru" : "=a"(value) : "c"(0) : "rdx");
	return value;
}

/* Memory accesses stay on their side of it, for the compiler and for the processor. */
static inline void eb_set_pkru(uint32_t value)
{
	__asm__ volatile("wrpkru" : : "a"(value), "c"(0), "d"(0) : "memory");
}

#endif

#endif
