/*
 * `sweep LIBRARY`: hooks every function that the library exports, all at once, and works with some of them; prints
 * how many could be hooked, and for each that could not why.
 */
#include "sweeping.h"

#include <locale.h>
#include <pthread.h>
#include <time.h>

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void *in_thread(void *text)
{
	return strdup(text);
}

static void work(void)
{
	int numbers[100];
	char text[200], *copy;
	pthread_t thread;
	time_t day = 86400;
	struct tm tm;

	for (int i = 0; i < 100; i++)
		numbers[i] = (i * 37) % 100;
	qsort(numbers, 100, sizeof(int), compare);
	for (int i = 0; i < 100; i++)
		CHECK_EQUAL(numbers[i], i);
	CHECK_EQUAL(snprintf(text, sizeof(text), "%d %s %.3f %Lg", 42, "forty-two", 1.5, 2.25L), 23);
	CHECK(!strcmp(text, "42 forty-two 1.500 2.25"));
	CHECK(strtod("1e3", NULL) == 1000.0);
	CHECK(!pthread_create(&thread, NULL, in_thread, text));
	CHECK(!pthread_join(thread, (void **)&copy));
	CHECK(!strcmp(copy, text));
	free(copy);
	CHECK(gmtime_r(&day, &tm) && tm.tm_mday == 2);
	CHECK_EQUAL(system("exit 3"), 3 << 8);
	CHECK(setlocale(LC_ALL, "C"));
}

int main(int argc, char **argv)
{
	struct link_map *library;
	void *handle;

	CHECK(argc == 2);
	refusals = stdout;
	handle = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
	if (!handle)
		return puts("absent"), 77;
	CHECK(!dlinfo(handle, RTLD_DI_LINKMAP, &library));
	hook_all(library, handle);
	work();
	for (unsigned i = 0; i < functions; i++)
		if (hooks[i])
			CHECK_EQUAL(eb_unhook(hooks[i]), 0);
	work();
	printf("total %u hooked %u with_return %u entries %lu returns %lu missed %lu\n", functions, hooked, returns,
	       counts.entries, counts.returns, (unsigned long)eb_hook_missed());
	return 0;
}
