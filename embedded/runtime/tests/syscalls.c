/* Loads syscalls.bpf.o, attaches all of it, says READY, and at the end of its input prints the results. Usage: syscalls OBJECT TARGET */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(const char *what, const char *name)
{
	printf("FAILED %s %s: %s\n", what, name, strerror(errno));
	exit(1);
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc == 3 ? bpf_object__open_file(argv[1], NULL) : NULL;
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = "answer");
	struct bpf_program *program;
	char byte;
	int map;

	if (!object)
		fail("open", argv[0]);
	if (bpf_object__load(object))
		fail("load", argv[1]);
	bpf_object__for_each_program(program, object) {
		const char *name = bpf_program__name(program);
		int is_uprobe = !strcmp(bpf_program__section_name(program), "uprobe");

		if (is_uprobe ? !bpf_program__attach_uprobe_opts(program, -1, argv[2], 0, &options) : !bpf_program__attach(program))
			fail("attach", name);
	}
	printf("READY\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	map = bpf_object__find_map_fd_by_name(object, "results");
	for (__u32 i = 0; i < 16; i++) {
		__s64 value = 0;

		bpf_map_lookup_elem(map, &i, &value);
		printf("result %u: %lld\n", i, value);
	}
	return 0;
}
