/*
 * Frames through a network device. What becomes of a frame is the network's business: it may be lost or come
 * by another queue. So a peer that returns frames is looked for first, by frames of the plainest kind; what
 * then is lost again and again, while the plain frames behind it come back, was lost for what it is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device/net.h"
#include "internal.h"

#define MS UINT64_C(1000000)

enum {
	PAIRS_MAX = VHU_LAYOUT_RINGS_MAX / 2,
	POSTED_MAX = 64,      /* receive buffers of a ring */
	CHUNK_MAX = 16,	      /* frames on their way on a pair */
	ATTEMPTS = 3,	      /* of a frame that is lost */
	PROBE_MS = 3000,      /* for a peer that returns frames to show itself … */
	PROBE_AGAIN_MS = 300, /* … where none did in another case */
	BUFFER = 2048,
	NO_ROOM = -2, /* in a ring that nobody looks at */
	BEACON = 98,  /* bytes of the plainest frame: long enough to be known when its end is missing */
};

struct traffic {
	struct vhu_run *r;
	const struct vhu_step *s;
	const struct vhu_step_frames *f;
	struct vhu_conn *c;
	struct vhu_net *net;
	uint8_t header[VHU_NET_HEADER_MAX];
	unsigned n_pairs;	      /* that the session has */
	unsigned on[PAIRS_MAX], n_on; /* whose frames these are */
	bool off[PAIRS_MAX];	      /* its receive ring is disabled … */
	uint64_t received[PAIRS_MAX]; /* … and had given back so many buffers when that was known */
};

static bool enabled(const struct traffic *t, unsigned queue)
{
	const struct vhu_ring_state *ring = vhu_session_ring(&t->c->oracle.session, queue);

	return ring && ring->started && ring->enabled;
}

static bool pair_on(const struct traffic *t, unsigned pair)
{
	return enabled(t, 2 * pair) && enabled(t, 2 * pair + 1);
}

/* --- receive buffers ----------------------------------------------------------------------------- */

static bool post(struct traffic *t, unsigned pair)
{
	bool modern = t->c->features & VHU_V(VIRTIO_F_VERSION_1);
	const uint32_t header = (uint32_t)vhu_net_header_size(t->c->features);
	const uint32_t plain[] = {header, BUFFER - header}, whole[] = {BUFFER};
	const uint32_t *segments = t->f->n_buffers ? t->f->buffers : modern ? whole : plain;
	const size_t n = t->f->n_buffers ? t->f->n_buffers : modern ? 1 : 2;
	struct vhu_err err = {0};
	int added;

	if (!t->r->rings[2 * pair].started)
		return true;
	added = vhu_net_post(t->net, pair, segments, n, POSTED_MAX, &err);
	if (added < 0)
		vhu_run_broken(t->r, "%s: %s", t->s->where, err.text);
	else if (added > 0)
		vhu_run_publish(t->r, t->s, 2 * pair, true);
	return added >= 0;
}

static bool post_all(struct traffic *t)
{
	for (unsigned p = 0; p < t->n_pairs; p++)
		if (!post(t, p))
			return false;
	return true;
}

/* --- frames on their way ------------------------------------------------------------------------- */

struct came_wait {
	const struct traffic *t;
	uint32_t from, to;
	bool any; /* one of them is enough */
};

static bool came(void *ctx)
{
	const struct came_wait *w = ctx;
	unsigned n = 0;

	for (uint32_t i = w->from; i < w->to; i++)
		n += vhu_net_frame(w->t->net, i)->came > 0;
	return n == w->to - w->from || (w->any && n);
}

static bool sent_back(void *ctx)
{
	const struct traffic *t = ctx;

	for (size_t i = 0; i < t->n_on; i++)
		if (enabled(t, 2 * t->on[i] + 1) && vhu_net_unsent(t->net, t->on[i]))
			return false;
	return true;
}

/* False: the case can't go on. */
static bool wait_until(struct traffic *t, bool (*done)(void *ctx), void *ctx, uint64_t deadline)
{
	vhu_run_wait_rings(t->r, done, ctx, deadline);
	if (t->r->interrupted || t->r->broken)
		return false;
	vhu_driver_poll(t->r->driver);
	if (!done(ctx) && vhu_run_connection_lost(t->r)) {
		vhu_run_gone(t->r, t->s);
		return false;
	}
	return true;
}

static void tell_kept(struct traffic *t)
{
	struct vhu_step told = *t->s;

	told.requirement = VHU_REQ_NETDEV_05;
	told.note = NULL;
	vhu_run_unmet(t->r, &told, VHU_FINDING_ROBUST, "every transmitted buffer comes back",
		      "some did not until the deadline");
	t->r->stop = true;
}

/* Puts a frame into the ring, `plain` or as the step wants it. Its number, or -1. */
static int64_t send(struct traffic *t, unsigned pair, uint32_t len, bool plain)
{
	static const uint8_t none[VHU_NET_HEADER_MAX];
	struct vhu_net_send spec = {.pair = pair, .len = len, .header = plain ? none : t->header};
	struct vhu_err err = {0};
	int64_t number;

	if (!plain) {
		spec.segments = t->f->segments;
		spec.n_segments = t->f->n_segments;
		spec.one_piece = t->f->one_piece;
		spec.indirect = t->f->indirect;
		spec.loose = t->f->expect == VHU_FRAMES_ANY;
		spec.partial = t->f->partial;
	}
	number = vhu_net_send(t->net, &spec, &err);
	if (number == -ENOSPC && enabled(t, 2 * pair + 1)) {
		vhu_run_publish(t->r, t->s, 2 * pair + 1, true);
		if (!wait_until(t, sent_back, t, vhu_run_deadline(t->r, t->s)))
			return -1;
		number = vhu_net_send(t->net, &spec, &err);
	}
	if (number == -ENOSPC) {
		if (t->r->loops[pair] && enabled(t, 2 * pair + 1))
			tell_kept(t);
		return NO_ROOM;
	}
	if (number < 0) {
		vhu_run_broken(t->r, "%s: %s", t->s->where, err.text);
		return -1;
	}
	t->r->res->ios++;
	return number;
}

/*
 * A plain frame comes back on this pair, of which more and more are sent: all before it has been dealt with.
 * False if none does until the deadline, or the case can't go on.
 */
static bool beacon(struct traffic *t, unsigned pair, uint64_t deadline)
{
	int64_t first = -1, number = -1;

	while (number < 0 || vhu_run_now(t->r) < deadline) {
		uint64_t slice = vhu_run_now(t->r) + vhu_run_settle_ns(t->r);
		struct came_wait w = {.t = t, .any = true};

		if (!post_all(t))
			return false;
		if (first < 0 || vhu_net_unsent(t->net, pair) < CHUNK_MAX)
			number = send(t, pair, BEACON, true);
		if (number < 0)
			return false;
		first = first < 0 ? number : first;
		w.from = (uint32_t)first;
		w.to = (uint32_t)number + 1;
		vhu_run_publish(t->r, t->s, 2 * pair + 1, true);
		if (!wait_until(t, came, &w, VHU_MIN(slice, deadline)))
			return false;
		if (came(&w))
			return true;
	}
	return false;
}

/* Whether the peer returns frames of this pair. If not, there is nothing to be seen: SKIP. */
static bool probe(struct traffic *t, unsigned pair)
{
	const uint64_t ms = t->r->e->no_peer ? PROBE_AGAIN_MS : PROBE_MS;
	const struct vhu_net_frame *f;
	uint32_t n = 0;

	if (t->r->loops[pair])
		return true;
	while (vhu_net_frame(t->net, n))
		n++;
	if (!beacon(t, pair, VHU_MIN(vhu_run_now(t->r) + ms * MS, vhu_run_deadline(t->r, t->s)))) {
		t->r->e->no_peer |= !t->r->stop;
		if (!t->r->stop)
			vhu_run_skip(t->r, "nobody returns the frames that are sent on pair %u", pair);
		return false;
	}
	t->r->loops[pair] = true;
	t->r->e->no_peer = false;
	for (; (f = vhu_net_frame(t->net, n)); n++) {
		if (!f->rewritten)
			continue;
		vhu_run_skip(t->r, "the peer changes what it returns on pair %u: %s", pair, f->harm);
		return false;
	}
	return true;
}

/* --- verdicts ------------------------------------------------------------------------------------ */

static void tell_lost(struct traffic *t, const struct vhu_net_frame *f)
{
	vhu_run_unmet(t->r, t->s, VHU_FINDING_ROBUST, "the frame comes back",
		      "a frame of %u bytes on pair %u was lost %d times, plain frames behind it were not",
		      f->len, f->pair, ATTEMPTS);
	t->r->stop = true;
}

static void tell_dead(struct traffic *t, unsigned pair)
{
	vhu_run_unmet(t->r, t->s, VHU_FINDING_ROBUST, "frames come back as before",
		      "no frame comes back on pair %u any more", pair);
	t->r->res->deadline = !t->r->skipped;
	t->r->stop = true;
}

/* The pair that the step names, else the one that sent it, unless the device steers by hashes. */
static void judge_pair(struct traffic *t, const struct vhu_net_frame *f)
{
	const bool named = t->f->arrive >= 0;
	struct vhu_step told = *t->s;

	if (named && f->pair_came != (unsigned)t->f->arrive)
		vhu_run_unmet(t->r, t->s, VHU_FINDING_RULE, "frames come on the pair they are steered to",
			      "a frame of pair %u came on pair %u, not on %d", f->pair, f->pair_came,
			      t->f->arrive);
	if (named || f->pair_came == f->pair || t->c->features & VHU_V(VIRTIO_NET_F_RSS))
		return;
	told.requirement = VHU_REQ_NETDEV_34;
	told.note = NULL;
	vhu_run_unmet(t->r, &told, VHU_FINDING_RULE, "frames come back on the pair that sent them",
		      "a frame of pair %u came on pair %u", f->pair, f->pair_came);
}

static void judge_frame(struct traffic *t, uint32_t number)
{
	const struct vhu_net_frame *f = vhu_net_frame(t->net, number);

	if (f->harm[0])
		vhu_run_unmet(t->r, t->s, VHU_FINDING_ROBUST, "the frame as it was sent",
			      "a frame of %u bytes, pair %u: %s", f->len, f->pair, f->harm);
	if (f->came > 1)
		vhu_run_unmet(t->r, t->s, VHU_FINDING_QUIRK, "each frame once",
			      "a frame of %u bytes, pair %u, came %u times", f->len, f->pair, f->came);
	if (!f->came)
		return;
	judge_pair(t, f);
	vhu_run_match_fields(t->r, t->s, &t->f->received, f->header, vhu_net_header_size(t->c->features));
}

/* Rings that were disabled have given nothing. */
static void judge_off(struct traffic *t)
{
	for (unsigned p = 0; p < t->n_pairs; p++) {
		uint64_t n = vhu_net_received(t->net, p) - t->received[p];

		if (t->off[p] && n)
			vhu_run_unmet(t->r, t->s, VHU_FINDING_ROBUST, "nothing on a disabled ring",
				      "%llu buffers of ring %u came back", (unsigned long long)n, 2 * p);
	}
}

/* --- the step ------------------------------------------------------------------------------------ */

/* Frames that are sure to find buffers. */
static uint32_t chunk_of(const struct traffic *t, unsigned pair)
{
	const size_t header = vhu_net_header_size(t->c->features);
	uint64_t room = 0, need, most = 0;

	for (size_t i = 0; i < t->f->n_sizes; i++)
		most = VHU_MAX(most, t->f->sizes[i] + (uint64_t)header);
	for (size_t i = 0; i < t->f->n_buffers; i++)
		room += t->f->buffers[i];
	room = room ? room : BUFFER;
	need = t->c->features & VHU_V(VIRTIO_NET_F_MRG_RXBUF) ? (most + room - 1) / room : 1;
	return (uint32_t)VHU_MAX(1, VHU_MIN(vhu_net_posted(t->net, pair) / (2 * need), (uint64_t)CHUNK_MAX));
}

/* Sends one that was lost again, alone. */
static bool resend(struct traffic *t, uint32_t number)
{
	for (int i = 1; i < ATTEMPTS && !t->r->stop; i++) {
		const struct vhu_net_frame f = *vhu_net_frame(t->net, number);
		int64_t again = send(t, f.pair, f.len, false);

		if (again < 0)
			return false;
		vhu_run_publish(t->r, t->s, 2 * f.pair + 1, true);
		if (!beacon(t, f.pair, vhu_run_deadline(t->r, t->s))) {
			if (!t->r->stop)
				tell_dead(t, f.pair);
			return false;
		}
		judge_frame(t, (uint32_t)again);
		if (vhu_net_frame(t->net, (uint32_t)again)->came)
			return true;
	}
	tell_lost(t, vhu_net_frame(t->net, number));
	return false;
}

/* All frames of the chunk were dealt with: what has not come was lost. */
static bool collect(struct traffic *t, uint32_t from, uint32_t to)
{
	for (size_t i = 0; i < t->n_on; i++) {
		if (beacon(t, t->on[i], vhu_run_deadline(t->r, t->s)))
			continue;
		if (!t->r->stop)
			tell_dead(t, t->on[i]);
		return false;
	}
	for (uint32_t n = from; n < to; n++)
		if (t->f->expect == VHU_FRAMES_BACK && !vhu_net_frame(t->net, n)->came && !resend(t, n))
			return false;
	return true;
}

static bool send_chunk(struct traffic *t, uint32_t done, uint32_t n, uint32_t *ret_from, uint32_t *ret_to)
{
	*ret_from = UINT32_MAX;
	*ret_to = 0;
	for (size_t p = 0; p < t->n_on; p++) {
		for (uint32_t i = 0; i < n; i++) {
			uint32_t len = t->f->sizes[(done + i) % t->f->n_sizes];
			int64_t number = send(t, t->on[p], len, false);

			if (number == NO_ROOM)
				break;
			if (number < 0)
				return false;
			*ret_from = VHU_MIN(*ret_from, (uint32_t)number);
			*ret_to = (uint32_t)number + 1;
		}
		vhu_run_publish(t->r, t->s, 2 * t->on[p] + 1, true);
	}
	return true;
}

/* Time enough for the frames to come, where something shows that: frames of another pair, and a fence. */
static bool let_pass(struct traffic *t)
{
	bool witness = false;

	for (unsigned p = 0; p < t->n_pairs && !t->r->stop; p++) {
		if (!t->r->loops[p] || !pair_on(t, p))
			continue;
		witness = true;
		for (int i = 0; i < 2; i++)
			if (!beacon(t, p, vhu_run_deadline(t->r, t->s))) {
				if (!t->r->stop)
					tell_dead(t, p);
				return false;
			}
	}
	if (vhu_conn_live(t->c) && !vhu_conn_fence(t->c, t->s, NULL))
		return false;
	if (!witness)
		vhu_run_settle(t->r, vhu_run_settle_ns(t->r));
	vhu_driver_poll(t->r->driver);
	return !t->r->stop;
}

static void expect_none(struct traffic *t)
{
	uint32_t from, to;

	if (!send_chunk(t, 0, VHU_MIN(t->f->count, (uint32_t)CHUNK_MAX), &from, &to) || !let_pass(t))
		return;
	for (uint32_t n = from; n < to; n++) {
		const struct vhu_net_frame *f = vhu_net_frame(t->net, n);

		if (f->came)
			vhu_run_unmet(t->r, t->s, VHU_FINDING_ROBUST, "the frame does not come back",
				      "a frame of %u bytes of pair %u came on pair %u", f->len, f->pair,
				      f->pair_came);
	}
}

static void expect_back(struct traffic *t)
{
	uint32_t from, to;

	for (size_t i = 0; i < t->n_on; i++)
		if (!probe(t, t->on[i]))
			return;
	for (uint32_t done = 0, n; done < t->f->count; done += n) {
		n = VHU_MIN(t->f->count - done, chunk_of(t, t->on[0]));
		if (!post_all(t) || !send_chunk(t, done, n, &from, &to) || !collect(t, from, to))
			return;
		for (uint32_t i = from; i < to; i++)
			judge_frame(t, i);
	}
	if (!wait_until(t, sent_back, t, vhu_run_deadline(t->r, t->s)) || sent_back(t))
		return;
	tell_kept(t);
}

/* What rings that are disabled have by now is theirs: the fence shows that they are. */
static bool begin(struct traffic *t)
{
	bool some_off = false;

	for (unsigned p = 0; p < t->n_pairs; p++)
		some_off |= t->off[p] = t->r->rings[2 * p].started && !enabled(t, 2 * p);
	if (!post_all(t) || (some_off && vhu_conn_live(t->c) && !vhu_conn_fence(t->c, t->s, NULL)))
		return false;
	vhu_driver_poll(t->r->driver);
	for (unsigned p = 0; p < t->n_pairs; p++)
		t->received[p] = vhu_net_received(t->net, p);
	return !t->r->stop;
}

/* The pairs whose frames these are. */
static void choose(struct traffic *t)
{
	t->n_pairs = (unsigned)t->r->n_rings / 2;
	for (size_t i = 0; i < t->f->n_pairs && !t->r->stop; i++) {
		t->on[t->n_on++] = t->f->pairs[i];
		if (t->f->pairs[i] >= t->n_pairs)
			vhu_run_broken(t->r, "%s: the case has no pair %u", t->s->where, t->f->pairs[i]);
	}
	for (unsigned p = 0; p < t->n_pairs && t->f->which != VHU_PAIRS_LISTED; p++)
		if (t->r->rings[2 * p + 1].started && pair_on(t, p) == (t->f->which == VHU_PAIRS_ON))
			t->on[t->n_on++] = p;
}

void vhu_do_frames(struct vhu_run *r, const struct vhu_step *s)
{
	struct traffic t = {.r = r, .s = s, .f = &s->frames, .c = &r->conns[s->conn]};

	if (!vhu_run_driver(r) || !vhu_run_build_out(r, &s->frames.header, t.header))
		return;
	t.net = vhu_driver_net(r->driver);
	if (!t.net) {
		vhu_run_broken(r, "out of memory");
		return;
	}
	choose(&t);
	if (r->stop || !t.n_on || !begin(&t))
		return;
	if (s->frames.expect == VHU_FRAMES_NONE)
		expect_none(&t);
	else
		expect_back(&t);
	if (!r->interrupted && !r->broken)
		judge_off(&t);
}
