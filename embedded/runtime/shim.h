/*
 * The loader's side: bpf(2) and perf_event_open(2) answered out of the segment. Functions return −errno; the interposed functions
 * of libc (shim_calls.c) turn that into errno.
 */
#ifndef EB_SHIM_H
#define EB_SHIM_H

#include "runtime/map.h"
#include "runtime/segment.h"

#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sys/epoll.h>

/* Opens the segment of EMBEDDED_SEGMENT on first use; 0: there is none, all goes to the kernel. */
int shim_ready(void);
/* bpf(2) of the kernel. */
long shim_kernel_bpf(int command, const union bpf_attr *attr, size_t size);

/* --- descriptors: shim_descriptor.c --- */

/* A new descriptor of that object; closes with the last one. */
long shim_descriptor(const struct eb_object *object);
/* A descriptor of nothing, for BTF that the kernel does not take. */
long shim_descriptor_of_nothing(void);
/* The object's id, 0 if the descriptor is not one of ours; UINT32_MAX: one of nothing. */
uint32_t shim_object(int descriptor);
/* The object if it is of that kind, else NULL. */
struct eb_object *shim_object_of(int descriptor, enum eb_kind kind);
/* libc's close is about to be, dup has been called. */
void shim_closing(int descriptor);
void shim_copied(int from, int to);
/* In a child: nothing is ours to close any more. */
void shim_forget_descriptors(void);

/* --- bpf(2) --- */

long shim_bpf(int command, union bpf_attr *attr, size_t size);
long shim_map_command(int command, union bpf_attr *attr); /* shim_map.c */
long shim_program_load(union bpf_attr *attr, size_t size); /* shim_program.c */
long shim_program_test(union bpf_attr *attr);
long shim_information(union bpf_attr *attr);		   /* shim_information.c */
long shim_link_create(union bpf_attr *attr);		   /* shim_event.c */
long shim_raw_tracepoint(union bpf_attr *attr);

/* The kernel's verifier: shim_verify.c. */
struct shim_program {
	union bpf_attr *attr;
	size_t size;
	const struct bpf_insn *insns; /* map references hold object ids */
	uint32_t count;
	const uint32_t *maps;
	uint32_t n_maps;
};
/* 0 with *record filled in, or −errno: the program is refused, and attr's log says why. */
long shim_verify(const struct shim_program *program, struct eb_program_record *record);
/* Writes to the log that attr gives, if it does. */
void shim_log(const union bpf_attr *attr, const char *text);

/* Where long branches of a file's text lead to from an offset on (see eb_hook_hint): shim_targets.c. 1: it is known. */
uint32_t shim_targets(const char *path, uint64_t offset, uint32_t *targets);

/* --- perf events: shim_event.c --- */

long shim_perf_event_open(const struct perf_event_attr *attr, int pid, int cpu, int group, unsigned long flags);
long shim_ioctl(struct eb_object *event, unsigned long request, unsigned long argument);

/* --- mmap and epoll --- */

/* 0: not one of ours. */
int shim_mmap(void *at, size_t length, int protection, int flags, int descriptor, off_t offset, void **result);
/* 0: not one of ours, else 1 and *result. */
int shim_epoll_ctl(int epoll, int operation, int descriptor, struct epoll_event *event, long *result);
int shim_epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds, long *result);
void shim_epoll_closed(int epoll, uint32_t object);

/* Ring buffers whose readers ask nobody: shim_rings.c. Once one is mapped; in a child that goes on reading. */
void shim_watch_rings(void);
void shim_rings_forked(void);

/* --- files of sysfs and tracefs: shim_files.c --- */

/* The type of uprobe events; the kernel's where there is one. */
uint32_t shim_uprobe_type(void);
/* The text of a file that is not there; NULL: none of ours. */
const char *shim_file(const char *path, char *text, size_t size);
/* "syscalls/sys_enter_write" of a tracepoint's number, NULL if it is not known. */
const char *shim_tracepoint(uint64_t number);
/* Notes the number that the kernel's file gives. */
void shim_note_tracepoint(const char *path, uint64_t number);

#endif
