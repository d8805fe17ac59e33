/*
 * Protection keys for a machine that has none, to test what uses them: each thread has a register of its own as there, and while any of them
 * may write, the pages may be written to, by all threads. Slower by orders of magnitude: nobody measures this.
 */
#include "runtime/pkey.h"
#include "common/common.h"
#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define KEY 5
#define CLOSED 0x55555554u /* of a new thread: no access by any key but 0 */
#define WRITE_DISABLED (2u << (2 * KEY))
#define ACCESS_DISABLED (1u << (2 * KEY))
#define MOST 64

static struct area {
	void *from;
	size_t size;
} areas[MOST];
static unsigned n_areas, writers;
static unsigned long openings;
static int lock;
static __thread uint32_t pkru __attribute__((tls_model("initial-exec"))) = CLOSED;

static int may_write(uint32_t value)
{
	return !(value & (WRITE_DISABLED | ACCESS_DISABLED));
}

static void enter(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		eb_pause();
}

static void leave(void)
{
	eb_store(&lock, 0);
}

static int switch_areas(int writable)
{
	int error = 0;

	for (unsigned i = 0; i < n_areas; i++)
		if (mprotect(areas[i].from, areas[i].size, writable ? PROT_READ | PROT_WRITE : PROT_READ))
			error = -errno;
	return error;
}

int eb_pkey_alloc(void)
{
	pkru = CLOSED & ~ACCESS_DISABLED;
	pkru |= WRITE_DISABLED;
	return getenv("EMBEDDED_EMULATED_NO_KEY") ? -ENOSPC : KEY;
}

int eb_pkey_protect(void *from, size_t size, int key)
{
	int error;

	if (!key)
		return mprotect(from, size, PROT_READ | PROT_WRITE) ? -errno : 0;
	if (key != KEY || n_areas == MOST)
		return -EINVAL;
	enter();
	areas[n_areas++] = (struct area){ from, size };
	error = getenv("EMBEDDED_EMULATED_USELESS_KEY") ? 0 : switch_areas(writers > 0);
	leave();
	return error;
}

uint32_t eb_pkru(void)
{
	return pkru;
}

void eb_set_pkru(uint32_t value)
{
	int before = may_write(pkru), now = may_write(value);

	pkru = value;
	if (before == now)
		return;
	enter();
	openings += (unsigned long)now;
	writers += now ? 1u : -1u;
	if (writers <= 1)
		switch_areas(writers > 0);
	leave();
}

__attribute__((destructor)) static void report(void)
{
	eb_log_info("emulated protection: opened %lu times", openings);
}
