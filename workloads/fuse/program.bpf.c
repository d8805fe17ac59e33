/*
 * A cache of what a FUSE file system says, in the process that asks (client.bpf.h), and what keeps it true, in the process that serves
 * (server.bpf.h). Both run on tracepoints of system calls and answer calls in their stead, which the kernel's own tracepoints
 * cannot. workloads/fuse/README.md says what is guaranteed.
 */
#include "bpf_core.h"
#include "call.bpf.h"
#include "cache.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#if !defined(__TARGET_ARCH_x86)
#error "no numbers of flags for this architecture"
#endif

enum { EPERM = 1, EACCES = 13, EBADF = 9, BPF_NOEXIST = 1 };

#define ENTER(name) SEC("tracepoint/syscalls/sys_enter_" #name) int enter_##name(struct entered *call)
/* The loader knows by the name in which process a program is to run. */
#define SERVER_ENTER(name) SEC("tracepoint/syscalls/sys_enter_" #name) int server_enter_##name(struct entered *call)
#define SERVER_EXIT(name) SEC("tracepoint/syscalls/sys_exit_" #name) int server_exit_##name(struct left *call)
#define EXIT(name) SEC("tracepoint/syscalls/sys_exit_" #name) int exit_##name(struct left *call)

volatile struct settings settings SEC(".data.settings") = { .server = ~0u, .client = ~0u };
volatile struct coherence coherence SEC(".data.coherence") = {};
volatile struct numbers numbers SEC(".data.numbers") = {};

#define COUNT(name) ADD(numbers.name, 1)
/* The processor keeps loads, and stores, in their order; the compiler shall, too. */
#define IN_ORDER() __asm__ volatile("" ::: "memory")

/* The call is not made; its result is this one. */
static __always_inline int answer(void *call, __s64 result)
{
	bpf_override_return(call, (__u64)result);
	return 0;
}

#include "server.bpf.h"
#include "client.bpf.h"
