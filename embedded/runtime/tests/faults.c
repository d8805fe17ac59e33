/*
 * A target that handles its own faults while programs on `work` read bad addresses: in ordinary threads, with all signals
 * blocked, with handlers put in before and after the agent. Usage: faults [die]
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CALLS 100

static sigjmp_buf back;
static volatile int caught_segv, caught_bus, caught_info;
static char *volatile nowhere = (char *)0xdead000000000000;
static const void *bad[4];

__attribute__((noinline)) unsigned long work(unsigned a, const char *text, const void *address)
{
	__asm__ volatile("" : : "r"(text), "r"(address) : "memory");
	return a * 2ul;
}

static void on_segv(int signal)
{
	(void)signal;
	caught_segv++;
	siglongjmp(back, 1);
}

static void on_bus(int signal, siginfo_t *info, void *context)
{
	(void)context;
	caught_bus += signal == SIGBUS;
	caught_info += info->si_addr != NULL;
	siglongjmp(back, 1);
}

static void *call(void *unused)
{
	for (unsigned i = 0; i < CALLS; i++)
		work(i % 8, "text", bad[i % 4]);
	return unused;
}

static void *call_blocked(void *unused)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	return call(unused);
}

static void in_thread(void *(*function)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, NULL);
	pthread_join(thread, NULL);
}

static void on_user(int signal)
{
	(void)signal;
	call(NULL); /* with SIGSEGV in the mask of this handler */
}

static char *page_behind_the_end(void)
{
	FILE *file = tmpfile();
	char *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);

	fclose(file);
	return at;
}

int main(int argc, char **argv)
{
	struct sigaction bus = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO }, user = { .sa_handler = on_user }, old;
	char *volatile empty = page_behind_the_end();

	bad[0] = nowhere;
	bad[1] = NULL;
	bad[2] = empty;
	bad[3] = (const void *)0xffffffff81000000;
	call(NULL);
	signal(SIGSEGV, on_segv);
	sigaction(SIGBUS, &bus, NULL);
	sigfillset(&user.sa_mask);
	sigaction(SIGUSR1, &user, NULL);
	for (int i = 0; i < 3; i++) {
		if (!sigsetjmp(back, 1))
			*nowhere = 0;
		if (!sigsetjmp(back, 1))
			printf("%c", *empty);
		call(NULL);
	}
	in_thread(call);
	in_thread(call_blocked);
	raise(SIGUSR1);
	sigaction(SIGSEGV, NULL, &old);
	printf("handler is ours: %d, segv %d, bus %d, with address %d\n", old.sa_handler == on_segv, caught_segv, caught_bus,
	       caught_info);
	fflush(stdout);
	if (argc > 1 && !strcmp(argv[1], "die")) {
		signal(SIGSEGV, SIG_DFL);
		*nowhere = 0;
	}
	return 0;
}
