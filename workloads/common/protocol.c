#include "protocol.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void protocol_start(void)
{
	/* Full buffering and one flush an answer: log lines that something preloaded prints cannot end up inside it. */
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
}

struct json reply_begin(const char *word)
{
	struct json reply = { .out = stdout };

	fprintf(stdout, "%s ", word);
	json_open(&reply, NULL, '{');
	return reply;
}

/* Who cannot say what it has to say (a full disk, a reader that is gone) ends, instead of being waited for. */
static void flush(void)
{
	if (fflush(stdout))
		_exit(4);
}

void reply_end(struct json *reply)
{
	json_close(reply, '}');
	fputc('\n', stdout);
	flush();
}

void reply_text(const char *text)
{
	puts(text);
	flush();
}

static void report(const char *stage, const char *message)
{
	struct json reply = reply_begin("ERROR");

	json_string(&reply, "stage", stage);
	json_string(&reply, "message", message);
	reply_end(&reply);
	fprintf(stderr, "%s\n", message);
}

void fail_options(const char *format, ...)
{
	char message[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	report("options", message);
	exit(EXIT_OPTIONS);
}

void fail_command(const char *line)
{
	char message[512];

	snprintf(message, sizeof(message), "unknown command: %s", line);
	report("command", message);
	exit(EXIT_ERROR);
}

const char *next_command(void)
{
	static char *line;
	static size_t size;
	ssize_t length;

	do /* a signal that is handled must not look like the end of input */
		errno = 0;
	while ((length = getline(&line, &size, stdin)) < 0 && errno == EINTR && (clearerr(stdin), 1));
	if (length < 0)
		return NULL;
	if (length > 0 && line[length - 1] == '\n')
		line[length - 1] = '\0';
	return line;
}

static int parse_number(const char *text, char **end, uint64_t *number)
{
	if (!isdigit((unsigned char)*text))
		return 0;
	errno = 0;
	*number = strtoull(text, end, 10);
	return errno == 0;
}

int command_is(const char *line, const char *word, unsigned n, uint64_t *numbers)
{
	size_t length = strlen(word);
	char *rest;

	if (strncmp(line, word, length))
		return 0;
	line += length;
	for (unsigned i = 0; i < n; i++) {
		if (*line != ' ' || !parse_number(line + 1, &rest, &numbers[i]))
			return 0;
		line = rest;
	}
	return *line == '\0';
}

uint64_t number_option(const char *option, const char *text)
{
	uint64_t number;
	char *rest;

	if (!parse_number(text, &rest, &number) || *rest)
		fail_options("%s %s: expected a number", option, text);
	return number;
}
