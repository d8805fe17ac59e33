/*
 * A file system with an honest, slow flush, and a power switch: see durable.h and workloads/README.md. It is told what to do
 * over the line protocol of the other workloads.
 */
#include "durable.h"
#include "operations.h"
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct flushfs {
	const char *live, *durable, *mount;
	uint64_t latency;
	struct fuse *fuse;
	pthread_t loop;
};

static int open_directory(const char *option, const char *path)
{
	int directory = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (directory < 0)
		fail_options("%s %s: %s", option, path ? path : "", path ? strerror(errno) : "not given");
	return directory;
}

static struct flushfs parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "live", required_argument, NULL, 'l' },
		{ "durable", required_argument, NULL, 'd' },
		{ "mount", required_argument, NULL, 'm' },
		{ "latency", required_argument, NULL, 'n' },
		{},
	};
	struct flushfs flushfs = {};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'l':
			flushfs.live = optarg;
			break;
		case 'd':
			flushfs.durable = optarg;
			break;
		case 'm':
			flushfs.mount = optarg;
			break;
		case 'n':
			flushfs.latency = number_option("--latency", optarg);
			break;
		default:
			fail_options("usage: flushfs --live DIRECTORY --durable DIRECTORY --mount DIRECTORY [--latency NANOSECONDS]");
		}
	if (optind != argc || !flushfs.mount)
		fail_options("usage: flushfs --live DIRECTORY --durable DIRECTORY --mount DIRECTORY [--latency NANOSECONDS]");
	return flushfs;
}

/* The one that is mounted; unmounted however the program ends, but by SIGKILL. */
static struct flushfs flushfs;

static void wake(int signal)
{
	(void)signal;
	close(STDIN_FILENO); /* next_command takes an interrupted call up again, but this is the end of input */
}

/* SIGTERM and the like end the wait for the next command, in this thread only: the end is the same as that of the input. */
static void end_in_order(int how)
{
	const struct sigaction action = { .sa_handler = wake };
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	pthread_sigmask(how, &signals, NULL);
}

static void *serve(void *argument)
{
	struct fuse *fuse = argument;
	struct fuse_loop_config *config = fuse_loop_cfg_create();

	fuse_loop_mt(fuse, config);
	fuse_loop_cfg_destroy(config);
	return NULL;
}

/* Unmounting ends the read that every serving thread waits in. */
static void unmount_it(void)
{
	fuse_exit(flushfs.fuse);
	fuse_unmount(flushfs.fuse);
	pthread_join(flushfs.loop, NULL);
	fuse_destroy(flushfs.fuse);
}

static void mount_it(void)
{
	char *words[] = { (char *)"flushfs", (char *)"-ofsname=flushfs,subtype=flushfs" };
	struct fuse_args arguments = FUSE_ARGS_INIT(2, words);

	flushfs.fuse = fuse_new(&arguments, &flushfs_operations, sizeof(flushfs_operations), NULL);
	fuse_opt_free_args(&arguments);
	if (!flushfs.fuse || fuse_mount(flushfs.fuse, flushfs.mount) != 0)
		fail_options("--mount %s: the file system cannot be mounted there", flushfs.mount);
	end_in_order(SIG_BLOCK);
	pthread_create(&flushfs.loop, NULL, serve, flushfs.fuse);
	end_in_order(SIG_UNBLOCK);
	atexit(unmount_it);
}

static void report(const char *word)
{
	const struct durable_counts counts = durable_counts();
	struct json reply = reply_begin(word);

	json_number(&reply, "writes", counts.writes);
	json_number(&reply, "written_bytes", counts.written_bytes);
	json_number(&reply, "begun", counts.begun);
	json_number(&reply, "flushes", counts.flushes);
	json_number(&reply, "flushed_bytes", counts.flushed_bytes);
	json_number(&reply, "flush_ns", counts.flush_ns);
	json_number(&reply, "pending_bytes", counts.pending_bytes);
	json_number(&reply, "pending_names", counts.pending_names);
	reply_end(&reply);
}

static void obey(const char *line)
{
	uint64_t nanoseconds;

	if (command_is(line, "latency", 1, &nanoseconds)) {
		durable_set_latency(nanoseconds);
		reply_text("OK latency");
	} else if (command_is(line, "counts", 0, NULL)) {
		report("COUNTS");
	} else if (command_is(line, "drop", 0, NULL)) {
		durable_drop();
		report("DROPPED");
	} else {
		fail_command(line);
	}
}

int main(int argc, char **argv)
{
	const char *line;
	int live;

	protocol_start();
	flushfs = parse_options(argc, argv);
	umask(0); /* modes come with the caller's taken off */
	live = open_directory("--live", flushfs.live);
	operations_start(live);
	durable_start(live, open_directory("--durable", flushfs.durable), flushfs.latency);
	mount_it();
	report("READY");
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL))
		obey(line);
	return 0;
}
