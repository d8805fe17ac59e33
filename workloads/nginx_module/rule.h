/*
 * The rule that every engine runs: a path may pass if it begins with one of some prefixes, and both outcomes are counted.
 *
 * One source for C, BPF and WebAssembly (rule.lua and rule.js say the same in their languages), so nothing is included and no
 * pointer is kept: what the rule works on lies in one piece of memory that whoever runs it provides.
 */
#pragma once

#define GATE_RULES 16
#define GATE_PREFIX 28 /* bytes of a prefix at most */
#define GATE_PATH 256  /* bytes of a path that an extension is shown at most: many more than any prefix has */

struct gate_rule {
	__UINT32_TYPE__ length;
	__UINT8_TYPE__ prefix[GATE_PREFIX];
};

struct gate_rules {
	__UINT32_TYPE__ count;
	struct gate_rule rule[GATE_RULES];
};

struct gate_counters {
	__UINT64_TYPE__ accepted, rejected;
};

struct gate_request {
	__UINT32_TYPE__ length;
	__UINT8_TYPE__ path[GATE_PATH];
};

/* The memory of an extension that has one of its own. */
struct gate_memory {
	struct gate_counters counters;
	struct gate_rules rules;
	struct gate_request request;
	/* an address that the extension has no business with: see `trespass` */
	__UINT64_TYPE__ target;
};

/*
 * Bounds are constants as well as lengths: a verifier must see that no prefix is read past its end, whatever the lengths say.
 * `length` is at most GATE_PATH.
 */
static inline __attribute__((always_inline)) int gate_begins(const struct gate_rule *rule, const __UINT8_TYPE__ *path, __UINT32_TYPE__ length)
{
	if (rule->length > length)
		return 0;
	for (__UINT32_TYPE__ i = 0; i < GATE_PREFIX && i < rule->length; i++)
		if (path[i] != rule->prefix[i])
			return 0;
	return 1;
}

static inline __attribute__((always_inline)) int gate_decide(struct gate_counters *counters, const struct gate_rules *rules,
							     const __UINT8_TYPE__ *path, __UINT32_TYPE__ length)
{
	for (__UINT32_TYPE__ i = 0; i < GATE_RULES && i < rules->count; i++) {
		if (gate_begins(&rules->rule[i], path, length)) {
			counters->accepted++;
			return 1;
		}
	}
	counters->rejected++;
	return 0;
}
