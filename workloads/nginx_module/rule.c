/* The rule as WebAssembly: its memory is the module's own, which ends where the module's pages end. */
#include "rule.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

static struct gate_memory gate;

struct gate_memory *EXPORT(memory_at)(void)
{
	return &gate;
}

int EXPORT(decide)(void)
{
	__UINT32_TYPE__ length = gate.request.length;

	return gate_decide(&gate.counters, &gate.rules, gate.request.path, length < GATE_PATH ? length : GATE_PATH);
}

/* The bad rule: an address is what a number says. */
int EXPORT(trespass)(void)
{
	return *(const volatile __UINT8_TYPE__ *)(__UINTPTR_TYPE__)gate.target;
}
