/*
 * Says when it was (CLOCK_MONOTONIC, as programs' clocks), and becomes the program that it is given. Variables LAUNCH_NAME become NAME:
 * what is to be preloaded into that program must not be preloaded into this one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PREFIX "LAUNCH_"

extern char **environ;

static void take_variables(void)
{
	char **kept = environ;

	/* in place: a name only becomes shorter */
	for (char **each = environ; *each; each++, kept++)
		*kept = strncmp(*each, PREFIX, strlen(PREFIX)) ? *each : *each + strlen(PREFIX);
}

int main(int argc, char **argv)
{
	struct timespec time;
	char line[80];
	int length;

	if (argc < 2) {
		fprintf(stderr, "usage: launch PROGRAM [ARGUMENT…]\n");
		return 2;
	}
	take_variables();
	clock_gettime(CLOCK_MONOTONIC, &time);
	length = snprintf(line, sizeof(line), "LAUNCHED {\"at_ns\": %lld}\n", time.tv_sec * 1000000000ll + time.tv_nsec);
	if (write(1, line, (size_t)length) != length)
		return 4;
	execv(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
