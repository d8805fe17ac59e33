/* Perf events and links: where programs are attached. */
#include "common/log.h"
#include "runtime/process.h"
#include "runtime/shim.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATIENCE 5000 /* ms that a living agent may take to attach */

/* An event with a text (a path or a name) in its memory. */
static long make_event(const struct eb_event_record *record, const char *text)
{
	struct eb_object *object;
	long descriptor;
	int error = 0;

	eb_segment_lock();
	object = eb_object_make("", text ? strlen(text) + 1 : 0, &error);
	if (object) {
		object->event = *record;
		if (text)
			strcpy(eb_object_memory(object), text);
		eb_object_publish(object, EB_EVENT);
	}
	eb_segment_unlock();
	if (!object)
		return error;
	descriptor = shim_descriptor(object);
	if (descriptor < 0) {
		eb_segment_lock();
		eb_object_drop(object, 1, 0);
		eb_segment_unlock();
	}
	return descriptor;
}

static long open_uprobe(const struct perf_event_attr *attr, int pid)
{
	struct eb_event_record record = {
		.kind = EB_EVENT_UPROBE, .enabled = !attr->disabled, .pid = pid == 0 ? getpid() : pid,
		.is_return = attr->config & 1, .semaphore = attr->config >> 32, .offset = attr->probe_offset,
	};
	const char *path = (const char *)attr->uprobe_path;
	char whole[PATH_MAX];
	struct stat status;

	if (!path || !realpath(path, whole) || stat(whole, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || record.offset >= (uint64_t)status.st_size)
		return -EINVAL;
	if (pid > 0 && kill(pid, 0) && errno == ESRCH)
		return -ESRCH;
	record.targets_known = shim_targets(whole, record.offset, &record.targets);
	record.device = status.st_dev;
	record.inode = status.st_ino;
	return make_event(&record, whole);
}

long shim_perf_event_open(const struct perf_event_attr *attr, int pid, int cpu, int group, unsigned long flags)
{
	struct eb_event_record record = { .enabled = !attr->disabled, .pid = pid == 0 ? getpid() : pid, .cpu = cpu };
	const char *name;

	if (!shim_ready())
		return eb_system_call(SYS_perf_event_open, (long)attr, pid, cpu, group, (long)flags, 0);
	if (attr->type == shim_uprobe_type())
		return open_uprobe(attr, pid);
	if (attr->type == PERF_TYPE_SOFTWARE && attr->config == PERF_COUNT_SW_BPF_OUTPUT) {
		record.kind = EB_EVENT_OUTPUT;
		return cpu < 0 || (uint32_t)cpu >= eb_view.segment->cpus ? -EINVAL : make_event(&record, NULL);
	}
	name = attr->type == PERF_TYPE_TRACEPOINT ? shim_tracepoint(attr->config) : NULL;
	if (name) {
		record.kind = EB_EVENT_TRACEPOINT;
		return make_event(&record, name);
	}
	if (attr->type == PERF_TYPE_TRACEPOINT)
		eb_log_warning("tracepoint %llu: only system calls are traced in user space", (unsigned long long)attr->config);
	return -EOPNOTSUPP;
}

/* --- links --- */

/* Rings, waits for the agents, and says whether all that tried to attach were refused. */
static long announce(const struct eb_object *link)
{
	if (!eb_doorbell_wait(eb_doorbell_ring(), PATIENCE))
		eb_log_warning("a target did not answer in %d ms; it may not be probed yet", PATIENCE);
	if (link && eb_load(&link->link.refused) && !eb_load(&link->link.attached)) {
		eb_log_error("not attached: %.*s", EB_REPORT, link->link.report);
		return -EOPNOTSUPP;
	}
	return 0;
}

static int attachable(const struct eb_object *program, const struct eb_object *event)
{
	switch (event->event.kind) {
	case EB_EVENT_UPROBE:
		return program->program.type == BPF_PROG_TYPE_KPROBE;
	case EB_EVENT_TRACEPOINT:
		return program->program.type == BPF_PROG_TYPE_TRACEPOINT;
	case EB_EVENT_RAW_TRACEPOINT:
		return program->program.type == BPF_PROG_TYPE_RAW_TRACEPOINT;
	default:
		return 0;
	}
}

static struct eb_object *make_link(struct eb_object *program, struct eb_object *event, uint64_t cookie, int *error)
{
	struct eb_object *object;

	if (!attachable(program, event)) {
		*error = -EINVAL;
		return NULL;
	}
	eb_segment_lock();
	object = eb_object_make(program->name, 0, error);
	if (object) {
		object->link = (struct eb_link_record){ .program = program->id, .event = event->id, .cookie = cookie };
		program->references++;
		event->references++;
		eb_object_publish(object, EB_LINK);
	}
	eb_segment_unlock();
	return object;
}

static long finish_link(struct eb_object *link, const struct eb_object *event)
{
	long error = event->event.enabled ? announce(link) : 0, descriptor = error ? error : shim_descriptor(link);

	if (descriptor < 0) {
		eb_segment_lock();
		eb_object_drop(link, 1, 0);
		eb_segment_unlock();
		announce(NULL);
	}
	return descriptor;
}

long shim_link_create(union bpf_attr *attr)
{
	struct eb_object *program = shim_object_of((int)attr->link_create.prog_fd, EB_PROGRAM), *event, *link;
	int error = 0;

	if (!program)
		return -EBADF;
	if (attr->link_create.attach_type != BPF_PERF_EVENT)
		return -EOPNOTSUPP;
	event = shim_object_of((int)attr->link_create.target_fd, EB_EVENT);
	if (!event)
		return -EBADF;
	link = make_link(program, event, attr->link_create.perf_event.bpf_cookie, &error);
	return link ? finish_link(link, event) : error;
}

long shim_raw_tracepoint(union bpf_attr *attr)
{
	struct eb_object *program = shim_object_of((int)attr->raw_tracepoint.prog_fd, EB_PROGRAM), *event, *link;
	const char *name = (const char *)attr->raw_tracepoint.name;
	struct eb_event_record record = { .kind = EB_EVENT_RAW_TRACEPOINT, .enabled = 1, .pid = -1 };
	long descriptor;
	int error = 0;

	if (!program)
		return -EBADF;
	if (!name || (strcmp(name, "sys_enter") && strcmp(name, "sys_exit")))
		return name ? -ENOENT : -EINVAL;
	descriptor = make_event(&record, name);
	if (descriptor < 0)
		return descriptor;
	event = shim_object_of((int)descriptor, EB_EVENT);
	link = make_link(program, event, 0, &error);
	/* the event lives as long as its link, which has no other descriptor */
	close((int)descriptor);
	return link ? finish_link(link, event) : error;
}

/* PERF_EVENT_IOC_SET_BPF: a link without a descriptor, which goes with its event. */
static long set_program(struct eb_object *event, int descriptor)
{
	struct eb_object *program = shim_object_of(descriptor, EB_PROGRAM), *link;
	int error = 0;

	if (!program)
		return -EBADF;
	link = make_link(program, event, 0, &error);
	if (!link)
		return error;
	eb_segment_lock();
	event->references--; /* or neither would ever go */
	event->spare = link->id;
	eb_segment_unlock();
	return event->event.enabled ? announce(link) : 0;
}

static struct eb_object *link_of(const struct eb_object *event)
{
	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_object *object = &eb_view.segment->objects[i];

		if (eb_load(&object->kind) == EB_LINK && object->link.event == event->id)
			return object;
	}
	return NULL;
}

long shim_ioctl(struct eb_object *event, unsigned long request, unsigned long argument)
{
	switch (request) {
	case PERF_EVENT_IOC_SET_BPF:
		return set_program(event, (int)argument);
	case PERF_EVENT_IOC_ENABLE:
		if (!__atomic_exchange_n(&event->event.enabled, 1, __ATOMIC_ACQ_REL) && event->event.kind != EB_EVENT_OUTPUT)
			return announce(link_of(event));
		return 0;
	case PERF_EVENT_IOC_DISABLE:
		if (__atomic_exchange_n(&event->event.enabled, 0, __ATOMIC_ACQ_REL) && event->event.kind != EB_EVENT_OUTPUT)
			announce(NULL);
		return 0;
	case PERF_EVENT_IOC_REFRESH:
	case PERF_EVENT_IOC_RESET:
		return 0;
	default:
		return -ENOTTY;
	}
}
