/* The functions of libc that libbpf calls, as the loader sees them with the shim preloaded. */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/shim.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long result_of(long result)
{
	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}

EB_EXPORT long syscall(long nr, ...)
{
	long a[6];
	va_list list;

	va_start(list, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (nr == SYS_bpf)
		return result_of(shim_bpf((int)a[0], (union bpf_attr *)a[1], (size_t)(unsigned int)a[2]));
	if (nr == SYS_perf_event_open)
		return result_of(shim_perf_event_open((const struct perf_event_attr *)a[0], (int)a[1], (int)a[2], (int)a[3],
						      (unsigned long)a[4]));
	return result_of(eb_system_call(nr, a[0], a[1], a[2], a[3], a[4], a[5]));
}

EB_EXPORT int ioctl(int descriptor, unsigned long request, ...)
{
	struct eb_object *event = eb_view.segment ? shim_object_of(descriptor, EB_EVENT) : NULL;
	unsigned long argument;
	va_list list;

	va_start(list, request);
	argument = va_arg(list, unsigned long);
	va_end(list);
	return (int)result_of(event ? shim_ioctl(event, request, argument)
				    : eb_system_call(SYS_ioctl, descriptor, (long)request, (long)argument, 0, 0, 0));
}

static void *map(void *at, size_t length, int protection, int flags, int descriptor, off_t offset)
{
	void *result;

	if (!eb_view.segment || !shim_mmap(at, length, protection, flags, descriptor, offset, &result))
		result = (void *)eb_system_call(SYS_mmap, (long)at, (long)length, protection, flags, descriptor, offset);
	return (void *)result_of((long)result);
}

EB_EXPORT void *mmap(void *at, size_t length, int protection, int flags, int descriptor, off_t offset)
{
	return map(at, length, protection, flags, descriptor, offset);
}

EB_EXPORT void *mmap64(void *at, size_t length, int protection, int flags, int descriptor, off64_t offset)
{
	return map(at, length, protection, flags, descriptor, offset);
}

/* --- descriptors --- */

static int (*real_close)(int);

EB_EXPORT int close(int descriptor)
{
	if (!real_close)
		real_close = dlsym(RTLD_NEXT, "close");
	if (eb_view.segment) {
		shim_closing(descriptor);
		shim_epoll_closed(descriptor, 0);
	}
	return real_close(descriptor);
}

EB_EXPORT int dup(int descriptor)
{
	int copy = (int)result_of(eb_system_call(SYS_dup, descriptor, 0, 0, 0, 0, 0));

	shim_copied(descriptor, copy);
	return copy;
}

EB_EXPORT int dup3(int descriptor, int to, int flags)
{
	int copy;

	if (descriptor != to)
		shim_closing(to);
	copy = (int)result_of(eb_system_call(SYS_dup3, descriptor, to, flags, 0, 0, 0));
	shim_copied(descriptor, copy);
	return copy;
}

EB_EXPORT int dup2(int descriptor, int to)
{
	if (descriptor == to)
		return (int)result_of(eb_system_call(SYS_dup2, descriptor, to, 0, 0, 0, 0));
	return dup3(descriptor, to, 0);
}

static int control(int descriptor, int command, long argument)
{
	static int (*real)(int, int, ...);
	int result;

	if (!real)
		real = dlsym(RTLD_NEXT, "fcntl");
	result = real(descriptor, command, argument);
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		shim_copied(descriptor, result);
	return result;
}

EB_EXPORT int fcntl(int descriptor, int command, ...)
{
	long argument;
	va_list list;

	va_start(list, command);
	argument = va_arg(list, long);
	va_end(list);
	return control(descriptor, command, argument);
}

EB_EXPORT int fcntl64(int descriptor, int command, ...)
{
	long argument;
	va_list list;

	va_start(list, command);
	argument = va_arg(list, long);
	va_end(list);
	return control(descriptor, command, argument);
}

/* --- waiting --- */

EB_EXPORT int epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event)
{
	long result;

	if (!eb_view.segment || !shim_epoll_ctl(epoll, operation, descriptor, event, &result))
		result = eb_system_call(SYS_epoll_ctl, epoll, operation, descriptor, (long)event, 0, 0);
	return (int)result_of(result);
}

EB_EXPORT int epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds)
{
	static int (*real)(int, struct epoll_event *, int, int);
	long result;

	if (shim_epoll_wait(epoll, events, most, milliseconds, &result))
		return (int)result_of(result);
	if (!real)
		real = dlsym(RTLD_NEXT, "epoll_wait");
	return real(epoll, events, most, milliseconds);
}

EB_EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int most, int milliseconds, const sigset_t *mask)
{
	static int (*real)(int, struct epoll_event *, int, int, const sigset_t *);
	sigset_t old;
	long result;
	int ours;

	if (mask)
		pthread_sigmask(SIG_SETMASK, mask, &old);
	ours = shim_epoll_wait(epoll, events, most, milliseconds, &result);
	if (mask)
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ours)
		return (int)result_of(result);
	if (!real)
		real = dlsym(RTLD_NEXT, "epoll_pwait");
	return real(epoll, events, most, milliseconds, mask);
}

/* --- files --- */

/* A file of ours, where the real one cannot be had. */
static FILE *own_file(const char *path)
{
	char text[64];
	int file;

	if (strncmp(path, "/sys/", 5) || !getenv("EMBEDDED_SEGMENT") || !shim_file(path, text, sizeof(text)))
		return NULL;
	file = memfd_create("ebpf-file", MFD_CLOEXEC);
	if (file < 0 || pwrite(file, text, strlen(text), 0) < 0)
		return NULL;
	return fdopen(file, "r");
}

static void note(const char *path, FILE *file)
{
	unsigned long long number;

	if (strncmp(path, "/sys/", 5) || !strstr(path, "/events/"))
		return;
	if (fscanf(file, "%llu", &number) == 1)
		shim_note_tracepoint(path, number);
	rewind(file);
}

static FILE *open_file(const char *name, const char *path, const char *mode)
{
	FILE *(*real)(const char *, const char *) = dlsym(RTLD_NEXT, name);
	FILE *file = real(path, mode);
	int error = errno;

	if (file)
		note(path, file);
	else if (path)
		file = own_file(path);
	if (!file)
		errno = error;
	return file;
}

EB_EXPORT FILE *fopen(const char *path, const char *mode)
{
	return open_file("fopen", path, mode);
}

EB_EXPORT FILE *fopen64(const char *path, const char *mode)
{
	return open_file("fopen64", path, mode);
}

static int is_ours(const char *path)
{
	char text[64];

	return path && !strncmp(path, "/sys/", 5) && getenv("EMBEDDED_SEGMENT") && shim_file(path, text, sizeof(text));
}

EB_EXPORT int access(const char *path, int mode)
{
	long result = eb_system_call(SYS_access, (long)path, mode, 0, 0, 0, 0);

	return (int)result_of(result < 0 && is_ours(path) ? 0 : result);
}

EB_EXPORT int faccessat(int directory, const char *path, int mode, int flags)
{
	static int (*real)(int, const char *, int, int);
	int result;

	if (!real)
		real = dlsym(RTLD_NEXT, "faccessat");
	result = real(directory, path, mode, flags);
	return result < 0 && is_ours(path) ? 0 : result;
}

/* --- beginning and end --- */

static void in_child(void)
{
	if (!eb_view.segment)
		return;
	shim_forget_descriptors();
	if (eb_segment_forked(EB_LOADER))
		eb_log_warning("too many processes use the segment");
	else
		shim_rings_forked();
}

__attribute__((constructor)) static void begin(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

/* What this loader attached is taken away before it has gone, as the kernel does. */
__attribute__((destructor)) static void end(void)
{
	if (!eb_view.segment)
		return;
	eb_segment_leave();
	eb_doorbell_wait(eb_doorbell_ring(), 2000);
}
