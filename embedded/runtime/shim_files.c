/*
 * What libbpf reads about the kernel: the type of uprobe events and the numbers of tracepoints. The kernel's own files are taken
 * where they can be read; where they are missing (no uprobes, tracefs not mounted, no permission), these are given.
 */
#include "common/log.h"
#include "runtime/shim.h"
#include "runtime/syscall_names.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UPROBE "/sys/bus/event_source/devices/uprobe/"
#define OWN_UPROBE_TYPE 0x65626d
#define OWN_TRACEPOINTS 0x6d0000u /* numbers of tracepoints that the kernel gives none: enter and exit of each call in turn */
#define RAW_ENTER (OWN_TRACEPOINTS + 0xfffe)
#define RAW_EXIT (OWN_TRACEPOINTS + 0xffff)

/* The number in a file; 0: it cannot be read. */
static uint64_t number_in(const char *path)
{
	char text[32] = "";
	int file = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);

	if (file >= 0) {
		if (read(file, text, sizeof(text) - 1) < 0)
			text[0] = '\0';
		close(file);
	}
	return strtoull(text, NULL, 10);
}

uint32_t shim_uprobe_type(void)
{
	static uint32_t type;

	if (type)
		return type;
	type = (uint32_t)number_in(UPROBE "type");
	if (!type)
		type = OWN_UPROBE_TYPE;
	return type;
}

/* --- tracepoints: seen[] is what the kernel's files have said --- */

static struct {
	uint64_t number;
	char name[64];
} seen[512];
static unsigned n_seen;

/* "syscalls/sys_enter_write" in ".../events/syscalls/sys_enter_write/id"; 0: another path. */
static int tracepoint_in(const char *path, char *name, size_t size)
{
	const char *at = strstr(path, "/tracing/events/"), *end;

	if (!at)
		return 0;
	at += strlen("/tracing/events/");
	end = strrchr(at, '/');
	if (!end || strcmp(end, "/id") || (size_t)(end - at) >= size)
		return 0;
	snprintf(name, size, "%.*s", (int)(end - at), at);
	return 1;
}

void shim_note_tracepoint(const char *path, uint64_t number)
{
	char name[sizeof(seen[0].name)];

	if (n_seen == EB_COUNT(seen) || !tracepoint_in(path, name, sizeof(name)))
		return;
	seen[n_seen].number = number;
	memcpy(seen[n_seen++].name, name, sizeof(name));
}

/* Looks for the number in the kernel's list: a loader may have read it by a way that we do not see. */
static void find_tracepoint(uint64_t number)
{
	static const char *const lists[] = { "/sys/kernel/tracing/events/syscalls", "/sys/kernel/tracing/events/raw_syscalls",
					     "/sys/kernel/debug/tracing/events/syscalls",
					     "/sys/kernel/debug/tracing/events/raw_syscalls" };
	struct dirent *entry;
	char path[512];

	for (size_t i = 0; i < EB_COUNT(lists); i++) {
		DIR *list = opendir(lists[i]);
		int found = 0;

		while (list && !found && (entry = readdir(list))) {
			snprintf(path, sizeof(path), "%s/%s/id", lists[i], entry->d_name);
			found = strncmp(entry->d_name, "sys_", 4) == 0 && number_in(path) == number;
		}
		if (list)
			closedir(list);
		if (found) {
			shim_note_tracepoint(path, number);
			return;
		}
	}
}

static uint32_t own_number(const char *name)
{
	int is_exit = !strncmp(name, "syscalls/sys_exit_", strlen("syscalls/sys_exit_")), nr = -1;

	if (!strcmp(name, "raw_syscalls/sys_enter"))
		return RAW_ENTER;
	if (!strcmp(name, "raw_syscalls/sys_exit"))
		return RAW_EXIT;
	if (is_exit)
		nr = eb_syscall_number(name + strlen("syscalls/sys_exit_"));
	else if (!strncmp(name, "syscalls/sys_enter_", strlen("syscalls/sys_enter_")))
		nr = eb_syscall_number(name + strlen("syscalls/sys_enter_"));
	return nr < 0 ? 0 : OWN_TRACEPOINTS + 2 * (uint32_t)nr + (uint32_t)is_exit;
}

static const char *seen_tracepoint(uint64_t number)
{
	for (unsigned i = 0; i < n_seen; i++)
		if (seen[i].number == number)
			return seen[i].name;
	return NULL;
}

const char *shim_tracepoint(uint64_t number)
{
	static char name[64];
	const char *call;

	if (!seen_tracepoint(number) && (number < OWN_TRACEPOINTS || number > RAW_EXIT))
		find_tracepoint(number);
	call = seen_tracepoint(number);
	if (call)
		return own_number(call) ? call : NULL;
	if (number == RAW_ENTER || number == RAW_EXIT)
		return number == RAW_ENTER ? "raw_syscalls/sys_enter" : "raw_syscalls/sys_exit";
	if (number < OWN_TRACEPOINTS || number > RAW_EXIT)
		return NULL;
	call = eb_syscall_name((int)(number - OWN_TRACEPOINTS) / 2);
	if (!call)
		return NULL;
	snprintf(name, sizeof(name), "syscalls/sys_%s_%s", number % 2 ? "exit" : "enter", call);
	return name;
}

const char *shim_file(const char *path, char *text, size_t size)
{
	char name[64];
	uint32_t number;

	if (!strcmp(path, UPROBE "type")) {
		snprintf(text, size, "%u\n", shim_uprobe_type());
	} else if (!strcmp(path, UPROBE "format/retprobe")) {
		snprintf(text, size, "config:0\n");
	} else if (!strcmp(path, UPROBE "format/ref_ctr_offset")) {
		snprintf(text, size, "config:32-63\n");
	} else if (tracepoint_in(path, name, sizeof(name)) && (number = own_number(name))) {
		snprintf(text, size, "%u\n", number);
	} else {
		return NULL;
	}
	return text;
}
