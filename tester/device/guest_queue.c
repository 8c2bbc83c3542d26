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
	STEP = 8, /* requests whose data is looked at between two times that some go */
};

/* The status byte and what lies behind it, where all went well. */
#define STATUS_WELL (GUEST_GUARD << 8 | VHU_C_BLK_S_OK)

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

static void recovered(struct guest_queue *q, struct guest_slot *s)
{
	s->recovering = false;
	vhu_guest_count(&q->counts.recovered, 1);
	vhu_guest_count(&q->counts.recovering, (uint64_t)-1);
	if (atomic_load_explicit(&q->counts.recovering, memory_order_relaxed) == 0)
		eventfd_write(q->g->fd, 1);
}

static uint64_t sector_of(const struct guest_queue *q, const struct guest_slot *s)
{
	return (q->first + s->block) * q->sectors;
}

static void tell_breach(struct guest_queue *q, const struct guest_slot *s, enum vhu_breach breach,
			const char *what)
{
	struct vhu_ring_event event = {.breach = breach};

	vhu_guest_count(&q->counts.ring, 1);
	snprintf(event.text, sizeof(event.text), "%s of block %llu: %s", s->write ? "write" : "read",
		 (unsigned long long)(q->first + s->block), what);
	vhu_guest_tell(q, &event);
}

static inline bool header_stands(const struct guest_queue *q, const struct guest_slot *s)
{
	uint64_t type = s->write ? VHU_C_BLK_T_OUT : VHU_C_BLK_T_IN;

	return vhu_le_get(s->header, 8) == type && vhu_le_get(s->header + 8, 8) == sector_of(q, s);
}

/* Something is wrong in a request's line of the cache: its status, what is behind it, its header. */
static void judge_line(struct guest_queue *q, struct guest_slot *s, uint64_t status)
{
	if ((uint8_t)status != VHU_C_BLK_S_OK)
		judge_status(q, s, (uint8_t)status);
	if (status >> 8 != GUEST_GUARD) {
		vhu_le_put(s->header + STATUS_AT + 1, 7, GUEST_GUARD);
		tell_breach(q, s, VHU_BREACH_WROTE_OUTSIDE, "bytes behind its status were written");
	}
	if (!header_stands(q, s))
		tell_breach(q, s, VHU_BREACH_WROTE_READABLE, "its header was written");
}

static inline void complete(struct guest_queue *q, struct guest_slot *s, const struct vhu_hot_used *u)
{
	uint64_t word =
		le64toh(__atomic_load_n((uint64_t *)(void *)(s->header + STATUS_AT), __ATOMIC_RELAXED));
	uint8_t status = (uint8_t)word;

	if (__builtin_expect(s->round && status != STATUS_NONE, 0))
		vhu_guest_log_back(q, s);
	if (status != VHU_C_BLK_S_OK)
		vhu_guest_unsettle(q, s);
	else if (q->generation)
		vhu_guest_settle(q, s, u);
	if (__builtin_expect(word != STATUS_WELL || !header_stands(q, s), 0))
		judge_line(q, s, word);
	if (__builtin_expect(!u->len_known && q->tells_written && status != STATUS_NONE, 0))
		tell_breach(q, s, VHU_BREACH_PACKED_WRITE_FLAG, "its used descriptor is without WRITE");
	if (__builtin_expect(s->recovering, 0))
		recovered(q, s);
}

/* --- what goes ------------------------------------------------------------------------------------- */

static inline void fill(struct guest_queue *q, uint16_t chain, struct guest_slot *s, uint64_t now)
{
	vhu_le_put(s->header, 8, s->write ? VHU_C_BLK_T_OUT : VHU_C_BLK_T_IN);
	vhu_le_put(s->header + 8, 8, sector_of(q, s));
	s->header[STATUS_AT] = STATUS_NONE;
	s->sent_ns = now;
	if (s->turned == s->write)
		return;
	s->turned = s->write;
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

/* Blocks that are alike. The numbers stay in registers: in memory, loads would wait for the stores before. */
static unsigned draw(struct guest_queue *q, unsigned n)
{
	const bool write = q->g->opts.rw == VHU_GUEST_RANDWRITE;
	struct vhu_rng rng = q->rng;

	for (unsigned i = 0; i < n; i++) {
		uint16_t chain = q->free[--q->n_free];

		q->slot[chain].block = vhu_guest_random_block(&rng, q->blocks);
		q->slot[chain].write = write;
		q->batch[i] = chain;
	}
	q->rng = rng;
	return n;
}

static unsigned choose(struct guest_queue *q, unsigned n)
{
	unsigned i = 0;

	while (i < n && vhu_guest_choose(q, &q->slot[q->free[q->n_free - 1]]))
		q->batch[i++] = q->free[--q->n_free];
	return i;
}

static void fill_up(struct guest_queue *q)
{
	const uint32_t round = atomic_load_explicit(&q->g->log.round, memory_order_acquire);
	uint64_t now;
	unsigned may, n;

	if (q->n_free == 0 || q->left == 0)
		return;
	/* What came back a moment ago was timed. */
	now = q->g->opts.rate || q->n_free == q->g->opts.depth ? vhu_now_ns() : q->last_ns;
	if (q->n_free == q->g->opts.depth)
		q->last_ns = now;
	may = allowed(q, now);
	n = q->plain ? draw(q, may) : choose(q, may);
	for (unsigned i = 0; i < n; i++) {
		struct guest_slot *s = &q->slot[q->batch[i]];

		s->round = round;
		if (__builtin_expect(round, 0))
			vhu_guest_log_send(q, s);
		fill(q, q->batch[i], s, now);
	}
	q->left -= n;
	send(q, n);
}

/* --- one after the other --------------------------------------------------------------------------- */

/* Requests that went together and came back together took as long as each other. */
static void complete_some(struct guest_queue *q, const struct vhu_hot_used *used, unsigned n, uint64_t now)
{
	uint64_t sent_ns = q->slot[used[0].chain].sent_ns;
	unsigned alike = 0;

	for (unsigned i = 0; i < n; i++) {
		struct guest_slot *s = &q->slot[used[i].chain];

		if (s->sent_ns != sent_ns) {
			vhu_histogram_add(&q->latency, now - sent_ns, alike);
			sent_ns = s->sent_ns;
			alike = 0;
		}
		alike++;
		complete(q, s, &used[i]);
		q->free[q->n_free++] = used[i].chain;
	}
	vhu_histogram_add(&q->latency, now - sent_ns, alike);
}

/*
 * What is done with goes again, and keeps the device busy while we look at the rest: soon where data is
 * looked at. Where it is not, by halves, and to a device that polls: another may have to be kicked for each.
 */
static unsigned step_of(const struct guest_queue *q, unsigned n)
{
	if (q->generation)
		return STEP;
	return vhu_hot_kicks_off(q->hot) ? VHU_MAX(q->g->opts.depth / 2, 1u) : n;
}

static void complete_all(struct guest_queue *q, unsigned n, uint64_t now, bool refill)
{
	unsigned step = refill ? step_of(q, n) : n;

	for (unsigned i = 0; i < n; i += step) {
		complete_some(q, &q->used[i], VHU_MIN(step, n - i), now);
		if (i + step < n)
			fill_up(q);
	}
}

void vhu_guest_reap(struct guest_queue *q, bool refill)
{
	uint32_t first = vhu_hot_due(q->hot);
	unsigned n = vhu_hot_reap(q->hot, q->used);

	if (n == 0)
		return;
	/* Another processor has written the status bytes: they come together. */
	for (unsigned i = 0; i < n; i++)
		__builtin_prefetch(q->slot[q->used[i].chain].header, 1);
	q->last_ns = vhu_now_ns();
	if (q->slept_ns)
		vhu_guest_awoke(q, n, q->last_ns);
	if (__builtin_expect(atomic_load_explicit(&q->g->log.round, memory_order_acquire), 0))
		vhu_guest_log_used(q, first, n);
	complete_all(q, n, q->last_ns, refill);
	vhu_guest_count(&q->counts.ios, n);
	vhu_guest_count(&q->counts.bytes, (uint64_t)n * q->g->opts.bs);
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
	atomic_store_explicit(&q->still_ticks, 0, memory_order_relaxed);
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

void *vhu_guest_thread(void *queue)
{
	struct guest_queue *q = queue;
	int want;

	while ((want = atomic_load_explicit(&q->g->want, memory_order_acquire)) != GUEST_QUIT) {
		if (want == GUEST_PAUSE) {
			/* A guest goes on for a moment after its back-end went. */
			vhu_guest_reap(q, q->running);
			if (q->running)
				fill_up(q);
			rest(q, GUEST_PAUSED, want);
			continue;
		}
		if (!q->running)
			vhu_hot_disarm(q->hot);
		q->running = want == GUEST_RUN;
		vhu_guest_reap(q, q->running);
		if (q->running)
			fill_up(q);
		if (finished(q, want))
			rest(q, GUEST_FINISHED, want);
		else
			vhu_guest_wait(q);
	}
	return NULL;
}
