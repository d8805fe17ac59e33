/*
 * Counts the system calls of a process by number without BPF and without tracepoints: with ptrace, one stop at each entry and
 * each exit. Slow, and for a run of its own, against which others are held. See workloads/README.md.
 */
#include "calls.h"
#include "protocol.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h> /* after sys/ptrace.h, which has some of the same names */

static uint64_t entries[MOST_CALLS], exits[MOST_CALLS];
static uint64_t entered = MOST_CALLS; /* the number of the call that is under way */

static _Noreturn void fail(const char *what)
{
	fail_options("%s: %s", what, strerror(errno));
}

static void count_stop(pid_t pid)
{
	struct ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
		fail("cannot see a system call");
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		entered = info.entry.nr < MOST_CALLS ? info.entry.nr : MOST_CALLS;
		if (entered < MOST_CALLS)
			entries[entered]++;
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && entered < MOST_CALLS) {
		exits[entered]++;
	}
}

/* Deals with one stop; 0 when the process is gone. */
static int go_on(pid_t pid, int status)
{
	int signal = 0;

	if (!WIFSTOPPED(status))
		return 0;
	if (WSTOPSIG(status) == (SIGTRAP | 0x80))
		count_stop(pid);
	else if (status >> 16 == 0)
		signal = WSTOPSIG(status); /* for the process itself */
	return ptrace(PTRACE_SYSCALL, pid, 0, signal) == 0 || errno != ESRCH;
}

static void report_side(struct json *reply, const char *side, const uint64_t counts[MOST_CALLS])
{
	char name[16];

	json_open(reply, side, '{');
	for (unsigned i = 0; i < MOST_CALLS; i++) {
		if (!counts[i])
			continue;
		snprintf(name, sizeof(name), "%u", i);
		json_number(reply, name, counts[i]);
	}
	json_close(reply, '}');
}

static void answer(const char *line)
{
	struct json reply;

	if (!command_is(line, "read", 0, NULL))
		fail_command(line);
	reply = reply_begin("CALLS");
	report_side(&reply, "entries", entries);
	report_side(&reply, "exits", exits);
	reply_end(&reply);
}

/* Both in one thread, since only the one that has seized a process may let it go on. */
static void watch(pid_t pid, int children)
{
	struct pollfd ready[] = { { .fd = 0, .events = POLLIN }, { .fd = children, .events = POLLIN } };
	struct signalfd_siginfo told;
	const char *line;
	int status;

	for (;;) {
		while (waitpid(pid, &status, __WALL | WNOHANG) > 0)
			if (!go_on(pid, status))
				return;
		if (poll(ready, 2, -1) < 0 && errno != EINTR)
			fail("poll");
		if (ready[1].revents && read(children, &told, sizeof(told)) < 0)
			fail("signalfd");
		if (!ready[0].revents)
			continue;
		line = next_command();
		if (!line || command_is(line, "quit", 0, NULL))
			return;
		answer(line);
	}
}

int main(int argc, char **argv)
{
	sigset_t child;
	pid_t pid;
	int children;

	protocol_start();
	if (argc != 3 || strcmp(argv[1], "--pid"))
		fail_options("usage: onlooker --pid PID");
	pid = (pid_t)number_option("--pid", argv[2]);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	children = signalfd(-1, &child, SFD_CLOEXEC);
	if (children < 0)
		fail("signalfd");
	if (ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		fail("cannot trace the process");
	reply_text("READY {}");
	watch(pid, children);
	return 0;
}
