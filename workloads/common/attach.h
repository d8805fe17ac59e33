/* Attaches programs to functions of a file, in every process that maps it, and to tracepoints. */
#pragma once

#include "object.h"

struct attachment {
	const char *kind;    /* "uprobe", "uretprobe" or "tracepoint" */
	const char *program; /* name in the object */
	const char *place;   /* symbol in the target; CATEGORY/NAME of a tracepoint */
	struct bpf_program *loaded;
	uint64_t attach_ns;
};

/* Splits KIND:PROGRAM:PLACE (the text is kept and changed), or fails as a wrong option. */
struct attachment attachment_parse(char *text);
/*
 * Attaches; the link lives as long as this process. `pid` is the only process in which a function is probed, or −1: whichever
 * maps the target. Fails in stage "attach".
 */
void attachment_make(struct attachment *attachment, const char *target, int pid);
/* Fields `attach: {kind, function}, attach_ns` in the program's entry. */
void attachment_report(struct json *json, const struct attachment *attachment);
