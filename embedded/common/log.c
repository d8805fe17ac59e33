#include "common/log.h"
#include "common/common.h"
#include "common/setting.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- settings: here, because the log is what needs them wherever it is --- */

static const char *settings;

void eb_settings_given(const char *given)
{
	settings = given;
}

extern char **environ;

#define OURS "EMBEDDED_"

void eb_settings_keep(void)
{
	size_t size = 1;
	char *kept, *end;

	if (settings)
		return;
	for (char **variable = environ; variable && *variable; variable++)
		if (!strncmp(*variable, OURS, strlen(OURS)))
			size += strlen(*variable) + 1;
	kept = end = calloc(1, size);
	if (!kept)
		return;
	for (char **variable = environ; variable && *variable; variable++)
		if (!strncmp(*variable, OURS, strlen(OURS)))
			end = stpcpy(end, *variable) + 1;
	settings = kept;
}

const char *eb_setting(const char *name)
{
	size_t length = strlen(name);

	for (const char *at = settings; at && *at; at += strlen(at) + 1)
		if (!strncmp(at, name, length) && at[length] == '=')
			return at + length + 1;
	return getenv(name);
}

/* --- the log --- */

static const char *const names[] = { "none", "error", "warning", "info", "debug" };

static int chosen(void)
{
	const char *text = eb_setting("EMBEDDED_LOG");

	for (size_t i = 0; text && i < EB_COUNT(names); i++)
		if (!strcmp(text, names[i]))
			return (int)i;
	return EB_LOG_WARNING;
}

int eb_log_enabled(enum eb_level level)
{
	static int most = -1;

	if (most < 0)
		most = chosen();
	return (int)level <= most;
}

void eb_log(enum eb_level level, const char *format, ...)
{
	char line[1024];
	int kept = errno, n, room = (int)sizeof(line) - 1;
	va_list arguments;

	if (!eb_log_enabled(level))
		return;
	n = snprintf(line, (size_t)room, "embedded[%d] %s: ", (int)getpid(), names[level]);
	va_start(arguments, format);
	n += vsnprintf(line + n, (size_t)(room - n), format, arguments);
	va_end(arguments);
	if (n > room)
		n = room;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		errno = kept;
	errno = kept;
}
