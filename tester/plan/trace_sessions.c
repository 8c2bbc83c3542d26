/* Which sessions of a capture are played, and what is said of those that are not, or not whole. */
#include "trace_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TOLD = 8 }; /* sessions of one socket, and sockets, that are told by name */

/* Without another word, it is about the first that somebody speaks over. */
static const char *chosen_path(const struct vhu_trace *t, const struct vhu_replay_opts *opts)
{
	const char *path = opts->socket;

	for (size_t i = 0; i < t->n_sessions && !path; i++)
		path = t->sessions[i].messages ? t->sessions[i].path : NULL;
	return path;
}

/* Sessions of one file go to one back-end, unless their sockets say otherwise. */
bool vhu_trace_chosen(const struct vhu_trace *t, const struct vhu_replay_opts *opts,
		      const struct vhu_session_ref *s)
{
	const char *path;

	if (opts->session)
		return s->connection == opts->session;
	path = chosen_path(t, opts);
	return !path || (s->path ? !strcmp(s->path, path) : !opts->socket);
}

uint32_t vhu_trace_first(const struct vhu_trace *t, const struct vhu_replay_opts *opts)
{
	for (size_t i = 0; i < t->n_sessions; i++)
		if (t->sessions[i].messages && vhu_trace_chosen(t, opts, &t->sessions[i]))
			return t->sessions[i].connection;
	return 0;
}

/* --- sessions that are not whole --------------------------------------------------------------------- */

static bool has_start(const struct vhu_session_ref *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->records[i]->channel == VHU_CAP_LIFE && (s->records[i]->kind == VHU_CAP_LIFE_CONNECT ||
							       s->records[i]->kind == VHU_CAP_LIFE_ACCEPT))
			return true;
	return !s->messages;
}

static bool sends(const struct vhu_session_ref *s, enum vhu_msg msg)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct vhu_msg_row *row =
			s->records[i]->dir == VHU_CAP_DIR_FE ? vhu_record_row(s->records[i]) : NULL;

		if (row && row->msg == msg)
			return true;
	}
	return false;
}

/* What a back-end cannot do without, and nobody sends it. */
static void tell_missing(const struct vhu_session_ref *s, struct vhu_buf *out)
{
	static const struct {
		enum vhu_msg msg, or ;
		const char *text;
	} rows[] = {
		{VHU_MSG_SET_FEATURES, VHU_MSG_SET_FEATURES, "features (SET_FEATURES)"},
		{VHU_MSG_SET_MEM_TABLE, VHU_MSG_ADD_MEM_REG, "memory (SET_MEM_TABLE or ADD_MEM_REG)"},
		{VHU_MSG_SET_VRING_ADDR, VHU_MSG_SET_VRING_ADDR, "rings (SET_VRING_ADDR)"},
	};
	bool any = false;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		if (sends(s, rows[i].msg) || sends(s, rows[i].or))
			continue;
		vhu_buf_printf(out, "%s%s", any ? ", " : "; the back-end never learns of ", rows[i].text);
		any = true;
	}
}

void vhu_trace_tell_partial(struct trace_compile *c, const struct vhu_session_ref *s)
{
	struct vhu_buf missing = {0};

	if (s->headless || !has_start(s)) {
		tell_missing(s, &missing);
		vhu_trace_note(
			c, "session %" PRIu32 " began before the capture: what was said there is not in it%s",
			s->connection, vhu_buf_text(&missing));
	} else if (s->partial) {
		vhu_trace_note(c, "session %" PRIu32 ": the recorder lost messages", s->connection);
	}
	vhu_buf_done(&missing);
}

/* --- sessions that are left out ---------------------------------------------------------------------- */

static bool same_path(const struct vhu_session_ref *a, const struct vhu_session_ref *b)
{
	return a->path && b->path ? !strcmp(a->path, b->path) : a->path == b->path;
}

/* "1, 3 of /run/a": sessions with messages that go over the same socket as this one. */
static void list_socket(const struct vhu_trace *t, const struct vhu_session_ref *first, struct vhu_buf *out)
{
	size_t n = 0;

	for (const struct vhu_session_ref *s = first; s < t->sessions + t->n_sessions; s++)
		if (s->messages && same_path(s, first) && n++ < TOLD)
			vhu_buf_printf(out, "%s%" PRIu32, n > 1 ? ", " : "session ", s->connection);
	if (n > TOLD)
		vhu_buf_printf(out, " … (%zu)", n);
	vhu_buf_printf(out, " of %s", first->path ? first->path : "a socket without a name");
}

/* Sockets that are played, or that are not. */
static size_t list_sockets(const struct trace_compile *c, bool played, struct vhu_buf *out)
{
	const struct vhu_trace *t = c->trace;
	size_t n = 0;

	for (size_t i = 0; i < t->n_sessions; i++) {
		const struct vhu_session_ref *s = &t->sessions[i];
		bool told = false;

		for (size_t k = 0; k < i && !told; k++)
			told = t->sessions[k].messages && same_path(&t->sessions[k], s);
		if (told || !s->messages || vhu_trace_chosen(t, c->opts, s) != played || n++ >= TOLD)
			continue;
		if (n > 1)
			vhu_buf_puts(out, "; ");
		list_socket(t, s, out);
	}
	if (n > TOLD)
		vhu_buf_printf(out, "; %zu sockets more", n - TOLD);
	return n;
}

int vhu_trace_tell_choice(struct trace_compile *c)
{
	struct vhu_buf played = {0}, left = {0};
	int rc = 0;

	if (!c->n_tracks && c->opts->session) {
		rc = vhu_err_set(c->err, -EINVAL, "there is no session %" PRIu32 " in the capture",
				 c->opts->session);
	} else if (!c->n_tracks && list_sockets(c, false, &left)) {
		rc = vhu_err_set(c->err, -EINVAL, "no session goes over %s\n  there is %s", c->opts->socket,
				 vhu_buf_text(&left));
	} else if (!c->n_tracks) {
		rc = vhu_err_set(c->err, -EINVAL, "there is no session in the capture");
	} else if (!c->opts->session && list_sockets(c, false, &left)) {
		list_sockets(c, true, &played);
		vhu_trace_note(c, "played: %s; left out: %s (--socket and --session choose)",
			       vhu_buf_text(&played), vhu_buf_text(&left));
	}
	vhu_buf_done(&played);
	vhu_buf_done(&left);
	return rc;
}
