/* What the logs hold of sessions, as records. */
#include <errno.h>
#include <string.h>

#include "import_priv.h"

enum { FE, BE };

struct session {
	uint32_t connection;
	struct endpoint *side[2];	 /* as the front-end and as the back-end have it; one may be NULL */
	struct endpoint *carried[2][2];	 /* BACKEND and GPU: their ends, FE's and BE's */
	struct vhu_stream *stream[3][2]; /* MAIN, BACKEND, GPU; what the FE sends, what the BE sends */
	uint64_t first_ns, first_order;
	bool begun;
};

/* One thing to tell, of the session. */
struct item {
	uint64_t t_ns, order;
	struct session *session;
	enum item_kind { ITEM_CONNECT, ITEM_IO, ITEM_EXIT, ITEM_CLOSE } kind;
	unsigned channel, by; /* ITEM_IO: index of the stream; others: who did it */
	const struct io *io;
	const struct endpoint *endpoint;
};

struct emission {
	struct import *m;
	struct session *sessions;
	size_t n_sessions;
	struct item *items;
	size_t n_items, cap_items;
};

static const enum vhu_cap_channel channels[3] = {VHU_CAP_MAIN, VHU_CAP_BACKEND, VHU_CAP_GPU};
static const enum vhu_cap_direction dirs[2] = {VHU_CAP_DIR_FE, VHU_CAP_DIR_BE};

/* What happened at one time is in the order of the calls. */
static int by_time(uint64_t a_ns, uint64_t a_order, uint64_t b_ns, uint64_t b_order)
{
	return a_ns != b_ns ? (a_ns < b_ns ? -1 : 1) : (a_order > b_order) - (a_order < b_order);
}

static bool before_end(const struct io *io, const struct endpoint *e)
{
	return e->ended == END_NONE || by_time(io->t_ns, io->order, e->ended_ns, e->ended_order) < 0;
}

/* --- which endpoints are sessions ------------------------------------------------------------------- */

/* Whose end of which channel it is, by what it carried. False if it looks like none. */
static bool role_of(const struct endpoint *e, unsigned *channel, unsigned *side)
{
	unsigned best = 0;

	for (unsigned c = 0; c < 2; c++) {
		for (unsigned s = 0; s < 2; s++) {
			if (e->score[c][s] <= best)
				continue;
			best = e->score[c][s];
			*channel = c;
			*side = s;
		}
	}
	return best > 0;
}

static bool is_side(const struct endpoint *e, unsigned channel, unsigned side)
{
	unsigned c, s;

	return !e->used && role_of(e, &c, &s) && c == channel && s == side;
}

/* Walks over the bytes of one direction; what is left out by strace fits anything. */
struct reading {
	const struct io *io;
	size_t at;
};

static bool next_byte(struct reading *r, int *ret)
{
	while (r->io && r->at == r->io->len) {
		r->io = r->io->next;
		r->at = 0;
	}
	if (!r->io)
		return false;
	*ret = r->at < r->io->kept ? r->io->bytes[r->at] : -1;
	r->at++;
	return true;
}

/* Whether what one sent can be what the other received: the shorter is the longer's beginning. */
static bool same_bytes(const struct endpoint *sender, const struct endpoint *receiver)
{
	struct reading a = {.io = sender->first[IO_OUT]}, b = {.io = receiver->first[IO_IN]};
	int x, y;

	while (next_byte(&a, &x) && next_byte(&b, &y))
		if (x >= 0 && y >= 0 && x != y)
			return false;
	return true;
}

static bool can_be_one(const struct endpoint *fe, const struct endpoint *be)
{
	if (fe->inode && be->inode && fe->peer_inode && be->peer_inode)
		return fe->peer_inode == be->inode && be->peer_inode == fe->inode;
	if (!fe->len[IO_OUT] || !be->len[IO_IN])
		return false;
	/* The back-end cannot have read before the front-end's first call was begun, nor after the end. */
	if (be->first_ns && fe->first_ns && fe->ended == END_OURS && be->first_ns > fe->ended_ns &&
	    be->ended == END_OURS && be->ended_ns < fe->first_ns)
		return false;
	return same_bytes(fe, be) && same_bytes(be, fe);
}

/*
 * The back-end's view of a front-end's connection, NULL if it is not in the logs. Sessions begin alike, so
 * they are taken in order, and only a few are tried.
 */
static struct endpoint *other_side(struct endpoint *fe, unsigned channel, struct endpoint *from)
{
	enum { TRIES = 64 };
	unsigned tries = 0;

	for (struct endpoint *e = from; e && tries < TRIES; e = e->next) {
		if (!is_side(e, channel, BE))
			continue;
		tries++;
		if (can_be_one(fe, e))
			return e;
	}
	return NULL;
}

/* --- what the main channel carries ------------------------------------------------------------------ */

/* The socket that a message of this id carried, as this side's log has it; and when, 0: none did. */
static struct endpoint *carried_by(const struct endpoint *main, enum io_dir dir, uint32_t wanted,
				   const struct io **ret_by)
{
	struct walk w = {0};
	struct endpoint *found = NULL;

	for (const struct io *io = main->first[dir]; io; io = io->next) {
		uint32_t id = 0;

		if (w.lost && vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, io->bytes, io->kept))
			w = (struct walk){0};
		if (io->n_fds && vhu_walk_owner(&w, io->bytes, io->kept, &id) && id == wanted) {
			found = io->at[0];
			*ret_by = io;
		}
		vhu_walk_over(&w, io->bytes, io->kept);
		vhu_walk_skip(&w, io->len - io->kept);
	}
	return found;
}

/*
 * A front-end's end of a channel whose socketpair was not traced: it looks like one, is the process's, and
 * was used after the message and before the session's end.
 */
static struct endpoint *likely_channel(const struct endpoint *main, const struct io *after)
{
	enum { TRIES = 4096 };
	unsigned tries = 0;

	for (struct endpoint *e = main->next; e && tries < TRIES; e = e->next, tries++) {
		const struct io *first = e->first[IO_IN];

		if (e->tgid == main->tgid && first &&
		    by_time(first->t_ns, first->order, after->t_ns, after->order) > 0 &&
		    is_side(e, VHU_CHAN_BACKEND, FE) && before_end(first, main))
			return e;
	}
	return NULL;
}

static void find_carried(struct session *s)
{
	static const uint32_t ids[2] = {VHU_ID_SET_BACKEND_REQ_FD, VHU_ID_GPU_SET_SOCKET};

	for (unsigned i = 0; i < 2; i++) {
		const struct io *by = NULL, *ignored;
		struct endpoint *sent = NULL, *received = NULL;

		if (s->side[FE])
			sent = carried_by(s->side[FE], IO_OUT, ids[i], &by);
		if (s->side[BE])
			received = carried_by(s->side[BE], IO_IN, ids[i], &ignored);
		if (sent && sent->pair && !sent->pair->used)
			s->carried[i][FE] = sent->pair;
		else if (i == 0 && by)
			s->carried[i][FE] = likely_channel(s->side[FE], by);
		if (received && !received->used)
			s->carried[i][BE] = received;
		for (unsigned side = 0; side < 2; side++)
			if (s->carried[i][side])
				s->carried[i][side]->used = true;
	}
}

/* --- sessions --------------------------------------------------------------------------------------- */

static void note_first(struct session *s, const struct endpoint *e)
{
	for (unsigned dir = 0; dir < IO_MAX; dir++) {
		const struct io *io = e->first[dir];

		if (io &&
		    (!s->first_order || by_time(io->t_ns, io->order, s->first_ns, s->first_order) < 0)) {
			s->first_order = io->order;
			s->first_ns = io->t_ns;
		}
	}
}

/* Whether the first that the front-end says is what sessions begin with. */
static bool begins(const struct endpoint *e, enum io_dir dir)
{
	const struct io *io = e->first[dir];

	return e->how == HOW_CONNECT || e->how == HOW_ACCEPT ||
	       (io && io->kept >= 4 && vhu_ne_get(io->bytes, 4) == VHU_ID_GET_FEATURES);
}

static void add_session(struct emission *x, struct endpoint *fe, struct endpoint *be)
{
	struct session *s = &x->sessions[x->n_sessions++];

	*s = (struct session){.side = {fe, be}};
	if (fe) {
		fe->used = true;
		s->begun = begins(fe, IO_OUT);
		note_first(s, fe);
	}
	if (be) {
		be->used = true;
		s->begun |= begins(be, IO_IN);
		note_first(s, be);
	}
}

static int by_first(const void *a, const void *b)
{
	const struct session *x = a, *y = b;

	return by_time(x->first_ns, x->first_order, y->first_ns, y->first_order);
}

static int find_sessions(struct emission *x, struct vhu_err *err)
{
	struct import *m = x->m;
	struct endpoint *be = m->first;
	size_t n = 0;

	for (const struct endpoint *e = m->first; e; e = e->next)
		n += is_side(e, VHU_CHAN_MAIN, FE) || is_side(e, VHU_CHAN_MAIN, BE);
	x->sessions = calloc(n + 1, sizeof(*x->sessions));
	if (!x->sessions)
		return vhu_err_errno(err, -ENOMEM, "import");
	for (struct endpoint *e = m->first; e; e = e->next) {
		if (!is_side(e, VHU_CHAN_MAIN, FE))
			continue;
		while (be && !is_side(be, VHU_CHAN_MAIN, BE))
			be = be->next;
		add_session(x, e, other_side(e, VHU_CHAN_MAIN, be));
	}
	for (struct endpoint *e = m->first; e; e = e->next)
		if (is_side(e, VHU_CHAN_MAIN, BE))
			add_session(x, NULL, e);
	if (x->n_sessions)
		qsort(x->sessions, x->n_sessions, sizeof(*x->sessions), by_first);
	for (size_t i = 0; i < x->n_sessions; i++) {
		x->sessions[i].connection = (uint32_t)i + 1;
		find_carried(&x->sessions[i]);
	}
	return 0;
}

/* --- what is told, in order ------------------------------------------------------------------------- */

static int add_item(struct emission *x, const struct item *item, struct vhu_err *err)
{
	if (x->n_items == x->cap_items) {
		size_t cap = x->cap_items ? x->cap_items * 2 : 1024;
		struct item *grown = reallocarray(x->items, cap, sizeof(*grown));

		if (!grown)
			return vhu_err_errno(err, -ENOMEM, "import");
		x->items = grown;
		x->cap_items = cap;
	}
	x->items[x->n_items++] = *item;
	return 0;
}

/* One direction of a channel: what the sender's log has, unless the receiver's has more of it. */
static int add_stream(struct emission *x, struct session *s, unsigned channel, unsigned by,
		      const struct endpoint *sender, const struct endpoint *receiver, struct vhu_err *err)
{
	bool other = !sender || (receiver && receiver->kept[IO_IN] > sender->kept[IO_OUT]);
	const struct endpoint *e = other ? receiver : sender;
	enum io_dir dir = other ? IO_IN : IO_OUT;
	int r = 0;

	for (const struct io *io = e ? e->first[dir] : NULL; io && r == 0; io = io->next) {
		struct item item = {io->t_ns, io->order, s, ITEM_IO, channel, by, io, e};

		x->m->stats.cut += io->len - io->kept;
		r = add_item(x, &item, err);
	}
	return r;
}

/* The end that was seen first, and by whose doing. */
static int add_close(struct emission *x, struct session *s, struct vhu_err *err)
{
	const struct endpoint *first = NULL;
	unsigned by = 0;

	for (unsigned side = 0; side < 2; side++) {
		const struct endpoint *e = s->side[side];

		if (!e || e->ended == END_NONE ||
		    (first && by_time(first->ended_ns, first->ended_order, e->ended_ns, e->ended_order) < 0))
			continue;
		first = e;
		by = e->ended == END_OURS ? side : !side;
	}
	for (unsigned side = 0; side < 2; side++) {
		const struct endpoint *e = s->side[side];
		struct item item = {0, 0, s, ITEM_EXIT, 0, side, NULL, e};

		if (!e || !e->exited || e->ended != END_OURS)
			continue;
		item.t_ns = e->ended_ns;
		item.order = e->ended_order;
		if (add_item(x, &item, err) < 0)
			return -ENOMEM;
	}
	if (!first)
		return 0;
	return add_item(
		x, &(struct item){first->ended_ns, first->ended_order, s, ITEM_CLOSE, 0, by, NULL, first},
		err);
}

static int add_connect(struct emission *x, struct session *s, struct vhu_err *err)
{
	const struct endpoint *fe = s->side[FE], *be = s->side[BE];
	struct item item = {s->first_ns, s->first_order, s, ITEM_CONNECT, 0, FE, NULL, fe ? fe : be};

	if (!s->begun)
		return 0;
	if ((fe && fe->how == HOW_ACCEPT) || (be && be->how == HOW_CONNECT))
		item.by = BE;
	for (unsigned side = 0; side < 2; side++) {
		const struct endpoint *e = s->side[side];

		if (!e || e->how != HOW_CONNECT)
			continue;
		item.endpoint = e;
		item.t_ns = e->opened_ns;
		item.order = e->opened_order;
	}
	return add_item(x, &item, err);
}

static int add_items(struct emission *x, struct session *s, struct vhu_err *err)
{
	int r = add_connect(x, s, err);

	for (unsigned c = 0; c < 3 && r == 0; c++) {
		struct endpoint **ends = c ? s->carried[c - 1] : s->side;

		r = add_stream(x, s, c, FE, ends[FE], ends[BE], err);
		if (r == 0)
			r = add_stream(x, s, c, BE, ends[BE], ends[FE], err);
	}
	return r < 0 ? r : add_close(x, s, err);
}

static int by_order(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int first = by_time(x->t_ns, x->order, y->t_ns, y->order);

	return first ? first : (x->kind > y->kind) - (x->kind < y->kind);
}

/* --- records ---------------------------------------------------------------------------------------- */

static int put_life(struct emission *x, const struct item *item, struct vhu_err *err)
{
	const struct endpoint *e = item->endpoint;
	uint8_t status[4];
	struct vhu_record r = {
		.t_ns = item->t_ns,
		.channel = VHU_CAP_LIFE,
		.dir = dirs[item->by],
		.tap = VHU_CAP_TAP_IMPORT,
		.connection = item->session->connection,
		.tgid = e->tgid,
	};

	switch (item->kind) {
	case ITEM_CONNECT:
		r.kind = VHU_CAP_LIFE_CONNECT;
		r.path = e->path;
		break;
	case ITEM_EXIT:
		r.kind = VHU_CAP_LIFE_EXIT;
		vhu_le_put(status, 4, (uint32_t)e->status);
		r.payload = status;
		r.len = r.orig_len = sizeof(status);
		break;
	case ITEM_CLOSE:
		r.kind = VHU_CAP_LIFE_CLOSE;
		r.has_errno = e->error != 0;
		r.errno_value = e->error;
		break;
	case ITEM_IO:
		break;
	}
	return x->m->sink(x->m->ctx, &r, err);
}

static int feed(struct emission *x, const struct item *item, struct vhu_err *err)
{
	struct vhu_stream **stream = &item->session->stream[item->channel][item->by];
	const struct io *io = item->io;
	struct vhu_piece piece = {
		.t_ns = io->t_ns,
		.off = VHU_STREAM_NEXT,
		.bytes = io->bytes,
		.len = io->kept,
		.missing = io->len - io->kept,
		.fds = io->fds,
		.n_fds = io->n_fds,
		.fds_lost = io->fds_lost,
		.tgid = item->endpoint->tgid,
		.tid = io->tid,
	};
	int r;

	if (!*stream) {
		struct vhu_stream_id id = {.channel = channels[item->channel],
					   .dir = dirs[item->by],
					   .tap = VHU_CAP_TAP_IMPORT,
					   .connection = item->session->connection};

		r = vhu_stream_new(&id, x->m->sink, x->m->ctx, stream, err);
		if (r < 0)
			return r;
		if (!item->session->begun && !item->channel)
			vhu_stream_resync(*stream);
	}
	return vhu_stream_feed(*stream, &piece, err);
}

/* Unfinished messages go before the end that cut them. */
static int end_streams(struct emission *x, struct session *s, uint64_t t_ns, struct vhu_err *err)
{
	int r = 0;

	for (unsigned c = 0; c < 3; c++) {
		for (unsigned by = 0; by < 2; by++) {
			struct vhu_stream *stream = s->stream[c][by];

			if (stream && r == 0)
				r = vhu_stream_end(stream, t_ns, NULL, err);
			if (stream)
				x->m->stats.messages += vhu_stream_messages(stream);
			vhu_stream_free(stream);
			s->stream[c][by] = NULL;
		}
	}
	return r;
}

static int tell(struct emission *x, struct vhu_err *err)
{
	uint64_t last_ns = 0;
	int r = 0;

	for (size_t i = 0; i < x->n_items && r == 0; i++) {
		const struct item *item = &x->items[i];

		last_ns = item->t_ns;
		if (item->kind == ITEM_CLOSE)
			r = end_streams(x, item->session, item->t_ns, err);
		if (r == 0)
			r = item->kind == ITEM_IO ? feed(x, item, err) : put_life(x, item, err);
	}
	for (size_t i = 0; i < x->n_sessions; i++) {
		int ended = end_streams(x, &x->sessions[i], last_ns, err);

		r = r ? r : ended;
	}
	return r;
}

int vhu_import_emit(struct import *m, struct vhu_err *err)
{
	struct emission x = {.m = m};
	int r = find_sessions(&x, err);

	for (size_t i = 0; i < x.n_sessions && r == 0; i++)
		r = add_items(&x, &x.sessions[i], err);
	if (r == 0) {
		if (x.n_items)
			qsort(x.items, x.n_items, sizeof(*x.items), by_order);
		r = tell(&x, err);
	}
	m->stats.sessions = x.n_sessions;
	free(x.items);
	free(x.sessions);
	return r;
}
