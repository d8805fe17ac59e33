/*
 * inject PID LIBRARY: makes a running process load a shared library, and lets it go on. If the library is the agent, it
 * begins with the EMBEDDED_… variables that inject itself was called with.
 *
 * One of its threads is stopped on the way out of a system call in which it cannot have held a lock of the allocator or
 * the dynamic linker, and calls dlopen there. Needs no symbol of the target but dlopen, of whatever libc it has, and the
 * right to trace the process.
 */
#include "hook/inject_target.h"
#include "hook/inject_threads.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOAD_MS 20000
#define AREA_SIZE 16384ul /* stays: the agent's settings are there, and the page it was called from */
#define CODE_SIZE 16
#define RED_ZONE 128

extern char **environ;

struct stopped {
	struct user_regs_struct regs;
	struct iovec vectors;
	uint64_t mask;
};

static void transfer(pid_t pid, int write, uint64_t at, void *bytes, size_t size)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || (write ? pwrite(fd, bytes, size, (off_t)at) : pread(fd, bytes, size, (off_t)at)) != (ssize_t)size)
		fail("the memory of %d is out of reach: %s", pid, strerror(errno));
	close(fd);
}

/* Runs the stopped thread with these registers for one instruction or up to the breakpoint. */
static void run(const struct target *target, int request, struct user_regs_struct *regs, uint64_t breakpoint)
{
	long until = now_ms() + LOAD_MS, signal = 0;
	int status;

	registers(target->tid, PTRACE_SETREGSET, regs);
	for (;;) {
		if (ptrace(request, target->tid, NULL, (void *)signal))
			fail("process %d ended while it loaded the library", target->pid);
		while (!(status = wait_stop(target->tid, until))) {
			fprintf(stderr, "inject: process %d is still loading the library\n", target->pid);
			until = now_ms() + LOAD_MS;
		}
		if (status < 0)
			fail("process %d ended while it loaded the library", target->pid);
		registers(target->tid, PTRACE_GETREGSET, regs);
		signal = status >> 16 ? 0 : WSTOPSIG(status);
		if (signal == SIGTRAP && (!breakpoint || regs->rip == breakpoint))
			return;
		if (signal == SIGSEGV && regs->rip == 0)
			fail("process %d crashed while it loaded the library", target->pid);
	}
}

/* A system call of the target, made by the very instruction that it stopped behind: its text stays as it is. */
static uint64_t remote_call(const struct target *target, const struct stopped *saved, uint64_t nr, const uint64_t *args)
{
	struct user_regs_struct regs = saved->regs;
	unsigned char code[2];

	transfer(target->pid, 0, regs.rip - 2, code, sizeof(code));
	if (code[0] != 0x0f || code[1] != 0x05)
		fail("process %d has stopped at %llx, behind a system call (%llu) made in an unknown way", target->pid,
		     (unsigned long long)regs.rip, (unsigned long long)regs.orig_rax);
	regs.rip -= 2;
	regs.orig_rax = (unsigned long)-1; /* or the kernel restarts the interrupted call */
	regs.rax = nr;
	regs.rdi = args[0], regs.rsi = args[1], regs.rdx = args[2];
	regs.r10 = args[3], regs.r8 = args[4], regs.r9 = args[5];
	run(target, PTRACE_SINGLESTEP, &regs, 0);
	return regs.rax;
}

/* A function of the target, called from the area, which begins with: call *%rax; int3. */
static uint64_t call(const struct target *target, const struct stopped *saved, uint64_t area, uint64_t function,
		     uint64_t first, uint64_t second)
{
	struct user_regs_struct regs = saved->regs;

	regs.rip = area;
	regs.orig_rax = (unsigned long)-1;
	regs.rax = function;
	regs.rdi = first;
	regs.rsi = second;
	regs.rsp = (regs.rsp - RED_ZONE) & -16ul;
	regs.eflags &= ~0x400ul;
	run(target, PTRACE_CONT, &regs, area + 3);
	return regs.rax;
}

static void text_at(const struct target *target, uint64_t at, char *text, size_t size)
{
	size_t n = 0;

	do
		transfer(target->pid, 0, at + n, text + n, 1);
	while (text[n] && ++n < size - 1);
	text[n] = 0;
}

/* --- the thread as it was --- */

static void save(const struct target *target, struct stopped *saved)
{
	/* its signals wait, but for those that cannot */
	uint64_t all = ~(NEEDED | 1ull << (SIGILL - 1) | 1ull << (SIGFPE - 1));

	saved->vectors = (struct iovec){ calloc(1, 16384), 16384 };
	if (!saved->vectors.iov_base || ptrace(PTRACE_GETREGSET, target->tid, (void *)NT_X86_XSTATE, &saved->vectors))
		fail("the vector registers of thread %d are out of reach: %s", target->tid, strerror(errno));
	if (ptrace(PTRACE_GETSIGMASK, target->tid, (void *)sizeof(saved->mask), &saved->mask) ||
	    ptrace(PTRACE_SETSIGMASK, target->tid, (void *)sizeof(all), &all))
		fail("the signal mask of thread %d is out of reach: %s", target->tid, strerror(errno));
}

/* With orig_rax as it was, the kernel restarts a call that we interrupted. */
static void restore(const struct target *target, struct stopped *saved)
{
	saved->mask &= ~NEEDED;
	try_again(target, target->tid, &saved->regs, saved->mask);
	registers(target->tid, PTRACE_SETREGSET, &saved->regs);
	if (ptrace(PTRACE_SETREGSET, target->tid, (void *)NT_X86_XSTATE, &saved->vectors) ||
	    ptrace(PTRACE_SETSIGMASK, target->tid, (void *)sizeof(saved->mask), &saved->mask))
		fail("the state of thread %d cannot be restored: %s", target->tid, strerror(errno));
	if (ptrace(PTRACE_DETACH, target->tid, NULL, NULL))
		fail("process %d cannot be let go: %s", target->pid, strerror(errno));
}

/* Our own EMBEDDED_… variables, one after the other, and a last empty one. */
static size_t gather_settings(char *text, size_t size)
{
	size_t used = 0;

	for (char **variable = environ; *variable; variable++) {
		size_t length = strlen(*variable) + 1;

		if (strncmp(*variable, "EMBEDDED_", 9))
			continue;
		if (used + length + 1 > size)
			fail("the EMBEDDED_… variables are too long");
		memcpy(text + used, *variable, length);
		used += length;
	}
	text[used++] = '\0';
	return used;
}

/* Loads the library, and begins if it is the agent. Why not, in `why`; empty when it worked. */
static void load(const struct target *target, const struct stopped *saved, const char *path, char *why, size_t size)
{
	static char block[AREA_SIZE - CODE_SIZE];
	static unsigned char code[CODE_SIZE] = { 0xff, 0xd0, 0xcc };
	size_t at = strlen(path) + 1, used = at + gather_settings(block + at, sizeof(block) - at);
	uint64_t area, begin, said;

	memcpy(block, path, at);
	area = remote_call(target, saved, SYS_mmap,
			   (uint64_t[]){ 0, AREA_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ul, 0 });
	if (area > -4096ul) {
		snprintf(why, size, "no memory: %s", strerror((int)-area));
		return;
	}
	transfer(target->pid, 1, area, code, sizeof(code));
	transfer(target->pid, 1, area + CODE_SIZE, block, used);
	if (!call(target, saved, area, target->dlopen, area + CODE_SIZE, 2 /* RTLD_NOW */)) {
		said = target->dlerror ? call(target, saved, area, target->dlerror, 0, 0) : 0;
		if (said)
			text_at(target, said, why, size);
		else
			snprintf(why, size, "dlopen failed");
		return;
	}
	begin = block[at] ? function_of(target, path, "embedded_agent_begin") : 0;
	said = begin ? call(target, saved, area, begin, area + CODE_SIZE + at, 0) : 0;
	if (said)
		text_at(target, said, why, size);
}

int main(int argc, char **argv)
{
	static const int impatience[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE };
	struct target target = {};
	struct stopped saved;
	char path[PATH_MAX], why[512] = "", *end;

	if (argc != 3 || (target.pid = (pid_t)strtol(argv[1], &end, 10)) <= 0 || *end)
		fail("usage: inject PID LIBRARY");
	if (!realpath(argv[2], path))
		fail("%s: %s", argv[2], strerror(errno));
	find_target(&target);
	check_sees(&target, path);
	stop_some_thread(&target, &saved.regs);
	/* no way back from here: without us, the thread would run into a breakpoint */
	for (size_t i = 0; i < sizeof(impatience) / sizeof(*impatience); i++)
		signal(impatience[i], SIG_IGN);
	save(&target, &saved);
	unblock_all(&target);
	load(&target, &saved, path, why, sizeof(why));
	restore(&target, &saved);
	if (*why)
		fail("process %d did not load %s: %s", target.pid, path, why);
	printf("loaded %s into %d\n", path, target.pid);
	return 0;
}
