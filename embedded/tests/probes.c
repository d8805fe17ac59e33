/*
 * probes OBJECT TARGET PID [LETTERS [later]]: attaches (not at once, when "later" is said) with stock libbpf all programs of an object whose names begin with one of
 * the letters (e_F: entry of TARGET's function F, r_F: its return, t_…: where its section says). Says READY. Then lines:
 * `read` is answered with all maps that count, added up by program; `cycle N F` attaches e_plain and r_plain to the function F
 * and detaches them, N times, and says how often that worked;
 * `attach P [FILE F]` attaches the program P, to FILE's function F. `quit` or the end detaches everything.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

static struct bpf_object *object;
static const char *target;
static int pid;
static unsigned long sums[3][MOST];
static struct bpf_link *links[MOST];

static struct bpf_link *attach(struct bpf_program *program, const char *function)
{
	const char *name = bpf_program__name(program);
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = function, .retprobe = *name == 'r');

	return *name == 't' ? bpf_program__attach(program) : bpf_program__attach_uprobe_opts(program, pid, target, 0, &options);
}

static int n_links;

static int attach_all(void)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
		if (bpf_program__autoload(program) && !(links[n_links++] = attach(program, bpf_program__name(program) + 2))) {
			fprintf(stderr, "%s: %s\n", bpf_program__name(program), strerror(errno));
			return -1;
		}
	return 0;
}

static void add_up(void)
{
	int counts = bpf_object__find_map_fd_by_name(object, "counts"), cpus = libbpf_num_possible_cpus();
	int per_cpu = bpf_object__find_map_fd_by_name(object, "per_cpu"), threads = bpf_object__find_map_fd_by_name(object, "threads");
	struct thread {
		unsigned program, tid;
	} key, *last = NULL;
	unsigned long values[1024], value;

	memset(sums, 0, sizeof(sums));
	for (unsigned i = 0; i < MOST; i++) {
		bpf_map_lookup_elem(counts, &i, &sums[0][i]);
		if (!bpf_map_lookup_elem(per_cpu, &i, values))
			for (int cpu = 0; cpu < cpus; cpu++)
				sums[1][i] += values[cpu];
	}
	for (; !bpf_map_get_next_key(threads, last, &key); last = &key)
		if (!bpf_map_lookup_elem(threads, &key, &value) && key.program < MOST)
			sums[2][key.program] += value;
}

static void answer(void)
{
	add_up();
	printf("COUNTERS {");
	for (int kind = 0; kind < 3; kind++) {
		printf("%s\"%s\": [", kind ? ", " : "", kind == 0 ? "atomic" : kind == 1 ? "per_cpu" : "hash");
		for (int i = 0; i < MOST; i++)
			printf("%s%lu", i ? ", " : "", sums[kind][i]);
		printf("]");
	}
	printf("}\n");
}

static int one_cycle(const char *function)
{
	static const char *const names[] = { "e_plain", "r_plain" };
	struct bpf_link *pair[2];
	int worked = 1;

	for (int i = 0; i < 2; i++) {
		pair[i] = attach(bpf_object__find_program_by_name(object, names[i]), function);
		if (!pair[i])
			fprintf(stderr, "%s: %s\n", names[i], strerror(errno));
	}
	for (int i = 0; i < 2; i++)
		worked &= pair[i] && !bpf_link__destroy(pair[i]);
	return worked;
}

static void attach_one(const char *name, const char *file, const char *function)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	target = file;
	errno = ENOENT;
	if (program && n_links < MOST && (links[n_links] = attach(program, function))) {
		n_links++;
		printf("ATTACHED\n");
	} else {
		printf("ERROR %s\n", strerror(errno));
	}
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	char line[4096], function[64], name[64], file[4000];
	int cycles, done = 0;

	if (argc < 4)
		return 1;
	target = argv[2];
	pid = atoi(argv[3]);
	object = bpf_object__open_file(argv[1], NULL);
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !!strchr(argc > 4 ? argv[4] : "ert", *bpf_program__name(program)));
	if (!object || bpf_object__load(object))
		return 2;
	if (argc < 6 && attach_all())
		return 3;
	setlinebuf(stdout);
	printf("READY\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "quit\n"))
			break;
		if (!strcmp(line, "read\n"))
			answer();
		if (sscanf(line, "attach %63s %3999s %63s", name, file, function) >= 1)
			attach_one(name, file, function);
		if (sscanf(line, "cycle %d %63s", &cycles, function) == 2) {
			for (done = 0; cycles > 0; cycles--)
				done += one_cycle(function);
			printf("CYCLES %d\n", done);
		}
	}
	for (int i = 0; i < MOST; i++)
		bpf_link__destroy(links[i]);
	bpf_object__close(object);
	return 0;
}
