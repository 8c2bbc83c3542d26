/* Counts over a capture. */
#include "trace/stats.h"

#include <errno.h>
#include <string.h>

struct count {
	uint64_t messages, bytes, largest, fds;
};

/* A session, and where its streams should go on. */
struct session {
	struct vhu_session_count told;
	char *path;
	uint64_t next[VHU_CHAN_MAX][2];
};

struct vhu_trace_stats {
	struct vhu_stats_total total; /* its messages, bytes and descriptors when they are asked for */
	uint32_t only;
	uint32_t next_seq;
	struct count kinds[VHU_MSG_MAX][2]; /* requests, replies */
	struct count unknown[VHU_CHAN_MAX][2];
	struct session *sessions; /* in order of their appearance */
	size_t n_sessions, cap_sessions;
	struct session *last;	 /* of the record before */
	uint32_t *by_connection; /* index in sessions plus 1; 0: none */
};

int vhu_trace_stats_new(uint32_t only, struct vhu_trace_stats **ret, struct vhu_err *err)
{
	struct vhu_trace_stats *s = calloc(1, sizeof(*s));

	if (s)
		s->by_connection = calloc(VHU_CAP_CONNECTIONS_MAX + 1, sizeof(*s->by_connection));
	if (!s || !s->by_connection) {
		free(s);
		return vhu_err_errno(err, -ENOMEM, "statistics");
	}
	s->only = only;
	*ret = s;
	return 0;
}

void vhu_trace_stats_free(struct vhu_trace_stats *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_sessions; i++)
		free(s->sessions[i].path);
	free(s->sessions);
	free(s->by_connection);
	free(s);
}

/* The session of a record; NULL when out of memory. */
static struct session *session_of(struct vhu_trace_stats *s, const struct vhu_record *r)
{
	struct session *fresh;
	uint32_t at;

	if (s->last && s->last->told.connection == r->connection)
		return s->last;
	at = s->by_connection[r->connection];
	if (at)
		return s->last = &s->sessions[at - 1];
	if (s->n_sessions == s->cap_sessions) {
		size_t cap = s->cap_sessions ? s->cap_sessions * 2 : 16;
		struct session *grown = reallocarray(s->sessions, cap, sizeof(*grown));

		if (!grown)
			return NULL;
		s->sessions = grown;
		s->cap_sessions = cap;
	}
	fresh = &s->sessions[s->n_sessions++];
	*fresh = (struct session){
		.told = {.connection = r->connection, .first_ns = r->t_ns, .last_ns = r->t_ns}};
	s->by_connection[r->connection] = (uint32_t)s->n_sessions;
	s->total.sessions = s->n_sessions;
	return s->last = fresh;
}

/* A stream of a tap that does not count offsets stays at 0. */
static void follow_stream(struct session *session, const struct vhu_record *r, enum vhu_channel channel)
{
	uint64_t *next = &session->next[channel][r->dir == VHU_CAP_DIR_BE];

	if (r->stream_off > *next)
		session->told.gaps++;
	*next = r->stream_off + r->orig_len;
}

static struct count *count_of(struct vhu_trace_stats *s, const struct vhu_record *r, enum vhu_channel channel)
{
	const struct vhu_msg_row *row = vhu_record_row(r);
	bool reply = vhu_record_is_reply(r);

	return row ? &s->kinds[row->msg][reply] : &s->unknown[channel][reply];
}

static void add_message(struct vhu_trace_stats *s, struct session *session, const struct vhu_record *r)
{
	enum vhu_channel channel = vhu_cap_frames(r->channel);
	struct count *c = count_of(s, r, channel);

	if (!session->told.messages && vhu_record_is_headless(r))
		session->told.opened = false;
	c->messages++;
	c->bytes += r->orig_len;
	c->largest = VHU_MAX(c->largest, r->orig_len);
	c->fds += r->n_fds;
	session->told.messages++;
	session->told.bytes += r->orig_len;
	if (r->flags) {
		s->total.truncated += (r->flags & VHU_CAP_TRUNCATED) != 0;
		s->total.malformed += (r->flags & VHU_CAP_MALFORMED) != 0;
		s->total.intended += (r->flags & VHU_CAP_INTENDED) != 0;
		session->told.marked |= (r->flags & VHU_CAP_LOST_BEFORE) != 0;
	}
	follow_stream(session, r, channel);
}

/* Who they are, and where they meet. */
static void add_names(struct session *session, const struct vhu_record *r)
{
	struct vhu_session_count *c = &session->told;
	bool from_front = r->dir == VHU_CAP_DIR_FE;

	if (r->path && !session->path)
		c->path = session->path = strdup(r->path);
	if (r->comm && r->dir != VHU_CAP_DIR_NONE && !*(from_front ? c->front_end : c->back_end))
		snprintf(from_front ? c->front_end : c->back_end, sizeof(c->front_end), "%s", r->comm);
}

static void add_life(struct vhu_trace_stats *s, struct session *session, const struct vhu_record *r)
{
	uint64_t lost = r->len >= 8 ? vhu_le_get(r->payload, 8) : 1;

	if (r->kind == VHU_CAP_LIFE_LOST) {
		s->total.lost += lost;
		if (session)
			session->told.lost += lost;
	}
	if (!session)
		return;
	session->told.opened |= r->kind == VHU_CAP_LIFE_CONNECT || r->kind == VHU_CAP_LIFE_ACCEPT;
	if (r->kind == VHU_CAP_LIFE_CLOSE && !session->told.closed) {
		session->told.closed = true;
		session->told.closed_by_be = r->dir == VHU_CAP_DIR_BE;
	}
}

int vhu_trace_stats_add(struct vhu_trace_stats *s, const struct vhu_record *r, struct vhu_err *err)
{
	struct session *session = NULL;

	if (s->only && r->connection != s->only) {
		s->next_seq = VHU_MAX(s->next_seq, r->seq + 1);
		return 0;
	}
	if (!s->total.records++)
		s->total.first_ns = r->t_ns;
	s->total.last_ns = VHU_MAX(s->total.last_ns, r->t_ns);
	s->total.missing += r->seq > s->next_seq ? r->seq - s->next_seq : 0;
	s->next_seq = VHU_MAX(s->next_seq, r->seq + 1);
	s->total.scrubbed += (r->flags & VHU_CAP_SCRUBBED) != 0;
	if (r->connection) {
		session = session_of(s, r);
		if (!session)
			return vhu_err_errno(err, -ENOMEM, "statistics");
		session->told.last_ns = VHU_MAX(session->told.last_ns, r->t_ns);
		if (r->path || r->comm)
			add_names(session, r);
	}
	if (session && vhu_record_is_message(r))
		add_message(s, session, r);
	else
		s->total.other[r->channel]++;
	if (r->channel == VHU_CAP_RING)
		s->total.rings[r->kind < VHU_CAP_RING_MAX ? r->kind : 0]++;
	if (r->channel == VHU_CAP_LIFE)
		add_life(s, session, r);
	return 0;
}

static void sum_up(struct vhu_stats_total *total, const struct count (*counts)[2], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (int reply = 0; reply < 2; reply++) {
			total->messages += counts[i][reply].messages;
			total->bytes += counts[i][reply].bytes;
			total->fds += counts[i][reply].fds;
		}
	}
}

const struct vhu_stats_total *vhu_trace_stats_total(struct vhu_trace_stats *s)
{
	s->total.messages = s->total.bytes = s->total.fds = 0;
	sum_up(&s->total, s->kinds, VHU_MSG_MAX);
	sum_up(&s->total, s->unknown, VHU_CHAN_MAX);
	return &s->total;
}

static void tell(const struct count *c, const struct vhu_msg_row *row, enum vhu_channel channel, bool reply,
		 struct vhu_kind_count *ret)
{
	*ret = (struct vhu_kind_count){row, channel, reply, c->messages, c->bytes, c->largest, c->fds};
}

bool vhu_trace_stats_kind(const struct vhu_trace_stats *s, size_t i, struct vhu_kind_count *ret)
{
	for (int msg = 0; msg < VHU_MSG_MAX; msg++) {
		const struct vhu_msg_row *row = vhu_msg_row((enum vhu_msg)msg);

		for (int reply = 0; reply < 2; reply++) {
			if (!s->kinds[msg][reply].messages || i--)
				continue;
			tell(&s->kinds[msg][reply], row, row->channel, reply, ret);
			return true;
		}
	}
	for (int channel = 0; channel < VHU_CHAN_MAX; channel++) {
		for (int reply = 0; reply < 2; reply++) {
			if (!s->unknown[channel][reply].messages || i--)
				continue;
			tell(&s->unknown[channel][reply], NULL, (enum vhu_channel)channel, reply, ret);
			return true;
		}
	}
	return false;
}

const struct vhu_session_count *vhu_trace_stats_session(const struct vhu_trace_stats *s, uint32_t after)
{
	for (uint32_t c = after + 1; c <= VHU_CAP_CONNECTIONS_MAX; c++)
		if (s->by_connection[c])
			return &s->sessions[s->by_connection[c] - 1].told;
	return NULL;
}
