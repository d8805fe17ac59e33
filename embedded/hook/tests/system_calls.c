/* System calls that go through gates. */
#include "counting.h"

#pragma GCC target("general-regs-only")

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CALLS 100000

extern char **environ;
static unsigned long enters[512], exits[512];
static int64_t last_result[512];
static long skipped = -1;

static int on_enter(void *user, long nr, uint64_t args[6], int64_t *result)
{
	CHECK_EQUAL(user, enters);
	if (nr >= 0 && nr < 512)
		__atomic_fetch_add(&enters[nr], 1, __ATOMIC_RELAXED);
	if (nr == skipped) {
		*result = args[0] == 1234 ? -EXDEV : 4321;
		return 1;
	}
	return 0;
}

static void on_exit_(void *user, long nr, const uint64_t args[6], int64_t result)
{
	(void)user, (void)args;
	if (nr >= 0 && nr < 512) {
		__atomic_fetch_add(&exits[nr], 1, __ATOMIC_RELAXED);
		last_result[nr] = result;
	}
}

static void hook(void)
{
	char error[200] = "";

	if (eb_hook_syscalls(on_enter, on_exit_, enters, error, sizeof(error))) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
}

static void counted(void)
{
	hook();
	for (int i = 0; i < CALLS; i++)
		CHECK(getppid() > 0);
	CHECK_EQUAL(enters[SYS_getppid], CALLS);
	CHECK_EQUAL(exits[SYS_getppid], CALLS);
	CHECK_EQUAL(last_result[SYS_getppid], getppid());
	CHECK_EQUAL(open("/proc/nonexistent", O_RDONLY), -1);
	CHECK_EQUAL(errno, ENOENT);
	CHECK_EQUAL(last_result[SYS_openat], -ENOENT);
	CHECK_EQUAL(syscall(SYS_getppid), getppid());
	CHECK_EQUAL(enters[SYS_getppid], CALLS + 3);
}

static void skipping(void)
{
	hook();
	skipped = SYS_getpriority;
	errno = 0;
	CHECK_EQUAL(syscall(SYS_getpriority, 1234, 0), -1);
	CHECK_EQUAL(errno, EXDEV);
	CHECK_EQUAL(syscall(SYS_getpriority, 0, 0), 4321);
	CHECK_EQUAL(exits[SYS_getpriority], 2);
}

static void unhooking(void)
{
	hook();
	getppid();
	CHECK_EQUAL(eb_unhook_syscalls(), 0);
	getppid();
	CHECK_EQUAL(enters[SYS_getppid], 1);
	hook();
	getppid();
	CHECK_EQUAL(enters[SYS_getppid], 2);
}

static void coverage(void)
{
	struct eb_coverage coverage;
	unsigned objects = 0;

	hook();
	while (eb_syscall_coverage(objects, &coverage)) {
		CHECK_EQUAL(coverage.found, coverage.rewritten + coverage.never + coverage.no_room);
		printf("%s found %u rewritten %u never %u no_room %u\n", coverage.object, coverage.found,
		       coverage.rewritten, coverage.never, coverage.no_room);
		objects++;
	}
	CHECK(objects >= 3);
}

static void *thread_body(void *unused)
{
	for (int i = 0; i < CALLS / 10; i++)
		CHECK(getppid() > 0);
	return unused;
}

static volatile unsigned long taken;
static void on_alarm(int signal)
{
	(void)signal;
	CHECK(getppid() > 0);
	__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
}

static void threads_and_signals(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	struct itimerspec every = { { 0, 100000 }, { 0, 100000 } };
	pthread_t threads[4];
	timer_t timer;

	hook();
	signal(SIGALRM, on_alarm);
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer) && !timer_settime(timer, 0, &every, NULL));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, thread_body, NULL));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	timer_delete(timer);
	usleep(1000);
	CHECK_EQUAL(enters[SYS_getppid], 4 * (CALLS / 10) + (long)taken);
	CHECK_EQUAL(exits[SYS_getppid], 4 * (CALLS / 10) + (long)taken);
	CHECK_EQUAL(eb_hook_missed(), 0);
}

/* Rewrites while others make calls: none is lost, none goes wrong. */
static volatile int stop;
static void *busy(void *file)
{
	char byte;

	while (!stop) {
		CHECK(getppid() > 0);
		CHECK_EQUAL(read(*(int *)file, &byte, 1), 1);
		usleep(20);
	}
	return NULL;
}

static void live(void)
{
	int zero = open("/dev/zero", O_RDONLY);
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, busy, &zero));
	usleep(10000);
	for (int i = 0; i < 3; i++) {
		hook();
		usleep(10000);
		CHECK_EQUAL(eb_unhook_syscalls(), 0);
	}
	hook();
	stop = 1;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(enters[SYS_getppid] > 0 && enters[SYS_getppid] < (unsigned long)exits[SYS_getppid] + 5);
}

static int cleaned;
static void clean(void *unused)
{
	(void)unused;
	cleaned++;
}

static void *blocked(void *pipes)
{
	char byte;

	pthread_cleanup_push(clean, NULL);
	CHECK(read(*(int *)pipes, &byte, 1) < 0);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancelled(void)
{
	int pipes[2];
	void *result;

	hook();
	CHECK(!pipe(pipes));
	for (int i = 0; i < 20; i++) {
		pthread_t thread;

		CHECK(!pthread_create(&thread, NULL, blocked, pipes));
		usleep(i % 2 ? 2000 : 0);
		CHECK(!pthread_cancel(thread));
		CHECK(!pthread_join(thread, &result));
		CHECK(result == PTHREAD_CANCELED);
	}
	CHECK(cleaned >= 10);
}

static void children(void)
{
	char *list[] = { "sh", "-c", "exit 7", NULL };
	unsigned long before;
	pid_t child;
	int status;

	hook();
	for (int i = 0; i < 20; i++) {
		before = enters[SYS_getppid];
		child = fork();
		if (!child) {
			getppid();
			_exit(enters[SYS_getppid] == before + 1 ? i : 99);
		}
		CHECK(waitpid(child, &status, 0) == child);
		CHECK_EQUAL(WEXITSTATUS(status), i);
		child = vfork();
		if (!child)
			_exit(i + 1);
		CHECK(waitpid(child, &status, 0) == child);
		CHECK_EQUAL(WEXITSTATUS(status), i + 1);
		CHECK(!posix_spawn(&child, "/bin/sh", NULL, NULL, list, environ));
		CHECK(waitpid(child, &status, 0) == child);
		CHECK_EQUAL(WEXITSTATUS(status), 7);
		child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		if (!child)
			_exit(5);
		CHECK(waitpid(child, &status, 0) == child);
		CHECK_EQUAL(WEXITSTATUS(status), 5);
	}
	CHECK_EQUAL(enters[SYS_wait4], 80);
	CHECK_EQUAL(enters[SYS_clone] + enters[SYS_vfork] + enters[SYS_clone3], 0);
}

/* A leaf with a value in the red zone, and the registers that a system call keeps. */
long leaf(long nr);
__asm__(".globl leaf\n.type leaf, @function\nleaf:\n.cfi_startproc\n"
	"	movq $70, -8(%rsp)\n	movq $7, -128(%rsp)\n	mov $1, %esi\n	mov $2, %edx\n	mov $3, %r8d\n"
	"	mov %rdi, %rax\n	mov $4, %r9d\n	mov $5, %r10d\n"
	"	syscall\n"
	"	mov $0, %eax\n	add %rsi, %rax\n	add %rdx, %rax\n	add %r8, %rax\n	add %r9, %rax\n	add %r10, %rax\n"
	"	add -8(%rsp), %rax\n	add -128(%rsp), %rax\n	ret\n"
	".cfi_endproc\n.size leaf, .-leaf\n");

static void red_zone(void)
{
	hook();
	for (int i = 0; i < 100; i++)
		CHECK_EQUAL(leaf(SYS_getppid), 15 + 77);
	CHECK_EQUAL(enters[SYS_getppid], 100);
}

/* An object loaded later, before its constructors run. */
static void loaded_later(void)
{
	void *handle;
	long (*call)(void);

	hook();
	handle = dlopen(getenv("LATER"), RTLD_NOW);
	CHECK(handle);
	CHECK_EQUAL(enters[SYS_getppid], 1);
	call = (long (*)(void))dlsym(handle, "later");
	CHECK_EQUAL(call(), getppid());
	CHECK_EQUAL(enters[SYS_getppid], 3);
}

static const struct test_case cases[] = {
	{ "counted", counted },	  { "skipping", skipping }, { "unhooking", unhooking },
	{ "coverage", coverage }, { "threads_and_signals", threads_and_signals },
	{ "live", live },	  { "cancelled", cancelled }, { "children", children },
	{ "red_zone", red_zone }, { "loaded_later", loaded_later },
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
}
