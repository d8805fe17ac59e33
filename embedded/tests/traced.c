/* What the tools of tools.bpf.c look at. Says READY, waits for a line, does a bit of everything, and waits for another. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((noinline, visibility("default")))

EXPORT void takes_long(void)
{
	usleep(1200);
	__asm__ volatile("" ::: "memory");
}

EXPORT long takes_number(long n)
{
	__asm__ volatile("" : "+r"(n));
	return n * 1000003;
}

static void open_files(void)
{
	static const char *const names[] = { "/dev/null", "/etc/passwd", "/nowhere/at/all", "/proc/self/comm" };

	for (int round = 0; round < 5; round++)
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
			int fd = open(names[i], i == 0 ? O_WRONLY : O_RDONLY);

			if (fd >= 0)
				close(fd);
		}
}

static void ask_about_files(void)
{
	struct stat status;

	stat("/sys", &status);
	stat("/nowhere", &status);
	lstat("/dev/stdin", &status);
}

static void *allocate(void *unused)
{
	void *blocks[20];

	for (int i = 0; i < 20; i++)
		blocks[i] = malloc((size_t)(50000 + i));
	for (int i = 0; i < 15; i++)
		free(blocks[i]);
	return unused;
}

static void work(void)
{
	pthread_t threads[2];

	open_files();
	ask_about_files();
	kill(getpid(), 0);
	kill(getpid(), SIGUSR1);
	kill(1 << 22, SIGUSR1);
	mount("a source", "/nowhere", "tmpfs", MS_NOSUID, "");
	for (int i = 0; i < 100; i++) {
		syscall(SYS_getppid);
		syscall(SYS_getpgid, i % 4 ? 0 : 1 << 22);
	}
	for (int i = 0; i < 7; i++)
		sched_yield();
	for (int i = 0; i < 10; i++)
		takes_long();
	for (int i = 1; i <= 50; i++)
		takes_number(i);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, allocate, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	allocate(NULL);
}

int main(void)
{
	char line[16];

	signal(SIGUSR1, SIG_IGN);
	puts("READY");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	work();
	puts("DONE");
	fflush(stdout);
	return !fgets(line, sizeof(line), stdin);
}
