/*
 * Loads a library, calls its function as often as said, unloads it, and does the same with another one, which then mostly lies
 * where the first one was. Says so, waits for a line, and calls the second one's function again. The library's constructor calls
 * the function, too. Usage: later LIBRARY OTHER CALLS
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef LIBRARY

__attribute__((noinline)) unsigned long work(unsigned a)
{
	__asm__ volatile("" : "+r"(a));
	return a * 3ul + 1;
}

__attribute__((noinline)) void stay(void)
{
	__asm__ volatile("nop; nop; nop; nop; nop" : : : "memory");
}

__attribute__((constructor)) static void begin(void)
{
	if (work(7) != 22)
		abort();
}

#else

typedef unsigned long function(unsigned);

static function *load(const char *library, void **handle)
{
	*handle = dlopen(library, RTLD_NOW);
	return *handle ? (function *)dlsym(*handle, "work") : NULL;
}

static void call(function *work, unsigned calls)
{
	for (unsigned i = 0; i < calls; i++)
		if (!work || work(i) != i * 3ul + 1)
			exit(1);
}

int main(int argc, char **argv)
{
	unsigned calls = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
	void *first, *second;
	function *work = load(argv[1], &first), *other;
	char line[16];

	call(work, calls);
	if (dlclose(first))
		return 2;
	other = load(argv[2], &second);
	call(other, calls);
	puts(other == work ? "SAME" : "ANOTHER");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 3;
	call(other, calls);
	return 0;
}

#endif
