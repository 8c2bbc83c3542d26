/*
 * The thread of one queue: takes what came back, fills the ring again, and sleeps or looks again. In this
 * loop there is no allocation, and no system call but kicks that the device asked for and the sleep itself.
 */
#include <errno.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "guest.h"

enum {
	STATUS_AT = GUEST_HEADER, /* behind the header, in its line of the cache */
	STATUS_NONE = 0xff,
	ROUNDS = 256,	   /* of looking in vain before the clock is read */
	YIELD_ROUNDS = 64, /* times that, before the processor is offered to others */
};

static const uint64_t second = 1000000000;

void vhu_guest_tell(void *queue, const struct vhu_ring_event *event)
{
	struct guest_queue *q = queue;
	unsigned put = atomic_load_explicit(&q->put, memory_order_relaxed);
	uint64_t one = 1;

	if (put - atomic_load_explicit(&q->taken, memory_order_acquire) == GUEST_EVENTS) {
		vhu_guest_count(&q->counts.dropped, 1);
		return;
	}
	q->event[put % GUEST_EVENTS] = *event;
	q->event[put % GUEST_EVENTS].queue = q->index;
	atomic_store_explicit(&q->put, put + 1, memory_order_release);
	if (write(q->g->fd, &one, sizeof(one)) < 0)
		return; /* it is full: somebody will look */
}

static void set_state(struct guest_queue *q, enum guest_state state)
{
	uint64_t one = 1;

	atomic_store_explicit(&q->counts.inflight, vhu_hot_inflight(q->hot), memory_order_relaxed);
	if (atomic_exchange_explicit(&q->state, (int)state, memory_order_release) == (int)state)
		return;
	if (state != GUEST_BUSY && write(q->g->fd, &one, sizeof(one)) < 0)
		return;
}

/* --- what came back -------------------------------------------------------------------------------- */

static void judge_status(struct guest_queue *q, const struct guest_slot *s, uint8_t status)
{
	struct vhu_ring_event event = {.breach = VHU_BREACH_BLK_STATUS_MISSING};

	vhu_guest_count(&q->counts.io, 1);
	if (status <= VHU_C_BLK_S_UNSUPP)
		return;
	if (status != STATUS_NONE)
		event.breach = VHU_BREACH_BLK_STATUS_UNKNOWN;
	snprintf(event.text, sizeof(event.text), "%s of block %llu: its status byte is 0x%02x",
		 s->write ? "write" : "read", (unsigned long long)(q->first + s->block), status);
	vhu_guest_tell(q, &event);
}

static void complete(struct guest_queue *q, const struct vhu_hot_used *u, uint64_t now)
{
	struct guest_slot *s = &q->slot[u->chain];
	uint8_t status = __atomic_load_n(s->header + STATUS_AT, __ATOMIC_RELAXED);

	if (__builtin_expect(status == VHU_C_BLK_S_OK, 1)) {
		vhu_guest_settle(q, s);
	} else {
		vhu_guest_unsettle(q, s);
		judge_status(q, s, status);
	}
	if (__builtin_expect(s->recovering, 0)) {
		s->recovering = false;
		vhu_guest_count(&q->counts.recovered, 1);
		vhu_guest_count(&q->counts.recovering, (uint64_t)-1);
		if (atomic_load_explicit(&q->counts.recovering, memory_order_relaxed) == 0)
			eventfd_write(q->g->fd, 1);
	}
	vhu_histogram_add(&q->latency, now - s->sent_ns);
	q->free[q->n_free++] = u->chain;
}

static unsigned reap(struct guest_queue *q)
{
	unsigned n = vhu_hot_reap(q->hot, q->used);
	uint64_t now;

	if (n == 0)
		return 0;
	now = vhu_now_ns();
	for (unsigned i = 0; i < n; i++)
		complete(q, &q->used[i], now);
	q->last_ns = now;
	q->since += n;
	vhu_guest_count(&q->counts.ios, n);
	vhu_guest_count(&q->counts.bytes, (uint64_t)n * q->g->opts.bs);
	return n;
}

/* --- what goes ------------------------------------------------------------------------------------- */

static void fill(struct guest_queue *q, uint16_t chain, struct guest_slot *s, uint64_t now)
{
	uint64_t sector = (q->first + s->block) * (q->g->opts.bs / VHU_C_SECTOR_SIZE);

	vhu_le_put(s->header, 4, s->write ? VHU_C_BLK_T_OUT : VHU_C_BLK_T_IN);
	vhu_le_put(s->header + 8, 8, sector);
	s->header[STATUS_AT] = STATUS_NONE;
	s->sent_ns = now;
	vhu_hot_turn(q->hot, chain, 1, !s->write);
}

static void send(struct guest_queue *q, unsigned n)
{
	if (n == 0 || !vhu_hot_send(q->hot, q->batch, n))
		return;
	vhu_guest_count(&q->counts.kicks, 1);
	vhu_vring_kick(q->v);
}

/* How many may go now. */
static unsigned allowed(struct guest_queue *q, uint64_t now)
{
	uint64_t step, n = VHU_MIN((uint64_t)q->n_free, q->left);

	if (!q->g->opts.rate || n == 0)
		return (unsigned)n;
	step = second * q->g->opts.queues / q->g->opts.rate;
	if (q->quota_ns + second < now) /* a pause is not made up for */
		q->quota_ns = now - step;
	n = VHU_MIN(n, (now - VHU_MIN(q->quota_ns, now)) / VHU_MAX(step, (uint64_t)1));
	q->quota_ns += n * step;
	return (unsigned)n;
}

static unsigned fill_up(struct guest_queue *q)
{
	uint64_t now;
	unsigned may, n = 0;

	if (q->n_free == 0 || q->left == 0)
		return 0;
	/* What came back a moment ago was timed. */
	now = q->g->opts.rate || q->n_free == q->g->opts.depth ? vhu_now_ns() : q->last_ns;
	if (q->n_free == q->g->opts.depth)
		q->last_ns = now;
	for (may = allowed(q, now); n < may; n++) {
		uint16_t chain = q->free[q->n_free - 1];
		struct guest_slot *s = &q->slot[chain];

		if (!vhu_guest_choose(q, s))
			break;
		fill(q, chain, s, now);
		q->batch[n] = chain;
		q->n_free--;
	}
	q->left -= n;
	send(q, n);
	return n;
}

/* The rings begin anew: what was in flight goes once more. */
static void send_again(struct guest_queue *q)
{
	unsigned n = 0;

	for (unsigned i = 0; i < q->g->opts.depth; i++) {
		if (!q->slot[i].recovering)
			continue;
		q->slot[i].header[STATUS_AT] = STATUS_NONE;
		q->batch[n++] = (uint16_t)i;
	}
	send(q, n);
}

/* --- waiting --------------------------------------------------------------------------------------- */

static void sleep_until_called(struct guest_queue *q)
{
	struct epoll_event event[2];
	int wait_ms = 1000;

	/* Of several that are awaited together the last may take long. */
	if ((q->g->opts.rate && q->left) || q->await > 1)
		wait_ms = 1;
	vhu_guest_count(&q->counts.sleeps, 1);
	if (epoll_wait(q->epoll, event, 2, wait_ms) < 0 && errno != EINTR)
		sched_yield();
}

/* Too long without progress: what is in flight will not come back. */
static void check_stuck(struct guest_queue *q, uint64_t now)
{
	struct vhu_ring_event event = {.breach = VHU_BREACH_USED_NEVER};
	unsigned inflight = vhu_hot_inflight(q->hot);

	if (q->stuck || inflight == 0 ||
	    (!vhu_hot_broken(q->hot) && now - q->last_ns < q->g->opts.timeout_ns))
		return;
	q->stuck = true;
	vhu_guest_count(&q->counts.lost, inflight);
	snprintf(event.text, sizeof(event.text),
		 "%u requests have not come back, %llu ms after the last that did", inflight,
		 (unsigned long long)((now - q->last_ns) / 1000000));
	if (!vhu_hot_broken(q->hot))
		vhu_guest_tell(q, &event);
}

static bool finished(const struct guest_queue *q, int want)
{
	if (q->stuck)
		return true;
	return (want == GUEST_DRAIN || q->left == 0) && vhu_hot_inflight(q->hot) == 0;
}

/* Nothing to do: sleeps until somebody wants something else. */
static void rest(struct guest_queue *q, enum guest_state state, int want)
{
	set_state(q, state);
	while (atomic_load_explicit(&q->g->want, memory_order_acquire) == want) {
		struct epoll_event event;

		epoll_wait(q->epoll, &event, 1, 1000);
	}
	q->last_ns = vhu_now_ns();
	set_state(q, GUEST_BUSY);
	if (!q->resend)
		return;
	q->resend = false;
	q->stuck = false;
	if (q->again)
		send_again(q);
	vhu_vring_kick(q->v); /* whoever is there now may not have been told */
}

static void idle_poll(struct guest_queue *q, unsigned *rounds)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
	if (++*rounds % ROUNDS)
		return;
	check_stuck(q, vhu_now_ns());
	if (*rounds >= ROUNDS * YIELD_ROUNDS) {
		*rounds = 0;
		sched_yield();
	}
}

/*
 * A device that completes many while we wake up need not call for the first: half of what came since the last
 * sleep is awaited together. Where that was all that came it is half of that the next time.
 */
static void idle_event(struct guest_queue *q)
{
	q->await = VHU_MAX(VHU_MIN(q->since / 2, vhu_hot_inflight(q->hot)), 1u);
	q->since = 0;
	if (vhu_hot_arm(q->hot, q->await)) {
		sleep_until_called(q);
		check_stuck(q, vhu_now_ns());
	}
	vhu_hot_disarm(q->hot);
}

void *vhu_guest_thread(void *queue)
{
	struct guest_queue *q = queue;
	unsigned rounds = 0;
	int want;

	while ((want = atomic_load_explicit(&q->g->want, memory_order_acquire)) != GUEST_QUIT) {
		unsigned n;

		if (want == GUEST_PAUSE) {
			/* A guest goes on for a moment after its back-end went. */
			reap(q);
			if (q->running)
				fill_up(q);
			rest(q, GUEST_PAUSED, want);
			continue;
		}
		n = reap(q);
		q->running = want == GUEST_RUN;
		if (q->running)
			n += fill_up(q);
		if (n) {
			rounds = 0;
			continue;
		}
		if (finished(q, want))
			rest(q, GUEST_FINISHED, want);
		else if (q->g->opts.notify == VHU_GUEST_POLL)
			idle_poll(q, &rounds);
		else
			idle_event(q);
	}
	return NULL;
}
