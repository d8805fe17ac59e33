/*
 * The programs of the uprobe experiment. Each counts its hits with one atomic add. Those that do inner operations do
 * 1000 a hit and stop at the first that has not the expected outcome, so that the loop's own counter is the proof: it
 * costs one compare an operation and one more add a hit, and the verifier has one way through the loop to follow
 * instead of two. Which program runs where is the experiment spec's business, not this file's.
 */
#include "bpf_core.h"
#include "buffer.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define OPERATIONS 1000
#define ENTRIES 1024

/*
 * Eight operations a turn. A kernel begins every image at a random place, in steps of four bytes, and a loop of some ten
 * instructions is a fifth slower in a few of the sixteen places of a cache line: one load in eight or so, by chance. A
 * longer body straddles lines wherever it begins.
 */
#define REPEAT(done) _Pragma("clang loop unroll_count(8)") for (done = 0; done < OPERATIONS; done++)

#define MAP(name, kind) \
	struct { \
		__uint(type, kind); \
		__uint(max_entries, ENTRIES); \
		__type(key, __u32); \
		__type(value, __u64); \
	} name SEC(".maps")

MAP(hash, BPF_MAP_TYPE_HASH);
MAP(array, BPF_MAP_TYPE_ARRAY);
MAP(per_cpu_hash, BPF_MAP_TYPE_PERCPU_HASH);
MAP(per_cpu_array, BPF_MAP_TYPE_PERCPU_ARRAY);

/* --- the hook alone: what the first instruction, the entry and the return cost --- */

PROGRAM("uprobe", at_entry)
{
	ADD(count_at_entry.hits, 1);
	return 0;
}

PROGRAM("uretprobe", at_return)
{
	ADD(count_at_return.hits, 1);
	return 0;
}

/* The counting that every other program does too: (count − at_entry) / 1000 is what one increment costs. */
PROGRAM("uprobe", count)
{
	__u32 done;

	ADD(count_count.hits, 1);
	REPEAT (done)
		ADD(count_count.inner, 1);
	return 0;
}

/* --- the target's memory; its first argument is the buffer --- */

/*
 * The sum of all that 1000 reads must deliver: at offset k the text's four bytes as a little-endian number and the
 * fifth. Eight offsets in turn, so that a read that leaves an older result in place does not go unnoticed.
 */
#define READ_SUM (OPERATIONS / 8 * (8ULL * 0x64636261 + 28ULL * 0x01010101 + 8ULL * 'e' + 28ULL))

PROGRAM("uprobe", read_user)
{
	struct {
		__u32 first;
		__u8 last;
	} bytes = {};
	const char *buffer = (const char *)ARGUMENT_1(ctx);
	__u64 sum = 0;
	__u32 done;

	REPEAT (done) {
		if (bpf_probe_read_user(&bytes, TRANSFER, buffer + (done & 7)) != 0)
			break;
		sum += bytes.first;
		sum += bytes.last;
	}
	ADD(count_read_user.hits, 1);
	ADD(count_read_user.inner, sum == READ_SUM ? done : 0);
	return 0;
}

PROGRAM("uprobe", write_user)
{
	/* stored here and not initialised: constants would become one more map */
	char bytes[TRANSFER];
	char *buffer = (char *)ARGUMENT_1(ctx);
	__u32 done;

	bytes[0] = 'W';
	bytes[1] = 'R';
	bytes[2] = 'O';
	bytes[3] = 'T';
	bytes[4] = 'E';
	REPEAT (done)
		if (bpf_probe_write_user(buffer, bytes, TRANSFER) != 0)
			break;
	ADD(count_write_user.hits, 1);
	ADD(count_write_user.inner, done);
	return 0;
}

/* --- map operations on keys 0..999; `expected` is what holds for the result of a delete that counts as done --- */

#define UPDATE(name, map) \
	PROGRAM("uprobe", name) \
	{ \
		__u32 done; \
 \
		REPEAT (done) { \
			__u32 key = done; \
			__u64 value = done; \
 \
			if (bpf_map_update_elem(&map, &key, &value, BPF_ANY) != 0) \
				break; \
		} \
		ADD(count_##name.hits, 1); \
		ADD(count_##name.inner, done); \
		return 0; \
	}

#define LOOKUP(name, map) \
	PROGRAM("uprobe", name) \
	{ \
		__u32 done; \
 \
		REPEAT (done) { \
			__u32 key = done; \
 \
			if (!bpf_map_lookup_elem(&map, &key)) \
				break; \
		} \
		ADD(count_##name.hits, 1); \
		ADD(count_##name.inner, done); \
		return 0; \
	}

#define DELETE(name, map, expected) \
	PROGRAM("uprobe", name) \
	{ \
		__u32 done; \
 \
		REPEAT (done) { \
			__u32 key = done; \
 \
			if (!(bpf_map_delete_elem(&map, &key) expected)) \
				break; \
		} \
		ADD(count_##name.hits, 1); \
		ADD(count_##name.inner, done); \
		return 0; \
	}

UPDATE(hash_update, hash)
LOOKUP(hash_lookup, hash)
DELETE(hash_delete_hit, hash, == 0)
DELETE(hash_delete_miss, hash, == -ENOENT)

UPDATE(array_update, array)
LOOKUP(array_lookup, array)
/* An array has no keys to delete: the call is refused, with whatever error, and that is what is measured. */
DELETE(array_delete, array, < 0)

UPDATE(per_cpu_hash_update, per_cpu_hash)
LOOKUP(per_cpu_hash_lookup, per_cpu_hash)
DELETE(per_cpu_hash_delete_hit, per_cpu_hash, == 0)
DELETE(per_cpu_hash_delete_miss, per_cpu_hash, == -ENOENT)

UPDATE(per_cpu_array_update, per_cpu_array)
LOOKUP(per_cpu_array_lookup, per_cpu_array)
DELETE(per_cpu_array_delete, per_cpu_array, < 0)

/* Put the keys back that delete_hit takes away: attached to a function that the victim calls outside the timed part. */
UPDATE(hash_refill, hash)
UPDATE(per_cpu_hash_refill, per_cpu_hash)
