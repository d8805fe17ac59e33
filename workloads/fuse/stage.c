/*
 * Prepares a process of the fuse experiment, says so, waits for the word `go`, and becomes the program that it is given. Variables
 * LAUNCH_NAME become NAME: what is to be preloaded into that program must not be preloaded into this one.
 *
 *   --tmpfs DIRECTORY  puts a file system there, in which reading changes no times, with the directories `backing` and `mount`
 *   --obey             gives up the right to read what permissions forbid
 *   --mounts-of PID    sees the file systems that process PID sees
 */
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "LAUNCH_"

extern char **environ;

static void see_mounts_of(uint64_t pid)
{
	char path[64], here[4096];
	int file;

	snprintf(path, sizeof(path), "/proc/%lu/ns/mnt", pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (!getcwd(here, sizeof(here)) || file < 0 || setns(file, CLONE_NEWNS) || chdir(here))
		fail_options("--mounts-of %lu: %s", pid, strerror(errno));
	close(file);
}

/* Root's rights are the bounding set's when a program is executed. */
static void give_up_rights(void)
{
	if (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) || prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH))
		fail_options("--obey: %s", strerror(errno));
}

static void make_room(const char *path)
{
	int directory;

	if (mount("fuse", path, "tmpfs", MS_NOATIME | MS_NODEV | MS_NOSUID, "mode=0755"))
		fail_options("--tmpfs %s: %s", path, strerror(errno));
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 || mkdirat(directory, "backing", 0755) || mkdirat(directory, "mount", 0755))
		fail_options("--tmpfs %s: %s", path, strerror(errno));
	close(directory);
}

static void take_option(int option)
{
	if (option == 't') {
		make_room(optarg);
	} else if (option == 'o') {
		give_up_rights();
	} else if (option == 'm') {
		see_mounts_of(number_option("--mounts-of", optarg));
	} else {
		fail_options("usage: stage [--tmpfs DIRECTORY] [--obey] [--mounts-of PID] PROGRAM [ARGUMENT…]");
	}
}

/* No byte more than the line: what follows is for the program. */
static int wait_for_go(void)
{
	char line[4] = "";
	size_t length = 0;

	while (length < 3 && read(STDIN_FILENO, line + length, 1) == 1)
		length++;
	return !strcmp(line, "go\n");
}

static void take_variables(void)
{
	char **kept = environ;

	/* in place: a name only becomes shorter */
	for (char **each = environ; *each; each++, kept++)
		*kept = strncmp(*each, PREFIX, strlen(PREFIX)) ? *each : *each + strlen(PREFIX);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tmpfs", required_argument, NULL, 't' },
		{ "obey", no_argument, NULL, 'o' },
		{ "mounts-of", required_argument, NULL, 'm' },
		{},
	};
	struct json staged;
	int option;

	protocol_start();
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1)
		take_option(option);
	if (optind == argc)
		take_option('?');
	staged = reply_begin("STAGED");
	json_number(&staged, "pid", (uint64_t)getpid());
	reply_end(&staged);
	if (!wait_for_go())
		return 0;
	take_variables();
	execv(argv[optind], argv + optind);
	perror(argv[optind]);
	return 127;
}
