/* Links to functions: each is a hook whose handler runs the program. */
#include "common/log.h"
#include "hook/hook.h"
#include "hook/raw.h"
#include "runtime/agent.h"
#include "runtime/helpers.h"
#include "runtime/mpk.h"
#include "runtime/thread.h"

#include <string.h>
#include <sys/uio.h>

/* The shortest way: a program that needs nothing around it. */
static void run_plain(struct eb_regs *regs, void *user)
{
	const struct eb_attachment *attachment = user;

	eb_run(&attachment->program->code, regs);
}

static void skip_function(struct eb_hit *hit, uint64_t result)
{
	eb_skip(hit->context, result);
}

static void run_at_entry(struct eb_regs *regs, void *user)
{
	struct eb_hit hit;

	eb_program_run(user, regs, skip_function, &hit);
}

static void run_at_return(struct eb_regs *regs, void *user)
{
	struct eb_hit hit;

	eb_program_run(user, regs, NULL, &hit);
}

/* The same with the segment behind a key. */

static void run_plain_opened(struct eb_regs *regs, void *user)
{
	uint32_t closed = eb_mpk_open();

	run_plain(regs, user);
	eb_mpk_close(closed);
}

static void run_at_entry_opened(struct eb_regs *regs, void *user)
{
	uint32_t closed = eb_mpk_open();

	run_at_entry(regs, user);
	eb_mpk_close(closed);
}

static void run_at_return_opened(struct eb_regs *regs, void *user)
{
	uint32_t closed = eb_mpk_open();

	run_at_return(regs, user);
	eb_mpk_close(closed);
}

static eb_handler *handler_of(const struct eb_loaded *program, int is_return)
{
	int plain = !program->needs || program->needs == EB_NEEDS_FAULT;

	if (eb_mpk_key)
		return plain ? run_plain_opened : is_return ? run_at_return_opened : run_at_entry_opened;
	return plain ? run_plain : is_return ? run_at_return : run_at_entry;
}

static void refuse(struct agent_link *link, const char *why)
{
	struct eb_object *object = eb_object_find(link->id, EB_LINK);

	link->refused = 1;
	snprintf(link->report, sizeof(link->report), "%s", why);
	eb_log_warning("%s not attached: %s", link->program, why);
	if (!object)
		return;
	memcpy(object->link.report, link->report, sizeof(object->link.report));
	__atomic_add_fetch(&object->link.refused, 1, __ATOMIC_ACQ_REL);
}

static void accept(struct agent_link *link)
{
	struct eb_object *object = eb_object_find(link->id, EB_LINK);

	link->attached = 1;
	link->attachment.program->users++;
	if (object)
		__atomic_add_fetch(&object->link.attached, 1, __ATOMIC_ACQ_REL);
}

static int load(struct agent_link *link, const struct eb_object *object)
{
	char error[256];

	link->attachment.program = eb_program_load(object->link.program, agent.engine, error, sizeof(error));
	link->attachment.cookie = object->link.cookie;
	if (!link->attachment.program)
		refuse(link, error);
	return link->attachment.program != NULL;
}

static void count_up(struct agent_link *link, const struct eb_event_record *event, const char *path)
{
	uint64_t at = event->semaphore ? agent_locate(event->device, event->inode, path, event->semaphore, 'w') : 0;

	if (!at)
		return;
	link->semaphore = (uint16_t *)at;
	__atomic_add_fetch(link->semaphore, 1, __ATOMIC_ACQ_REL);
}

static void attach_function(struct agent_link *link, const struct eb_object *object, const struct eb_object *event)
{
	const char *path = eb_object_memory(event);
	uint64_t at = agent_locate(event->event.device, event->event.inode, path, event->event.offset, 'x');
	eb_handler *handler;
	char error[256];

	if (!at || !load(link, object))
		return;
	link->attachment.address = at;
	handler = handler_of(link->attachment.program, (int)event->event.is_return);
	eb_hook_hint(event->event.targets_known ? (void *)at : NULL, event->event.targets);
	link->hook = eb_hook_function((void *)at, event->event.is_return ? NULL : handler,
				      event->event.is_return ? handler : NULL, &link->attachment, error, sizeof(error));
	eb_hook_hint(NULL, 0);
	if (!link->hook) {
		refuse(link, error);
		return;
	}
	count_up(link, &event->event, path);
	accept(link);
	eb_log_info("%s at %s+%#lx", link->program, path, (unsigned long)event->event.offset);
}

void agent_attach(struct agent_link *link, const struct eb_object *event)
{
	const struct eb_object *object = eb_object_find(link->id, EB_LINK);
	char error[256];

	if (!object || link->attached || link->refused)
		return;
	if (event->event.kind == EB_EVENT_UPROBE) {
		attach_function(link, object, event);
		return;
	}
	if (!load(link, object))
		return;
	if (agent_attach_syscall(link, event, error, sizeof(error)))
		refuse(link, error);
	else
		accept(link);
}

/* In a library that has been unloaded it is not there any more. */
static void count_down(uint16_t *semaphore)
{
	uint16_t copy;

	if (raw(SYS_process_vm_readv, raw(SYS_getpid), (&(struct iovec){ &copy, sizeof(copy) }), 1,
		(&(struct iovec){ semaphore, sizeof(copy) }), 1, 0) == sizeof(copy) && copy)
		__atomic_sub_fetch(semaphore, 1, __ATOMIC_ACQ_REL);
}

int agent_detach(struct agent_link *link)
{
	int busy;

	if (!link->attached)
		return 0;
	if (link->semaphore)
		count_down(link->semaphore);
	busy = link->hook ? eb_unhook(link->hook) : agent_detach_syscall(link);
	if (!busy)
		link->attachment.program->users--;
	return busy;
}
