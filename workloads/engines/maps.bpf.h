/* What the programs of engines and embed have in common: short names of types, their memory and their map of values. */
#pragma once

#include "bpf_core.h"
#include "sizes.h"

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

char LICENSE[] SEC("license") = "Dual MIT/GPL";

struct memory {
	u64 words[MEMORY / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct memory);
} memory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__type(value, u64);
} values SEC(".maps");
