/*
 * Loads the programs of the fuse experiment, attaches all of them, tells them which process serves and which asks, and then answers
 * commands: see workloads/README.md. When the server ends, however it does, nothing is answered for it any more.
 */
#include "cache.h"
#include "object.h"
#include "protocol.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAGE_MAPS "maps"

/* Calls after which a client is not followed any more: see descriptors.bpf.h. */
static const char *const not_followed[] = {
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset",
	"seccomp", "setns", "unshare", "chroot", "pivot_root", "mount", "umount", "close_range", "execve", "execveat", "io_uring_setup",
};

static struct {
	struct object object;
	int settings_map, coherence_map, numbers_map;
	struct settings settings;
	pthread_mutex_t lock;
} loader = { .lock = PTHREAD_MUTEX_INITIALIZER, .settings = { .server = ~0u, .client = ~0u } };

struct plan {
	const char *object;
	uint64_t names, listings;
};

static void take_option(struct plan *plan, int option)
{
	if (option == 'o')
		plan->object = optarg;
	else if (option == 'n')
		plan->names = number_option("--names", optarg);
	else if (option == 'l')
		plan->listings = number_option("--listings", optarg);
	else if (option == 's')
		loader.settings.server = (unsigned)number_option("--server", optarg);
	else if (option == 'c')
		loader.settings.client = (unsigned)number_option("--client", optarg);
	else if (option == 'r')
		loader.settings.reads_change = 1;
	else if (option == 'u')
		loader.settings.uncached = 1;
	else if (option == 'f' && strlen(optarg) < FILTER)
		loader.settings.filter_length = (unsigned)strlen(strcpy(loader.settings.filter, optarg));
	else
		fail_options("usage: loader --object FILE --server PID [--client PID] [--names N] [--listings N] [--filter PATH] [--reads-change] "
			     "[--uncached]");
}

static struct plan parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "object", required_argument, NULL, 'o' },   { "names", required_argument, NULL, 'n' },
		{ "listings", required_argument, NULL, 'l' }, { "filter", required_argument, NULL, 'f' },
		{ "server", required_argument, NULL, 's' },   { "client", required_argument, NULL, 'c' },
		{ "reads-change", no_argument, NULL, 'r' },   { "uncached", no_argument, NULL, 'u' },
		{},
	};
	struct plan plan = { .names = 1024, .listings = 64 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(&plan, option);
	if (optind != argc || !plan.object || loader.settings.server == ~0u)
		take_option(&plan, '?');
	if (plan.names < 4 || plan.names & (plan.names - 1) || !plan.listings || plan.listings & (plan.listings - 1))
		fail_options("--names %lu --listings %lu: expected powers of 2", plan.names, plan.listings);
	loader.settings.names_mask = (unsigned)plan.names - 1;
	loader.settings.listings_mask = (unsigned)plan.listings - 1;
	return plan;
}

static void write_settings(void)
{
	uint32_t key = 0;

	if (bpf_map_update_elem(loader.settings_map, &key, &loader.settings, BPF_ANY))
		fail_stage(STAGE_MAPS, NULL, errno, "cannot write", "the settings");
}

static void load(const struct plan *plan)
{
	struct bpf_program *program;

	loader.object = object_open(plan->object);
	bpf_object__for_each_program(program, loader.object.bpf)
		bpf_program__set_autoload(program, true);
	bpf_map__set_max_entries(object_map(&loader.object, "names"), (__u32)plan->names);
	bpf_map__set_max_entries(object_map(&loader.object, "listings"), (__u32)plan->listings);
	object_load(&loader.object);
	loader.settings_map = bpf_map__fd(object_map(&loader.object, ".data.settings"));
	loader.coherence_map = bpf_map__fd(object_map(&loader.object, ".data.coherence"));
	loader.numbers_map = bpf_map__fd(object_map(&loader.object, ".data.numbers"));
	write_settings();
}

static uint64_t tracepoint_number(const char *tracepoint)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	unsigned long number = 0;
	char path[256];

	for (size_t i = 0; i < sizeof(places) / sizeof(*places) && !number; i++) {
		FILE *file;

		snprintf(path, sizeof(path), "%s/events/syscalls/%s/id", places[i], tracepoint);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%lu", &number) != 1)
			number = 0;
		fclose(file);
	}
	return number;
}

/* In one process, or in all (~0), as libbpf's own call does. */
static void attach_to(struct bpf_program *program, const char *tracepoint, uint32_t pid)
{
	struct perf_event_attr attributes = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attributes), .sample_period = 1, .wakeup_events = 1 };
	const char *name = bpf_program__name(program);
	long event;

	attributes.config = tracepoint_number(tracepoint);
	if (!attributes.config)
		fail_stage(STAGE_ATTACH, name, ENOENT, "there is no tracepoint", tracepoint);
	event = syscall(SYS_perf_event_open, &attributes, (int)pid, pid == ~0u ? 0 : -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (event < 0 || !bpf_program__attach_perf_event(program, (int)event))
		fail_stage(STAGE_ATTACH, name, errno, "cannot attach to", tracepoint);
}

/* A program without a place of its own is put on all calls that cannot be followed. */
static void attach(struct bpf_program *program)
{
	const char *name = bpf_program__name(program), *place = strrchr(bpf_program__section_name(program), '/');
	uint32_t pid = strncmp(name, "server_", 7) ? loader.settings.client : loader.settings.server;

	if (place) {
		attach_to(program, place + 1, pid);
		return;
	}
	for (size_t i = 0; i < sizeof(not_followed) / sizeof(*not_followed); i++) {
		char tracepoint[64];

		snprintf(tracepoint, sizeof(tracepoint), "sys_enter_%s", not_followed[i]);
		attach_to(program, tracepoint, pid);
	}
}

static void report_ready(void)
{
	struct json ready = reply_begin("READY");
	struct bpf_program *program;

	json_string(&ready, "libbpf", libbpf_version_string());
	json_number(&ready, "open_ns", loader.object.open_ns);
	json_number(&ready, "load_ns", loader.object.load_ns);
	json_open(&ready, "programs", '[');
	bpf_object__for_each_program(program, loader.object.bpf) {
		json_open(&ready, NULL, '{');
		program_information(&ready, program);
		json_string(&ready, "section", bpf_program__section_name(program));
		json_close(&ready, '}');
	}
	json_close(&ready, ']');
	reply_end(&ready);
}

static void report_counters(void)
{
	struct coherence coherence = {};
	struct numbers numbers = {};
	struct json reply;
	uint32_t key = 0;

	if (bpf_map_lookup_elem(loader.coherence_map, &key, &coherence) || bpf_map_lookup_elem(loader.numbers_map, &key, &numbers))
		fail_stage(STAGE_MAPS, NULL, errno, "cannot read", "the counters");
	reply = reply_begin("COUNTERS");
#define REPORT(name) json_number(&reply, #name, numbers.name);
	NUMBERS(REPORT)
	json_number(&reply, "begun", coherence.begun);
	json_number(&reply, "ended", coherence.ended);
	json_number(&reply, "agreed", coherence.agreed);
	json_number(&reply, "lost", coherence.lost);
	reply_end(&reply);
}

static void reset(void)
{
	const struct numbers zero = {};
	uint32_t key = 0;

	if (bpf_map_update_elem(loader.numbers_map, &key, &zero, BPF_ANY))
		fail_stage(STAGE_MAPS, NULL, errno, "cannot reset", "the counters");
	reply_text("OK reset");
}

static void *watch_server(void *own)
{
	struct pollfd end = { .fd = (int)(intptr_t)own, .events = POLLIN };

	while (poll(&end, 1, -1) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&loader.lock);
	loader.settings.uncached = 1;
	write_settings();
	pthread_mutex_unlock(&loader.lock);
	return NULL;
}

static void start_watch(void)
{
	long descriptor = syscall(SYS_pidfd_open, loader.settings.server, 0);
	pthread_t thread;

	if (descriptor < 0 || pthread_create(&thread, NULL, watch_server, (void *)(intptr_t)descriptor))
		fail_stage(STAGE_MAPS, NULL, errno, "cannot watch", "the server");
	pthread_detach(thread);
}

static void clear(const char *name)
{
	struct bpf_map *map = object_map(&loader.object, name);
	void *zeros = calloc(1, bpf_map__value_size(map));

	for (uint32_t key = 0; key < bpf_map__max_entries(map); key++)
		if (!zeros || bpf_map_update_elem(bpf_map__fd(map), &key, zeros, BPF_ANY))
			fail_stage(STAGE_MAPS, NULL, errno, "cannot clear", name);
	free(zeros);
}

/* Another client has other descriptors; what is known by inodes stays. */
static void set_client(uint32_t pid)
{
	loader.settings.client = ~0u;
	write_settings();
	clear("descriptors");
	clear("descriptions");
	loader.settings.client = pid;
	loader.settings.incarnation++;
	write_settings();
	reply_text("OK client");
}

static void set_device(uint64_t device)
{
	loader.settings.device = device;
	write_settings();
	reply_text("OK device");
}

static void obey(const char *line)
{
	uint64_t numbers[1];

	if (command_is(line, "reset", 0, NULL))
		reset();
	else if (command_is(line, "read", 0, NULL))
		report_counters();
	else if (command_is(line, "client", 1, numbers))
		set_client((uint32_t)numbers[0]);
	else if (command_is(line, "device", 1, numbers))
		set_device(numbers[0]);
	else
		fail_command(line);
}

int main(int argc, char **argv)
{
	struct bpf_program *program;
	struct plan plan;
	const char *line;

	protocol_start();
	plan = parse_options(argc, argv);
	load(&plan);
	bpf_object__for_each_program(program, loader.object.bpf)
		attach(program);
	start_watch();
	report_ready();
	while ((line = next_command()) && !command_is(line, "quit", 0, NULL)) {
		pthread_mutex_lock(&loader.lock);
		obey(line);
		pthread_mutex_unlock(&loader.lock);
	}
	return 0;
}
