/* What a hooked call looks like from outside and from its handlers. */
#include "counting.h"

#include <dlfcn.h>
#include <sys/mman.h>

#pragma GCC target("general-regs-only")

/* Calls `function` with every general register and flag set from `in`, and stores what they are then to `out`. */
struct machine {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, flags;
};
void call_with(const struct machine *in, struct machine *out, void *function);
__asm__(".globl call_with\n.type call_with, @function\ncall_with:\n"
	"	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
	"	push %rsi; push %rdx; sub $8, %rsp\n"
	"	pushq 120(%rdi); popfq\n"
	"	mov 0(%rdi), %r15; mov 8(%rdi), %r14; mov 16(%rdi), %r13; mov 24(%rdi), %r12\n"
	"	mov 32(%rdi), %rbp; mov 40(%rdi), %rbx; mov 48(%rdi), %r11; mov 56(%rdi), %r10\n"
	"	mov 64(%rdi), %r9; mov 72(%rdi), %r8; mov 80(%rdi), %rax; mov 88(%rdi), %rcx\n"
	"	mov 96(%rdi), %rdx; mov 104(%rdi), %rsi; mov 112(%rdi), %rdi\n"
	"	call *8(%rsp)\n"
	"	mov %rdi, -8(%rsp); mov 16(%rsp), %rdi\n"
	"	mov %r15, 0(%rdi); mov %r14, 8(%rdi); mov %r13, 16(%rdi); mov %r12, 24(%rdi)\n"
	"	mov %rbp, 32(%rdi); mov %rbx, 40(%rdi); mov %r11, 48(%rdi); mov %r10, 56(%rdi)\n"
	"	mov %r9, 64(%rdi); mov %r8, 72(%rdi); mov %rax, 80(%rdi); mov %rcx, 88(%rdi)\n"
	"	mov %rdx, 96(%rdi); mov %rsi, 104(%rdi); mov -8(%rsp), %rax; mov %rax, 112(%rdi)\n"
	"	pushfq; popq 120(%rdi)\n"
	"	cld; add $24, %rsp\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
	"	ret\n.size call_with, .-call_with\n");

/* Changes no register and no flag. */
void keeps_all(void);
__asm__(".globl keeps_all\n.type keeps_all, @function\nkeeps_all:\n.cfi_startproc\n"
	"	.byte 0x0f, 0x1f, 0x44, 0, 0\n	ret\n.cfi_endproc\n.size keeps_all, .-keeps_all\n");

static struct eb_regs seen[2];

static void spoil(struct eb_regs *regs, void *user)
{
	memcpy(user, regs, sizeof(*regs));
	__asm__ volatile("xor %%eax, %%eax; mov %%eax, %%ecx; mov %%eax, %%edx; mov %%eax, %%esi; mov %%eax, %%edi;"
			 "mov %%rax, %%r8; mov %%rax, %%r9; mov %%rax, %%r10; mov %%rax, %%r11"
			 :
			 :
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc");
}
static void spoil_entry(struct eb_regs *regs, void *user)
{
	(void)user;
	spoil(regs, &seen[0]);
}
static void spoil_return(struct eb_regs *regs, void *user)
{
	(void)user;
	spoil(regs, &seen[1]);
}

static void check_same(const struct machine *in, const struct eb_regs *regs)
{
	CHECK_EQUAL(regs->r15, in->r15), CHECK_EQUAL(regs->r14, in->r14), CHECK_EQUAL(regs->r13, in->r13);
	CHECK_EQUAL(regs->r12, in->r12), CHECK_EQUAL(regs->bp, in->bp), CHECK_EQUAL(regs->bx, in->bx);
	CHECK_EQUAL(regs->r11, in->r11), CHECK_EQUAL(regs->r10, in->r10), CHECK_EQUAL(regs->r9, in->r9);
	CHECK_EQUAL(regs->r8, in->r8), CHECK_EQUAL(regs->ax, in->ax), CHECK_EQUAL(regs->cx, in->cx);
	CHECK_EQUAL(regs->dx, in->dx), CHECK_EQUAL(regs->si, in->si), CHECK_EQUAL(regs->di, in->di);
	CHECK_EQUAL(regs->flags & 0xcd5, in->flags & 0xcd5);
}

static void registers(void)
{
	struct machine in, out;

	must_hook(keeps_all, spoil_entry, spoil_return, NULL);
	for (unsigned round = 0; round < 64; round++) {
		static const unsigned long bits[] = { 1, 4, 0x10, 0x40, 0x80, 0x800 };
		unsigned long *word = (unsigned long *)&in;

		for (unsigned i = 0; i < 15; i++)
			word[i] = 0x0123456789abcdefu * (i + 1) ^ round;
		in.flags = 0x202;
		for (unsigned i = 0; i < 6; i++)
			if (round >> i & 1)
				in.flags |= bits[i];
		memset(seen, 0, sizeof(seen));
		call_with(&in, &out, keeps_all);
		CHECK(!memcmp(&in, &out, sizeof(in) - 8));
		CHECK_EQUAL(out.flags & 0xcd5, in.flags & 0xcd5);
		check_same(&in, &seen[0]);
		check_same(&in, &seen[1]);
		CHECK_EQUAL(seen[0].ip, keeps_all);
		CHECK_EQUAL(seen[1].sp, seen[0].sp + 8);
		CHECK(seen[1].ip > (unsigned long)call_with && seen[1].ip < (unsigned long)call_with + 300);
	}
}

NOINLINE static long subtract(long a, long b, long c, long d, long e, long f, long g, long h)
{
	return a - b + c - d + e - f + g - h;
}

static void set_argument(struct eb_regs *regs, void *user)
{
	CHECK_EQUAL(((long *)regs->sp)[1], 70);
	CHECK_EQUAL(((long *)regs->sp)[2], 8);
	regs->di = (unsigned long)user;
}

static void double_result(struct eb_regs *regs, void *user)
{
	(void)user;
	regs->ax *= 2;
}

static void arguments(void)
{
	struct eb_hook *hook = must_hook(subtract, set_argument, double_result, (void *)1000);

	CHECK_EQUAL(subtract(1, 2, 3, 4, 5, 6, 70, 8), 2 * (1000 - 2 + 3 - 4 + 5 - 6 + 70 - 8));
	CHECK_EQUAL(eb_unhook(hook), 0);
	CHECK_EQUAL(subtract(1, 2, 3, 4, 5, 6, 70, 8), 1 - 2 + 3 - 4 + 5 - 6 + 70 - 8);
}

static void skip_odd(struct eb_regs *regs, void *user)
{
	(void)user;
	if (regs->di & 1)
		eb_skip(regs, 0xfeed);
}

static int side_effects;
NOINLINE static long effective(long n)
{
	side_effects++;
	return n;
}

static void skipping(void)
{
	struct counts counts;

	must_hook(effective, skip_odd, NULL, NULL);
	count_calls(effective, &counts);
	for (long i = 0; i < 1000; i++)
		CHECK_EQUAL(effective(i), i & 1 ? 0xfeed : i);
	CHECK_EQUAL(side_effects, 500);
	CHECK_EQUAL(counts.entries, 1000);
	CHECK_EQUAL(counts.returns, 500);
}

NOINLINE static long other_function(long n)
{
	return -n;
}

static void redirect(struct eb_regs *regs, void *user)
{
	regs->ip = (unsigned long)user;
}

static void redirecting(void)
{
	must_hook(effective, redirect, NULL, other_function);
	CHECK_EQUAL(effective(5), -5);
	CHECK_EQUAL(side_effects, 0);
}

static void several(void)
{
	unsigned char before[16], after[16];
	struct counts a, b, c;
	struct eb_hook *first, *second, *third;

	memcpy(before, effective, 16);
	first = count_calls(effective, &a);
	effective(1);
	second = count_calls(effective, &b);
	effective(1);
	third = count_calls(effective, &c);
	effective(1);
	CHECK_EQUAL(eb_unhook(second), 0);
	effective(1);
	CHECK_EQUAL(eb_unhook(first), 0);
	effective(1);
	CHECK_EQUAL(eb_unhook(third), 0);
	effective(1);
	CHECK_EQUAL(a.entries, 4), CHECK_EQUAL(b.entries, 2), CHECK_EQUAL(c.entries, 3);
	CHECK_EQUAL(a.returns, 4), CHECK_EQUAL(b.returns, 2), CHECK_EQUAL(c.returns, 3);
	memcpy(after, effective, 16);
	CHECK(!memcmp(before, after, 16));
}

NOINLINE static long depth(long n)
{
	long below = n ? depth(n - 1) : -1;

	__asm__ volatile("" : "+r"(below)); /* or it becomes a loop */
	return below + 1;
}

static void recursion(void)
{
	struct counts counts;

	count_calls(depth, &counts);
	CHECK_EQUAL(depth(60000), 60000);
	CHECK_EQUAL(counts.entries, 60001);
	CHECK_EQUAL(counts.returns, 60001);
}

NOINLINE static long third(long n);
NOINLINE __attribute__((optimize("O2"))) static long second(long n)
{
	return third(n + 1);
}
NOINLINE static long third(long n)
{
	side_effects++;
	return n * 2;
}
NOINLINE __attribute__((optimize("O2"))) static long ping(long n);
NOINLINE __attribute__((optimize("O2"))) static long pong(long n)
{
	return n ? ping(n - 1) : 42;
}
static long ping(long n)
{
	return n ? pong(n - 1) : 43;
}

static void tail_calls(void)
{
	struct counts a, b, c, d;

	count_calls(second, &a);
	count_calls(third, &b);
	count_calls(ping, &c);
	count_calls(pong, &d);
	for (long i = 0; i < 1000; i++)
		CHECK_EQUAL(second(i), (i + 1) * 2);
	CHECK_EQUAL(ping(5000), 43);
	CHECK_EQUAL(ping(5001), 42);
	CHECK_EQUAL(a.entries, 1000), CHECK_EQUAL(a.returns, 1000);
	CHECK_EQUAL(b.entries, 1000), CHECK_EQUAL(b.returns, 1000);
	CHECK_EQUAL(c.entries, 2501 + 2501), CHECK_EQUAL(c.returns, 2501 + 2501);
	CHECK_EQUAL(d.entries, 2500 + 2501), CHECK_EQUAL(d.returns, 2500 + 2501);
}

static void call_hooked(struct eb_regs *regs, void *user)
{
	(void)regs, (void)user;
	effective(1);
}

static void handler_calls_hooked(void)
{
	struct counts counts;

	must_hook(effective, call_hooked, call_hooked, NULL);
	count_calls(effective, &counts);
	for (int i = 0; i < 100; i++)
		effective(1);
	CHECK_EQUAL(counts.entries, 100);
	CHECK_EQUAL(counts.returns, 100);
	CHECK_EQUAL(side_effects, 300);
	CHECK_EQUAL(eb_hook_missed(), 200);
	eb_hook_suspend();
	effective(1);
	eb_hook_resume();
	CHECK_EQUAL(counts.entries, 100);
	CHECK_EQUAL(eb_hook_missed(), 200);
}

/* A leaf that keeps a value in the red zone across the probed nop. */
long red_zone(long n);
extern char red_zone_nop[];
__asm__(".globl red_zone\n.type red_zone, @function\nred_zone:\n.cfi_startproc\n"
	"	mov %rdi, -8(%rsp)\n	movq $77, -128(%rsp)\n	cmp $5, %rdi\n"
	"red_zone_nop:\n	nop\n	mov $0, %eax\n	sete %al\n	add -8(%rsp), %rax\n	add -128(%rsp), %rax\n	ret\n"
	".cfi_endproc\n.size red_zone, .-red_zone\n");

static void read_probe(struct eb_regs *regs, void *user)
{
	CHECK_EQUAL(regs->ip, red_zone_nop);
	*(long *)user += (long)regs->di;
}

static void probe(void)
{
	char error[200];
	long sum = 0;
	struct eb_hook *hook = must_hook(red_zone_nop, read_probe, NULL, &sum);

	for (long i = 0; i < 10; i++)
		CHECK_EQUAL(red_zone(i), i + 77 + (i == 5));
	CHECK_EQUAL(sum, 45);
	CHECK_EQUAL(eb_unhook(hook), 0);
	CHECK_EQUAL(red_zone(5), 83);
	CHECK(!eb_hook_function(red_zone_nop, NULL, read_probe, &sum, error, sizeof(error)));
	CHECK(strstr(error, "not the address of a function"));
}

/* Probed nops where no jump fits: behind the first the next instruction is jumped to, behind the second the function ends. */
long crowded(long n);
long at_end(long n);
extern char crowded_nop[], at_end_nop[];
__asm__(".globl crowded\n.type crowded, @function\ncrowded:\n.cfi_startproc\n"
	"	lea (%rdi,%rdi), %rax\n	add $10, %rdi\n	jc crowded_again\ncrowded_nop:\n	nop\n"
	"crowded_again:	add $1, %rax\n	dec %rdi\n	cmp $10, %rdi\n	jg crowded_again\n	ret\n"
	".cfi_endproc\n.size crowded, .-crowded\n"
	".globl at_end\n.type at_end, @function\nat_end:\n.cfi_startproc\n"
	"	mov %rdi, %rax\n	movl $7, -4(%rsp)\nat_end_nop:\n	nop\n.cfi_endproc\n.size at_end, .-at_end\n"
	"goes_on:\n.cfi_startproc\n	add -4(%rsp), %eax\n	ret\n.cfi_endproc\n.size goes_on, .-goes_on\n");

static void read_crowded(struct eb_regs *regs, void *user)
{
	CHECK_EQUAL(regs->ip, crowded_nop);
	CHECK_EQUAL(regs->ax, 2 * (regs->di - 10)); /* what comes before it has been done */
	*(long *)user += (long)regs->di;
}

static void probes_without_room(void)
{
	unsigned char before[16];
	struct counts counts = {};
	long sum = 0;
	struct eb_hook *hook, *second, *end;

	memcpy(before, crowded, 16);
	hook = must_hook(crowded_nop, read_crowded, NULL, &sum);
	for (long i = 1; i < 100; i++)
		CHECK_EQUAL(crowded(i), 3 * i);
	CHECK_EQUAL(sum, 99 * 50 + 99 * 10);
	CHECK_EQUAL(crowded(-1), -1); /* past the probe */
	CHECK_EQUAL(sum, 99 * 50 + 99 * 10);
	second = must_hook(crowded_nop, count_entry, NULL, &counts);
	crowded(5);
	CHECK_EQUAL(counts.entries, 1);
	CHECK_EQUAL(eb_unhook(hook), 0);
	crowded(5);
	CHECK_EQUAL(counts.entries, 2);
	CHECK_EQUAL(eb_unhook(second), 0);
	CHECK(!memcmp(before, crowded, 16));
	CHECK_EQUAL(crowded(7), 21);
	hook = must_hook(crowded_nop, read_crowded, NULL, &sum); /* with what was made the first time */
	sum = 0;
	CHECK_EQUAL(crowded(1), 3);
	CHECK_EQUAL(sum, 11);
	CHECK_EQUAL(eb_unhook(hook), 0);
	end = must_hook(at_end_nop, count_entry, NULL, &counts);
	CHECK_EQUAL(at_end(5), 12);
	CHECK_EQUAL(counts.entries, 3);
	CHECK_EQUAL(eb_unhook(end), 0);
	CHECK_EQUAL(at_end(5), 12);
}

#define ODD(name, code) \
	void name(void); \
	__asm__(".globl " #name "\n.type " #name ", @function\n.p2align 4\n" #name ":\n.cfi_startproc\n" code \
		"\n.cfi_endproc\n.size " #name ", .-" #name "\n")
ODD(loops_inside, "nop\n loops_there: dec %edi\n nop\n nop\n nop\n nop\n jnz loops_there\n ret");
ODD(after_call, "jmp after_call_there\n call has_breakpoint\n .globl after_call_nop\nafter_call_nop: nop\n after_call_there: ret");
extern char after_call_nop[];
ODD(has_breakpoint, "int3\n nop\n nop\n nop\n nop\n ret");
ODD(has_unknown, ".byte 0x06, 0x06, 0x06, 0x06, 0x06, 0x06\n ret");
ODD(has_transaction, "xbegin . + 100\n ret");
ODD(has_table, "nop\n table_target: lea odd_table(%rip), %rdx\n movslq (%rdx,%rdi,4), %rcx\n add %rdx, %rcx\n"
	       "jmp *%rcx\n .pushsection .rodata\n odd_table: .long has_table + 8 - odd_table, table_target - odd_table\n .popsection");
ODD(pops_arguments, "mov $1, %eax\n ret $8");

static void check_refused(void *address, int ret, const char *why)
{
	unsigned char before[16];
	char error[200] = "";

	memcpy(before, address, 16);
	CHECK(!eb_hook_function(address, count_entry, ret ? count_return : NULL, NULL, error, sizeof(error)));
	if (!strstr(error, why))
		fprintf(stderr, "expected '%s', got '%s'\n", why, error);
	CHECK(strstr(error, why));
	CHECK(!memcmp(before, address, 16));
}

static void refused(void)
{
	struct counts counts;
	char *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char error[100];

	check_refused(loops_inside, 0, "jumped into");
	check_refused(has_table, 0, "jumped into");
	check_refused(after_call_nop, 0, "jumped into");
	check_refused(has_breakpoint, 0, "breakpoint");
	check_refused(has_unknown, 0, "no known instruction");
	check_refused(has_transaction, 0, "cannot be moved");
	check_refused(pops_arguments, 1, "arguments from the stack");
	check_refused(code, 0, "no loaded object");
	check_refused(&counts, 0, "no loaded object");
	check_refused(dlsym(RTLD_DEFAULT, "_setjmp"), 1, "return again");
	check_refused(dlsym(RTLD_DEFAULT, "dlsym"), 1, "different callers");
	CHECK(!eb_hook_function(effective, NULL, NULL, NULL, error, sizeof(error)));
	CHECK(strstr(error, "no handler"));
	CHECK(eb_hook_select("magic", error, sizeof(error)) < 0);
	CHECK(strstr(error, "no backend is called magic"));
	CHECK(!strcmp(eb_hook_backend_name(), "trampoline"));
}

static const struct test_case cases[] = {
	{ "registers", registers },   { "arguments", arguments },   { "skipping", skipping },
	{ "redirecting", redirecting }, { "several", several },	    { "recursion", recursion },
	{ "tail_calls", tail_calls }, { "handler_calls_hooked", handler_calls_hooked }, { "probe", probe },
	{ "probes_without_room", probes_without_room },
	{ "refused", refused },
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(*cases), argc, argv);
}
