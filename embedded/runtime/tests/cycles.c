/*
 * Attaches and detaches a program many times while its target runs. Usage: cycles OBJECT PROGRAM TARGET FUNCTION TIMES [PID]; prints
 * READY, then the number of cycles that worked, and "left N" descriptors more than at the start. With TIMES 0 it attaches once, says
 * READY, and stays until the end of its input.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int n = 0;

	while (directory && readdir(directory))
		n++;
	if (directory)
		closedir(directory);
	return n;
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc >= 6 ? bpf_object__open_file(argv[1], NULL) : NULL;
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = argc >= 6 ? argv[4] : NULL);
	struct bpf_program *program, *wanted = NULL;
	char byte;
	int done = 0, before, pid = argc > 6 ? atoi(argv[6]) : -1;

	if (!object)
		return 1;
	bpf_object__for_each_program(program, object) {
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), argv[2]));
		if (!strcmp(bpf_program__name(program), argv[2]))
			wanted = program;
	}
	if (!wanted || bpf_object__load(object))
		return 1;
	if (!atoi(argv[5]) && !bpf_program__attach_uprobe_opts(wanted, pid, argv[3], 0, &options))
		return 2;
	printf("READY\n");
	fflush(stdout);
	while (!atoi(argv[5]) && read(0, &byte, 1) > 0)
		;
	before = descriptors();
	for (int i = 0; i < atoi(argv[5]); i++) {
		struct bpf_link *link = bpf_program__attach_uprobe_opts(wanted, pid, argv[3], 0, &options);

		if (!link)
			fprintf(stderr, "cycle %d: %s\n", i, strerror(errno));
		else
			done += !bpf_link__destroy(link);
	}
	printf("cycles %d left %d\n", done, descriptors() - before);
	return 0;
}
