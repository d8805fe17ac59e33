/* Frames of hooked functions that are left in other ways than by returning. */
#include "counting.h"

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <execinfo.h>
#include <pthread.h>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <ucontext.h>

extern "C" char **environ;

namespace {

struct counts outer, middle, inner;
int destroyed;

struct Guard {
	~Guard() { destroyed++; }
};

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
	Guard guard;
	long result = throws(n);

	__asm__ volatile("" : "+r"(result));
	return result + 1;
}

NOINLINE long catches(long n)
{
	try {
		return passes(n);
	} catch (const std::runtime_error &error) {
		return error.what()[0] == 't' ? -3 : 0;
	} catch (long thrown) {
		try {
			passes(thrown - 1);
		} catch (...) {
			return -thrown;
		}
	}
	return 0;
}

void exceptions()
{
	unsigned long normal = 0, calls = 0;

	count_calls((void *)catches, &outer);
	count_calls((void *)passes, &middle);
	count_calls((void *)throws, &inner);
	for (long n = 0; n < 3000; n++) {
		CHECK_EQUAL(catches(n), n % 3 == 0 ? -3 : n % 3 == 1 ? -n : n + 1);
		normal += n % 3 == 2;
		calls += n % 3 == 1 ? 2 : 1;
	}
	CHECK_EQUAL(outer.entries, 3000);
	CHECK_EQUAL(outer.returns, 3000);
	CHECK_EQUAL(middle.entries, calls);
	CHECK_EQUAL(inner.entries, calls);
	CHECK_EQUAL(middle.returns, normal);
	CHECK_EQUAL(inner.returns, normal);
	CHECK_EQUAL(destroyed, calls);
}

NOINLINE long deep(long n)
{
	Guard guard;
	long below = n ? deep(n - 1) : throws(0);

	__asm__ volatile("" : "+r"(below));
	return below + 1;
}

void deep_exception()
{
	bool caught = false;

	count_calls((void *)deep, &outer);
	count_calls((void *)throws, &inner);
	try {
		deep(20000);
	} catch (const std::exception &) {
		caught = true;
	}
	CHECK(caught);
	CHECK_EQUAL(destroyed, 20001);
	CHECK_EQUAL(outer.entries, 20001);
	CHECK_EQUAL(outer.returns, 0);
}

NOINLINE int trace(void **frames, int most)
{
	int n = backtrace(frames, most);

	__asm__ volatile("" : "+r"(n));
	return n;
}

NOINLINE int traced(void **frames, int most)
{
	int n = trace(frames, most);

	__asm__ volatile("" : "+r"(n));
	return n;
}

/* Frames seen through hooked functions are those seen without, and a pad for each hooked one. */
void backtraces()
{
	void *bare[50], *hooked[50];
	int n = traced(bare, 50), m;

	count_calls((void *)traced, &outer);
	count_calls((void *)trace, &inner);
	m = traced(hooked, 50);
	CHECK_EQUAL(m, n + 2);
	for (int i = 3; i < n; i++) /* below traced; 1 and 2 are called from elsewhere in this function */
		CHECK(std::string(reinterpret_cast<char *>(&bare[i]), 8) ==
		      std::string(reinterpret_cast<char *>(&hooked[i + 2]), 8));
}

jmp_buf target;

NOINLINE long jumps(long n)
{
	if (n % 2)
		longjmp(target, (int)n);
	return n;
}

NOINLINE long jumped_over(long n)
{
	long result = jumps(n);

	__asm__ volatile("" : "+r"(result));
	return result + 1;
}

void jumping()
{
	volatile long jumped = 0;

	count_calls((void *)jumped_over, &middle);
	count_calls((void *)jumps, &inner);
	for (volatile long n = 0; n < 20000; n++) {
		if (setjmp(target)) {
			jumped++;
			continue;
		}
		CHECK_EQUAL(jumped_over(n), n + 1);
	}
	CHECK_EQUAL(jumped, 10000);
	CHECK_EQUAL(middle.entries, 20000);
	CHECK_EQUAL(middle.returns, 10000);
	CHECK_EQUAL(inner.returns, 10000);
}

ucontext_t main_context, contexts[3];
long order[3000];
int steps;

NOINLINE long yields(long who)
{
	for (int i = 0; i < 100; i++) {
		order[steps++] = who;
		swapcontext(&contexts[who], &contexts[(who + 1) % 3]);
	}
	return who;
}

NOINLINE long coroutine(long who)
{
	long result = yields(who);

	__asm__ volatile("" : "+r"(result));
	return result;
}

void start(int who)
{
	coroutine(who);
}

/* On stacks of their own, interleaved in their midst; swapcontext, which returns on another one, is hooked, too. */
void coroutines()
{
	static char stacks[3][65536];
	struct counts swaps;

	count_calls((void *)coroutine, &outer);
	count_calls((void *)yields, &inner);
	count_calls((void *)swapcontext, &swaps);
	for (int i = 0; i < 3; i++) {
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = sizeof(stacks[i]);
		contexts[i].uc_link = i == 2 ? &main_context : &contexts[i + 1];
		makecontext(&contexts[i], reinterpret_cast<void (*)()>(start), 1, i);
	}
	swapcontext(&main_context, &contexts[0]);
	CHECK_EQUAL(steps, 300);
	for (int i = 0; i < 300; i++)
		CHECK_EQUAL(order[i], i % 3);
	CHECK_EQUAL(outer.entries, 3);
	CHECK_EQUAL(outer.returns, 3);
	CHECK_EQUAL(inner.returns, 3);
	CHECK_EQUAL(swaps.entries, 301);
	CHECK_EQUAL(swaps.returns, 301);
}

NOINLINE void *ends_thread(void *way)
{
	Guard guard;

	if (way)
		pthread_exit(way);
	for (;;)
		pause();
}

NOINLINE void *thread_body(void *way)
{
	void *result = ends_thread(way);

	__asm__ volatile("" : "+r"(result));
	return result;
}

void thread_ends()
{
	count_calls((void *)thread_body, &outer);
	count_calls((void *)ends_thread, &inner);
	for (long i = 0; i < 100; i++) {
		pthread_t thread;
		void *result;

		CHECK(!pthread_create(&thread, nullptr, thread_body, (void *)(i % 2)));
		if (i % 2 == 0)
			CHECK(!pthread_cancel(thread));
		CHECK(!pthread_join(thread, &result));
		CHECK(result == (i % 2 ? (void *)1 : PTHREAD_CANCELED));
	}
	CHECK_EQUAL(destroyed >= 50, 1);
	CHECK_EQUAL(outer.entries >= 50, 1);
	CHECK_EQUAL(outer.returns, 0);
	CHECK_EQUAL(inner.returns, 0);
}

NOINLINE long forks(long n)
{
	pid_t child = fork();
	int status;

	if (!child)
		return -n;
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

NOINLINE long vforks(long n)
{
	pid_t child = vfork();
	int status;

	if (!child)
		_exit((int)n);
	CHECK(waitpid(child, &status, 0) == child);
	return WEXITSTATUS(status);
}

/* A child counts for itself: its counts are copies. It returns through hooked frames that its parent entered. */
void children()
{
	struct counts of_vfork, of_fork;
	char error[200];
	char arguments[3][8] = { "sh", "-c", "exit 7" }, *list[] = { arguments[0], arguments[1], arguments[2], nullptr };
	pid_t child;
	int status;

	count_calls((void *)forks, &outer);
	count_calls((void *)vforks, &inner);
	count_calls((void *)fork, &of_fork);
	memset(&of_vfork, 0, sizeof(of_vfork));
	pid_t parent = getpid();
	CHECK(!eb_hook_function((void *)vfork, nullptr, count_return, &of_vfork, error, sizeof(error)));
	CHECK(strstr(error, "return again"));
	must_hook((void *)vfork, count_entry, nullptr, &of_vfork);
	for (long i = 0; i < 30; i++) {
		long result = forks(i);

		if (getpid() != parent)
			_exit((int)-result + (outer.returns == (unsigned long)i + 1 ? 100 : 0));
		CHECK_EQUAL(result, i + 100);
		CHECK_EQUAL(vforks(i), i);
	}
	CHECK_EQUAL(outer.entries, 30);
	CHECK_EQUAL(outer.returns, 30);
	CHECK_EQUAL(inner.entries, 30);
	CHECK_EQUAL(inner.returns, 30);
	CHECK_EQUAL(of_fork.returns, 30);
	CHECK_EQUAL(of_vfork.entries, 30);
	CHECK(!posix_spawn(&child, "/bin/sh", nullptr, nullptr, list, environ));
	CHECK(waitpid(child, &status, 0) == child);
	CHECK_EQUAL(WEXITSTATUS(status), 7);
	CHECK_EQUAL(WEXITSTATUS(system("exit 9")), 9);
}

const test_case cases[] = {
	{ "exceptions", exceptions }, { "deep_exception", deep_exception }, { "backtraces", backtraces },
	{ "jumping", jumping },	      { "coroutines", coroutines },	    { "thread_ends", thread_ends },
	{ "children", children },
};

} // namespace

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
}
