#include "hook/inject_threads.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000

long now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

int wait_stop(pid_t tid, long until)
{
	int status;

	for (;;) {
		pid_t got = waitpid(tid, &status, __WALL | WNOHANG);

		if (got == tid)
			return WIFSTOPPED(status) ? status : -1;
		if (got < 0)
			return -1;
		if (now_ms() > until)
			return 0;
		usleep(200);
	}
}

void registers(pid_t tid, int request, struct user_regs_struct *regs)
{
	struct iovec area = { regs, sizeof(*regs) };

	if (ptrace(request, tid, (void *)NT_PRSTATUS, &area))
		fail("the registers of thread %d are out of reach: %s", tid, strerror(errno));
}

/* Calls during which a thread may wait, but holds nothing that dlopen needs. */
static int is_harmless(const struct user_regs_struct *regs)
{
	static const unsigned long harmless[] = {
		SYS_read,     SYS_write,	   SYS_poll,	  SYS_select,	 SYS_pselect6, SYS_ppoll,
		SYS_nanosleep, SYS_clock_nanosleep, SYS_pause,	  SYS_epoll_wait, SYS_epoll_pwait, SYS_accept,
		SYS_accept4,  SYS_recvfrom,	   SYS_sendto,	  SYS_recvmsg,	 SYS_sendmsg,	SYS_wait4,
		SYS_waitid,   SYS_readv,	   SYS_writev,	  SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_getppid,
		SYS_restart_syscall, SYS_sched_yield, SYS_fsync,	   SYS_fdatasync, SYS_pread64,	 SYS_pwrite64,	SYS_connect,
	};

	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (regs->orig_rax == harmless[i])
			return 1;
	/* conditions, joins and semaphores, but not mutexes: the allocator's locks are such */
	return regs->orig_rax == SYS_futex && (regs->rsi & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
}

static int is_safe(const struct target *target, const struct user_regs_struct *regs)
{
	/* not at the entry of a call: rax would be -ENOSYS */
	return (long)regs->orig_rax >= 0 && (long)regs->rax != -ENOSYS && is_harmless(regs) &&
	       (regs->rip < target->linker_start || regs->rip >= target->linker_end);
}

int try_again(const struct target *target, pid_t tid, struct user_regs_struct *regs, uint64_t mask)
{
	uint64_t pending = status_number(target->pid, tid, "SigPnd", 16) | status_number(target->pid, tid, "ShdPnd", 16);

	if ((long)regs->orig_rax < 0 || !is_harmless(regs) || (long)regs->rax != -EINTR || pending & ~mask)
		return 0;
	regs->rip -= 2;
	regs->rax = regs->orig_rax;
	regs->orig_rax = (unsigned long)-1;
	return 1;
}

/* A signal that arrives meanwhile is the target's business. */
static long signal_of(int status)
{
	int signal = WSTOPSIG(status);

	return status >> 16 || signal == (SIGTRAP | 0x80) || signal == SIGTRAP ? 0 : signal;
}

/* 1: the thread is stopped where it can do it. 0: it goes on as before. */
static int stop_thread(const struct target *target, pid_t tid, struct user_regs_struct *regs, long ms)
{
	long until = now_ms() + ms;
	int status, asked = 0;

	if (ptrace(PTRACE_SEIZE, tid, NULL, PTRACE_O_TRACESYSGOOD)) {
		if (errno == ESRCH)
			return 0;
		fail("process %d must not be traced: %s", target->pid, why_untraceable(target->pid, errno));
	}
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
		return 0;
	status = wait_stop(tid, now_ms() + PATIENCE_MS);
	while (status > 0) {
		registers(tid, PTRACE_GETREGSET, regs);
		if (is_safe(target, regs))
			return 1;
		if (asked) {
			ptrace(PTRACE_DETACH, tid, NULL, (void *)signal_of(status));
			return 0;
		}
		if (ptrace(PTRACE_SYSCALL, tid, NULL, (void *)signal_of(status)))
			return 0;
		status = wait_stop(tid, until);
		if (!status) {
			asked = 1;
			ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
			status = wait_stop(tid, now_ms() + PATIENCE_MS);
		}
	}
	if (!status)
		fail("thread %d of process %d does not stop", tid, target->pid);
	return 0;
}

void stop_some_thread(struct target *target, struct user_regs_struct *regs)
{
	long until = now_ms() + PATIENCE_MS, ms = 2;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", target->pid);
	do {
		DIR *tasks = opendir(path);
		struct dirent *entry;

		if (!tasks)
			fail("process %d has ended", target->pid);
		while ((entry = readdir(tasks))) {
			target->tid = atoi(entry->d_name);
			if (target->tid && stop_thread(target, target->tid, regs, ms)) {
				closedir(tasks);
				return;
			}
		}
		closedir(tasks);
		ms *= 2;
	} while (now_ms() < until);
	fail("process %d made no system call in %d s during which it could load a library", target->pid, PATIENCE_MS / 1000);
}

static void unblock(const struct target *target, pid_t tid)
{
	struct user_regs_struct regs;
	uint64_t mask;
	int status;

	if (tid == target->tid || !(status_number(target->pid, tid, "SigBlk", 16) & NEEDED) ||
	    ptrace(PTRACE_SEIZE, tid, NULL, NULL))
		return;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) || (status = wait_stop(tid, now_ms() + PATIENCE_MS)) <= 0)
		return;
	if (!ptrace(PTRACE_GETSIGMASK, tid, (void *)sizeof(mask), &mask)) {
		mask &= ~NEEDED;
		ptrace(PTRACE_SETSIGMASK, tid, (void *)sizeof(mask), &mask);
		registers(tid, PTRACE_GETREGSET, &regs);
		if (try_again(target, tid, &regs, mask))
			registers(tid, PTRACE_SETREGSET, &regs);
	}
	ptrace(PTRACE_DETACH, tid, NULL, (void *)signal_of(status));
}

void unblock_all(const struct target *target)
{
	char path[64];
	DIR *tasks;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/task", target->pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)))
		if (atoi(entry->d_name))
			unblock(target, atoi(entry->d_name));
	if (tasks)
		closedir(tasks);
}
