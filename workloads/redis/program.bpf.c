/*
 * Extensions for a Redis that runs with `appendfsync always`: each trades a bounded number of acknowledged updates, which a crash
 * may cost, for fewer flushes. The bound is counted in updates and kept at every moment: an update is answered only if no more than
 * that many answered ones are not durable then. So nothing that is said here relies on time.
 *
 * Redis handles the commands of one round of its event loop, appends them to a buffer, and then, before it sleeps,
 *
 *	tlsHasPendingData	asks whether it may sleep at all
 *	flushAppendOnlyFile	writes the buffer to the log and flushes it (fdatasync)
 *	handleClientsWith…	sends the answers
 *
 * so that whoever skips the second step acknowledges what is not durable, and whoever skips the third as well does not. What has been
 * skipped stays in Redis' buffers and is done by the next step that is not. All of it happens in one thread.
 *
 *	delay	skips the flush, not the write: what was acknowledged survives the death of the process whatever happens
 *	batch	skips write and flush, until as many updates are owed as were promised
 *	fast	acknowledges at once what is within the promise, keeps back the other answers until the clients that are at it have
 *		all come, and lets one flush do for all. That the flush is done it learns where the system call returns.
 *
 * `hits` are calls; what `inner` counts is said at each program.
 */
#include "bpf_core.h"
#include "call.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum {
	MOST_AGE = 100000000,	/* ns that an acknowledged update may wait for others before it is flushed */
	FIRST_GUESS = 1000000,	/* ns that a flush takes, before any was seen */
	GATHERING = 4,		/* who gathers waits at most this part of a flush, */
	SILENCE = 16,		/* and no longer than this part after the last one came */
	CENSUS = 16,		/* one flush in so many waits as long as may be, to see how many there are */
	SMOOTH = 8,
};

/* In a section of its own: the counters in .bss are set to 0 when a load begins, and this is not. */
struct {
	__u64 fresh;	/* updates executed since the last decision */
	__u64 held;	/* executed before it, and not answered */
	__u64 owed;	/* answered, or about to be, and not durable */
	__u64 first;	/* ns: since when there are any that are owed or held */
	__u64 last;	/* ns: when the latest came, or the last flush was done */
	__u64 begun;	/* ns: when the flush began */
	__u64 flush;	/* ns that a flush takes, smoothed */
	__u64 crowd;	/* how many had come when nobody else did: as many clients are at it */
	__u64 flushes;
	__u32 thread;	/* which one is in flushAppendOnlyFile; 0: none */
	__u32 skipped;	/* its flush is not made */
	__u32 awake;	/* Redis was told not to sleep: its next round does not, this one may */
	__u32 polls;	/* it was told so in the round before: this one does not sleep */
	__u32 keeping;	/* answers are kept back in this round */
} now SEC(".data.now") = { .flush = FIRST_GUESS };

static __attribute__((always_inline)) __u32 thread(void)
{
	return (__u32)bpf_get_current_pid_tgid();
}

static __attribute__((always_inline)) int nothing_to_do(void)
{
	return !(now.fresh + now.held + now.owed);
}

/* Whether what is new may be answered although it is not durable. Then it counts as owed from here on. */
static __attribute__((always_inline)) int within(__u64 promise)
{
	__u64 time;

	if (now.owed + now.fresh > promise)
		return 0;
	time = bpf_ktime_get_ns();
	if (!now.owed)
		now.first = time;
	if (time - now.first > MOST_AGE)
		return 0;
	now.owed += now.fresh;
	now.fresh = 0;
	return 1;
}

/* Redis writes and flushes now. If anything goes wrong on the way, what is answered then stays owed. */
static __attribute__((always_inline)) void let_pass(void)
{
	now.owed += now.held + now.fresh;
	now.held = now.fresh = 0;
	now.thread = thread();
	now.skipped = 0;
	now.begun = bpf_ktime_get_ns();
}

/* feedAppendOnlyFile: an update goes into the buffer. */
PROGRAM("uprobe", update)
{
	ADD(count_update.hits, 1);
	now.fresh++;
	return 0;
}

/* flushAppendOnlyFile(force), with force when Redis shuts down. `inner`: calls that were not made. */
#define BATCH(name, promise) \
	PROGRAM("uprobe", name) \
	{ \
		ADD(count_##name.hits, 1); \
		if (nothing_to_do()) \
			return 0; \
		if ((__u32)ARGUMENT_1(ctx) || !within(promise)) { \
			let_pass(); \
			return 0; \
		} \
		ADD(count_##name.inner, 1); \
		bpf_override_return(ctx, 0); \
		return 0; \
	}

BATCH(batch_10, 10)
BATCH(batch_48, 48)
BATCH(batch_100, 100)
BATCH(batch_1000, 1000)

/* The same function, where the write is made and only the flush may be skipped. */
PROGRAM("uprobe", enter)
{
	ADD(count_enter.hits, 1);
	now.thread = (__u32)ARGUMENT_1(ctx) ? 0 : thread();
	now.skipped = 0;
	return 0;
}

/* `inner`: flushes that were not made. */
struct count count_delay_2;
SEC("tracepoint") int delay_2(struct entered *call)
{
	if (now.thread != thread())
		return 0;
	ADD(count_delay_2.hits, 1);
	if (within(2)) {
		now.skipped = 1;
		ADD(count_delay_2.inner, 1);
		bpf_override_return((struct pt_regs *)call, 0);
		return 0;
	}
	now.owed += now.fresh;
	now.fresh = 0;
	now.begun = bpf_ktime_get_ns();
	return 0;
}

/* The flush is done: nothing is owed any more. Nobody was asked, and nobody had to be waited for. `inner`: flushes of the log. */
struct count count_durable;
SEC("tracepoint") int durable(struct left *call)
{
	ADD(count_durable.hits, 1);
	if (now.thread != thread() || now.skipped || call->result)
		return 0;
	ADD(count_durable.inner, 1);
	now.flushes++;
	now.owed = 0;
	now.last = bpf_ktime_get_ns();
	now.flush += (now.last - now.begun) / SMOOTH - now.flush / SMOOTH;
	return 0;
}

/* The end of flushAppendOnlyFile. Flushes of other files are none of ours. */
PROGRAM("uretprobe", leave)
{
	ADD(count_leave.hits, 1);
	now.thread = 0;
	return 0;
}

/*
 * tlsHasPendingData: whoever keeps answers back must not sleep. The word is for the next round, since this one's time to sleep is
 * fixed by now; so it is said as long as updates may come, and answers are kept back only when it was. `inner`: times it was said.
 */
PROGRAM("uprobe", awake)
{
	ADD(count_awake.hits, 1);
	now.polls = now.awake;
	now.awake = now.held || now.fresh || bpf_ktime_get_ns() - now.last < now.flush / GATHERING;
	if (now.awake) {
		ADD(count_awake.inner, 1);
		bpf_override_return(ctx, 1);
	}
	return 0;
}

/* Whether more updates are to be waited for, which the same flush will do for: until all are there, or for a while. */
static __attribute__((always_inline)) int more_may_come(void)
{
	__u64 time = bpf_ktime_get_ns(), waiting = now.held + now.fresh;
	int census = !(now.flushes % CENSUS);

	if (!now.held)
		now.first = time;
	if (now.fresh)
		now.last = time;
	if (!census && waiting >= now.crowd)
		return 0;
	if (now.polls && time - now.first < now.flush / GATHERING && (census || time - now.last < now.flush / SILENCE))
		return 1;
	if (census)
		now.crowd = waiting;
	return 0;
}

/* flushAppendOnlyFile(force). `inner`: calls that were not made. */
PROGRAM("uprobe", fast_2)
{
	ADD(count_fast_2.hits, 1);
	now.keeping = 0;
	if (nothing_to_do())
		return 0;
	if ((__u32)ARGUMENT_1(ctx))
		goto pass;
	if (now.held || !within(2)) {
		if (!(now.held + now.fresh) || !more_may_come())
			goto pass;
		now.held += now.fresh;
		now.fresh = 0;
		now.keeping = 1;
	}
	ADD(count_fast_2.inner, 1);
	bpf_override_return(ctx, 0);
	return 0;
pass:
	let_pass();
	return 0;
}

/* handleClientsWithPendingWritesUsingThreads and sendReplyToClient: they come by again. `inner`: times that nothing was sent. */
PROGRAM("uprobe", keep)
{
	ADD(count_keep.hits, 1);
	if (now.keeping) {
		ADD(count_keep.inner, 1);
		bpf_override_return(ctx, 0);
	}
	return 0;
}
