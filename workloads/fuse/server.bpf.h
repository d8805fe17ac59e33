/*
 * In the server: every request that may change what can be seen is announced before the server has it, and its end is announced before
 * the answer goes out. A change is therefore between `begun` and `ended` while it happens, and whoever asked for it is answered only after
 * both were counted. What the kernel hands over is told by its protocol, whatever the server is written with:
 *
 *   read(2) returned a request        → not known to change nothing: pending, begun++
 *   writev(2) is about to answer it   → ended++
 *
 * Who finds begun == ended == n has seen a state in which no change was under way, and while begun is still n, that state holds. A server that
 * dies, or answers in a way that is not seen, leaves begun ahead of ended for ever, and nothing is kept any more.
 *
 * Refusing paths is done here as well: at this end a path has one spelling, whatever the client wrote, and was it by no call that anybody watches.
 */
#pragma once

/* From the kernel's ABI, <linux/fuse.h>. */
struct request {
	__u32 length, opcode;
	__u64 unique, node;
	__u32 uid, gid, pid, padding;
	__u32 body[2]; /* of an OPEN: flags */
};

struct reply {
	__u32 length;
	__s32 error;
	__u64 unique;
};

struct session {
	__u32 major, minor, readahead, flags;
	__u16 background, threshold;
	__u32 most_written, granularity;
	__u16 most_pages, alignment;
	__u32 more_flags;
};

struct vector {
	__u64 base, length;
};

#define HEADER 40
#define MOST_REQUEST (16u << 20)
#define MOST_OPCODE 4096

enum { LOOKUP = 1, FORGET, GETATTR, READLINK = 5, OPEN = 14, READ, STATFS = 17, FSYNC = 20, GETXATTR = 22, LISTXATTR, FLUSH = 25, INIT,
       OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, GETLK, SETLK, SETLKW, ACCESS, INTERRUPT = 36, BMAP, POLL = 40, BATCH_FORGET = 42,
       READDIRPLUS = 44, LSEEK = 46, STATX = 52 };

#define ONE(opcode) (1ull << (opcode))
/* RELEASE is not among them: libfuse keeps a removed file that is open under another name, and removes it then. */
#define CHANGES_NOTHING \
	(ONE(LOOKUP) | ONE(FORGET) | ONE(GETATTR) | ONE(READLINK) | ONE(OPEN) | ONE(READ) | ONE(STATFS) | ONE(FSYNC) | ONE(GETXATTR) | \
	 ONE(LISTXATTR) | ONE(FLUSH) | ONE(INIT) | ONE(OPENDIR) | ONE(READDIR) | ONE(RELEASEDIR) | ONE(FSYNCDIR) | ONE(GETLK) | \
	 ONE(SETLK) | ONE(SETLKW) | ONE(ACCESS) | ONE(INTERRUPT) | ONE(BMAP) | ONE(POLL) | ONE(BATCH_FORGET) | ONE(READDIRPLUS) | \
	 ONE(LSEEK) | ONE(STATX))
#define READS (ONE(READLINK) | ONE(READ) | ONE(READDIR) | ONE(READDIRPLUS))

#define O_TRUNC 01000
/* With these the kernel would keep changes, or targets of links, for itself; or serve requests past read and writev. */
#define WRITEBACK_CACHE (1u << 16)
#define CACHE_SYMLINKS (1u << 23)
#define MORE_FLAGS (1u << 30)
#define PASSTHROUGH (1u << 5)
#define OVER_URING (1u << 9)

/*
 * Tables without a search: requests are numbered one after another, threads nearly so. Where two meet in a place one is not written down;
 * then `ended` never reaches `begun`, and nothing is kept any more.
 */
#define PENDING 4096
#define READING 4096

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PENDING);
	__type(key, __u32);
	__type(value, __u64);
} pending SEC(".maps");

/* Where threads of the server read to: which of those with this place, and the address. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, READING);
	__type(key, __u32);
	__type(value, __u64);
} reading SEC(".maps");

#define ADDRESS ((1ull << 48) - 1)

static __always_inline __u64 *pending_at(__u64 unique)
{
	__u32 key = unique / 2 % PENDING;

	return bpf_map_lookup_elem(&pending, &key);
}

static __always_inline __u64 *reading_at(__u64 thread)
{
	__u32 key = (__u32)thread % READING;

	return bpf_map_lookup_elem(&reading, &key);
}

static __always_inline __u64 mark_of(__u64 thread)
{
	return (__u64)((__u32)thread / READING) << 48;
}

static __always_inline int is_server(__u64 thread)
{
	return thread >> 32 == settings.server;
}

SERVER_ENTER(read)
{
	__u64 thread = bpf_get_current_pid_tgid(), *place = reading_at(thread);

	if (is_server(thread) && place)
		*place = mark_of(thread) | call->arguments[1];
	return 0;
}

static __always_inline int may_change(const struct request *request, __s64 length)
{
	if (request->opcode >= 64 || !(CHANGES_NOTHING >> request->opcode & 1))
		return 1;
	if (request->opcode == OPEN)
		return length < HEADER + 4 || request->body[0] & O_TRUNC;
	return settings.reads_change && READS >> request->opcode & 1;
}

static __always_inline void see_request(const struct request *request, __s64 length)
{
	__u64 unique = request->unique, *place;

	if (request->opcode == INIT) {
		coherence.agreed = 0;
		coherence.first = unique;
	}
	if (request->opcode == READLINK)
		ADD(coherence.links, 1);
	if (!may_change(request, length))
		return;
	place = pending_at(unique);
	if (place)
		__sync_val_compare_and_swap(place, 0, unique);
	ADD(coherence.begun, 1);
	COUNT(changes);
}

SERVER_EXIT(read)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct request request = {};
	__u64 *place = reading_at(thread), address;
	__s64 length = call->result;

	if (!is_server(thread) || length < HEADER || !place)
		return 0;
	address = *place;
	/* another thread has taken the place: what was asked for is not known, and may have been anything */
	if ((address & ~ADDRESS) != mark_of(thread) ||
	    bpf_probe_read_user(&request, length < (__s64)sizeof(request) ? HEADER : sizeof(request), (void *)(address & ADDRESS))) {
		ADD(coherence.begun, 1);
		return 0;
	}
	/* Servers read other things, too. A request says how long it is, and may be read in parts, of which this is the first. */
	if (request.length >= length && request.length <= MOST_REQUEST && request.opcode && request.opcode <= MOST_OPCODE)
		see_request(&request, length);
	return 0;
}

/* What kernel and server have agreed upon. */
static __always_inline void see_session(const struct vector *vector)
{
	struct session session = {};

	if (vector->length < 16 || bpf_probe_read_user(&session, 16, (void *)vector->base) ||
	    session.flags & (WRITEBACK_CACHE | CACHE_SYMLINKS))
		return;
	if (session.flags & MORE_FLAGS &&
	    (vector->length < sizeof(session) || bpf_probe_read_user(&session, sizeof(session), (void *)vector->base) ||
	     session.more_flags & (PASSTHROUGH | OVER_URING)))
		return;
	coherence.agreed = 1;
}

SERVER_ENTER(writev)
{
	struct vector vectors[2] = {};
	struct reply reply = {};
	__u64 unique, *place;

	if (!is_server(bpf_get_current_pid_tgid()) || (coherence.begun == coherence.ended && !coherence.first) || !call->arguments[2] ||
	    bpf_probe_read_user(&vectors[0], sizeof(vectors[0]), (void *)call->arguments[1]) || vectors[0].length != sizeof(reply) ||
	    bpf_probe_read_user(&reply, sizeof(reply), (void *)vectors[0].base))
		return 0;
	unique = reply.unique;
	if (unique && unique == coherence.first && !reply.error && call->arguments[2] >= 2 &&
	    !bpf_probe_read_user(&vectors[1], sizeof(vectors[1]), (void *)(call->arguments[1] + sizeof(vectors[0])))) {
		coherence.first = 0;
		see_session(&vectors[1]);
	}
	/* only who takes it off the list has answered it */
	place = pending_at(unique);
	if (place && unique && __sync_val_compare_and_swap(place, unique, 0) == unique)
		ADD(coherence.ended, 1);
	return 0;
}

/* --- refused paths --- */

static __always_inline int is_refused(const char *path)
{
	__u32 length = settings.filter_length;

	if (!length || length >= FILTER)
		return 0;
	for (__u32 i = 0; i < FILTER; i++) {
		if (i == length)
			return !path[i] || path[i] == '/';
		if (path[i] != settings.filter[i])
			return 0;
	}
	return 0;
}

static __always_inline int refuse(struct entered *call, __u64 path)
{
	char spelt[FILTER] = {};

	if (!settings.filter_length || !is_server(bpf_get_current_pid_tgid()))
		return 0;
	if (bpf_probe_read_user_str(spelt, sizeof(spelt), (void *)path) < 0 || !is_refused(spelt))
		return 0;
	COUNT(refused);
	return answer(call, -EACCES);
}

SERVER_ENTER(openat)
{
	return refuse(call, call->arguments[1]);
}

SERVER_ENTER(open)
{
	return refuse(call, call->arguments[0]);
}
