/*
 * A function to be probed, called as often as the argument says, by as many threads as the second says; a third, "stay", calls
 * another function first, "leave" ends the first thread before the others. Counts two signals.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noinline)) unsigned long work(unsigned a, const char *text, const void *bad)
{
	__asm__ volatile("" : : "r"(text), "r"(bad) : "memory");
	return a * 2ul;
}

__attribute__((noinline)) void stay(void)
{
	__asm__ volatile("nop; nop; nop; nop; nop" : : : "memory");
}

static unsigned calls;
static volatile sig_atomic_t caught[2];

static void on_signal(int signal)
{
	caught[signal == SIGUSR2]++;
}

static void *run(void *unused)
{
	char text[64];

	for (unsigned i = 0; i < calls; i++) {
		snprintf(text, sizeof(text), "call number %u of many, many more", i);
		work(i, text, (const void *)0xdead000000000000);
	}
	return unused;
}

int main(int argc, char **argv)
{
	int threads = argc > 2 ? atoi(argv[2]) : 0;
	pthread_t thread[64];

	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	if (argc > 3 && !strcmp(argv[3], "stay"))
		stay();
	calls = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
	for (int i = 0; i < threads && i < 64; i++)
		pthread_create(&thread[i], NULL, run, NULL);
	if (argc > 3 && !strcmp(argv[3], "leave"))
		pthread_exit(NULL);
	for (int i = 0; i < threads && i < 64; i++)
		pthread_join(thread[i], NULL);
	if (!threads)
		run(NULL);
	if (caught[0] || caught[1])
		printf("signals %d %d\n", caught[0], caught[1]);
	return 0;
}
