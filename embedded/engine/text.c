#include "text.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096u
#define REACH (1ll << 30) /* half of what a near call spans: the rest is for the distance within the libraries called */

static size_t whole_pages(size_t size)
{
	return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static int is_near(const void *a, const void *b)
{
	int64_t distance = (const char *)a - (const char *)b;

	return distance < REACH && distance > -REACH;
}

static void *map(void *hint, size_t size, int flags)
{
	void *text = mmap(hint, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return text == MAP_FAILED ? NULL : text;
}

/* Tries places on both sides, further and further away. */
static void *map_near(const void *near, size_t size)
{
	uintptr_t centre = (uintptr_t)near & ~(uintptr_t)(PAGE - 1);

	for (uintptr_t step = 1u << 20; step < REACH; step *= 2) {
		void *text = centre > step ? map((void *)(centre - step), size, MAP_FIXED_NOREPLACE) : NULL;

		if (!text)
			text = map((void *)(centre + step), size, MAP_FIXED_NOREPLACE);
		if (text && is_near(text, near))
			return text;
		if (text)
			munmap(text, size); /* a kernel that does not know the flag takes the address for a hint */
	}
	return NULL;
}

void *text_allocate(size_t size, const void *near)
{
	void *text = map(NULL, whole_pages(size), 0), *nearer;

	if (!text || !near || is_near(text, near))
		return text;
	nearer = map_near(near, whole_pages(size));
	if (!nearer)
		return text;
	munmap(text, whole_pages(size));
	return nearer;
}

int text_protect(void *text, size_t size)
{
	return mprotect(text, whole_pages(size), PROT_READ | PROT_EXEC) ? -errno : 0;
}

void text_free(void *text, size_t size)
{
	munmap(text, whole_pages(size));
}
