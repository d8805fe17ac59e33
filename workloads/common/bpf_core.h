/*
 * The types our BPF programs use, and no more.
 *
 * We do not use a vmlinux.h: it is the running kernel's and would make the objects differ from machine to machine. What
 * stands here is either ABI (integer types, map types, flags, the register file a uprobe program is handed: their
 * layout is fixed, so they need no relocation and an object that uses nothing else loads where there is no kernel BTF
 * at all), or a kernel-internal type marked KERNEL_TYPE, so that libbpf finds the real offsets of the fields that we
 * read on the machine where the object is loaded.
 */
#pragma once

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
/* named by the prototypes in bpf_helper_defs.h */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum { BPF_ANY = 0 };

#define BPF_F_CURRENT_CPU 0xffffffffULL

enum { ENOENT = 2, EINVAL = 22 };

#if defined(__TARGET_ARCH_x86)
/*
 * What the program type "kprobe" (uprobes included) gets as its context: bpf_user_pt_regs_t, part of the kernel's
 * ABI.
 */
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	unsigned long ip, cs, flags, sp, ss;
};
#define ARGUMENT_1(context) ((context)->di)
#define ARGUMENT_2(context) ((context)->si)
#define RESULT(context) ((context)->ax)
#else
#error "no register file for this architecture: add its struct pt_regs and ARGUMENT_1"
#endif

/* Marks a type of the kernel proper, of which only the fields that we read are declared. */
#define KERNEL_TYPE __attribute__((preserve_access_index))

#include <bpf/bpf_helpers.h>

/*
 * What a program counts, one variable `count_<program>` each in .bss; the loader finds it by that name. `hits` grows by
 * one a hit; `inner` by the number of inner operations that had the expected outcome.
 */
struct count {
	__u64 hits;
	__u64 inner;
};

/* Opens the definition of the program `name`, attached as `kind`, and defines the variable in which it counts. */
#define PROGRAM(kind, name) \
	struct count count_##name; \
	SEC(kind) int name(struct pt_regs *ctx __attribute__((unused)))

/* Atomic, because another thread of the target may hit the probe at the same time; result unused, so one `lock add`. */
#define ADD(counter, n) ((void)__sync_fetch_and_add(&(counter), (n)))
