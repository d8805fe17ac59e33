/*
 * Brings gum into this process: a Python with the package `frida` is started that traces us, loads gum here and ends. It is the
 * child of a child that the application never hears of: no signal when it ends, and no wait() that finds it. (A child that
 * executes would send SIGCHLD again, whatever it was made with.)
 */
#include "hook/backend.h"
#include "common/setting.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK 65536
#define WAIT_MS 30000
#define LINE 160

extern const char eb_gum_py[], eb_gum_js[];

struct start {
	char *const *argv, *const *environment;
	int said; /* becomes its stdout and stderr */
};

/* In between: executes nothing itself, and ends as the Python did. */
static int child(void *argument)
{
	const struct start *start = argument;
	int nothing = open("/dev/null", O_RDONLY), status;
	sigset_t none;
	pid_t pid;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(nothing, STDIN_FILENO);
	dup2(start->said, STDOUT_FILENO);
	dup2(start->said, STDERR_FILENO);
	pid = vfork();
	if (!pid) {
		execvpe(start->argv[0], start->argv, start->environment);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) != pid)
		;
	_exit(pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 255);
}

static pid_t start_python(const char *place, int said)
{
	const char *python = eb_setting("EMBEDDED_PYTHON");
	char pid[16], *argv[] = { (char *)(python && *python ? python : "python3"), "-I", "-S", "-B", "-c", (char *)eb_gum_py, pid,
				  (char *)place, (char *)eb_gum_js, NULL };
	char path[4096], *environment[] = { path, "LANG=C.UTF-8", NULL };
	struct start start = { argv, environment, said };
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pid_t made;

	if (stack == MAP_FAILED)
		return -1;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(path, sizeof(path), "PATH=%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
	made = clone(child, stack + STACK, 0, &start);
	munmap(stack, STACK);
	if (made > 0)
		prctl(PR_SET_PTRACER, made, 0, 0, 0); /* where only ancestors may trace */
	return made;
}

/* Its exit status; -1 when it takes too long. */
static int wait_for(pid_t pid)
{
	int status;

	for (int i = 0; i < WAIT_MS; i++) {
		pid_t ended = waitpid(pid, &status, __WCLONE | WNOHANG);

		if (ended == pid)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
		if (ended < 0)
			return 255;
		usleep(1000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, __WCLONE);
	return -1;
}

/* What it said last. */
static void last_line(int said, char line[LINE])
{
	char text[4096];
	ssize_t n = read(said, text, sizeof(text) - 1);
	char *start;

	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n < 0 ? 0 : n] = '\0';
	start = strrchr(text, '\n');
	snprintf(line, LINE, "%.*s", LINE - 1, start ? start + 1 : text);
}

int eb_gum_bring(char *error, size_t size)
{
	const char *place = eb_setting("EMBEDDED_GUM");
	int ends[2], status = 255;
	char line[LINE] = "";
	pid_t pid;

	if (!place || !*place)
		return eb_refuse(error, size, "EMBEDDED_GUM names no directory with the Python package frida"), -ENOENT;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return eb_refuse(error, size, "gum: no pipe: %s", strerror(errno)), -errno;
	pid = start_python(place, ends[1]);
	if (pid > 0)
		status = wait_for(pid);
	if (status)
		last_line(ends[0], line);
	close(ends[0]);
	close(ends[1]);
	if (!status)
		return 0;
	if (status == 127)
		snprintf(line, LINE, "python3 is not there");
	return eb_refuse(error, size, "gum cannot be brought into this process: %s", status < 0 ? "it took too long" : line), -EPERM;
}
