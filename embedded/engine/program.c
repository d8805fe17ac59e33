#include "program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int program_load(struct program *program, const struct eb_program *from, const struct eb_environment *environment,
		 const struct report *report)
{
	static int (*const steps[])(struct program *, const struct report *) = {
		check_instructions, find_functions, check_jumps, resolve, find_live, measure_functions,
	};
	int result = 0;

	*program = (struct program){ .name = report->name, .environment = environment, .count = from->count };
	if (!from->count || from->count > EB_MOST)
		return report_error(report, -EINVAL, "%u instructions; 1 to %u are possible", from->count, EB_MOST);
	program->insns = malloc(from->count * sizeof(*program->insns));
	program->at = calloc(from->count, 1);
	if (!program->insns || !program->at)
		return report_error(report, -ENOMEM, "no memory for %u instructions", from->count);
	memcpy(program->insns, from->insns, from->count * sizeof(*program->insns));
	for (size_t i = 0; !result && i < sizeof(steps) / sizeof(*steps); i++)
		result = steps[i](program, report);
	return result;
}

void program_free(struct program *program)
{
	free(program->insns);
	free(program->at);
	free(program->live);
	free(program->functions);
	free(program->calls);
	*program = (struct program){ 0 };
}

struct function *function_at(const struct program *program, int64_t at)
{
	uint32_t low = 0, high = program->function_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (program->functions[middle].first == at)
			return &program->functions[middle];
		if (program->functions[middle].first < at)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}
