/*
 * How a queue's thread waits for its device. A call costs both sides more than many requests do, and so does
 * a kick; a look at the ring costs little. So the thread looks for a while before it sleeps, where that has
 * been of use, and lets requests come back by the batch: what is left in flight meanwhile keeps the device
 * from sleeping, which would have to be kicked.
 */
#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "guest.h"

enum {
	LOOKS = 16,	   /* between two looks at the clock */
	PAUSES = 2,	   /* between two looks at a ring that the device is to fill with more than one */
	VAIN = 4,	   /* times that looking was of no use, and it is given up */
	YIELD_NS = 200000, /* of looking in vain, and the processor is offered to others */
	LONG_SLEEP_NS = 500000, /* who takes so long for a batch is awaited one by one */
};

/* How long to look before a sleep, and after how many sleeps that is tried anew once it was given up. */
static const struct {
	uint64_t ns;
	unsigned every;
} patience[GUEST_PATIENCE] = {
	{2000, 8},    /* less than it takes to go to sleep */
	{32000, 128}, /* about what a sleep costs with the call that ends it */
};

static void pause_for(unsigned n)
{
	for (; n; n--) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
}

/* Looks until n more are back, for so long since it first asked the time. *ret_now where they are not. */
static bool look(const struct guest_queue *q, unsigned n, uint64_t limit_ns, uint64_t *ret_now)
{
	unsigned looks = limit_ns ? LOOKS : 1, pauses = n > 1 ? PAUSES : 1;
	uint64_t end = 0;

	do {
		for (unsigned i = 0; i < looks; i++) {
			if (vhu_hot_ready(q->hot, n))
				return true;
			pause_for(pauses);
		}
		*ret_now = vhu_now_ns();
		end = end ? end : *ret_now + limit_ns;
	} while (*ret_now < end);
	return false;
}

/* Too long without progress: what is in flight will not come back. */
static void check_stuck(struct guest_queue *q, uint64_t now)
{
	struct vhu_ring_event event = {.breach = VHU_BREACH_USED_NEVER};
	unsigned inflight = vhu_hot_inflight(q->hot);
	uint64_t still_ns = atomic_load_explicit(&q->still_ticks, memory_order_relaxed) * VHU_GUEST_TICK_NS;

	/* A machine that stands still makes no ticks. */
	if (q->stuck || inflight == 0 ||
	    (!vhu_hot_broken(q->hot) && VHU_MIN(now - q->last_ns, still_ns) < q->g->opts.timeout_ns))
		return;
	q->stuck = true;
	vhu_guest_count(&q->counts.lost, inflight);
	snprintf(event.text, sizeof(event.text),
		 "%u requests have not come back, %llu ms after the last that did", inflight,
		 (unsigned long long)((now - q->last_ns) / 1000000));
	if (!vhu_hot_broken(q->hot))
		vhu_guest_tell(q, &event);
}

/* Half of the requests: the other half keeps the device busy meanwhile. Who polls gets them sooner. */
static unsigned batch_of(const struct guest_queue *q)
{
	unsigned share = vhu_hot_kicks_off(q->hot) ? 8 : 2;
	unsigned n = VHU_MIN(q->g->opts.depth / share, vhu_hot_inflight(q->hot));

	return VHU_MAX(n, 1u);
}

static void wait_polling(struct guest_queue *q)
{
	uint64_t now;

	if (look(q, batch_of(q), patience[GUEST_PATIENCE - 1].ns, &now) || vhu_hot_ready(q->hot, 1))
		return;
	check_stuck(q, now);
	if (!q->alone || now - q->last_ns > YIELD_NS)
		sched_yield();
}

/* --- sleep ----------------------------------------------------------------------------------------- */

/*
 * How many are worth a call: fewer where all came back before we were awake, since we were late then; more
 * where less than half did, and soon.
 */
void vhu_guest_awoke(struct guest_queue *q, unsigned back, uint64_t now)
{
	unsigned left = vhu_hot_inflight(q->hot);

	if (left == 0)
		q->await = q->await / 2;
	else if (now - q->slept_ns > LONG_SLEEP_NS)
		q->await = 1;
	else if (back < left)
		q->await = q->await * 2 + 1;
	q->slept_ns = 0;
}

/* As epoll_wait, in parts: of a time in which the machine stands still only one of them is lost. */
static int wait_in_parts(int epoll, struct epoll_event *ret, uint64_t ms)
{
	enum { PART_MS = 100 };
	int n = 0;

	for (uint64_t left = ms; left && n == 0; left -= VHU_MIN(left, (uint64_t)PART_MS))
		n = epoll_wait(epoll, ret, 1, (int)VHU_MIN(left, (uint64_t)PART_MS));
	return n;
}

/* They came back, and the device does not say so: for as long as we wait for anything. */
static void check_call(struct guest_queue *q)
{
	struct vhu_ring_event event = {.breach = q->g->opts.event_idx ? VHU_BREACH_CALL_MISSING_EVENT_IDX
								      : VHU_BREACH_CALL_MISSING};
	struct epoll_event called;
	int n;

	if (q->call_missing || (q->g->opts.in_order && q->await > 1) || !vhu_hot_ready(q->hot, q->await))
		return;
	/* What woke us may have been that we are to pause, since the device is gone. */
	do {
		if (atomic_load_explicit(&q->g->want, memory_order_acquire) != GUEST_RUN)
			return;
		n = wait_in_parts(q->epoll, &called, q->g->opts.timeout_ns / 1000000);
		if (n == 1 && called.data.u32)
			return;
	} while (n == 1);
	q->call_missing = true;
	vhu_guest_count(&q->counts.ring, 1);
	snprintf(event.text, sizeof(event.text), "%u requests came back, and nobody called for %llu ms",
		 q->await, (unsigned long long)(q->g->opts.timeout_ns / 1000000));
	vhu_guest_tell(q, &event);
}

/* Without a timer, which costs more than the rest of it: vhu_guest_tick wakes who sleeps too long. */
static void sleep_until_called(struct guest_queue *q, uint64_t now)
{
	bool timed = q->g->opts.rate && q->left;
	struct epoll_event event[2];
	int n;

	vhu_guest_count(&q->counts.sleeps, 1);
	atomic_store_explicit(&q->asleep, true, memory_order_relaxed);
	n = epoll_wait(q->epoll, event, 2, timed ? 1 : -1);
	if (n < 0 && errno != EINTR)
		sched_yield();
	atomic_store_explicit(&q->asleep, false, memory_order_relaxed);
	q->slept_ns = now;
	if (n == 1 && !event[0].data.u32 && q->running)
		check_call(q);
	if (!vhu_hot_ready(q->hot, 1))
		check_stuck(q, vhu_now_ns());
}

static void sleep_or_not(struct guest_queue *q, uint64_t now)
{
	q->await = VHU_MAX(VHU_MIN(q->await, vhu_hot_inflight(q->hot) / 2), 1u);
	if (vhu_hot_arm(q->hot, q->await))
		sleep_until_called(q, now);
	vhu_hot_disarm(q->hot);
}

void vhu_guest_tick(struct vhu_guest *g)
{
	for (unsigned i = 0; i < g->opts.queues; i++) {
		struct guest_queue *q = &g->queue[i];
		uint64_t sleeps = atomic_load_explicit(&q->counts.sleeps, memory_order_relaxed);
		uint64_t ios = atomic_load_explicit(&q->counts.ios, memory_order_relaxed);

		if (ios == q->ios_seen)
			atomic_fetch_add_explicit(&q->still_ticks, 1, memory_order_relaxed);
		else
			atomic_store_explicit(&q->still_ticks, 0, memory_order_relaxed);
		q->ios_seen = ios;
		if (q->started && sleeps == q->sleeps_seen &&
		    atomic_load_explicit(&q->asleep, memory_order_relaxed))
			eventfd_write(q->wake, 1);
		q->sleeps_seen = sleeps;
	}
}

/* For how long looking has been of use, in levels of `patience`. */
static unsigned patience_of(struct guest_queue *q)
{
	unsigned most = q->alone ? GUEST_PATIENCE : 1, level = 0;

	for (unsigned i = 0; i < most; i++)
		if (q->hope[i].left || ++q->hope[i].without % patience[i].every == 0)
			level = i + 1;
	return level;
}

void vhu_guest_wait(struct guest_queue *q)
{
	unsigned level;
	uint64_t now;
	bool back;

	if (vhu_hot_broken(q->hot)) {
		check_stuck(q, q->last_ns);
		return;
	}
	if (q->g->opts.notify == VHU_GUEST_POLL) {
		wait_polling(q);
		return;
	}
	level = vhu_hot_inflight(q->hot) ? patience_of(q) : 0;
	back = look(q, batch_of(q), level ? patience[level - 1].ns : 0, &now);
	if (level)
		q->hope[level - 1].left =
			back ? VAIN : q->hope[level - 1].left - (q->hope[level - 1].left > 0);
	if (!back && !vhu_hot_ready(q->hot, 1))
		sleep_or_not(q, now);
}
