/*
 * Preloaded into every program of a third-party build: writes down which files they read, and hides those
 * headers and libraries of the system that the build has no business with, so that what happens to be
 * installed on a machine cannot change what is built.
 *
 * $BENCH_LOG      one line a file is appended to it: "read" or "hidden", the program, the real path
 * $BENCH_ALLOWED  real paths of the system's files that may be seen, one a line, sorted by strcmp()
 * $BENCH_SCRATCH  what lies below is the build's own
 *
 * A program that is statically linked, or asks the kernel directly, is not seen; compilers, linkers, make,
 * cmake, meson, pkg-config and shells are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef int open_function(const char *path, int flags, ...);
typedef int openat_function(int directory, const char *path, int flags, ...);
typedef FILE *fopen_function(const char *path, const char *mode);

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

enum verdict { OWN, READ, HIDDEN };

static int starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static int ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), wanted = strlen(end);

	return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static int is_below(const char *path, const char *directory)
{
	return directory && *directory && starts_with(path, directory) && path[strlen(directory)] == '/';
}

static int is_regular(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* Not by open(): that is ours. */
static int plain_open(const char *path, int flags)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644);
}

/* Whether a file is one of those by which a system influences what is built on it. */
static int is_ingredient(const char *path)
{
	static const char *const suffixes[] = {".h", ".hpp", ".a", ".o", ".so", ".pc", ".cmake"};

	if (starts_with(path, "/usr/include/") || starts_with(path, "/usr/local/include/"))
		return 1;
	if (!starts_with(path, "/usr/") && !starts_with(path, "/lib") && !starts_with(path, "/opt/"))
		return 0;
	/* what tools keep for themselves */
	if (starts_with(path, "/usr/lib/python") || starts_with(path, "/usr/local/lib/python"))
		return 0;
	if (starts_with(path, "/usr/share/") && !ends_with(path, ".pc"))
		return 0;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		if (ends_with(path, suffixes[i]))
			return 1;
	}
	return strstr(path, ".so.") != NULL;
}

/* The list of allowed files, NULL where there is none. */
static const char *allowed_list(size_t *size)
{
	static const char *list;
	static size_t length;
	const char *name = getenv("BENCH_ALLOWED");
	struct stat status;
	void *mapped;
	int fd;

	if (!list && name) {
		fd = plain_open(name, O_RDONLY);
		if (fd < 0)
			return NULL;
		if (fstat(fd, &status) == 0 && status.st_size) {
			mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
			if (mapped != MAP_FAILED) {
				length = (size_t)status.st_size;
				list = mapped;
			}
		}
		close(fd);
	}
	*size = length;
	return list;
}

static int compare_line(const char *line, const char *end, const char *path)
{
	size_t length = (size_t)(end - line), wanted = strlen(path);
	int order = memcmp(line, path, length < wanted ? length : wanted);

	return order ? order : (length > wanted) - (length < wanted);
}

static int is_allowed(const char *path)
{
	size_t size;
	const char *list = allowed_list(&size), *low = list, *high = list + size;

	if (!list)
		return 1;
	while (low < high) {
		const char *line = low + (high - low) / 2, *end;
		int order;

		while (line > low && line[-1] != '\n')
			line--;
		end = memchr(line, '\n', (size_t)(high - line));
		if (!end)
			return 0;
		order = compare_line(line, end, path);
		if (order == 0)
			return 1;
		if (order < 0)
			low = end + 1;
		else
			high = line;
	}
	return 0;
}

static void write_down(enum verdict verdict, const char *path)
{
	char line[PATH_MAX + 64];
	const char *log = getenv("BENCH_LOG");
	int length, out;

	if (!log)
		return;
	out = plain_open(log, O_WRONLY | O_APPEND | O_CREAT);
	if (out < 0)
		return;
	length = snprintf(line, sizeof(line), "%s\t%.40s\t%s\n", verdict == READ ? "read" : "hidden",
			  program_invocation_short_name, path);
	/* In one piece, or programs that run at once mix; and a file that is not noted makes the log a lie. */
	if (write(out, line, (size_t)length) != length)
		abort();
	close(out);
}

static enum verdict judge(int fd)
{
	char link[32], path[PATH_MAX];
	enum verdict verdict;
	ssize_t length;

	if (!is_regular(fd))
		return OWN;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length <= 0)
		return OWN;
	path[length] = '\0';
	if (is_below(path, getenv("BENCH_SCRATCH")))
		return OWN;
	verdict = is_ingredient(path) && !is_allowed(path) ? HIDDEN : READ;
	write_down(verdict, path);
	return verdict;
}

static int checked(int fd, int flags)
{
	int saved = errno;

	if (fd >= 0 && (flags & O_ACCMODE) != O_WRONLY && judge(fd) == HIDDEN) {
		close(fd);
		errno = ENOENT;
		return -1;
	}
	errno = saved;
	return fd;
}

static FILE *checked_stream(FILE *stream, const char *mode)
{
	int saved = errno;

	if (stream && (mode[0] == 'r' || strchr(mode, '+')) && judge(fileno(stream)) == HIDDEN) {
		fclose(stream);
		errno = ENOENT;
		return NULL;
	}
	errno = saved;
	return stream;
}

static mode_t mode_of(int flags, va_list more)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPEN(name)                                                                  \
	EXPORT int name(const char *path, int flags, ...)                           \
	{                                                                           \
		open_function *next = (open_function *)dlsym(RTLD_NEXT, #name);     \
		va_list more;                                                       \
		mode_t mode;                                                        \
                                                                                    \
		va_start(more, flags);                                              \
		mode = mode_of(flags, more);                                        \
		va_end(more);                                                       \
		return checked(next(path, flags, mode), flags);                       \
	}

#define OPENAT(name)                                                                \
	EXPORT int name(int directory, const char *path, int flags, ...)            \
	{                                                                           \
		openat_function *next = (openat_function *)dlsym(RTLD_NEXT, #name); \
		va_list more;                                                       \
		mode_t mode;                                                        \
                                                                                    \
		va_start(more, flags);                                              \
		mode = mode_of(flags, more);                                        \
		va_end(more);                                                       \
		return checked(next(directory, path, flags, mode), flags);            \
	}

#define FOPEN(name)                                                                 \
	EXPORT FILE *name(const char *path, const char *mode)                       \
	{                                                                           \
		fopen_function *next = (fopen_function *)dlsym(RTLD_NEXT, #name);   \
                                                                                    \
		return checked_stream(next(path, mode), mode);                        \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

/* what a fortified program calls in their place */
EXPORT int __open_2(const char *path, int flags)
{
	return open(path, flags);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return open64(path, flags);
}

EXPORT int __openat_2(int directory, const char *path, int flags)
{
	return openat(directory, path, flags);
}

EXPORT int __openat64_2(int directory, const char *path, int flags)
{
	return openat64(directory, path, flags);
}
