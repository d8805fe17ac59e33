/*
 * Functions to be probed by pitfalls.bpf.c, called in all the ways that have been trouble. Usage: pitfalls CASE HOW-MUCH [epoll|join|secret|busy]; it
 * says READY, waits for a line (in that way), does it, and says EXPECTED and how many hits each program must have counted.
 */
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>
#include <new>
#include <pthread.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The numbers of pitfalls.bpf.c. */
enum { MIX = 0, SUM = 2, THROWS = 4, PASSES = 6, JUMPS = 8, IN_SIGNAL = 10, PLAIN = 12, ENDS = 14, ANSWERS = 16, GETPGID = 17, GETPRIORITY = 18 };

#define NOINLINE extern "C" __attribute__((noinline, visibility("default")))
#define THREADS 6

static unsigned long expected[64], jumps_made;

static void expect(int program, unsigned long entries, unsigned long returns)
{
	__atomic_fetch_add(&expected[program], entries, __ATOMIC_RELAXED);
	__atomic_fetch_add(&expected[program + 1], returns, __ATOMIC_RELAXED);
}

static void expect(int program, unsigned long times)
{
	__atomic_fetch_add(&expected[program], times, __ATOMIC_RELAXED);
}

#define CHECK(what) \
	do { \
		if (!(what)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			abort(); \
		} \
	} while (0)

NOINLINE double mix(double a, long double b, float c, long n)
{
	return a * 1.5 + (double)(b / 3) - c + (double)n;
}

NOINLINE long sum_down(long n)
{
	long below = n ? sum_down(n - 1) : 0;

	__asm__ volatile("" : "+r"(below));
	return below + n;
}

NOINLINE long throws(long n)
{
	if (n % 3 == 0)
		throw std::runtime_error("three");
	if (n % 3 == 1)
		throw n;
	return n;
}

NOINLINE long passes(long n)
{
	struct Guard {
		long *count;
		~Guard() { ++*count; }
	};
	long left = 0;
	Guard guard{ &left };
	long result = throws(n);

	__asm__ volatile("" : "+r"(result));
	return result + 1;
}

static thread_local jmp_buf back;

NOINLINE long jumps(long n)
{
	if (n % 2)
		longjmp(back, 1);
	__asm__ volatile("" : "+r"(n));
	return n + 1;
}

NOINLINE long in_signal(long n)
{
	__asm__ volatile("" : "+r"(n));
	return n + 1;
}

NOINLINE long plain(long n)
{
	__asm__ volatile("" : "+r"(n));
	return n * 2;
}

/* Never called: its programs are for other files. */
NOINLINE long hot(long n)
{
	__asm__ volatile("" : "+r"(n));
	return n;
}

NOINLINE long answers(long n)
{
	__asm__ volatile("" : "+r"(n));
	return n * 3;
}

/* --- everything at once --- */

static unsigned long signals_taken;

static void on_signal(int signal)
{
	int kept = errno;
	volatile double x = mix(2, 3, 4, signal);

	CHECK(x == 2 * 1.5 + 1 - 4 + signal);
	CHECK(in_signal(signal) == signal + 1);
	CHECK(sum_down(2) == 3);
	__atomic_fetch_add(&signals_taken, 1, __ATOMIC_RELAXED);
	errno = kept;
}

static timer_t start_timer(int signal, long ns)
{
	struct sigevent event = {};
	struct itimerspec every = { { 0, ns }, { 0, ns } };
	timer_t timer;

	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = signal;
	event._sigev_un._tid = gettid();
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(!timer_settime(timer, 0, &every, nullptr));
	return timer;
}

static void throw_once(long n)
{
	long got = -2;

	try {
		got = passes(n);
	} catch (const std::runtime_error &) {
		got = -1;
	} catch (long thrown) {
		got = -thrown;
	}
	CHECK(got == (n % 3 == 0 ? -1 : n % 3 == 1 ? -n : n + 1));
	expect(THROWS, 1, n % 3 == 2);
	expect(PASSES, 1, n % 3 == 2);
}

static void jump_once(long n)
{
	volatile long returned = 0;

	if (!setjmp(back)) {
		CHECK(jumps(n) == n + 1);
		returned = 1;
	}
	CHECK(returned == (n % 2 == 0));
	expect(JUMPS, 1, (unsigned long)returned);
}

static void work(long calls)
{
	for (long i = 0; i < calls; i++) {
		volatile double x = mix((double)i, (long double)i * 3, (float)(i & 1023), i);

		CHECK(x == (double)i * 1.5 + (double)i - (double)(i & 1023) + (double)i);
		expect(MIX, 1, 1);
		if (i % 8 == 0) {
			CHECK(sum_down(5) == 15);
			expect(SUM, 6, 6);
		}
		if (i % 16 == 0)
			throw_once(i / 16);
		jump_once(i);
	}
}

static void *storm_thread(void *calls)
{
	timer_t timers[2] = { start_timer(SIGUSR1, 50000), start_timer(SIGUSR2, 71000) };
	stack_t stack = {};

	stack.ss_sp = malloc(65536);
	stack.ss_size = 65536;
	CHECK(!sigaltstack(&stack, nullptr));
	work((long)calls);
	timer_delete(timers[0]);
	timer_delete(timers[1]);
	return nullptr;
}

static void run_threads(void *(*body)(void *), void *argument)
{
	pthread_t threads[THREADS];

	for (pthread_t &thread : threads)
		CHECK(!pthread_create(&thread, nullptr, body, argument));
	for (pthread_t &thread : threads)
		CHECK(!pthread_join(thread, nullptr));
}

static void handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = {};

	action.sa_handler = handler;
	action.sa_flags = flags;
	CHECK(!sigaction(signal, &action, nullptr));
}

static void storm(long calls)
{
	handle(SIGUSR1, on_signal, 0);
	handle(SIGUSR2, on_signal, SA_ONSTACK);
	run_threads(storm_thread, (void *)calls);
	CHECK(signals_taken > (unsigned long)calls / 200);
	expect(MIX, signals_taken, signals_taken);
	expect(IN_SIGNAL, signals_taken, signals_taken);
	expect(SUM, 3 * signals_taken, 3 * signals_taken);
}

/* --- jumps out of signals that interrupt hits --- */

static thread_local sigjmp_buf out;
static thread_local volatile int armed;

static void jump_out(int signal)
{
	in_signal(signal);
	expect(IN_SIGNAL, 1, 1);
	if (armed)
		siglongjmp(out, 1);
}

/* Counts each call that has begun: its entry must have been counted before. */
NOINLINE long begun(long n)
{
	expect(PLAIN, 1);
	return n + 1;
}

__asm__(".globl ends\n.type ends, @function\n.p2align 4\nends:\n.cfi_startproc\n push %rbx\n.cfi_adjust_cfa_offset 8\n"
	"mov %rdi, %rbx\n call begun\n pop %rbx\n.cfi_adjust_cfa_offset -8\n ret\n.cfi_endproc\n.size ends, .-ends\n");
extern "C" long ends(long);

static void *jumping_thread(void *rounds)
{
	timer_t timer = start_timer(SIGUSR1, 40000);
	volatile unsigned long jumped = 0;

	for (volatile long round = 0; round < (long)rounds; round = round + 1) {
		if (sigsetjmp(out, 1)) {
			jumped = jumped + 1;
		} else {
			armed = 1;
			for (int i = 0; i < 3000; i++) {
				ends(i);
				expect(PLAIN + 1, 1);
			}
		}
		armed = 0;
	}
	timer_delete(timer);
	__atomic_fetch_add(&jumps_made, jumped, __ATOMIC_RELAXED);
	return nullptr;
}

static void signal_jumps(long rounds)
{
	handle(SIGUSR1, jump_out, 0);
	run_threads(jumping_thread, (void *)rounds);
	CHECK(jumps_made > 100);
}

/* --- processes --- */

static void wait_for(pid_t child, int code)
{
	int status;

	CHECK(waitpid(child, &status, 0) == child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code) {
		fprintf(stderr, "child %d: status %#x\n", (int)child, status);
		abort();
	}
}

static void *plain_thread(void *)
{
	for (int i = 0; i < 500; i++)
		CHECK(plain(i) == 2 * i);
	expect(PLAIN, 500, 500);
	return nullptr;
}

/* A child counts on; one of vfork until it execs; what it execs into, with the agent anew, too. */
static void children(long times)
{
	char self[] = "/proc/self/exe", word[] = "inner", *list[] = { self, word, nullptr };
	pthread_t beside;

	for (volatile long i = 0; i < times; i = i + 1) {
		pid_t child;

		/* other threads hit while the process forks */
		CHECK(!pthread_create(&beside, nullptr, plain_thread, nullptr));
		child = fork();
		if (!child) {
			for (int n = 0; n < 100; n++)
				plain(n);
			plain_thread(nullptr);
			_exit(plain(21));
		}
		wait_for(child, 42);
		expect(PLAIN, 601, 601);
		child = vfork();
		if (!child) {
			execv(self, list);
			_exit(1);
		}
		wait_for(child, 7);
		expect(PLAIN, 10, 10);
		CHECK(!posix_spawn(&child, self, nullptr, nullptr, list, environ));
		wait_for(child, 7);
		expect(PLAIN, 10, 10);
		child = vfork();
		if (!child)
			_exit((int)plain(4));
		wait_for(child, 8);
		expect(PLAIN, 1, 1);
		CHECK(!pthread_join(beside, nullptr));
	}
}

static int inner()
{
	for (int i = 0; i < 10; i++)
		plain(i);
	return 7;
}

/* A thread that leaves from inside of hooked calls; one that is cancelled there. */
NOINLINE long leaves(long way)
{
	if (way % 2)
		pthread_exit(reinterpret_cast<void *>(way));
	for (;;)
		pause();
}

static void *leaving_thread(void *way)
{
	expect(JUMPS, 1, 0);
	jump_once(2);
	if (!setjmp(back))
		jumps(1);
	leaves((long)way);
	return nullptr;
}

static void thread_ends(long times)
{
	for (long i = 0; i < times; i++) {
		pthread_t thread;
		void *result;

		CHECK(!pthread_create(&thread, nullptr, leaving_thread, (void *)i));
		if (i % 2 == 0)
			CHECK(!pthread_cancel(thread));
		CHECK(!pthread_join(thread, &result));
		CHECK(result == (i % 2 ? (void *)i : PTHREAD_CANCELED));
	}
}

/* --- answers instead of calls --- */

static void *answered_thread(void *calls)
{
	for (long i = 0; i < (long)calls; i++) {
		CHECK(answers(i) == 4242);
		CHECK(getpriority((__priority_which_t)7, 7) == 20 - 99);
		CHECK(getpgid(0) > 0);
		errno = 0;
		CHECK(getpriority(PRIO_PROCESS, 0) >= -20 && !errno);
	}
	expect(ANSWERS, (unsigned long)calls);
	expect(GETPGID, (unsigned long)calls);
	expect(GETPRIORITY, (unsigned long)calls);
	return nullptr;
}

static void answered(long calls)
{
	run_threads(answered_thread, (void *)calls);
}

/* --- load for those who attach and detach meanwhile --- */

/* First instructions as compilers make them. */
#define STARTS(name, first) \
	extern "C" long name(long); \
	__asm__(".globl " #name "\n.type " #name ", @function\n.p2align 4\n" #name ":\n.cfi_startproc\n" first \
		"ret\n.cfi_endproc\n.size " #name ", .-" #name "\n")
STARTS(starts_push, "push %rbx\n mov %rdi, %rbx\n lea 1(%rbx), %rax\n pop %rbx\n");
STARTS(starts_mov, "mov %rdi, %rcx\n lea 1(%rcx), %rax\n");
STARTS(starts_movslq, "movslq %edi, %rsi\n lea 1(%rsi), %rax\n");
STARTS(starts_endbr, "endbr64\n push %rbp\n mov %rsp, %rbp\n lea 1(%rdi), %rax\n pop %rbp\n");
STARTS(starts_nop5, ".byte 0x0f, 0x1f, 0x44, 0, 0\n lea 1(%rdi), %rax\n");

static volatile int stop;

static void call_starts(long n)
{
	CHECK(starts_push(n) == n + 1);
	CHECK(starts_mov(n) == n + 1);
	CHECK(starts_movslq(n & 0xffff) == (n & 0xffff) + 1);
	CHECK(starts_endbr(n) == n + 1);
	CHECK(starts_nop5(n) == n + 1);
}

static void *load_thread(void *)
{
	for (long i = 0; !stop; i++) {
		CHECK(plain(i) == 2 * i);
		CHECK(sum_down(3) == 6);
		CHECK(in_signal(i) == i + 1);
		jump_once(i);
		throw_once(i);
		call_starts(i);
		if (i % 64 == 0)
			usleep(50);
	}
	return nullptr;
}

static void load(long)
{
	pthread_t threads[4];
	char line[64];

	for (pthread_t &thread : threads)
		CHECK(!pthread_create(&thread, nullptr, load_thread, nullptr));
	CHECK(fgets(line, sizeof(line), stdin));
	stop = 1;
	for (pthread_t &thread : threads)
		CHECK(!pthread_join(thread, nullptr));
}

/* --- what a process waits in when it is made to load the agent --- */

static void wait_in_epoll()
{
	struct epoll_event event = {};
	int epoll = epoll_create1(0);

	event.events = EPOLLIN;
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event));
	CHECK(epoll_wait(epoll, &event, 1, -1) == 1);
	close(epoll);
}

static void *line_thread(void *line)
{
	return fgets(static_cast<char *>(line), 64, stdin);
}

static void wait_in_join(char *line)
{
	pthread_t thread;

	CHECK(!pthread_create(&thread, nullptr, line_thread, line));
	CHECK(!pthread_join(thread, nullptr));
}

static void wait_for_line(const char *how, char *line)
{
	if (how && !strcmp(how, "join")) {
		wait_in_join(line);
		return;
	}
	if (how && !strcmp(how, "epoll"))
		wait_in_epoll();
	if (how && !strcmp(how, "secret"))
		CHECK(!prctl(PR_SET_DUMPABLE, 0));
	if (how && !strcmp(how, "busy"))
		for (volatile long i = 0; i < 1000000000000; i = i + 1)
			;
	CHECK(fgets(line, 64, stdin));
}

static const struct {
	const char *name;
	void (*run)(long);
} cases[] = {
	{ "storm", storm },	  { "signal_jumps", signal_jumps }, { "children", children },
	{ "thread_ends", thread_ends }, { "answered", answered },   { "load", load },
};

int main(int argc, char **argv)
{
	char line[64];

	if (argc > 1 && !strcmp(argv[1], "inner"))
		return inner();
	for (const auto &one : cases)
		if (argc > 2 && !strcmp(argv[1], one.name)) {
			puts("READY {}");
			fflush(stdout);
			wait_for_line(argv[3], line);
			one.run(atol(argv[2]));
			printf("EXPECTED {\"jumps\": %lu, \"counts\": [", jumps_made);
			for (int i = 0; i < 64; i++)
				printf("%s%lu", i ? ", " : "", expected[i]);
			puts("]}");
			return 0;
		}
	return 1;
}
