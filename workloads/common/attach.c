#include "attach.h"
#include "protocol.h"

#include <errno.h>
#include <string.h>

static int is_tracepoint(const struct attachment *attachment)
{
	return !strcmp(attachment->kind, "tracepoint");
}

struct attachment attachment_parse(char *text)
{
	struct attachment attachment = { .kind = strsep(&text, ":"), .program = strsep(&text, ":"), .place = text };

	if (!attachment.program || !attachment.place || !*attachment.program || !*attachment.place)
		fail_options("--attach %s: expected KIND:PROGRAM:PLACE", attachment.kind);
	if (is_tracepoint(&attachment) && !strchr(attachment.place, '/'))
		fail_options("--attach tracepoint:%s:%s: expected CATEGORY/NAME", attachment.program, attachment.place);
	if (strcmp(attachment.kind, "uprobe") && strcmp(attachment.kind, "uretprobe") && !is_tracepoint(&attachment))
		fail_options("--attach %s: expected the kind uprobe, uretprobe or tracepoint", attachment.kind);
	return attachment;
}

static struct bpf_link *attach_tracepoint(const struct attachment *attachment)
{
	const char *name = strchr(attachment->place, '/') + 1;
	char category[64];

	snprintf(category, sizeof(category), "%.*s", (int)(name - 1 - attachment->place), attachment->place);
	return bpf_program__attach_tracepoint(attachment->loaded, category, name);
}

static struct bpf_link *attach_function(const struct attachment *attachment, const char *target, int pid)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = attachment->place,
		    .retprobe = !strcmp(attachment->kind, "uretprobe"));

	return bpf_program__attach_uprobe_opts(attachment->loaded, pid, target, 0, &options);
}

void attachment_make(struct attachment *attachment, const char *target, int pid)
{
	uint64_t start = now_ns();

	if (!(is_tracepoint(attachment) ? attach_tracepoint(attachment) : attach_function(attachment, target, pid)))
		fail_stage(STAGE_ATTACH, attachment->program, errno, "cannot attach to", attachment->place);
	attachment->attach_ns = now_ns() - start;
}

void attachment_report(struct json *json, const struct attachment *attachment)
{
	json_open(json, "attach", '{');
	json_string(json, "kind", attachment->kind);
	json_string(json, "function", attachment->place);
	json_close(json, '}');
	json_number(json, "attach_ns", attachment->attach_ns);
}
