/* Makes system calls, in a child of fork and in threads too, and says what it saw. Usage: caller CALLS */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

__attribute__((noinline)) int answer(int question)
{
	__asm__ volatile("" : "+r"(question));
	return question * 31 + 1000000;
}

static int calls;

static void *call(void *unused)
{
	for (int i = 0; i < calls; i++)
		if (getpgid(0) < 0)
			abort();
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t threads[4];
	pid_t child, group;

	calls = argc > 1 ? atoi(argv[1]) : 1;
	call(NULL);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, call, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	child = fork();
	if (!child) {
		call(NULL);
		return 0;
	}
	waitpid(child, NULL, 0);
	printf("group is ours: %d\n", getpgrp() == getpgid(0));
	errno = 0;
	printf("priority %d\n", 20 - getpriority(7, 7));
	group = getpgid(0x3fffffff);
	printf("no such process: %d errno %d\n", group, errno);
	printf("answer %d\n", answer(1));
	return 0;
}
