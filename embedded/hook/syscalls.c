/* Which system call instructions there are, and the handlers of what goes through their gates. */
#include "hook/gate.h"
#include "hook/decode.h"
#include "hook/lock.h"
#include "hook/signals.h"
#include "hook/tasks.h"
#include "hook/thread.h"
#include "common/common.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#define MOST_OBJECTS 1024

struct eb_syscalls *eb_syscalls __attribute__((visibility("hidden")));

static struct object {
	struct eb_coverage coverage;
	struct eb_extent text;
} objects[MOST_OBJECTS];
static unsigned object_count;
static int sweeping; /* new objects are looked at */

/* The number that the code ahead of a call loads, when it plainly does; else -1. */
static long number_before(const struct eb_extent *function, const unsigned char *at)
{
	long number = -1;

	for (const unsigned char *here = function->start; here < at;) {
		struct eb_instruction instruction = eb_decode(here, function->end);

		if (here[0] == 0xb8 && instruction.length == 5)
			number = *(const eb_u32 *)(here + 1); /* mov $n, %eax */
		else if (here[0] == 0x48 && here[1] == 0xc7 && here[2] == 0xc0)
			number = (int32_t)*(const eb_u32 *)(here + 3); /* mov $n, %rax */
		else if (instruction.kind != EB_PLAIN && instruction.kind != EB_NOP)
			number = -1;
		here += instruction.length;
	}
	return number;
}

static int is_never(long number)
{
	return number == 15 || number == 56 || number == 58 || number == 435; /* as gate.S has it */
}

static void look_at(const struct eb_module *module, struct object *object, unsigned char *at)
{
	struct eb_extent function;
	const unsigned char *here;

	if (!eb_function_around(module, at, &function))
		return;
	for (here = function.start; here < at;)
		here += eb_decode(here, function.end).length;
	if (here != at)
		return; /* the two bytes are part of something else */
	object->coverage.found++;
	if (is_never(number_before(&function, at)))
		object->coverage.never++;
	else if (eb_gate_make(module, &function, at))
		object->coverage.rewritten++;
	else
		object->coverage.no_room++;
}

static void sweep_text(const struct eb_module *module, struct object *object)
{
	const unsigned char *at = module->text.start;

	while ((at = memmem(at, (size_t)(module->text.end - at), "\x0f\x05", 2))) {
		look_at(module, object, (unsigned char *)at);
		at += 2;
	}
}

/* Not ourselves, whose calls are none of the program's, and not the kernel's object, which cannot be written. */
static int is_of_interest(const struct dl_phdr_info *info, const struct eb_extent *text)
{
	const unsigned char *us = (const unsigned char *)eb_gate_path;

	if ((us >= text->start && us < text->end) || !strncmp(info->dlpi_name, "linux-vdso", 10))
		return 0;
	for (unsigned i = 0; i < object_count; i++)
		if (objects[i].text.start == text->start && objects[i].text.end == text->end &&
		    !strcmp(objects[i].coverage.object, info->dlpi_name))
			return 0;
	return object_count < MOST_OBJECTS;
}

struct work {
	struct eb_module module[MOST_OBJECTS];
	unsigned count;
};

static int collect(struct dl_phdr_info *info, size_t size, void *data)
{
	struct work *work = data;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum && work->count < MOST_OBJECTS; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		const unsigned char *start = (const unsigned char *)(info->dlpi_addr + segment->p_vaddr);
		struct eb_extent text = { start, start + segment->p_memsz };

		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) && is_of_interest(info, &text))
			eb_module_in(info, text.start, &work->module[work->count++]);
	}
	return 0;
}

/* Everything that is loaded and has not been looked at. The lock is held. */
void eb_sweep(void)
{
	struct work *work = calloc(1, sizeof(*work));
	char error[128];

	if (work && sweeping)
		dl_iterate_phdr(collect, work);
	if (work && work->count && !eb_tasks_alone() && eb_tasks_wait_trap(error, sizeof(error)))
		work->count = 0; /* the next one looks again */
	for (unsigned i = 0; work && i < work->count && object_count < MOST_OBJECTS; i++) {
		struct object *object = &objects[object_count++];

		object->text = work->module[i].text;
		object->coverage.object = strdup(work->module[i].path);
		if (!object->coverage.object)
			object->coverage.object = "";
		sweep_text(&work->module[i], object);
	}
	free(work);
}

/* The dynamic linker calls a function that does nothing when its list of objects has changed, for debuggers. */
static void on_new_objects(struct eb_regs *regs, void *user)
{
	const struct r_debug *debug = user;

	(void)regs;
	if (debug->r_state != RT_CONSISTENT)
		return;
	eb_hook_suspend();
	eb_sweep_soon();
	eb_hook_resume();
}

static void watch_linker(void)
{
	static struct eb_hook *watch;
	struct r_debug *debug = dlsym(RTLD_DEFAULT, "_r_debug");
	char error[128];

	if (debug && debug->r_brk && !watch)
		watch = eb_hook_function((void *)debug->r_brk, on_new_objects, NULL, debug, error, sizeof(error));
}

int eb_hook_syscalls(eb_syscall_enter *enter, eb_syscall_exit *exit, void *user, char *error, size_t size)
{
	struct eb_syscalls *handlers = malloc(sizeof(*handlers));

	if (!handlers)
		return eb_refuse(error, size, "out of memory"), -ENOMEM;
	*handlers = (struct eb_syscalls){ enter, exit, user };
	eb_hook_suspend();
	watch_linker();
	eb_lock();
	eb_handlers_at((const void *)enter);
	eb_handlers_at((const void *)exit);
	if (eb_syscalls || eb_signals_prepare(error, size) || (!eb_tasks_alone() && eb_tasks_wait_trap(error, size))) {
		if (eb_syscalls)
			eb_refuse(error, size, "system calls are hooked already");
		eb_unlock();
		eb_hook_resume();
		free(handlers);
		return -EBUSY;
	}
	sweeping = 1;
	eb_gates_switch(1);
	eb_sweep();
	eb_store(&eb_syscalls, handlers);
	eb_unlock();
	eb_hook_resume();
	return 0;
}

int eb_unhook_syscalls(void)
{
	struct eb_syscalls *handlers;
	int busy;

	eb_hook_suspend();
	eb_lock();
	handlers = eb_syscalls;
	eb_store(&eb_syscalls, NULL);
	busy = eb_quiesce();
	sweeping = 0;
	eb_gates_switch(0);
	eb_unlock();
	eb_hook_resume();
	if (!busy)
		free(handlers);
	return busy;
}

int eb_syscall_coverage(unsigned i, struct eb_coverage *coverage)
{
	if (i >= object_count)
		return 0;
	*coverage = objects[i].coverage;
	return 1;
}
