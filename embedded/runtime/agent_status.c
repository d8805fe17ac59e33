/* What this process has attached, as JSON in the file that EMBEDDED_STATUS names ("%p" is replaced by the pid). */
#include "common/setting.h"
#include "hook/hook.h"
#include "runtime/agent.h"
#include "runtime/helpers.h"
#include "runtime/mpk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			fprintf(out, "\\%c", *c);
		else if (*c < 0x20 || *c > 0x7e)
			fprintf(out, "\\u%04x", *c);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

static void put_link(FILE *out, const struct agent_link *link)
{
	static const char *const verification[] = { "unverified", "kernel", "kernel, helpers substituted" };
	const struct eb_object *object = eb_object_find(link->id, EB_LINK);
	const struct eb_object *program = object ? eb_object_find(object->link.program, EB_PROGRAM) : NULL;
	const struct eb_object *event = object ? eb_object_find(object->link.event, EB_EVENT) : NULL;
	static const char *const kinds[] = { "uprobe", "tracepoint", "raw_tracepoint" };

	fprintf(out, "{\"program\": ");
	put_text(out, link->program);
	fprintf(out, ", \"id\": %u, \"link\": %u, \"attached\": %s, ", program ? program->id : 0, link->id,
		link->attached ? "true" : "false");
	if (event && event->event.kind < EB_EVENT_OUTPUT) {
		fprintf(out, "\"kind\": \"%s\", \"at\": ",
			event->event.is_return ? "uretprobe" : kinds[event->event.kind]);
		put_text(out, eb_object_memory(event));
		fprintf(out, ", \"offset\": %lu, ", event->event.offset);
	}
	if (link->attached)
		fprintf(out, "\"address\": \"%#lx\", \"engine\": \"%s\", \"code_size\": %zu, \"compile_ns\": %lu, ",
			link->attachment.address, eb_engine_name(link->attachment.program->code.engine),
			link->attachment.program->code.text_size, link->attachment.program->compile_ns);
	if (program) {
		fprintf(out, "\"loader_compile_ns\": %lu, \"verification\": \"%s\", \"verification_reason\": ",
			program->program.compile_ns, verification[program->program.verification]);
		put_text(out, program->program.reason);
		fprintf(out, ", ");
	}
	fprintf(out, "\"error\": ");
	if (link->refused)
		put_text(out, link->report);
	else
		fputs("null", out);
	fputc('}', out);
}

static void put_all(FILE *out, int ended)
{
	int follows = 0;

	fprintf(out, "{\"schema\": \"embedded-status/1\", \"pid\": %d, \"engine\": \"%s\", \"backend\": ", (int)getpid(),
		eb_engine_name(agent.engine));
	put_text(out, agent.backend ? agent.backend : "");
	fprintf(out, ", \"ended\": %s, \"missed\": %lu, \"error\": ", ended ? "true" : "false", eb_hook_missed());
	if (*agent.error)
		put_text(out, agent.error);
	else
		fputs("null", out);
	/* a key that a write got through would have been refused */
	if (eb_mpk_key)
		fprintf(out, ", \"protection\": {\"key\": %d, \"forbidden_write\": \"faulted\"}", eb_mpk_key);
	fprintf(out, ", \"programs\": [");
	for (const struct agent_link *link = agent.links; link; link = link->next) {
		fputs(follows ? ", " : "", out);
		put_link(out, link);
		follows = 1;
	}
	fprintf(out, "]}\n");
}

static int make_path(char *path, size_t size, const char *wanted)
{
	const char *mark = strstr(wanted, "%p");
	int n;

	if (mark)
		n = snprintf(path, size, "%.*s%d%s", (int)(mark - wanted), wanted, (int)getpid(), mark + 2);
	else if (agent.is_child)
		n = snprintf(path, size, "%s.%d", wanted, (int)getpid());
	else
		n = snprintf(path, size, "%s", wanted);
	return n > 0 && (size_t)n < size;
}

void agent_status(int ended)
{
	const char *wanted = eb_setting("EMBEDDED_STATUS");
	char path[4096], fresh[4110];
	FILE *out;

	if (!wanted || !*wanted || !make_path(path, sizeof(path), wanted))
		return;
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	out = fopen(fresh, "we");
	if (!out)
		return;
	put_all(out, ended);
	if (fclose(out) || rename(fresh, path))
		unlink(fresh);
}
