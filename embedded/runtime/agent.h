/* The target's side: programs attached to this process. */
#ifndef EB_AGENT_H
#define EB_AGENT_H

#include "engine/engine.h"
#include "runtime/program.h"

#include <stdio.h>
#include <sys/types.h>

/* A link of the segment, as this process has it. */
struct agent_link {
	struct agent_link *next;
	uint32_t id;
	struct eb_attachment attachment;
	struct eb_hook *hook; /* uprobes; NULL: pending or refused */
	uint16_t *semaphore;  /* that we have counted up, else NULL */
	int wanted;	      /* while looking at the table */
	int attached, refused;
	char program[EB_NAME];
	char report[EB_REPORT];
};

struct agent {
	enum eb_engine engine;
	const char *backend;
	struct agent_link *links;
	int starting;	 /* the first look: its status is written after it */
	char error[256]; /* why the agent does nothing at all; "" if it works */
	int is_child;	 /* of a fork: has a status file of its own */
	int pending;	 /* there are functions to attach to that are in no library so far */
};

extern struct agent agent;

/* Attaches; fills link->attached or link->refused and link->report. Neither: its file is not mapped (yet). */
void agent_attach(struct agent_link *link, const struct eb_object *event);
/* 1: a thread is still in it, and what it uses must stay. */
int agent_detach(struct agent_link *link);

/* System calls: agent_syscalls.c. */
int agent_attach_syscall(struct agent_link *link, const struct eb_object *event, char *error, size_t size);
int agent_detach_syscall(struct agent_link *link);

/* Reads what is mapped in this process: agent_locate.c. */
void agent_look_at_maps(void);
/* Where a file's offset was mapped then, executable ('x') or writable ('w'). 0: nowhere. */
uint64_t agent_locate(uint64_t device, uint64_t inode, const char *path, uint64_t offset, char permission);

/* What the dynamic linker loads is looked at before it runs: agent_loads.c. Once something is pending; once there will be a thread that looks. */
void agent_watch_loads(void);
void agent_looks_at_loads(void);
/* For that thread. */
int agent_has_loads_to_look_at(void);
uint32_t agent_loads(void);
void agent_has_looked_at_loads(uint32_t loads);

/* Writes the status file, if one is asked for. */
void agent_status(int ended);

#endif
