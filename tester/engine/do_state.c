/* The channel of SET_DEVICE_STATE_FD: what the back-end saves, and what it gets to load. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/rng.h"
#include "internal.h"

enum {
	CHUNK = 65536,
	SAVED_MAX = 64 << 20, /* more state than that is not held */
	NARROW = 4096,
};

/* --- the channel ----------------------------------------------------------------------------------- */

int vhu_run_state_channel(struct vhu_run *r, bool to_us, bool narrow)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	vhu_close(&r->state.fd);
	r->state.fd = p[!to_us];
	r->state.over = false;
	if (to_us)
		r->state.n_saved = 0;
	if (narrow)
		fcntl(r->state.fd, F_SETPIPE_SZ, NARROW);
	/* The other end is a file of its own, and blocks as a front-end's does. */
	if (fcntl(r->state.fd, F_SETFL, O_NONBLOCK) == 0)
		return p[to_us];
	close(p[to_us]);
	vhu_close(&r->state.fd);
	return -1;
}

static void close_channel(struct vhu_run *r)
{
	vhu_close(&r->state.fd);
	r->state.over = true;
}

void vhu_run_state_answered(struct vhu_conn *c)
{
	struct vhu_state_run *st = &c->r->state;
	int fd = c->have_answer ? vhu_frame_take_fd(&c->answer, 0) : -1;

	if (st->fd >= 0 && (!c->have_answer || vhu_frame_u64(&c->answer, "error"))) {
		close_channel(c->r);
	} else if (fd >= 0) {
		vhu_close(&st->fd);
		st->fd = fd;
		fd = -1;
		fcntl(st->fd, F_SETFL, O_NONBLOCK);
	}
	vhu_close(&fd);
}

void vhu_run_state_release(struct vhu_run *r)
{
	vhu_close(&r->state.fd);
	free(r->state.saved);
	r->state.saved = NULL;
	r->state.n_saved = r->state.cap = 0;
}

/* --- moving bytes ---------------------------------------------------------------------------------- */

struct move {
	struct vhu_run *r;
	struct vhu_conn *c;
	uint64_t want;	    /* bytes to read; 0: to the end */
	const uint8_t *out; /* to write */
	size_t left;
	bool ended; /* the other side closed its end */
	bool full;  /* more than we hold */
	int error;
	bool gone; /* the back-end's process */
};

static bool make_room(struct vhu_state_run *st)
{
	size_t cap = st->cap ? 2 * st->cap : CHUNK;
	uint8_t *saved;

	if (st->cap - st->n_saved >= CHUNK)
		return true;
	saved = realloc(st->saved, cap + CHUNK);
	if (!saved)
		return false;
	st->saved = saved;
	st->cap = cap + CHUNK;
	return true;
}

static void read_some(void *ctx, uint32_t events)
{
	struct move *m = ctx;
	struct vhu_state_run *st = &m->r->state;
	size_t room = CHUNK;
	ssize_t n;

	m->full = st->n_saved >= SAVED_MAX || !make_room(st);
	if (m->full)
		return;
	if (m->want)
		room = VHU_MIN(room, (size_t)(m->want - st->n_saved));
	n = room ? read(st->fd, st->saved + st->n_saved, room) : 0;
	if (n > 0) {
		vhu_record_state(m->c, VHU_DIR_BE, st->saved + st->n_saved, (size_t)n);
		st->n_saved += (size_t)n;
	} else if (n == 0 && room) {
		m->ended = true;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		m->error = errno;
	}
}

static bool read_enough(void *ctx)
{
	struct move *m = ctx;

	m->gone = m->r->exited;
	return m->gone || m->ended || m->full || m->error || (m->want && m->r->state.n_saved >= m->want);
}

static void write_some(void *ctx, uint32_t events)
{
	struct move *m = ctx;
	ssize_t n = m->left ? write(m->r->state.fd, m->out, m->left) : 0;

	if (n > 0) {
		vhu_record_state(m->c, VHU_DIR_FE, m->out, (size_t)n);
		m->out += n;
		m->left -= (size_t)n;
	} else if (n < 0 && errno == EPIPE) {
		m->ended = true;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		m->error = errno;
	}
}

static bool written(void *ctx)
{
	struct move *m = ctx;

	m->gone = m->r->exited;
	return m->gone || !m->left || m->ended || m->error;
}

/* 0, or -ETIME; a failure of ours is told. */
static int run_move(struct move *m, bool reads, uint64_t deadline)
{
	struct vhu_run *r = m->r;
	struct vhu_source *source;
	struct vhu_err err = {0};
	int rc;

	if (vhu_loop_add_fd(r->e->loop, r->state.fd, reads ? EPOLLIN : EPOLLOUT,
			    reads ? read_some : write_some, m, &source, &err) < 0) {
		vhu_run_broken(r, "the state's channel: %s", err.text);
		return -EIO;
	}
	rc = vhu_run_wait(r, reads ? read_enough : written, m, deadline, false);
	vhu_source_free(source);
	if (m->error)
		vhu_run_broken(r, "the state's channel: %s", strerror(m->error));
	if (m->full)
		vhu_run_skip(r, "the device's state is larger than %d MiB", SAVED_MAX >> 20);
	return rc;
}

/* --- steps ----------------------------------------------------------------------------------------- */

static void state_read(struct vhu_run *r, const struct vhu_step *s)
{
	struct move m = {.r = r, .c = &r->conns[s->conn], .want = s->state.count};
	int rc = run_move(&m, true, vhu_run_deadline(r, s));

	if (r->stop || m.gone)
		return;
	if (rc == -ETIME || (m.ended && m.want)) {
		vhu_run_unmet(r, s, VHU_FINDING_ROBUST, m.want ? "more state" : "the state and its end",
			      "%zu bytes and %s", r->state.n_saved,
			      m.ended ? "the end of the channel" : "no more until the deadline");
		r->stop = true;
		return;
	}
	vhu_run_match(r, s, &s->state.size, "the state's size", r->state.n_saved);
	if (m.ended)
		close_channel(r);
}

/* Until the back-end has taken what is in the pipe; one that begins to read later is not waited for. */
static bool drained(void *ctx)
{
	struct move *m = ctx;
	int left = 0;

	return m->r->exited || ioctl(m->r->state.fd, FIONREAD, &left) < 0 || !left;
}

static void write_pieces(struct vhu_run *r, const struct vhu_step *s, const uint8_t *bytes, size_t len)
{
	size_t pieces = VHU_MIN((size_t)s->state.pieces, VHU_MAX(len, (size_t)1)), at = 0;
	bool patient = pieces > 1;

	for (size_t i = 0; i < pieces && !r->stop; i++) {
		size_t end = len * (i + 1) / pieces;
		struct move m = {.r = r, .c = &r->conns[s->conn], .out = bytes + at, .left = end - at};
		int rc = run_move(&m, false, vhu_run_deadline(r, s));

		if (r->stop || m.gone)
			return;
		/* A reader may give up on what it can't load. */
		if (m.ended && s->state.content != VHU_CONTENT_SAVED)
			return;
		if (rc == -ETIME || m.ended) {
			vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "a reader that takes the whole state",
				      m.ended ? "it closed the channel with %zu of %zu bytes to come"
					      : "nothing was read for long, %zu of %zu bytes to come",
				      len - end + m.left, len);
			r->stop = true;
			return;
		}
		at = end;
		if (patient && i + 1 < pieces)
			patient = !vhu_run_wait(r, drained, &m, vhu_run_now(r) + vhu_run_settle_ns(r), true);
	}
}

static void state_write(struct vhu_run *r, const struct vhu_step *s)
{
	size_t len = s->state.content == VHU_CONTENT_HALF ? r->state.n_saved / 2 : r->state.n_saved;
	struct vhu_rng rng;
	uint8_t *noise;

	if (s->state.content == VHU_CONTENT_GIVEN) {
		write_pieces(r, s, s->state.bytes, (size_t)s->state.len);
		return;
	}
	if (s->state.content != VHU_CONTENT_RANDOM) {
		write_pieces(r, s, r->state.saved, len);
		return;
	}
	noise = malloc(s->state.len);
	if (!noise) {
		vhu_run_broken(r, "out of memory");
		return;
	}
	vhu_rng_init(&rng, r->e->opts.seed);
	vhu_rng_fill(&rng, noise, s->state.len);
	write_pieces(r, s, noise, s->state.len);
	free(noise);
}

void vhu_do_state(struct vhu_run *r, const struct vhu_step *s)
{
	if (r->state.fd < 0) {
		if (!r->state.over)
			vhu_run_broken(r, "%s: there is no channel before SET_DEVICE_STATE_FD", s->where);
		return;
	}
	switch (s->state.op) {
	case VHU_TRANSFER_READ:
		state_read(r, s);
		break;
	case VHU_TRANSFER_WRITE:
		state_write(r, s);
		break;
	case VHU_TRANSFER_CLOSE:
		close_channel(r);
		break;
	}
}
