#include "object.h"
#include "libbpf_log.h"
#include "protocol.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Pages that the verifier does not write are never touched; old kernels refuse a log that does not fit. */
#define LOG_SIZE (16u << 20)
/* Of a verifier's log, the end says why. */
#define LOG_SHOWN 4096

static char *verifier_log;

uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void fail_stage(const char *stage, const char *program, int error, const char *what, const char *name)
{
	struct json reply = reply_begin("ERROR");
	const char *log = verifier_log && *verifier_log ? verifier_log : NULL;
	size_t length = log ? strlen(log) : 0;
	char text[2048];

	if (length > LOG_SHOWN) {
		const char *line = strchr(log + length - LOG_SHOWN, '\n');

		log = line ? line + 1 : log + length - LOG_SHOWN;
	}
	snprintf(text, sizeof(text), "%s%s%s: %s%s%s", what, name ? " " : "", name ? name : "", strerror(error),
		 *libbpf_warnings() ? "\n" : "", libbpf_warnings());
	json_string(&reply, "stage", stage);
	json_string(&reply, "program", program);
	json_integer(&reply, "errno", error);
	json_string(&reply, "message", text);
	json_string(&reply, "log", log);
	reply_end(&reply);
	exit(EXIT_ERROR);
}

struct object object_open(const char *path)
{
	struct object object = {};
	struct bpf_program *program;
	uint64_t start = now_ns();

	libbpf_log_start();
	object.bpf = bpf_object__open_file(path, NULL);
	if (!object.bpf)
		fail_stage(STAGE_OPEN, NULL, errno, "cannot open", path);
	object.open_ns = now_ns() - start;
	bpf_object__for_each_program(program, object.bpf)
		bpf_program__set_autoload(program, false);
	return object;
}

struct bpf_program *object_choose(struct object *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object->bpf, name);

	if (!program)
		fail_stage(STAGE_OPEN, name, ENOENT, "the object has no program", name);
	bpf_program__set_autoload(program, true);
	return program;
}

/* The program that stopped the load: programs are loaded in order, and the one without a descriptor is the first. */
static const char *refused(const struct object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object->bpf)
		if (bpf_program__autoload(program) && verifier_log && *verifier_log)
			if (bpf_program__fd(program) < 0)
				return bpf_program__name(program);
	return NULL;
}

void object_load(struct object *object)
{
	struct bpf_program *program;
	uint64_t start;
	int result;

	/*
	 * One buffer for all: the verifier writes only when libbpf asks again after a refusal, and the first refusal ends
	 * it.
	 */
	verifier_log = calloc(1, LOG_SIZE);
	bpf_object__for_each_program(program, object->bpf)
		if (verifier_log && bpf_program__autoload(program))
			bpf_program__set_log_buf(program, verifier_log, LOG_SIZE);
	start = now_ns();
	result = bpf_object__load(object->bpf);
	if (result)
		fail_stage(STAGE_LOAD, refused(object), -result, "cannot load", bpf_object__name(object->bpf));
	object->load_ns = now_ns() - start;
}

struct bpf_map *object_map(struct object *object, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object->bpf, name);

	if (!map)
		fail_stage(STAGE_FILL, NULL, ENOENT, "the object has no map", name);
	return map;
}

static void unknown_information(struct json *json, int error)
{
	static const char *const fields[] = { "id", "tag", "jited_length", "translated_length", "verified_instructions" };

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		json_null(json, fields[i]);
	json_string(json, "information_error", strerror(error));
}

void program_information(struct json *json, const struct bpf_program *program)
{
	struct bpf_prog_info information = {};
	__u32 size = sizeof(information);

	json_string(json, "name", bpf_program__name(program));
	if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &information, &size)) {
		unknown_information(json, errno);
		return;
	}
	json_number(json, "id", information.id);
	json_hex(json, "tag", information.tag, sizeof(information.tag));
	json_number(json, "jited_length", information.jited_prog_len);
	json_number(json, "translated_length", information.xlated_prog_len);
	json_number(json, "verified_instructions", information.verified_insns);
}
