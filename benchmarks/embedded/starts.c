/*
 * How long processes take from their start to their end. Usage: starts TIMES PRELOAD SEGMENT PROGRAM…: starts it so often without and with
 * that library preloaded, in turn, and prints a line "bare ns ns" each time.
 */
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t start(char *const argv[], char *const env[])
{
	uint64_t begun = now();
	int status;
	pid_t pid;

	if (posix_spawn(&pid, argv[0], NULL, NULL, argv, env) || waitpid(pid, &status, 0) < 0 || status)
		exit(1);
	return now() - begun;
}

int main(int argc, char **argv)
{
	char preload[4096], segment[256];
	char *bare[] = { "LANG=C", NULL }, *with[] = { "LANG=C", preload, segment, NULL };

	if (argc < 5)
		return 2;
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", argv[2]);
	snprintf(segment, sizeof(segment), "EMBEDDED_SEGMENT=%s", argv[3]);
	for (int i = atoi(argv[1]); i > 0; i--) {
		uint64_t plain = start(argv + 4, bare), probed = start(argv + 4, with);

		printf("start %lu %lu\n", plain, probed);
	}
	return 0;
}
