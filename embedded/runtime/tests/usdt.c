/*
 * A target with a USDT probe that is only fired while its semaphore says that somebody listens, and its loader. As target (usdt COMMANDS-ON-STDIN):
 * "fire N" fires the probe that often if it is enabled and answers how often that was and what the semaphore says. As loader
 * (usdt OBJECT TARGET): attaches, says READY, and at the end of its input prints what was counted.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the section where tracers look for it; they count it up in this process's memory. */
__attribute__((section(".probes"), used)) volatile unsigned short figures_tick_semaphore;

/* The probe is a nop; a note says where it is and where its arguments are: 8@%rdi and -4@%esi here, and 8@8(%rdx). */
static inline void tick(uint64_t a, int b, const uint64_t *c)
{
	__asm__ volatile("990: nop\n\t"
			 ".pushsection .note.stapsdt, \"\", \"note\"\n\t"
			 ".balign 4\n\t"
			 ".4byte 992f - 991f, 994f - 993f, 3\n\t"
			 "991: .asciz \"stapsdt\"\n\t"
			 "992: .balign 4\n\t"
			 "993: .8byte 990b\n\t"
			 ".8byte _.stapsdt.base\n\t"
			 ".8byte figures_tick_semaphore\n\t"
			 ".asciz \"figures\"\n\t"
			 ".asciz \"tick\"\n\t"
			 ".asciz \"8@%%rdi -4@%%esi 8@8(%%rdx)\"\n\t"
			 "994: .balign 4\n\t"
			 ".popsection\n\t"
			 ".ifndef _.stapsdt.base\n\t"
			 ".pushsection .stapsdt.base, \"aG\", \"progbits\", .stapsdt.base, comdat\n\t"
			 ".weak _.stapsdt.base\n\t"
			 ".hidden _.stapsdt.base\n\t"
			 "_.stapsdt.base: .space 1\n\t"
			 ".size _.stapsdt.base, 1\n\t"
			 ".popsection\n\t"
			 ".endif"
			 :
			 : "D"(a), "S"(b), "d"(c)
			 : "memory");
}

static void fire(unsigned n)
{
	const uint64_t more[] = { 0, 1000 };
	unsigned fired = 0;

	for (unsigned i = 0; i < n; i++)
		if (__builtin_expect(figures_tick_semaphore, 0)) { /* as one writes it: the probe is out of the way */
			tick(i, -(int)i, more);
			fired++;
		}
	printf("fired %u semaphore %u\n", fired, figures_tick_semaphore);
	fflush(stdout);
}

static int target(void)
{
	unsigned n;

	printf("READY\n");
	fflush(stdout);
	while (scanf(" fire %u", &n) == 1)
		fire(n);
	return 0;
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_usdt_opts, options, .usdt_cookie = 77);
	struct bpf_object *object;
	struct bpf_program *program;
	uint32_t key = 0;
	int64_t values[6] = { 0 };
	char byte;

	if (argc < 3)
		return target();
	object = bpf_object__open_file(argv[1], NULL);
	program = object && !bpf_object__load(object) ? bpf_object__find_program_by_name(object, "on_tick") : NULL;
	if (!program || !bpf_program__attach_usdt(program, -1, argv[2], "figures", "tick", &options)) {
		printf("FAILED %s\n", strerror(errno));
		return 1;
	}
	printf("READY\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "seen"), &key, values);
	printf("hits %ld first %ld second %ld third %ld cookie %ld arguments %ld\n", values[0], values[1], values[2], values[3],
	       values[4], values[5]);
	return 0;
}
