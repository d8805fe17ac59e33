/* Why a program is refused, in words. */
#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int report_at(const struct report *report, uint32_t at, const char *format, ...)
{
	int length = snprintf(report->text, report->size, "%s: instruction %u: ", report->name, at);
	va_list arguments;

	va_start(arguments, format);
	if (length >= 0 && (size_t)length < report->size)
		vsnprintf(report->text + length, report->size - (size_t)length, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

int report_error(const struct report *report, int code, const char *format, ...)
{
	int length = snprintf(report->text, report->size, "%s: ", report->name);
	va_list arguments;

	va_start(arguments, format);
	if (length >= 0 && (size_t)length < report->size)
		vsnprintf(report->text + length, report->size - (size_t)length, format, arguments);
	va_end(arguments);
	return code;
}
