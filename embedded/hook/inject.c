/*
 * inject PID LIBRARY: makes a running process load a shared library, and lets it go on.
 *
 * One of its threads is stopped on the way out of a system call in which it cannot have held a lock of the allocator or
 * the dynamic linker, and calls dlopen there. Needs no symbol of the target but dlopen, of whatever libc it has, and the
 * right to trace the process.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define LOAD_MS 10000
#define AREA_SIZE 8192ul /* stays: the library may have changed the text that could unmap it */
#define RED_ZONE 128

struct target {
	pid_t pid;
	uint64_t dlopen, linker_start, linker_end;
};

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("inject: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1); /* the kernel detaches */
}

static long now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Value of a function in the dynamic symbols of a file, 0 when it is not there. */
static uint64_t symbol_in(const char *image, const char *name)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + header->e_shoff);

	for (int i = 0; i < header->e_shnum; i++) {
		const Elf64_Sym *symbols = (const Elf64_Sym *)(image + sections[i].sh_offset);
		const char *strings = image + sections[sections[i].sh_link].sh_offset;

		for (size_t n = 0; sections[i].sh_type == SHT_DYNSYM && n < sections[i].sh_size / sizeof(*symbols); n++)
			if (symbols[n].st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbols[n].st_info) == STT_FUNC &&
			    !strcmp(strings + symbols[n].st_name, name))
				return symbols[n].st_value;
	}
	return 0;
}

/* The address that the file's first loadable segment was linked for. */
static uint64_t first_address(const char *image)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)image;
	const Elf64_Phdr *segments = (const Elf64_Phdr *)(image + header->e_phoff);

	for (int i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			return segments[i].p_vaddr & -4096ul;
	return 0;
}

/* Looks for dlopen in a mapped file, as the target sees it. */
static uint64_t dlopen_in(pid_t pid, const char *path, uint64_t base)
{
	char name[PATH_MAX + 32];
	struct stat info;
	uint64_t found = 0;
	char *image;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/root%s", pid, path);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (!fstat(fd, &info) && info.st_size > (off_t)sizeof(Elf64_Ehdr)) {
		image = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (image != MAP_FAILED) {
			if (!memcmp(image, ELFMAG, SELFMAG) && image[EI_CLASS] == ELFCLASS64) {
				found = symbol_in(image, "dlopen");
				if (!found)
					found = symbol_in(image, "__libc_dlopen_mode");
				found = found ? found - first_address(image) + base : 0;
			}
			munmap(image, (size_t)info.st_size);
		}
	}
	close(fd);
	return found;
}

static void look_at_mapping(struct target *target, char *line)
{
	uint64_t start, end, offset;
	char path[PATH_MAX + 1];
	const char *name;

	if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %4096[^\n]", &start, &end, &offset, path) != 4 || path[0] != '/')
		return;
	name = strrchr(path, '/') + 1;
	if (!strncmp(name, "ld-", 3) || !strncmp(name, "ld.", 3)) {
		if (!target->linker_start)
			target->linker_start = start;
		target->linker_end = end;
	}
	if (!offset && !target->dlopen && (strstr(name, ".so") || strstr(name, "libc")))
		target->dlopen = dlopen_in(target->pid, path, start);
}

static void find_dlopen(struct target *target)
{
	char path[64], line[PATH_MAX + 256];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", target->pid);
	maps = fopen(path, "re");
	if (!maps)
		fail("there is no process %d that may be looked at: %s", target->pid, strerror(errno));
	while (fgets(line, sizeof(line), maps))
		look_at_mapping(target, line);
	fclose(maps);
	if (!target->dlopen)
		fail("process %d has no library that exports dlopen: it is linked statically", target->pid);
}

/* Waits for a stop of the target. 0 when there was none by then. */
static int wait_stop(pid_t pid, int *status, long until)
{
	while (waitpid(pid, status, __WALL | WNOHANG) != pid) {
		if (now_ms() > until)
			return 0;
		usleep(200);
	}
	if (!WIFSTOPPED(*status))
		fail("process %d has ended", pid);
	return 1;
}

static void registers(pid_t pid, int request, struct user_regs_struct *regs)
{
	struct iovec area = { regs, sizeof(*regs) };

	if (ptrace(request, pid, (void *)NT_PRSTATUS, &area))
		fail("the registers of %d are out of reach: %s", pid, strerror(errno));
}

/* Calls during which a program may wait, but holds nothing that dlopen needs. */
static int is_harmless(unsigned long nr)
{
	static const unsigned long harmless[] = {
		SYS_read,     SYS_write,	   SYS_poll,	  SYS_select,	 SYS_pselect6, SYS_ppoll,
		SYS_nanosleep, SYS_clock_nanosleep, SYS_pause,	  SYS_epoll_wait, SYS_epoll_pwait, SYS_accept,
		SYS_accept4,  SYS_recvfrom,	   SYS_sendto,	  SYS_recvmsg,	 SYS_sendmsg,	SYS_wait4,
		SYS_waitid,   SYS_readv,	   SYS_writev,	  SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_getppid,
		SYS_sched_yield, SYS_fsync,	   SYS_fdatasync, SYS_pread64,	 SYS_pwrite64,	SYS_connect,
	};

	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (nr == harmless[i])
			return 1;
	return 0;
}

static int in_linker(const struct target *target, uint64_t ip)
{
	return ip >= target->linker_start && ip < target->linker_end;
}

/* A signal that arrives meanwhile is the target's business. */
static int signal_of(int status)
{
	int signal = WSTOPSIG(status);

	return status >> 16 || signal == (SIGTRAP | 0x80) || signal == SIGTRAP ? 0 : signal;
}

/* Lets the target run until it stops in a harmless system call, interrupted or at its end. */
static void reach_safe_point(const struct target *target, struct user_regs_struct *regs)
{
	long until = now_ms() + PATIENCE_MS;
	int status, signal = 0;

	if (ptrace(PTRACE_SEIZE, target->pid, NULL, PTRACE_O_TRACESYSGOOD))
		fail("process %d must not be traced: %s", target->pid, strerror(errno));
	if (ptrace(PTRACE_INTERRUPT, target->pid, NULL, NULL) || !wait_stop(target->pid, &status, until))
		fail("process %d does not stop", target->pid);
	for (;;) {
		registers(target->pid, PTRACE_GETREGSET, regs);
		/* not at the entry of a call: rax would be -ENOSYS */
		if ((long)regs->orig_rax >= 0 && is_harmless(regs->orig_rax) && !in_linker(target, regs->rip) &&
		    (long)regs->rax != -ENOSYS)
			return;
		if (ptrace(PTRACE_SYSCALL, target->pid, NULL, (void *)(long)signal) ||
		    !wait_stop(target->pid, &status, until))
			fail("process %d made no system call in %d s during which it could load a library",
			     target->pid, PATIENCE_MS / 1000);
		signal = signal_of(status);
	}
}

static void poke(pid_t pid, uint64_t at, const void *bytes, size_t size)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, bytes, size, (off_t)at) != (ssize_t)size)
		fail("the memory of %d cannot be written: %s", pid, strerror(errno));
	close(fd);
}

static void peek(pid_t pid, uint64_t at, void *bytes, size_t size)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, bytes, size, (off_t)at) != (ssize_t)size)
		fail("the memory of %d cannot be read: %s", pid, strerror(errno));
	close(fd);
}

/* Runs the stopped thread with these registers for one instruction or until a breakpoint; other signals wait. */
static void run(pid_t pid, int request, struct user_regs_struct *regs, long ms)
{
	long until = now_ms() + ms;
	int status, held[64], n = 0;

	registers(pid, PTRACE_SETREGSET, regs);
	for (;;) {
		if (ptrace(request, pid, NULL, NULL) || !wait_stop(pid, &status, until))
			fail("loading takes more than %ld s; process %d goes on with it", ms / 1000, pid);
		if (WSTOPSIG(status) == SIGTRAP && !(status >> 16))
			break;
		if (WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGILL || WSTOPSIG(status) == SIGBUS)
			fail("process %d crashed while loading the library", pid);
		if (signal_of(status) && n < 64)
			held[n++] = signal_of(status);
	}
	registers(pid, PTRACE_GETREGSET, regs);
	while (n)
		syscall(SYS_tgkill, pid, pid, held[--n]);
}

/* A system call of the target, made by the very instruction that it stopped behind: its text stays as it is. */
static uint64_t remote_call(pid_t pid, const struct user_regs_struct *saved, uint64_t nr, const uint64_t *args)
{
	struct user_regs_struct regs = *saved;
	unsigned char code[2];

	peek(pid, saved->rip - 2, code, sizeof(code));
	if (code[0] != 0x0f || code[1] != 0x05)
		fail("process %d has stopped at %llx, behind a system call (%llu) made in an unknown way", pid,
		     (unsigned long long)saved->rip, (unsigned long long)saved->orig_rax);
	regs.rip = saved->rip - 2;
	regs.orig_rax = (unsigned long)-1; /* or the kernel restarts the interrupted call */
	regs.rax = nr;
	regs.rdi = args[0], regs.rsi = args[1], regs.rdx = args[2];
	regs.r10 = args[3], regs.r8 = args[4], regs.r9 = args[5];
	run(pid, PTRACE_SINGLESTEP, &regs, LOAD_MS);
	return regs.rax;
}

/* call *%rax; int3, with the library's path behind it. The result of dlopen. */
static uint64_t load(const struct target *target, const struct user_regs_struct *saved, uint64_t area, const char *path)
{
	static const unsigned char code[16] = { 0xff, 0xd0, 0xcc };
	struct user_regs_struct regs = *saved;

	poke(target->pid, area, code, sizeof(code));
	poke(target->pid, area + sizeof(code), path, strlen(path) + 1);
	regs.rip = area;
	regs.orig_rax = (unsigned long)-1;
	regs.rax = target->dlopen;
	regs.rdi = area + sizeof(code);
	regs.rsi = 2; /* RTLD_NOW */
	regs.rsp = (regs.rsp - RED_ZONE) & -16ul;
	regs.eflags &= ~0x400ul;
	run(target->pid, PTRACE_CONT, &regs, LOAD_MS);
	return regs.rax;
}

int main(int argc, char **argv)
{
	struct target target = {};
	struct user_regs_struct saved;
	struct iovec extended = { calloc(1, 16384), 16384 };
	char path[PATH_MAX];
	uint64_t area, handle;

	if (argc != 3 || (target.pid = atoi(argv[1])) <= 0)
		fail("usage: inject PID LIBRARY");
	if (!realpath(argv[2], path))
		fail("%s: %s", argv[2], strerror(errno));
	find_dlopen(&target);
	reach_safe_point(&target, &saved);
	if (ptrace(PTRACE_GETREGSET, target.pid, (void *)NT_X86_XSTATE, &extended))
		fail("the vector registers of %d are out of reach: %s", target.pid, strerror(errno));
	area = remote_call(target.pid, &saved, SYS_mmap,
			   (uint64_t[]){ 0, AREA_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1ul, 0 });
	if (area > -4096ul)
		fail("process %d has no memory left: %s", target.pid, strerror((int)-area));
	handle = load(&target, &saved, area, path);
	/* with orig_rax as it was, the kernel restarts a call that we interrupted */
	registers(target.pid, PTRACE_SETREGSET, &saved);
	if (ptrace(PTRACE_SETREGSET, target.pid, (void *)NT_X86_XSTATE, &extended))
		fail("the vector registers of %d cannot be restored: %s", target.pid, strerror(errno));
	if (ptrace(PTRACE_DETACH, target.pid, NULL, NULL))
		fail("process %d cannot be let go: %s", target.pid, strerror(errno));
	if (!handle)
		fail("process %d could not load %s", target.pid, path);
	printf("loaded %s into %d\n", path, target.pid);
	return 0;
}
