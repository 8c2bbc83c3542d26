/* From sockets to sessions: recognition, roles, channels, ends. */
#include "watch_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

int vhu_watch_new(const struct vhu_source_opts *o, const struct vhu_watch_env *env, vhu_record_sink *sink,
		  void *ctx, struct vhu_watch **ret, struct vhu_err *err)
{
	struct vhu_watch *s = calloc(1, sizeof(*s));

	if (s)
		s->numbers = calloc(NUMBERS_MAX, sizeof(*s->numbers));
	if (!s || !s->numbers) {
		free(s);
		return vhu_err_errno(err, -ENOMEM, "capture");
	}
	s->opts = *o;
	s->env = *env;
	s->sink = sink;
	s->ctx = ctx;
	*ret = s;
	return 0;
}

static void free_conn(struct conn *c)
{
	vhu_stream_free(c->flow[0].stream);
	vhu_stream_free(c->flow[1].stream);
	free(c);
}

void vhu_watch_free(struct vhu_watch *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (s->buckets[i]) {
			struct conn *c = s->buckets[i];

			s->buckets[i] = c->next;
			free_conn(c);
		}
	vhu_buf_done(&s->held);
	free(s->numbers);
	free(s);
}

void vhu_watch_stats(const struct vhu_watch *s, struct vhu_source_stats *ret)
{
	*ret = (struct vhu_source_stats){
		.connections = s->n_connections,
		.open = s->open,
		.messages = s->messages,
		.lost = s->lost,
	};
}

struct conn *vhu_conn_find(const struct vhu_watch *s, uint64_t key)
{
	struct conn *c = s->buckets[key % BUCKETS];

	while (c && c->key != key)
		c = c->next;
	return c;
}

/* --- records ----------------------------------------------------------------------------------------- */

enum vhu_cap_direction vhu_conn_dir(const struct conn *c, unsigned flow)
{
	return flow == c->fe ? VHU_CAP_DIR_FE : VHU_CAP_DIR_BE;
}

int vhu_conn_life(struct vhu_watch *s, const struct conn *c, enum vhu_cap_life kind,
		  enum vhu_cap_direction dir, struct vhu_record *r, uint64_t t_ns, struct vhu_err *err)
{
	r->t_ns = t_ns + s->env.clock_offset_ns;
	r->channel = VHU_CAP_LIFE;
	r->tap = VHU_CAP_TAP_EBPF;
	r->kind = (uint16_t)kind;
	r->dir = dir;
	if (c) {
		r->connection = c->connection;
		r->snd_ino = c->flow[dir == VHU_CAP_DIR_BE ? !c->fe : c->fe].ino;
		r->rcv_ino = c->flow[dir == VHU_CAP_DIR_BE ? c->fe : !c->fe].ino;
	}
	return s->sink(s->ctx, r, err);
}

static int tell_lost(struct vhu_watch *s, const struct conn *c, unsigned flow, uint64_t n, uint64_t t_ns,
		     struct vhu_err *err)
{
	uint8_t count[8];
	struct vhu_record r = {.payload = count, .len = sizeof(count)};

	s->lost += n;
	vhu_le_put(count, sizeof(count), n);
	return vhu_conn_life(s, c, VHU_CAP_LIFE_LOST, c ? vhu_conn_dir(c, flow) : VHU_CAP_DIR_NONE, &r, t_ns,
			     err);
}

void vhu_conn_id(const struct conn *c, unsigned flow, struct vhu_stream_id *ret)
{
	const struct flow *f = &c->flow[flow], *back = &c->flow[!flow];

	*ret = (struct vhu_stream_id){
		.channel = c->channel,
		.dir = vhu_conn_dir(c, flow),
		.tap = VHU_CAP_TAP_EBPF,
		.connection = c->connection,
		.snd_ino = f->ino,
		.rcv_ino = back->ino,
	};
	memcpy(ret->comm, f->comm[0] ? f->comm : back->reader_comm, sizeof(ret->comm));
	memcpy(ret->peer_comm, back->comm[0] ? back->comm : f->reader_comm, sizeof(ret->peer_comm));
}

static void rename_streams(struct conn *c)
{
	for (unsigned i = 0; i < 2; i++) {
		struct vhu_stream_id id;

		vhu_conn_id(c, i, &id);
		if (c->flow[i].stream)
			vhu_stream_rename(c->flow[i].stream, &id);
	}
}

/* What streams hand out. */
int vhu_conn_put(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	struct conn *c = ctx;
	int code = c->sessions->sink(c->sessions->ctx, r, err);
	const struct vhu_msg_row *row;

	c->sessions->messages++;
	if (code < 0 || r->channel != VHU_CAP_MAIN || r->dir != VHU_CAP_DIR_FE ||
	    r->len < VHU_C_HEADER_SIZE || !r->n_fds || r->fds[0].kind != VHU_FDK_SOCKET)
		return code;
	row = vhu_msg_by_id(VHU_CHAN_MAIN, (uint32_t)vhu_ne_get(r->payload, 4));
	if (row && row->msg == VHU_MSG_SET_BACKEND_REQ_FD)
		return vhu_conn_pass(c, VHU_CAP_BACKEND, r->fds[0].inode, err);
	if (row && row->msg == VHU_MSG_GPU_SET_SOCKET)
		return vhu_conn_pass(c, VHU_CAP_GPU, r->fds[0].inode, err);
	return 0;
}

int vhu_conn_count_lost(struct vhu_watch *s, struct conn *c, unsigned flow, uint32_t lost, uint64_t t_ns,
			struct vhu_err *err)
{
	uint32_t more = lost - c->flow[flow].lost;

	c->flow[flow].lost = lost;
	return more && c->state == TAKEN ? tell_lost(s, c, flow, more, t_ns, err) : 0;
}

/* --- events ------------------------------------------------------------------------------------------ */

static bool existed(const struct vhu_watch *s, uint64_t ino)
{
	size_t low = 0, high = s->env.n_existing;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->env.existing[mid] == ino)
			return true;
		if (s->env.existing[mid] < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

static void learn(struct flow *f, const struct vhu_tap_flow *t)
{
	f->sock = t->sock;
	f->ino = t->ino ? t->ino : f->ino;
	f->sender = (uint32_t)(t->sender >> 32);
	f->reader = (uint32_t)(t->reader >> 32);
	f->owner = t->owner;
	snprintf(f->comm, sizeof(f->comm), "%.*s", VHU_TAP_COMM, t->comm);
	snprintf(f->reader_comm, sizeof(f->reader_comm), "%.*s", VHU_TAP_COMM, t->reader_comm);
}

int vhu_watch_open(struct vhu_watch *s, const struct vhu_tap_open *e, struct vhu_err *err)
{
	struct conn *c;
	size_t len = VHU_MIN(e->path_len, (uint32_t)VHU_TAP_PATH);

	if (vhu_conn_find(s, e->head.flow / 2))
		return 0;
	if (s->n_conns == CONNECTIONS_MAX) {
		s->lost++;
		return 0;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return vhu_err_errno(err, -ENOMEM, "capture");
	c->sessions = s;
	c->key = e->head.flow / 2;
	c->opened_ns = e->head.t_ns;
	c->named = e->flow[0].named;
	learn(&c->flow[0], &e->flow[0]);
	learn(&c->flow[1], &e->flow[1]);
	if (len && !e->path[0])
		snprintf(c->path, sizeof(c->path), "@%.*s", (int)(len - 1), e->path + 1);
	else
		snprintf(c->path, sizeof(c->path), "%.*s", (int)len, e->path);
	c->path_ino = e->path_ino;
	c->path_dev = makedev(e->path_dev >> 20, e->path_dev & 0xfffff);
	c->existed = existed(s, c->flow[0].ino) || existed(s, c->flow[1].ino);
	c->next = s->buckets[c->key % BUCKETS];
	s->buckets[c->key % BUCKETS] = c;
	s->n_conns++;
	return vhu_conn_find_main(s, c, err);
}

static int take_change(struct vhu_watch *s, const struct vhu_tap_change *e, struct vhu_err *err)
{
	struct conn *c = vhu_conn_find(s, e->head.flow / 2);

	if (!c)
		return 0;
	learn(&c->flow[e->head.flow & 1], &e->flow);
	if (c->state == TAKEN)
		rename_streams(c);
	return vhu_conn_count_lost(s, c, e->head.flow & 1, e->flow.lost, e->head.t_ns, err);
}

static void take_fd(struct vhu_watch *s, const struct vhu_tap_fd *e)
{
	struct conn *c = vhu_conn_find(s, e->head.flow / 2);
	struct flow *f = c ? &c->flow[e->head.flow & 1] : NULL;

	if (!f || f->n_fds == VHU_CAP_FDS_MAX)
		return;
	f->objects[f->n_fds] = e->object;
	f->fds[f->n_fds++] = (struct vhu_fd_info){
		.kind = e->kind < VHU_FDK_MAX ? (enum vhu_fd_kind)e->kind : VHU_FDK_OTHER,
		.size_valid = e->has_size,
		.inode_valid = true,
		.seals_valid = e->has_seals,
		.seals = (uint16_t)e->seals,
		.size = e->size,
		.dev = makedev(e->dev >> 20, e->dev & 0xfffff),
		.inode = e->ino,
	};
}

/* --- ends -------------------------------------------------------------------------------------------- */

static int end_stream(struct vhu_watch *s, struct conn *c, unsigned flow, uint64_t t_ns, const char *text,
		      struct vhu_err *err)
{
	if (c->state != TAKEN)
		return 0;
	return vhu_stream_end(c->flow[flow].stream, t_ns + s->env.clock_offset_ns, text, err);
}

static int tell_close(struct vhu_watch *s, struct conn *c, enum vhu_cap_direction dir, int error,
		      uint64_t t_ns, struct vhu_err *err)
{
	struct vhu_record r = {.has_errno = true, .errno_value = -error};

	if (c->told_close || c->state != TAKEN || c->channel != VHU_CAP_MAIN)
		return 0;
	c->told_close = true;
	s->open--;
	return vhu_conn_life(s, c, VHU_CAP_LIFE_CLOSE, dir, &r, t_ns, err);
}

static int take_end(struct vhu_watch *s, const struct vhu_tap_end *e, struct vhu_err *err)
{
	struct conn *c = vhu_conn_find(s, e->head.flow / 2);
	unsigned flow = e->head.flow & 1;
	int code;

	if (!c)
		return 0;
	c->flow[flow].ended = true;
	code = vhu_conn_count_lost(s, c, flow, e->lost, e->head.t_ns, err);
	if (code == 0)
		code = end_stream(s, c, flow, e->head.t_ns, NULL, err);
	return code < 0 ? code : tell_close(s, c, vhu_conn_dir(c, flow), e->error, e->head.t_ns, err);
}

static int take_closed(struct vhu_watch *s, const struct vhu_tap_end *e, struct vhu_err *err)
{
	struct conn *c = vhu_conn_find(s, e->head.flow / 2);

	if (!c)
		return 0;
	c->flow[e->head.flow & 1].closed = true;
	c->news = true;
	return vhu_conn_count_lost(s, c, e->head.flow & 1, e->lost, e->head.t_ns, err);
}

static int take_exit(struct vhu_watch *s, const struct vhu_tap_exit *e, struct vhu_err *err)
{
	uint8_t status[4];

	vhu_le_put(status, sizeof(status), e->status);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct conn *c = s->buckets[i]; c; c = c->next) {
			struct vhu_record r = {.payload = status, .len = sizeof(status), .tgid = e->tgid};
			bool fe = c->flow[c->fe].sender == e->tgid || c->flow[!c->fe].reader == e->tgid;
			bool be = c->flow[!c->fe].sender == e->tgid || c->flow[c->fe].reader == e->tgid;
			int code;

			if (c->state != TAKEN || c->channel != VHU_CAP_MAIN || c->told_close || fe == be)
				continue;
			code = vhu_conn_life(s, c, VHU_CAP_LIFE_EXIT, fe ? VHU_CAP_DIR_FE : VHU_CAP_DIR_BE,
					     &r, e->head.t_ns, err);
			if (code < 0)
				return code;
		}
	return 0;
}

static int handle(struct vhu_watch *s, const struct vhu_tap_head *h, struct vhu_err *err)
{
	switch (h->kind) {
	case VHU_TAP_OPEN:
		return vhu_watch_open(s, (const void *)h, err);
	case VHU_TAP_FLOW:
		return take_change(s, (const void *)h, err);
	case VHU_TAP_FD:
		take_fd(s, (const void *)h);
		return 0;
	case VHU_TAP_DATA:
		return vhu_watch_data(s, (const void *)h, err);
	case VHU_TAP_NEXT:
		return vhu_watch_next(s, (const void *)h, err);
	case VHU_TAP_END:
		return take_end(s, (const void *)h, err);
	case VHU_TAP_CLOSED:
		return take_closed(s, (const void *)h, err);
	case VHU_TAP_EXIT:
		return take_exit(s, (const void *)h, err);
	default:
		return 0;
	}
}

/* --- order ------------------------------------------------------------------------------------------- */

static size_t size_of(const struct vhu_tap_head *h)
{
	static const size_t sizes[] = {
		[VHU_TAP_OPEN] = sizeof(struct vhu_tap_open),
		[VHU_TAP_FLOW] = sizeof(struct vhu_tap_change),
		[VHU_TAP_FD] = sizeof(struct vhu_tap_fd),
		[VHU_TAP_DATA] = sizeof(struct vhu_tap_data),
		[VHU_TAP_NEXT] = sizeof(struct vhu_tap_next),
		[VHU_TAP_NUMBERS] = sizeof(struct vhu_tap_numbers),
		[VHU_TAP_END] = sizeof(struct vhu_tap_end),
		[VHU_TAP_CLOSED] = sizeof(struct vhu_tap_end),
		[VHU_TAP_EXIT] = sizeof(struct vhu_tap_exit),
	};

	return h->kind < VHU_ARRAY_SIZE(sizes) ? sizes[h->kind] : 0;
}

/* Data with descriptors whose sender has not told their numbers yet: that comes right behind. */
static bool waits(const struct vhu_watch *s, const struct vhu_tap_head *h)
{
	const struct vhu_tap_data *d = (const void *)h;

	return s->env.numbers && h->kind == VHU_TAP_DATA && d->n_fds && !(d->flags & VHU_TAP_UNREAD) &&
	       !vhu_watch_numbers_of(s, h->flow, d->n_fds);
}

static void hold(struct vhu_watch *s, const struct vhu_tap_head *h)
{
	static const uint8_t zeroes[8];

	if (!s->held.len)
		s->held_since = h->t_ns;
	vhu_buf_add(&s->held, h, h->len);
	vhu_buf_add(&s->held, zeroes, -(size_t)h->len & 7);
}

/* Handles what was held, up to the next event that waits; that one too, when `force`. */
static int release(struct vhu_watch *s, bool force, struct vhu_err *err)
{
	size_t at = 0;
	int code = 0;

	while (at < s->held.len && code == 0) {
		const struct vhu_tap_head *h = (const void *)(s->held.data + at);

		if (!force && waits(s, h)) {
			s->held_since = h->t_ns;
			break;
		}
		code = handle(s, h, err);
		at += (h->len + 7) & ~(size_t)7;
	}
	if (at) {
		memmove(s->held.data, s->held.data + at, s->held.len - at);
		s->held.len -= at;
	}
	return code;
}

/* Whether all of the event is there, as its lengths have it. */
static bool is_whole(const struct vhu_tap_head *h, size_t len)
{
	const struct vhu_tap_data *d = (const void *)h;
	const struct vhu_tap_next *n = (const void *)h;

	if (len < sizeof(*h) || h->len > len || !size_of(h) || h->len < size_of(h))
		return false;
	if (h->kind == VHU_TAP_DATA)
		return d->kept <= h->len - sizeof(*d) && (!d->before_read || d->kept >= VHU_TAP_HEADER);
	return h->kind != VHU_TAP_NEXT || !n->before_read || h->len >= sizeof(*n) + VHU_TAP_HEADER;
}

int vhu_watch_event(struct vhu_watch *s, const void *event, size_t len, struct vhu_err *err)
{
	const struct vhu_tap_head *h = event;
	int code = 0;

	if (!is_whole(h, len))
		return 0;
	if (h->kind == VHU_TAP_NUMBERS) {
		vhu_watch_numbers(s, event);
		return s->held.len ? release(s, false, err) : 0;
	}
	if (!s->held.len && !waits(s, h))
		return handle(s, h, err);
	hold(s, h);
	if (s->held.failed)
		return vhu_err_errno(err, -ENOMEM, "capture");
	if (s->held.len > HELD_MAX || h->t_ns - s->held_since > HOLD_NS)
		code = release(s, true, err);
	return code;
}

/* The connection's end, once both ends are closed and what was on its way has been told. False: it goes on.
 */
static bool is_over(struct conn *c)
{
	return c->flow[0].closed && c->flow[1].closed && c->dying++ > 0;
}

static int settle_conn(struct vhu_watch *s, struct conn *c, uint64_t now_ns, struct vhu_err *err)
{
	bool both = c->flow[0].closed && c->flow[1].closed;
	int code = 0;

	if (c->news)
		code = tell_close(s, c, both ? VHU_CAP_DIR_NONE : vhu_conn_dir(c, c->flow[1].closed), 0,
				  now_ns, err);
	c->news = false;
	return code;
}

int vhu_watch_settle(struct vhu_watch *s, uint64_t now_ns, struct vhu_err *err)
{
	int code = 0;

	if (s->held.len && now_ns - s->held_since > HOLD_NS)
		code = release(s, true, err);
	while (s->n_numbers && now_ns - s->numbers[0].t_ns > FORGET_NS) {
		s->n_numbers--;
		memmove(s->numbers, s->numbers + 1, s->n_numbers * sizeof(*s->numbers));
	}
	for (size_t i = 0; i < BUCKETS && code == 0; i++)
		for (struct conn **at = &s->buckets[i]; *at && code == 0;) {
			struct conn *c = *at;

			code = settle_conn(s, c, now_ns, err);
			if (code < 0 || !is_over(c)) {
				at = &c->next;
				continue;
			}
			code = end_stream(s, c, 0, now_ns, NULL, err);
			if (code == 0)
				code = end_stream(s, c, 1, now_ns, NULL, err);
			*at = c->next;
			s->n_conns--;
			free_conn(c);
		}
	return code;
}

int vhu_watch_stop(struct vhu_watch *s, uint64_t now_ns, struct vhu_err *err)
{
	static const char text[] = "the capture was stopped here";
	int code = release(s, true, err);

	if (code == 0)
		code = vhu_watch_settle(s, now_ns, err);
	for (size_t i = 0; i < BUCKETS && code == 0; i++)
		for (struct conn *c = s->buckets[i]; c && code == 0; c = c->next) {
			struct vhu_record r = {.text = text};

			code = end_stream(s, c, c->fe, now_ns, text, err);
			if (code == 0)
				code = end_stream(s, c, !c->fe, now_ns, text, err);
			if (code == 0 && c->state == TAKEN && c->channel == VHU_CAP_MAIN && !c->told_close)
				code = vhu_conn_life(s, c, VHU_CAP_LIFE_STOP, VHU_CAP_DIR_NONE, &r, now_ns,
						     err);
		}
	return code;
}
