/*
 * Runs programs of a few instructions, written as text, and says what came out: `--engine NAME`. Whether that is right is for others
 * to say. See workloads/README.md.
 */
#include "conform.h"
#include "protocol.h"

#include "engine/tests/assembly.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct assembly assembly;
static struct image image;

/* `OFFSET=VALUE,…`: what lies in the data before. */
static int put_words(char *text)
{
	char *each, *end;

	while ((each = strsep(&text, ","))) {
		unsigned long at = strtoul(each, &end, 0);
		uint64_t value;

		if (!*each)
			continue;
		if (*end != '=' || at + 8 > MACHINE_VALUE)
			return -1;
		value = strtoull(end + 1, NULL, 0);
		memcpy(image.data + at, &value, 8);
	}
	return 0;
}

static int read_instructions(char *text)
{
	char *each;

	memset(&assembly, 0, sizeof(assembly));
	while ((each = strsep(&text, ";")))
		if (each[strspn(each, " ")] && assemble_line(&assembly, each))
			return -1;
	return assemble_end(&assembly) || !assembly.count ? -1 : 0;
}

/* Words of the data at `OFFSET,…` as they are afterwards. */
static void tell_words(struct json *reply, char *text)
{
	char *each;

	json_open(reply, "data", '[');
	while ((each = strsep(&text, ","))) {
		unsigned long at = strtoul(each, NULL, 0);

		if (*each && at + 8 <= MACHINE_VALUE)
			json_hex(reply, NULL, image.data + at, 8);
	}
	json_close(reply, ']');
}

/* BEFORE|AFTER|INSTRUCTIONS */
static void run(char *rest)
{
	char *before = strsep(&rest, "|"), *after = strsep(&rest, "|");
	char error[2000] = "";
	struct json reply;

	memset(&image, 0, sizeof(image));
	if (!rest || put_words(before) || read_instructions(rest))
		fail_command("run: it cannot be understood");
	if (conform_run(assembly.insns, assembly.count, &image, error, sizeof(error))) {
		reply = reply_begin("REFUSED");
		json_string(&reply, "message", error);
	} else {
		reply = reply_begin("RAN");
		json_hex(&reply, "result", &image.r0, sizeof(image.r0));
		tell_words(&reply, after);
	}
	reply_end(&reply);
}

int main(int argc, char **argv)
{
	const char *wrong = NULL, *engine = NULL;
	struct json ready;
	char *line;

	protocol_start();
	if (argc == 3 && !strcmp(argv[1], "--engine"))
		engine = conform_start(argv[2], &wrong);
	if (!engine)
		fail_options("%s", wrong ? wrong : "usage: conform --engine NAME");
	ready = reply_begin("READY");
	json_number(&ready, "pid", (uint64_t)getpid());
	json_string(&ready, "engine", engine);
	reply_end(&ready);
	while ((line = (char *)next_command()) && !command_is(line, "quit", 0, NULL))
		if (!strncmp(line, "run ", 4))
			run(line + 4);
		else
			fail_command(line);
	return 0;
}
