#include "attach.h"
#include "protocol.h"

#include <errno.h>
#include <string.h>

struct attachment attachment_parse(char *text)
{
	struct attachment attachment = { .kind = strsep(&text, ":"), .program = strsep(&text, ":"), .function = text };

	if (!attachment.program || !attachment.function || !*attachment.program || !*attachment.function)
		fail_options("--attach %s: expected KIND:PROGRAM:FUNCTION", attachment.kind);
	if (strcmp(attachment.kind, "uprobe") && strcmp(attachment.kind, "uretprobe"))
		fail_options("--attach %s: expected the kind uprobe or uretprobe", attachment.kind);
	return attachment;
}

void attachment_make(struct attachment *attachment, const char *target)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = attachment->function,
		    .retprobe = !strcmp(attachment->kind, "uretprobe"));
	uint64_t start = now_ns();

	/* pid −1: whichever process executes this file; the harness gives every arm its own copy of it. */
	if (!bpf_program__attach_uprobe_opts(attachment->loaded, -1, target, 0, &options))
		fail_stage(STAGE_ATTACH, attachment->program, errno, "cannot attach to", attachment->function);
	attachment->attach_ns = now_ns() - start;
}

void attachment_report(struct json *json, const struct attachment *attachment)
{
	json_open(json, "attach", '{');
	json_string(json, "kind", attachment->kind);
	json_string(json, "function", attachment->function);
	json_close(json, '}');
	json_number(json, "attach_ns", attachment->attach_ns);
}
