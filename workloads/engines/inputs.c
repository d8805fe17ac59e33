#include "inputs.h"
#include "sizes.h"

#include <string.h>

typedef uint64_t u64;

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Numbers of all lengths, so that logarithms differ. */
static void fill_numbers(uint8_t *memory)
{
	uint64_t state = 0x9e3779b97f4a7c15u;

	for (unsigned i = 0; i < MEMORY / 8; i++) {
		uint64_t number = next(&state) >> (next(&state) & 63);

		memcpy(memory + 8 * i, &number, sizeof(number));
	}
}

static void fill_bytes(uint8_t *memory)
{
	uint64_t state = 0x2545f4914f6cdd1du;

	for (unsigned i = 0; i < MEMORY; i++)
		memory[i] = (uint8_t)(next(&state) >> 24);
}

static void fill_strings(uint8_t *memory, int differ)
{
	fill_bytes(memory);
	for (unsigned i = 0; i < COMPARED; i++)
		memory[i] = memory[SECOND + i] = (uint8_t)(memory[i] % 255 + 1);
	memory[COMPARED - 1] = memory[SECOND + COMPARED - 1] = 0;
	if (differ)
		memory[SECOND + DIFFERENT_AT] ^= 0x55;
}

void inputs_fill(const char *input, uint8_t *memory, uint64_t *values)
{
	if (!strcmp(input, "same"))
		fill_strings(memory, 0);
	else if (!strcmp(input, "different"))
		fill_strings(memory, 1);
	else if (!strcmp(input, "numbers"))
		fill_numbers(memory);
	else
		fill_bytes(memory);
	memset(memory + RESULT_AT, 0, 8);
	for (unsigned i = 0; i < ENTRIES; i++)
		values[i] = VALUE(i);
}

uint64_t inputs_digest(const uint8_t *memory)
{
	uint64_t digest = 0xcbf29ce484222325u;

	for (unsigned i = 0; i < MEMORY; i++)
		digest = (digest ^ memory[i]) * 0x100000001b3u;
	return digest;
}
