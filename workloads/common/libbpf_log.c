#include "libbpf_log.h"

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char warnings[1024];

static int on_message(enum libbpf_print_level level, const char *format, va_list arguments)
{
	size_t used = strlen(warnings);
	va_list again;

	if (level != LIBBPF_WARN)
		return 0;
	va_copy(again, arguments);
	vsnprintf(warnings + used, sizeof(warnings) - used, format, again);
	va_end(again);
	return vfprintf(stderr, format, arguments);
}

void libbpf_log_start(void)
{
	libbpf_set_print(on_message);
}

const char *libbpf_warnings(void)
{
	return warnings;
}
