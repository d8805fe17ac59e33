#include "runtime/process.h"
#include "runtime/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long eb_system_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* Past libc: a hit may ask whether a process lives, and calls of the runtime are none of the application's. */
static int read_file(const char *path, char *text, size_t size)
{
	long file = eb_system_call(SYS_open, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0, 0), n;

	if (file < 0)
		return 0;
	n = eb_system_call(SYS_read, file, (long)text, (long)size - 1, 0, 0, 0);
	eb_system_call(SYS_close, file, 0, 0, 0, 0, 0);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* A field of /proc/PID/stat, by its number; the state is the third. NULL: there is none. */
static const char *field(const char *state, int number)
{
	for (int i = 3; state && i < number; i++) {
		state = strchr(state, ' ');
		state += state != NULL;
	}
	return state;
}

uint64_t eb_process_start(uint32_t pid, uint64_t *image)
{
	char path[64], text[1024];
	const char *state, *threads, *start, *code, *stack;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (!read_file(path, text, sizeof(text)))
		return 0;
	state = strrchr(text, ')'); /* the name in parentheses may hold anything */
	state = state ? state + 2 : NULL;
	threads = field(state, 20);
	start = field(state, 22);
	code = field(state, 26);
	stack = field(state, 28);
	/* the first thread may have ended long before the others: it stays a zombie until all have */
	if (!stack || *state == 'X' || (*state == 'Z' && strtol(threads, NULL, 10) <= 1))
		return 0;
	if (image) /* where the program's code and its stack begin, which two runs hardly share; 0 or 1 for whom that is none of their business */
		*image = strtoull(stack, NULL, 10) < EB_PAGE ? 0 : strtoull(code, NULL, 10) ^ strtoull(stack, NULL, 10) << 16;
	return strtoull(start, NULL, 10);
}

int eb_program_has_ended(void)
{
	char text[1024];
	const char *state = read_file("/proc/self/stat", text, sizeof(text)) ? strrchr(text, ')') : NULL;
	const char *threads = state ? field(state + 2, 20) : NULL;

	return threads && state[2] == 'Z' && strtol(threads, NULL, 10) == 2;
}

int eb_process_is(uint32_t pid, uint64_t start, uint64_t image)
{
	uint64_t seen = 0, now;

	if (eb_system_call(SYS_kill, pid, 0, 0, 0, 0, 0) == -ESRCH)
		return 0;
	now = eb_process_start(pid, &seen);
	if (now == 0) /* a zombie, or /proc hides it */
		return eb_system_call(SYS_access, (long)"/proc/self/stat", R_OK, 0, 0, 0, 0) != 0;
	return (start == 0 || start == now) && (image == 0 || seen == 0 || image == seen);
}

uint32_t eb_possible_cpus(void)
{
	char text[256], *at = text;
	unsigned long most = 0;

	if (!read_file("/sys/devices/system/cpu/possible", text, sizeof(text)))
		return (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	while (*at && *at != '\n') {
		unsigned long n = strtoul(at, &at, 10);

		most = n > most ? n : most;
		if (*at)
			at++;
	}
	return (uint32_t)most + 1;
}

int eb_futex_wait(uint32_t *word, uint32_t value, int milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000L };

	return (int)eb_system_call(SYS_futex, (long)word, FUTEX_WAIT, value, milliseconds < 0 ? 0 : (long)&time, 0, 0);
}

void eb_futex_wake(uint32_t *word)
{
	eb_system_call(SYS_futex, (long)word, FUTEX_WAKE, INT_MAX, 0, 0, 0);
}

uint64_t eb_milliseconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}
