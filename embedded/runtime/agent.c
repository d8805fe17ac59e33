/*
 * agent.so, preloaded into a target. At start it attaches what the segment holds; then a thread of it sleeps on the segment's
 * doorbell, and attaches and detaches as loaders come and go.
 */
#include "runtime/agent.h"
#include "common/log.h"
#include "common/setting.h"
#include "hook/hook.h"
#include "runtime/fault.h"
#include "runtime/mpk.h"
#include "runtime/process.h"
#include "runtime/symbols.h"
#include "runtime/thread.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_AROUND 200 /* ms: dead loaders and newly loaded libraries ring no bell */

struct agent agent;

static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;
static unsigned long long objects_seen;

/* --- the object table --- */

static struct agent_link *find_link(uint32_t id)
{
	for (struct agent_link *link = agent.links; link; link = link->next)
		if (link->id == id)
			return link;
	return NULL;
}

static const struct eb_object *event_of(const struct eb_object *object)
{
	const struct eb_object *event = eb_object_find(object->link.event, EB_EVENT);

	if (!event || !eb_load(&event->event.enabled) || event->event.kind == EB_EVENT_OUTPUT)
		return NULL;
	return event->event.pid < 0 || event->event.pid == getpid() ? event : NULL;
}

static struct agent_link *new_link(const struct eb_object *object)
{
	struct agent_link *link = calloc(1, sizeof(*link)), **end = &agent.links;

	if (!link)
		return NULL;
	link->id = object->id;
	memcpy(link->program, object->name, EB_NAME);
	while (*end) /* handlers at one place run in the order in which they were attached */
		end = &(*end)->next;
	*end = link;
	return link;
}

/* Attaches what is new; notes what is still wanted. */
static int attach_new(void)
{
	int changed = 0, maps_read = 0;

	for (uint32_t i = 0; i < eb_objects_top(); i++) {
		struct eb_object *object = &eb_view.segment->objects[i];
		const struct eb_object *event = eb_load(&object->kind) == EB_LINK ? event_of(object) : NULL;
		struct agent_link *link;

		if (!event)
			continue;
		link = find_link(object->id);
		if (!link && !(link = new_link(object)))
			continue;
		link->wanted = 1;
		if (!link->attached && !link->refused) {
			if (!maps_read++)
				agent_look_at_maps();
			agent_attach(link, event);
			changed |= link->attached || link->refused;
			agent.pending |= !link->attached && !link->refused;
		}
	}
	return changed;
}

static int detach_old(void)
{
	struct agent_link **place = &agent.links, *link;
	int changed = 0;

	while ((link = *place)) {
		if (link->wanted) {
			place = &link->next;
			continue;
		}
		*place = link->next;
		changed = 1;
		if (!agent_detach(link))
			free(link);
	}
	return changed;
}

static void look(void)
{
	uint32_t number = eb_load(&eb_view.segment->doorbell);
	int changed;

	pthread_mutex_lock(&looking);
	for (struct agent_link *link = agent.links; link; link = link->next)
		link->wanted = 0;
	agent.pending = 0;
	changed = attach_new();
	changed |= detach_old();
	eb_program_collect();
	eb_symbols_forget();
	if (changed && !agent.starting)
		agent_status(0);
	if (agent.pending)
		agent_watch_loads();
	pthread_mutex_unlock(&looking);
	eb_doorbell_acknowledge(number);
}

/* --- the thread --- */

static int count_objects(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	*(unsigned long long *)data = info->dlpi_adds;
	return 1;
}

static int new_libraries(void)
{
	unsigned long long now = 0;

	dl_iterate_phdr(count_objects, &now);
	if (now == objects_seen)
		return 0;
	objects_seen = now;
	return 1;
}

/* A loader that was killed has detached nothing: do it for it. */
static int dead_loaders(void)
{
	int dead = 0;

	for (uint32_t i = 0; i < eb_users_top(); i++) {
		const struct eb_user *user = &eb_view.segment->users[i];

		if (eb_load(&user->pid) && user->role == EB_LOADER && !eb_user_lives(user))
			dead = 1;
	}
	return dead;
}

/* Links that have gone and nobody rang: whoever buried their loader was killed, too. */
static int lost_links(void)
{
	for (const struct agent_link *link = agent.links; link; link = link->next)
		if (!eb_object_find(link->id, EB_LINK))
			return 1;
	return 0;
}

static void look_around(void)
{
	if (eb_program_has_ended())
		exit(0); /* as the last thread's pthread_exit would, which takes ours for one of the program's */
	eb_fault_check();
	if (dead_loaders()) {
		eb_segment_lock();
		eb_users_bury();
		eb_segment_unlock();
		eb_doorbell_ring();
	}
	if (new_libraries() || lost_links())
		look();
}

static void *watch(void *unused)
{
	uint32_t seen = eb_view.segment->users[eb_view.user].seen;
	uint32_t closed;

	(void)unused;
	eb_hook_suspend();
	closed = eb_mpk_enter();
	for (;;) {
		uint32_t loads;

		if (eb_load(&eb_view.segment->doorbell) == seen && !agent_has_loads_to_look_at()) {
			eb_mpk_leave(closed);
			eb_doorbell_sleep(seen, LOOK_AROUND);
			eb_mpk_enter();
		}
		loads = agent_loads();
		if (eb_load(&eb_view.segment->doorbell) != seen) {
			look();
			seen = eb_view.segment->users[eb_view.user].seen;
		} else {
			look_around();
		}
		agent_has_looked_at_loads(loads);
	}
	return NULL;
}

static void start_thread(void)
{
	sigset_t all, old;
	pthread_attr_t attributes;
	pthread_t thread;

	sigfillset(&all);
	sigdelset(&all, SIGTRAP); /* or other threads could patch nothing */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	if (agent.engine != EB_LLVM)
		pthread_attr_setstacksize(&attributes, 512 * 1024);
	if (pthread_create(&thread, &attributes, watch, NULL))
		eb_log_error("no thread: nothing is attached or detached from now on");
	else
		agent_looks_at_loads();
	pthread_attr_destroy(&attributes);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* --- fork: the child keeps the probes of all processes and loses those of its parent alone --- */

static void before_fork(void)
{
	pthread_mutex_lock(&looking);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&looking);
}

static void in_child(void)
{
	uint32_t closed = eb_mpk_enter();

	pthread_mutex_unlock(&looking);
	eb_hook_suspend();
	eb_thread_forget();
	agent.is_child = 1;
	if (eb_segment_forked(EB_AGENT)) {
		eb_log_warning("too many processes use the segment: probes of this child stay as they are");
	} else {
		look();
		start_thread();
	}
	eb_hook_resume();
	eb_mpk_leave(closed);
}

/* --- beginning and end --- */

static int choose(void)
{
	const char *backend = eb_setting("EMBEDDED_BACKEND");

	if (eb_program_engine(&agent.engine, agent.error, sizeof(agent.error)))
		return -1;
	*agent.error = '\0';
	if (eb_hook_select(backend && *backend ? backend : "trampoline", agent.error, sizeof(agent.error)))
		return -1;
	agent.backend = eb_hook_backend_name();
	return 0;
}

static int open_segment(const char *name)
{
	int error = eb_segment_open(name, EB_AGENT);

	if (error)
		snprintf(agent.error, sizeof(agent.error), "segment %s: %s", name, strerror(-error));
	return error;
}

static void left(void)
{
	uint32_t closed = eb_mpk_enter();

	eb_thread_left();
	eb_mpk_leave(closed);
}

/* Without the protection that was asked for nothing is attached. */
static int protect(void)
{
	const char *wanted = eb_setting("EMBEDDED_PROTECT");
	int error = wanted && *wanted && *wanted != '0' ? eb_mpk_start(agent.error, sizeof(agent.error)) : 0;

	if (error)
		eb_segment_leave();
	return error;
}

__attribute__((constructor)) static void begin(void)
{
	const char *name = eb_setting("EMBEDDED_SEGMENT");
	uint32_t closed;

	if (!name || !*name)
		return;
	*agent.error = '\0';
	eb_settings_keep();
	eb_hook_suspend();
	if (choose() || open_segment(name) || protect()) {
		eb_log_error("%s", agent.error);
		agent_status(0);
	} else {
		closed = eb_mpk_enter();
		eb_hook_on_left(left);
		new_libraries();
		agent.starting = 1;
		look();
		agent.starting = 0;
		agent_status(0);
		pthread_atfork(before_fork, in_parent, in_child);
		start_thread();
		eb_mpk_leave(closed);
	}
	eb_hook_resume();
}

/*
 * For whoever has brought the agent into a running process (hook/inject.c): begins with these settings. NULL, or why not.
 * They must stay where they are.
 */
EB_EXPORT const char *embedded_agent_begin(const char *settings)
{
	if (eb_view.segment)
		return "the agent is at work there already, for another segment or the same";
	eb_settings_given(settings);
	begin();
	return *agent.error ? agent.error : eb_view.segment ? NULL : "EMBEDDED_SEGMENT is not set";
}

__attribute__((destructor)) static void end(void)
{
	uint32_t closed;

	if (!eb_view.segment || eb_view.segment->users[eb_view.user].pid != (uint32_t)getpid())
		return;
	eb_hook_suspend();
	closed = eb_mpk_enter();
	pthread_mutex_lock(&looking);
	agent_status(1);
	pthread_mutex_unlock(&looking);
	eb_segment_leave();
	eb_mpk_leave(closed);
	eb_hook_resume();
}
