/*
 * The shared segment: one file in /dev/shm that loaders and targets map.
 *
 * It may be mapped anywhere: nothing in it is an address. A header is followed by a table of users (processes), a table
 * of objects (maps, programs, events, links) and the objects' memory. The object table is the only truth about memory: what
 * no object covers is free, so there is no free list that a killed process could leave broken.
 *
 * What is shared is changed by loaders only, under a file lock that the system takes back from the dead; agents only count
 * themselves in and out, which needs no lock. Whoever opens a segment buries the users that died without saying so.
 */
#ifndef EB_SEGMENT_H
#define EB_SEGMENT_H

#include "common/common.h"

#include <sys/types.h>

#define EB_SEGMENT_PREFIX "embedded."	  /* file name in /dev/shm, before EMBEDDED_SEGMENT */
#define EB_SEGMENT_SIZE (4ull << 30)	  /* addresses; memory is taken as objects need it */
#define EB_USERS 1024
#define EB_OBJECTS 4096			  /* a power of two */
#define EB_CPUS 1024
#define EB_PAGE 4096u
#define EB_NAME 16			  /* as BPF_OBJ_NAME_LEN */

enum eb_role { EB_LOADER = 1, EB_AGENT = 2 };

/* A process. Its slot number and generation name it in locks. */
struct eb_user {
	uint32_t pid;	     /* 0: free */
	uint32_t role;
	uint64_t start;	     /* start time in ticks since boot: tells it from a later process with the same pid */
	uint32_t generation; /* of this slot */
	uint32_t seen;	     /* agents: the doorbell that it has acted upon; a futex */
	uint64_t image;	     /* tells it from what the process may exec later */
};

enum eb_kind { EB_FREE, EB_MAP, EB_PROGRAM, EB_EVENT, EB_LINK, EB_DEAD };

/* BPF_MAP_CREATE's shape of a map. */
struct eb_map_shape {
	uint32_t type, key_size, value_size, max_entries, flags;
	uint32_t frozen;
	uint32_t btf_key, btf_value; /* type ids, told back to whoever asks */
	uint64_t extra;
};

enum eb_verification { EB_UNVERIFIED, EB_VERIFIED, EB_VERIFIED_SUBSTITUTED };

struct eb_program_record {
	uint32_t type, attach_type;
	uint32_t instructions;	 /* in the object's memory, struct bpf_insn; map references hold object ids */
	uint32_t maps, n_maps;	 /* byte offset in the object's memory of the list of ids */
	uint32_t verification;	 /* enum eb_verification */
	uint32_t verified_instructions;
	uint32_t code_size;	 /* as compiled by the loader's engine … */
	uint64_t compile_ns;	 /* … in that time */
	uint8_t tag[8];
	char reason[96];	 /* why it is unverified, or what was substituted */
};

enum eb_event_kind { EB_EVENT_UPROBE, EB_EVENT_TRACEPOINT, EB_EVENT_RAW_TRACEPOINT, EB_EVENT_OUTPUT };

struct eb_event_record {
	uint32_t kind;
	uint32_t enabled;
	int32_t pid;	     /* −1: every process */
	uint32_t is_return;
	uint64_t offset;     /* in the file */
	uint64_t semaphore;  /* in the file, 0: none */
	uint64_t device, inode;
	uint32_t path;	     /* in the object's memory: the file's path; a tracepoint's name */
	int32_t cpu;	     /* output: for which CPU */
	uint32_t targets;    /* bit i: a long branch of the file's text leads to offset + i … */
	uint32_t targets_known; /* … if this is 1 */
};

#define EB_REPORT 160

struct eb_link_record {
	uint32_t program, event; /* ids */
	uint64_t cookie;
	uint32_t attached;	 /* times, in all processes */
	uint32_t refused;
	char report[EB_REPORT];	 /* why the last refusal */
};

struct eb_object {
	uint32_t kind;	     /* enum eb_kind: written last when made */
	uint32_t id;	     /* number of the slot + EB_OBJECTS × generation */
	uint32_t owner, owner_generation;
	uint32_t references; /* by other objects */
	uint32_t descriptors; /* open in the owner */
	uint32_t died;	     /* dead: the doorbell after which nobody looks here again */
	uint32_t spare;	     /* events: the link without a descriptor that goes with it */
	uint64_t offset, size; /* of its memory in the segment */
	char name[EB_NAME];
	union {
		struct eb_map_shape map;
		struct eb_program_record program;
		struct eb_event_record event;
		struct eb_link_record link;
	};
};

/* Who has which CPU's values now: see slots.h. */
struct eb_slot {
	uint64_t owner;
	uint64_t spare[7];
};

struct eb_segment {
	uint64_t magic;	     /* written last */
	uint32_t version, cpus;
	uint64_t size;
	uint64_t memory;     /* where the objects' memory begins */
	uint32_t users_top, objects_top; /* no place from there on was ever taken: what starts looks at few pages */
	uint32_t doorbell __attribute__((aligned(64))); /* a futex: agents look at the object table when it changes */
	uint32_t output __attribute__((aligned(64)));	/* a futex: readers of rings sleep on it */
	uint32_t sleepers;   /* how many */
	struct eb_slot slots[EB_CPUS] __attribute__((aligned(64)));
	struct eb_user users[EB_USERS];
	struct eb_object objects[EB_OBJECTS];
};

/* This process's view. */
struct eb_view {
	struct eb_segment *segment; /* NULL: not open */
	int file;
	uint32_t user;		 /* our number in segment->users */
	uint64_t device, inode;	 /* of the file */
	char path[128];
};

extern struct eb_view eb_view;

/* Where to stop when going through the tables. */
static inline uint32_t eb_users_top(void)
{
	return eb_load(&eb_view.segment->users_top);
}

static inline uint32_t eb_objects_top(void)
{
	return eb_load(&eb_view.segment->objects_top);
}

/*
 * Opens (making it if it is not there) the segment of that name and counts this process in. 0 or a negative errno. A segment
 * whose users are all dead is made anew.
 */
int eb_segment_open(const char *name, enum eb_role role);
/* Counts this process out; the last one removes the file. The mapping stays. */
void eb_segment_leave(void);
/* In a child after fork: counts it in as a user of its own. 0 or a negative errno. */
int eb_segment_forked(enum eb_role role);
/* Removes the segments in /dev/shm that nobody uses any more. */
void eb_segment_sweep(void);

/* The lock around changes by loaders. */
void eb_segment_lock(void);
void eb_segment_unlock(void);

/* Makes an object with `size` bytes of zeroed memory and one descriptor; NULL and *error (negative errno). Lock held. */
struct eb_object *eb_object_make(const char *name, uint64_t size, int *error);
/* Makes it visible, once it is complete. */
void eb_object_publish(struct eb_object *object, enum eb_kind kind);
/* The live object of that id and kind, else NULL. */
struct eb_object *eb_object_find(uint32_t id, enum eb_kind kind);
/* Drops one descriptor or one reference; the object dies with the last of both, and lets go of what it refers to. Lock held. */
void eb_object_drop(struct eb_object *object, int descriptors, int references);
static inline void *eb_object_memory(const struct eb_object *object)
{
	return (char *)eb_view.segment + object->offset;
}

/* Tells agents to look at the object table; returns the number that they will have seen then. */
uint32_t eb_doorbell_ring(void);
/* Waits until every living agent has seen it, at most so many ms. 1: all have. */
int eb_doorbell_wait(uint32_t number, int milliseconds);
/* Agent: sleeps until the doorbell differs from `seen`, or so many ms. */
void eb_doorbell_sleep(uint32_t seen, int milliseconds);
void eb_doorbell_acknowledge(uint32_t number);

/* Whether that user's program lives: an exec ends it, though not the process. */
int eb_user_lives(const struct eb_user *user);
/* Buries dead users and their objects; returns how many users live. Lock held. */
int eb_users_bury(void);

#endif
