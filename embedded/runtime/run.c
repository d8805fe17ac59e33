/* One run of an attached program: the hit path's own file, which calls nothing of libc. */
#include "runtime/helpers.h"
#include "runtime/program.h"
#include "runtime/thread.h"

uint64_t eb_program_run(const struct eb_attachment *attachment, void *context,
			void (*skip)(struct eb_hit *hit, uint64_t result), struct eb_hit *hit)
{
	const struct eb_loaded *program = attachment->program;
	int claimed = 0;
	uint64_t result;

	*hit = (struct eb_hit){ context, attachment, skip, eb_thread.hit, 0, 0 };
	if (program->needs & EB_NEEDS_SLOT)
		claimed = eb_slot_claim();
	eb_thread.hit = hit;
	result = eb_run(&program->code, context);
	eb_thread.hit = hit->outer;
	if (claimed)
		eb_slot_release(claimed);
	return result;
}
