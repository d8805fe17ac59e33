/*
 * Opens a BPF object, loads the programs that were chosen and no others, and keeps what the verifier said about each.
 */
#pragma once

#include "json.h"

#include <bpf/libbpf.h>

/* Stages at which a loader can fail, as named in its ERROR line. */
#define STAGE_OPEN "open"
#define STAGE_LOAD "load"
#define STAGE_FILL "fill"
#define STAGE_ATTACH "attach"

struct object {
	struct bpf_object *bpf;
	uint64_t open_ns, load_ns; /* time taken by libbpf and the runtime below it */
};

/*
 * Prints `ERROR {stage, program, errno, message, log}` and exits with EXIT_ERROR. `program` may be NULL; `error` is a
 * positive errno. The message is `what`, `name` (may be NULL), the error in words, and libbpf's own warnings.
 */
_Noreturn void fail_stage(const char *stage, const char *program, int error, const char *what, const char *name);

/* Opens the file with every program off. */
struct object object_open(const char *path);
/* Chooses a program to be loaded; it must exist. */
struct bpf_program *object_choose(struct object *object, const char *program);
/* Creates the maps and loads the chosen programs. */
void object_load(struct object *object);
struct bpf_map *object_map(struct object *object, const char *map);

/*
 * Fields `name, id, tag, jited_length, translated_length, verified_instructions` of a loaded program. A runtime that
 * does not answer BPF_OBJ_GET_INFO_BY_FD gives null for all but the name, and the reason as `information_error`.
 */
void program_information(struct json *json, const struct bpf_program *program);

/* Nanoseconds of a clock that nobody sets. */
uint64_t now_ns(void);
