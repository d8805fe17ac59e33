/*
 * In the client: what the file system said is kept with the count of changes (server.bpf.h) that it was true at, and is the answer to the
 * same question while that count stands. Asked for are names in open directories: `fstatat(fd, "name")`, `openat(fd, "name")` where
 * it fails, `fstat(fd)` and whole listings. No name with a slash and not "..": these may lead out of the file system, to where
 * nobody watches; nor what was found through a symbolic link, for the same reason.
 */
#pragma once

#include "kept.bpf.h"
#include "descriptors.bpf.h"

#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_NO_AUTOMOUNT 0x800
#define AT_EMPTY_PATH 0x1000
#define O_CREAT 0100
#define O_DIRECTORY 0200000
#define O_TMPFILE 020000000

/* The name behind `path` in full words; 0: one that is not for us. */
static __always_inline int read_name(char name[NAME], __u64 path)
{
	__u64 *words = (__u64 *)name, slashes = 0x2f2f2f2f2f2f2f2f, ones = 0x0101010101010101;
	long length = bpf_probe_read_user_str(name, NAME, (void *)path);

	if (length < 1 || length >= NAME)
		return 0;
	for (int i = 0; i < NAME / 8; i++) {
		__u64 word = words[i] ^ slashes;

		if (length > 8 * i && (word - ones) & ~word & ones << 7)
			return 0;
	}
	return !(name[0] == '.' && name[1] == '.' && !name[2]);
}

/* --- fstatat and fstat --- */

ENTER(newfstatat)
{
	__u64 id = bpf_get_current_pid_tgid(), flags = call->arguments[3] & 0xffffffff;
	struct question question = {};
	struct status status;
	struct thread *thread;
	__s64 result;

	if (!is_client(id) || !(thread = begin(id)))
		return 0;
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) || !read_name(question.name, call->arguments[1]) ||
	    (!question.name[0] && !(flags & AT_EMPTY_PATH)))
		return pass();
	question.what = (question.name[0] ? STAT_NAME : STAT_SELF) | flags;
	if (ask(&question, call->arguments[0], !question.name[0]) && find(&question, &result, &status)) {
		if (result || !bpf_probe_write_user((void *)call->arguments[2], &status, sizeof(status))) {
			COUNT(stat_hits);
			return answer(call, result);
		}
	}
	COUNT(stat_misses);
	wait_for(thread, &question, call->arguments[0], call->arguments[2], 0);
	return 0;
}

EXIT(newfstatat)
{
	struct thread *thread = waiting(STAT_NAME, STAT_SELF);
	struct status status = {};

	if (!thread || (call->result && call->result != -ENOENT))
		return 0;
	if (!call->result && (bpf_probe_read_user(&status, sizeof(status), (void *)thread->buffer) ||
			      status.words[0] != settings.device))
		return 0;
	if (!is_still_true(thread))
		return 0;
	if (thread->question.what >> 32 == STAT_SELF >> 32 && !call->result)
		bind(thread, status.words[1]);
	if (thread->question.asked)
		keep(&thread->question, call->result, &status);
	return 0;
}

/* --- openat: what fails is kept; what succeeds gives a descriptor, which nobody but the kernel can --- */

ENTER(openat)
{
	__u64 id = bpf_get_current_pid_tgid(), flags = call->arguments[2] & 0xffffffff;
	struct question question = {};
	struct thread *thread;
	__s64 result;

	if (!is_client(id) || !(thread = begin(id)))
		return 0;
	question.what = OPEN_NAME | flags;
	if (!(flags & (O_CREAT | O_TMPFILE)) && read_name(question.name, call->arguments[1]) && question.name[0] &&
	    ask(&question, call->arguments[0], 0) && find(&question, &result, NULL)) {
		COUNT(open_hits);
		return answer(call, result);
	}
	COUNT(open_misses);
	wait_for(thread, &question, call->arguments[0], 0, flags);
	return 0;
}

EXIT(openat)
{
	struct thread *thread = waiting(OPEN_NAME, OPEN_NAME);

	if (!thread)
		return 0;
	if (call->result >= 0)
		return thread->flags & O_DIRECTORY ? describe(call->result) : 0;
	if ((call->result == -ENOENT || call->result == -EACCES) && thread->question.asked && is_still_true(thread))
		keep(&thread->question, call->result, NULL);
	return 0;
}

/* --- getdents64 --- */

/*
 * A listing is answered whole or not at all, from its beginning, and then it is at its end: nothing but the descriptor's state has to
 * outlive the answer. The kernel's own position stays at the beginning meanwhile.
 */
ENTER(getdents64)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct question question = { .what = LIST };
	struct description *description;
	struct thread *thread;
	__s64 size;

	if (!is_client(id) || !(thread = begin(id)))
		return 0;
	description = description_of(call->arguments[0]);
	if (!description)
		return pass();
	if (description->state == ENDED) {
		COUNT(list_ends);
		return answer(call, 0);
	}
	if ((description->state == START || description->state == BEGUN) && ask(&question, call->arguments[0], 0) &&
	    description->state == START &&
	    (size = list(&question, call->arguments[1], call->arguments[2] & 0xffffffff, &description->last)) > 0) {
		description->state = ENDED;
		COUNT(list_hits);
		return answer(call, size);
	}
	COUNT(list_misses);
	wait_for(thread, &question, call->arguments[0], call->arguments[1], 0);
	return 0;
}

EXIT(getdents64)
{
	struct thread *thread = waiting(LIST, LIST);
	struct description *description;

	if (!thread || call->result < 0)
		return 0;
	description = description_of(thread->descriptor);
	if (!description)
		return 0;
	if (description->state == START && thread->question.asked && is_still_true(thread)) {
		description->generation = thread->question.generation;
		description->version = keep_listing(&thread->question, thread->buffer, call->result, &description->last);
		description->state = description->version ? BEGUN : ELSEWHERE;
	} else if (description->state == BEGUN && !call->result && is_current(description->generation)) {
		complete_listing(&thread->question, description->version);
		description->state = ELSEWHERE;
	} else {
		description->state = ELSEWHERE;
	}
	return 0;
}

/* The old call has another form, and is only kept from beginning again. */
ENTER(getdents)
{
	struct description *description = is_client(bpf_get_current_pid_tgid()) ? description_of(call->arguments[0]) : NULL;

	if (!description)
		return 0;
	if (description->state == ENDED)
		return answer(call, 0);
	description->state = ELSEWHERE;
	return 0;
}

/* --- lseek --- */

ENTER(lseek)
{
	__u64 id = bpf_get_current_pid_tgid(), offset = call->arguments[1], whence = call->arguments[2] & 0xffffffff;
	struct description *description;
	struct thread *thread;

	if (!is_client(id) || !(thread = begin(id)))
		return 0;
	description = description_of(call->arguments[0]);
	if (!description)
		return 0;
	/* the kernel's position is the beginning already */
	if (!offset && whence == 0 && (description->state == START || description->state == ENDED)) {
		description->state = START;
		COUNT(seek_hits);
		return answer(call, 0);
	}
	if (!offset && whence == 1 && description->state == ENDED) {
		COUNT(seek_hits);
		return answer(call, description->last);
	}
	wait_for_end(thread, SEEK, call->arguments[0], offset, whence);
	return 0;
}

EXIT(lseek)
{
	struct thread *thread = waiting(SEEK, SEEK);
	struct description *description;

	if (!thread || call->result < 0)
		return 0;
	description = description_of(thread->descriptor);
	if (description && (thread->flags != 1 || thread->buffer))
		description->state = call->result ? ELSEWHERE : START;
	return 0;
}
