/*
 * The programs of the syscall experiment, one for each side of each call. Tracepoints of the kernel see every process of
 * the machine: hits are those of the victim alone whose context says what it did (the call's number, and the size or the
 * result). So what the victim reads and writes otherwise is not counted, and a runtime that hands over another context
 * counts nothing.
 */
#include "bpf_core.h"
#include "call.bpf.h"
#include "transfer.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#if defined(__TARGET_ARCH_x86)
enum { NR_read = 0, NR_write = 1, NR_getppid = 110, NR_getpgid = 121 };
#else
#error "no numbers of system calls for this architecture"
#endif

/* The process that is watched, set by the loader's command `only`. Not 0, or it would lie in .bss among the counters. */
volatile __u32 only_pid = ~0u;

#define COUNT(name, expected) \
	do { \
		if ((__u32)(bpf_get_current_pid_tgid() >> 32) == only_pid && (expected)) \
			ADD(count_##name.hits, 1); \
		return 0; \
	} while (0)

#define ENTER(name, nr, expected) \
	struct count count_##name; \
	SEC("tracepoint") int name(struct entered *call) \
	{ \
		COUNT(name, call->number == (nr) && (expected)); \
	}

#define EXIT(name, nr, expected) \
	struct count count_##name; \
	SEC("tracepoint") int name(struct left *call) \
	{ \
		COUNT(name, call->number == (nr) && (expected)); \
	}

ENTER(enter_read, NR_read, call->arguments[2] == TRANSFER)
EXIT(exit_read, NR_read, call->result == TRANSFER)
ENTER(enter_write, NR_write, call->arguments[2] == TRANSFER)
EXIT(exit_write, NR_write, call->result == TRANSFER)
ENTER(enter_getppid, NR_getppid, 1)
EXIT(exit_getppid, NR_getppid, call->result > 0)
/* For the arms on which calls are watched, but not the one that is timed. */
ENTER(enter_getpgid, NR_getpgid, 1)
