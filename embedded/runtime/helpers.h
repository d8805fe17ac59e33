/* The helper functions that programs may call. */
#ifndef EB_HELPERS_H
#define EB_HELPERS_H

#include "engine/engine.h"
#include "runtime/map.h"

/* What a program's run has to be surrounded with, because of the helpers and maps that it uses. */
enum { EB_NEEDS_SLOT = 1, EB_NEEDS_HIT = 2, EB_NEEDS_FAULT = 4 };

struct eb_helper_entry {
	eb_helper *call;
	uint32_t needs;
};

/* NULL: there is no such helper here. `map`: what it is called on, if that is known, else NULL. */
const struct eb_helper_entry *eb_helper_find(uint32_t id);
eb_helper *eb_helper_for(uint32_t id, const struct eb_map *map);
/* "bpf_map_lookup_elem"; NULL for numbers that nobody knows. */
const char *eb_helper_name(uint32_t id);

/* Defined one group a file. */
#define EB_HELPER(name) uint64_t name(uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4, uint64_t r5)
#define EB_UNUSED (void)r1, (void)r2, (void)r3, (void)r4, (void)r5

EB_HELPER(eb_map_lookup_elem);
EB_HELPER(eb_map_update_elem);
EB_HELPER(eb_map_delete_elem);
EB_HELPER(eb_map_push_elem);
EB_HELPER(eb_map_pop_elem);
EB_HELPER(eb_map_peek_elem);
EB_HELPER(eb_map_lookup_percpu_elem);
EB_HELPER(eb_for_each_map_elem);

EB_HELPER(eb_ringbuf_output);
EB_HELPER(eb_ringbuf_reserve);
EB_HELPER(eb_ringbuf_submit);
EB_HELPER(eb_ringbuf_discard);
EB_HELPER(eb_ringbuf_query);
EB_HELPER(eb_perf_event_output);
EB_HELPER(eb_get_stackid);
EB_HELPER(eb_get_stack);

EB_HELPER(eb_get_current_pid_tgid);
EB_HELPER(eb_get_ns_current_pid_tgid);
EB_HELPER(eb_get_current_uid_gid);
EB_HELPER(eb_get_current_comm);
EB_HELPER(eb_get_current_cgroup_id);
EB_HELPER(eb_get_numa_node_id);
EB_HELPER(eb_send_signal);
EB_HELPER(eb_send_signal_thread);

EB_HELPER(eb_trace_printk);
EB_HELPER(eb_trace_vprintk);
EB_HELPER(eb_snprintf);
EB_HELPER(eb_strtol);
EB_HELPER(eb_strtoul);
EB_HELPER(eb_strncmp);

/* bpf_trace_printk's formats; returns the length that the whole text has, without the final 0. */
long eb_format(char *to, size_t size, const char *format, const uint64_t *arguments, uint32_t n);

#endif
