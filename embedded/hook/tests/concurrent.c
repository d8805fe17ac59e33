/* Threads, signals and patching while others run. */
#include "counting.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <time.h>

#define THREADS 5
#define CALLS 200000

NOINLINE static double mix(double a, long double b, float c, long n)
{
	return a * 1.5 + (double)(b / 3) - c + (double)n;
}

NOINLINE static long sum_down(long n)
{
	long below = n ? sum_down(n - 1) : 0;

	__asm__ volatile("" : "+r"(below));
	return below + n;
}

static struct counts mixes, sums, in_signals;
static volatile int stop;
static unsigned long signals_taken;

static long work(long calls)
{
	long sum_calls = 0;

	for (long i = 0; i < calls; i++) {
		double x = mix((double)i, (long double)i * 3, (float)(i & 1023), i);

		CHECK(x == (double)i * 1.5 + (double)i - (double)(i & 1023) + (double)i);
		if (i % 16 == 0) {
			CHECK_EQUAL(sum_down(5), 15);
			sum_calls += 6;
		}
	}
	return sum_calls;
}

static void *worker(void *unused)
{
	(void)unused;
	return (void *)work(CALLS);
}

static long run_threads(void *(*body)(void *))
{
	pthread_t threads[THREADS];
	long total = 0;
	void *result;

	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, body, NULL));
	for (int i = 0; i < THREADS; i++) {
		CHECK(!pthread_join(threads[i], &result));
		total += (long)result;
	}
	return total;
}

static void threads(void)
{
	long sum_calls;

	count_calls(mix, &mixes);
	count_calls(sum_down, &sums);
	sum_calls = run_threads(worker);
	CHECK_EQUAL(mixes.entries, THREADS * CALLS);
	CHECK_EQUAL(mixes.returns, THREADS * CALLS);
	CHECK_EQUAL(sums.entries, sum_calls);
	CHECK_EQUAL(sums.returns, sum_calls);
	CHECK_EQUAL(eb_hook_missed(), 0);
}

NOINLINE static long called_in_signal(long n)
{
	return n + 1;
}

static void on_signal(int signal)
{
	volatile double x = mix(2, 3, 4, signal);

	CHECK(x == 2 * 1.5 + 1 - 4 + signal);
	CHECK_EQUAL(called_in_signal(signal), signal + 1);
	CHECK_EQUAL(sum_down(3), 6);
	__atomic_fetch_add(&signals_taken, 1, __ATOMIC_RELAXED);
}

/* A timer that fires at this thread, counted in CPU time, every so many ns. */
static timer_t start_timer(int signal, long ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal };
	struct itimerspec every = { { 0, ns }, { 0, ns } };
	timer_t timer;

	event._sigev_un._tid = gettid();
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(!timer_settime(timer, 0, &every, NULL));
	return timer;
}

static void *worker_with_signals(void *own_stack)
{
	timer_t timers[2] = { start_timer(SIGUSR1, 30000), start_timer(SIGUSR2, 41000) };
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	long sum_calls;

	(void)own_stack;
	CHECK(!sigaltstack(&stack, NULL));
	sum_calls = work(CALLS);
	timer_delete(timers[0]);
	timer_delete(timers[1]);
	return (void *)sum_calls;
}

/* SIGUSR1's handlers run on the stack they find, SIGUSR2's on their own, and they interrupt one another. */
static void signals(void)
{
	struct sigaction here = { .sa_handler = on_signal }, there = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	long sum_calls;

	sigaction(SIGUSR1, &here, NULL);
	sigaction(SIGUSR2, &there, NULL);
	count_calls(mix, &mixes);
	count_calls(sum_down, &sums);
	count_calls(called_in_signal, &in_signals);
	sum_calls = run_threads(worker_with_signals);
	CHECK(signals_taken > 100);
	CHECK_EQUAL(eb_hook_missed(), 0);
	CHECK_EQUAL(in_signals.entries, signals_taken);
	CHECK_EQUAL(in_signals.returns, signals_taken);
	CHECK_EQUAL(mixes.entries, THREADS * CALLS + signals_taken);
	CHECK_EQUAL(mixes.returns, THREADS * CALLS + signals_taken);
	CHECK_EQUAL(sums.entries, sum_calls + 4 * (long)signals_taken);
	CHECK_EQUAL(sums.returns, sum_calls + 4 * (long)signals_taken);
}

static __thread sigjmp_buf back;
static __thread volatile int armed;

static void jump_back(int signal)
{
	(void)signal;
	called_in_signal(1);
	if (armed)
		siglongjmp(back, 1);
}

NOINLINE static long at_depth(long n)
{
	long result = n ? at_depth(n - 1) : called_in_signal(1);

	__asm__ volatile("" : "+r"(result));
	return result;
}

/* Signals that jump out of wherever they come, handlers of ours included; afterwards all hits still count. */
static void *jumper(void *unused)
{
	timer_t timer = start_timer(SIGUSR1, 25000);
	volatile long jumps = 0, rounds = 0;

	(void)unused;
	while (rounds < 1500) {
		if (sigsetjmp(back, 1)) {
			jumps++;
		} else {
			armed = 1;
			for (int i = 0; i < 2000; i++)
				at_depth(i % 7);
		}
		armed = 0;
		rounds++;
	}
	timer_delete(timer);
	return (void *)jumps;
}

static void signal_jumps(void)
{
	struct sigaction action = { .sa_handler = jump_back };
	struct counts counts;
	unsigned long before;
	long jumps;

	sigaction(SIGUSR1, &action, NULL);
	count_calls(at_depth, &counts);
	count_calls(called_in_signal, &in_signals);
	jumps = run_threads(jumper);
	CHECK(jumps > 100);
	CHECK(counts.returns <= counts.entries);
	run_threads(worker); /* whoever's guard were still taken would miss these */
	before = in_signals.entries;
	for (int i = 0; i < 1000; i++)
		called_in_signal(i);
	CHECK_EQUAL(in_signals.entries - before, 1000);
	printf("%ld jumps, %lu entries, %lu missed\n", jumps, counts.entries, (unsigned long)eb_hook_missed());
	CHECK(eb_hook_missed() * 1000 <= counts.entries);
}

/* First instructions of one, four and five bytes. */
#define FUNCTION(name, first) \
	long name(long); \
	__asm__(".globl " #name "\n.type " #name ", @function\n.p2align 4\n" #name ":\n.cfi_startproc\n" first \
		"lea 1(%rdi), %rax\n ret\n.cfi_endproc\n.size " #name ", .-" #name "\n")
FUNCTION(starts_push, "push %rbx\n mov %rdi, %rbx\n pop %rbx\n");
FUNCTION(starts_endbr, "endbr64\n push %rbx\n pop %rbx\n");
FUNCTION(starts_nop5, ".byte 0x0f, 0x1f, 0x44, 0, 0\n");
FUNCTION(starts_short, "push %rbx\n push %rcx\n push %rdx\n pop %rdx\n pop %rcx\n pop %rbx\n");

static void *caller(void *unused)
{
	unsigned long calls = 0;

	(void)unused;
	for (; !__atomic_load_n(&stop, __ATOMIC_RELAXED); usleep(100))
		for (long i = 0; i < 100; i++, calls += 4) {
			CHECK_EQUAL(starts_push(i), i + 1);
			CHECK_EQUAL(starts_endbr(i), i + 1);
			CHECK_EQUAL(starts_nop5(i), i + 1);
			CHECK_EQUAL(starts_short(i), i + 1);
		}
	return (void *)calls;
}

static void poisoned(struct eb_regs *regs, void *user)
{
	CHECK_EQUAL(*(volatile long *)user, 0x600d);
	CHECK_EQUAL(regs->cs, 0x33);
}

/* Attaches and detaches under load. What a handler uses is spoilt as soon as eb_unhook says that it may. */
static void cycle(void *function, long cycles)
{
	unsigned char before[16];

	memcpy(before, function, 16);
	for (long i = 0; i < cycles; i++) {
		long *user = malloc(sizeof(*user));
		struct eb_hook *hook;

		*user = 0x600d;
		hook = must_hook(function, poisoned, poisoned, user);
		if (i % 8 == 0)
			usleep(10);
		CHECK_EQUAL(eb_unhook(hook), 0);
		*user = 0xdead;
		free(user);
	}
	CHECK(!memcmp(before, function, 16));
}

static void under_load(void *function, long cycles)
{
	pthread_t threads[4];

	stop = 0;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, caller, NULL));
	cycle(function, cycles);
	stop = 1;
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
}

static void cycles_nop5(void)
{
	under_load(starts_nop5, 10000);
}
static void cycles_push(void)
{
	under_load(starts_push, 500);
}
static void cycles_endbr(void)
{
	under_load(starts_endbr, 200);
}
static void cycles_short(void)
{
	under_load(starts_short, 200);
}

static void cycles_alone(void)
{
	cycle(starts_push, 10000);
}

static void *short_lived(void *counts)
{
	for (int i = 0; i < 10; i++)
		called_in_signal(i);
	return counts;
}

static void many_threads(void)
{
	struct counts counts;
	pthread_t thread;

	count_calls(called_in_signal, &counts);
	for (int i = 0; i < 3000; i++) {
		CHECK(!pthread_create(&thread, NULL, short_lived, NULL));
		CHECK(!pthread_join(thread, NULL));
	}
	CHECK_EQUAL(counts.entries, 30000);
	CHECK_EQUAL(counts.returns, 30000);
	CHECK_EQUAL(eb_hook_missed(), 0);
}

static volatile int inside, let_go;

static void dawdle(struct eb_regs *regs, void *user)
{
	(void)regs, (void)user;
	inside = 1;
	while (!let_go)
		__builtin_ia32_pause();
	inside = 0;
}

static void *dawdler(void *unused)
{
	(void)unused;
	called_in_signal(1);
	return NULL;
}

static void *releaser(void *unused)
{
	(void)unused;
	usleep(50000);
	let_go = 1;
	return NULL;
}

/* eb_unhook waits for a handler that runs, and says so when it does not end. */
static void waits_for_handlers(void)
{
	pthread_t threads[2];
	struct eb_hook *hook = must_hook(called_in_signal, dawdle, NULL, NULL);

	CHECK(!pthread_create(&threads[0], NULL, dawdler, NULL));
	while (!inside)
		usleep(100);
	CHECK(!pthread_create(&threads[1], NULL, releaser, NULL));
	CHECK_EQUAL(eb_unhook(hook), 0);
	CHECK(!inside && let_go);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	let_go = 0;
	hook = must_hook(called_in_signal, dawdle, NULL, NULL);
	CHECK(!pthread_create(&threads[0], NULL, dawdler, NULL));
	while (!inside)
		usleep(100);
	CHECK_EQUAL(eb_unhook(hook), 1);
	let_go = 1;
	pthread_join(threads[0], NULL);
}

static void *blocks_everything(void *unused)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	while (!stop)
		usleep(1000);
	return unused;
}

/* A thread that could not survive a breakpoint makes live patching refuse, and succeed later. */
static void blocked_trap(void)
{
	char error[200];
	struct counts counts;
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, blocks_everything, NULL));
	usleep(20000);
	CHECK(!eb_hook_function(called_in_signal, count_entry, NULL, &counts, error, sizeof(error)));
	CHECK(strstr(error, "blocks SIGTRAP"));
	CHECK_EQUAL(called_in_signal(1), 2);
	stop = 1;
	pthread_join(thread, NULL);
	count_calls(called_in_signal, &counts);
	CHECK_EQUAL(called_in_signal(1), 2);
	CHECK_EQUAL(counts.entries, 1);
}

static const struct test_case cases[] = {
	{ "threads", threads },		{ "signals", signals },		  { "signal_jumps", signal_jumps },
	{ "cycles_nop5", cycles_nop5 }, { "cycles_push", cycles_push },	  { "cycles_endbr", cycles_endbr },
	{ "cycles_short", cycles_short }, { "cycles_alone", cycles_alone }, { "many_threads", many_threads },
	{ "waits_for_handlers", waits_for_handlers }, { "blocked_trap", blocked_trap },
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
}
