/* The kernel, asked to run a loaded program so many times: `--object FILE`. */
#include "engine.h"
#include "rounds.h"
#include "sizes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *path;
static struct bpf_object *object;
static int program, memory_map, values_map;
static char why[512];

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, arguments) : 0;
}

const char *engine_start(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "--object"))
		return "usage: kernel --object FILE";
	path = argv[2];
	libbpf_set_print(quiet);
	return NULL;
}

static const char *refuse(const char *what, int error)
{
	snprintf(why, sizeof(why), "%s: %s", what, strerror(error));
	return why;
}

static const char *load_only(const char *name, struct loaded *loaded)
{
	struct bpf_program *each, *wanted;
	uint64_t start;
	int error;

	bpf_object__for_each_program(each, object)
		bpf_program__set_autoload(each, false);
	wanted = bpf_object__find_program_by_name(object, name);
	if (!wanted)
		return "the object has no such program";
	bpf_program__set_autoload(wanted, true);
	start = clock_ns();
	error = bpf_object__load(object);
	if (error)
		return refuse("the kernel refuses to load it", -error);
	loaded->compile_ns = clock_ns() - start;
	program = bpf_program__fd(wanted);
	memory_map = bpf_object__find_map_fd_by_name(object, "memory");
	values_map = bpf_object__find_map_fd_by_name(object, "values");
	return NULL;
}

const char *engine_load(const char *name, struct loaded *loaded, int *unsupported)
{
	struct bpf_prog_info information = {};
	__u32 size = sizeof(information);
	char full[80];
	const char *wrong;

	(void)unsupported;
	if (object)
		bpf_object__close(object);
	object = bpf_object__open_file(path, NULL);
	if (!object)
		return refuse("cannot open the object", errno);
	snprintf(full, sizeof(full), "run_%s", name);
	wrong = load_only(full, loaded);
	if (wrong)
		return wrong;
	if (bpf_obj_get_info_by_fd(program, &information, &size))
		return refuse("the kernel does not describe the program", errno);
	loaded->engine = information.jited_prog_len ? "kernel-jit" : "kernel-interpreter";
	loaded->code_size = information.jited_prog_len ? (int64_t)information.jited_prog_len : -1;
	return NULL;
}

void engine_put(const uint8_t *memory, const uint64_t *values)
{
	uint32_t key = 0;

	bpf_map_update_elem(memory_map, &key, memory, BPF_ANY);
	for (; key < ENTRIES; key++)
		bpf_map_update_elem(values_map, &key, &values[key], BPF_ANY);
}

void engine_get(uint8_t *memory)
{
	uint32_t key = 0;

	/* what cannot be read is no result: it must not look like the one before */
	if (bpf_map_lookup_elem(memory_map, &key, memory))
		memset(memory, 0, MEMORY);
}

uint64_t engine_hits(void)
{
	return NOT_COUNTED;
}

uint64_t engine_run(uint64_t calls)
{
	static uint8_t packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = (int)calls);
	uint64_t start = clock_ns();

	if (bpf_prog_test_run_opts(program, &options) || options.retval != 1)
		return 0; /* no time at all: the harness refuses that */
	return clock_ns() - start;
}
