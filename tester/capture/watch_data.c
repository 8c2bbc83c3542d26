/* What went over a socket: pieces with their descriptors, and what their sender calls those. */
#include "watch_priv.h"

#include <errno.h>
#include <string.h>

const struct numbers *vhu_watch_numbers_of(const struct vhu_watch *s, uint64_t flow, uint32_t n_fds)
{
	for (size_t i = 0; i < s->n_numbers; i++)
		if (s->numbers[i].flow == flow && s->numbers[i].n == n_fds)
			return &s->numbers[i];
	return NULL;
}

/*
 * Whether these numbers come too late for the data that waited for them: a sender tells them before it sends
 * anything else, so they are not of what it sent next.
 */
static bool too_late(const struct vhu_watch *s, const struct vhu_tap_numbers *e)
{
	struct conn *c = vhu_conn_find(s, e->head.flow / 2);
	struct flow *f = c ? &c->flow[e->head.flow & 1] : NULL;

	if (!f || f->owed != e->n || !e->n || e->head.t_ns > f->owed_ns + FORGET_NS)
		return false;
	f->owed = 0;
	return true;
}

void vhu_watch_numbers(struct vhu_watch *s, const struct vhu_tap_numbers *e)
{
	struct numbers *n;

	if (e->n > VHU_TAP_FDS_MAX || too_late(s, e))
		return;
	if (s->n_numbers == NUMBERS_MAX) {
		s->n_numbers--;
		memmove(s->numbers, s->numbers + 1, s->n_numbers * sizeof(*s->numbers));
	}
	n = &s->numbers[s->n_numbers++];
	n->flow = e->head.flow;
	n->t_ns = e->head.t_ns;
	n->n = e->n;
	memcpy(n->number, e->number, e->n * sizeof(e->number[0]));
}

/* Data, whichever way it was told. */
struct part {
	uint64_t t_ns, flow, off, sender, reader;
	uint32_t read, before_read, missing, n_fds, flags, lost;
	const uint8_t *bytes;
	uint32_t len;
};

/* Gives the descriptors of the data at hand their numbers; the same open file keeps the same guess. */
static void number_fds(struct vhu_watch *s, struct flow *f, const struct part *d)
{
	const struct numbers *n = vhu_watch_numbers_of(s, d->flow, d->n_fds);

	for (size_t i = 0; i < f->n_fds; i++) {
		f->fds[i].stand_in = !n || i >= n->n;
		f->fds[i].number = f->fds[i].stand_in ? FIRST_GUESS | (uint32_t)(f->objects[i] >> 6)
						      : (uint32_t)n->number[i];
	}
	f->owed = n || d->flags & VHU_TAP_UNREAD ? 0 : d->n_fds;
	f->owed_ns = d->t_ns;
	if (n) {
		size_t at = (size_t)(n - s->numbers);

		s->n_numbers--;
		memmove(s->numbers + at, s->numbers + at + 1, (s->n_numbers - at) * sizeof(*s->numbers));
	}
}

/* What came with an earlier read and waited for the rest, then the rest with its descriptors. */
static int feed(struct flow *f, const struct part *d, struct vhu_piece *p, struct vhu_err *err)
{
	uint32_t before = d->before_read ? VHU_TAP_HEADER : 0;

	p->bytes = d->bytes;
	p->len = before;
	p->read = d->before_read;
	if (before) {
		int code = vhu_stream_feed(f->stream, p, err);

		if (code < 0)
			return code;
	}
	p->off += before;
	p->bytes += before;
	p->len = d->len - before;
	p->read = d->read;
	p->missing = d->missing;
	p->fds = f->fds;
	p->n_fds = d->n_fds ? f->n_fds : 0;
	p->fds_lost = d->n_fds && d->n_fds != f->n_fds;
	return p->len || p->missing ? vhu_stream_feed(f->stream, p, err) : 0;
}

static int take_part(struct vhu_watch *s, struct conn *c, const struct part *d, struct vhu_err *err)
{
	unsigned flow = d->flow & 1;
	struct flow *f = &c->flow[flow];
	struct vhu_piece p = {
		.t_ns = d->t_ns + s->env.clock_offset_ns,
		.off = (int64_t)(d->off & INT64_MAX),
		.tgid = (uint32_t)(d->sender >> 32),
		.tid = (uint32_t)d->sender,
		.text = d->flags & VHU_TAP_UNREAD ? "the receiver never read it" : NULL,
	};
	int code = 0;

	f->next = d->off + d->len + d->missing;
	f->told_sender = d->sender;
	f->told_reader = d->reader;
	if (c->state == REFUSED)
		return 0;
	if (d->n_fds)
		number_fds(s, f, d);
	f->sender = p.tgid ? p.tgid : f->sender;
	f->reader = d->reader >> 32 ? (uint32_t)(d->reader >> 32) : f->reader;
	if (c->state == UNDECIDED)
		code = vhu_conn_decide(s, c, flow, d->bytes, d->len, err);
	if (code == 0)
		code = vhu_conn_count_lost(s, c, flow, d->lost, d->t_ns, err);
	if (code == 0 && c->state == TAKEN) {
		p.tgid = p.tgid ? p.tgid : f->owner;
		code = feed(f, d, &p, err);
	}
	f->n_fds = 0;
	return code;
}

/* A connection whose start found no room in the ring. */
static int open_late(struct vhu_watch *s, const struct vhu_tap_data *d, struct vhu_err *err)
{
	struct vhu_tap_open e = {.head = d->head};

	if (!s->env.look_up || !s->env.look_up(s->env.ctx, d->sock, d->head.flow, e.flow))
		return 0;
	e.head.flow &= ~UINT64_C(1);
	return vhu_watch_open(s, &e, err);
}

int vhu_watch_data(struct vhu_watch *s, const struct vhu_tap_data *d, struct vhu_err *err)
{
	struct conn *c = vhu_conn_find(s, d->head.flow / 2);
	const struct part part = {
		.t_ns = d->head.t_ns,
		.flow = d->head.flow,
		.off = d->off,
		.sender = d->sender,
		.reader = d->reader,
		.read = d->read,
		.before_read = d->before_read,
		.missing = d->missing,
		.n_fds = d->n_fds,
		.flags = d->flags,
		.lost = d->lost,
		.bytes = d->bytes,
		.len = d->kept,
	};
	int code = 0;

	if (!c) {
		code = open_late(s, d, err);
		c = code == 0 ? vhu_conn_find(s, d->head.flow / 2) : NULL;
	}
	return c ? take_part(s, c, &part, err) : code;
}

int vhu_watch_next(struct vhu_watch *s, const struct vhu_tap_next *n, struct vhu_err *err)
{
	struct conn *c = vhu_conn_find(s, n->head.flow / 2);
	const struct flow *f = c ? &c->flow[n->head.flow & 1] : NULL;
	const struct part part = {
		.t_ns = n->head.t_ns,
		.flow = n->head.flow,
		.off = f ? f->next : 0,
		.sender = f ? f->told_sender : 0,
		.reader = f ? f->told_reader : 0,
		.lost = f ? f->lost : 0,
		.read = n->read,
		.before_read = n->before_read,
		.bytes = n->bytes,
		.len = n->head.len - (uint32_t)sizeof(*n),
	};

	return c ? take_part(s, c, &part, err) : 0;
}
