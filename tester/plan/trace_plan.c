/* From a capture to a plan: its records in their order, each a step or none. */
#include "trace_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "oracle/oracle.h"

enum { CONNS_MAX = 256, NOTES_MAX = 50 };

static int oom(struct trace_compile *c)
{
	return vhu_err_errno(c->err, -ENOMEM, "capture");
}

void vhu_trace_note(struct trace_compile *c, const char *format, ...)
{
	char text[300];
	va_list args;

	if (c->n_notes++ >= NOTES_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	vhu_buf_printf(c->notes, "%s\n", text);
}

struct vhu_step *vhu_trace_step(struct trace_compile *c, enum vhu_verb verb, const struct track *t,
				const struct vhu_record *r)
{
	struct vhu_step *s;

	if (c->n_steps == c->cap_steps) {
		size_t cap = c->cap_steps ? 2 * c->cap_steps : 256;
		struct vhu_step *steps = realloc(c->steps, cap * sizeof(*steps));

		if (!steps) {
			oom(c);
			return NULL;
		}
		c->steps = steps;
		c->cap_steps = cap;
	}
	s = &c->steps[c->n_steps];
	*s = (struct vhu_step){.verb = verb, .conn = t ? t->conn : 0, .requirement = VHU_REQ_REPLY_02};
	if (r) {
		/* Clocks of two processes may be apart: time does not run backwards here. */
		c->last_ns = VHU_MAX(c->last_ns, VHU_MAX(r->t_ns, c->start_ns) - c->start_ns);
		s->record = r->seq;
	}
	s->at_ns = c->last_ns;
	s->where = vhu_arena_printf(c->arena, "record %" PRIu32, r ? r->seq : 0);
	if (!s->where) {
		oom(c);
		return NULL;
	}
	c->n_steps++;
	return s;
}

/* --- connections ----------------------------------------------------------------------------------- */

static bool spawn_step(struct trace_compile *c, const struct track *t, const struct vhu_record *r,
		       enum vhu_target_op op)
{
	struct vhu_step *s = vhu_trace_step(c, VHU_VERB_TARGET, t, r);

	if (s)
		s->target.op = op;
	return s;
}

/* The lowest that is not in use, so that sessions after each other need but one. */
static int take_conn(struct trace_compile *c, struct track *t)
{
	size_t i = 0;

	while (i < c->n_conns && c->busy[i])
		i++;
	if (i == c->n_conns) {
		bool *busy = i < CONNS_MAX ? realloc(c->busy, (i + 1) * sizeof(*busy)) : NULL;

		if (i >= CONNS_MAX)
			return vhu_err_set(c->err, -E2BIG,
					   "more than %d sessions are open side by side (--session "
					   "chooses one)",
					   CONNS_MAX);
		if (!busy)
			return oom(c);
		c->busy = busy;
		c->n_conns++;
	}
	c->busy[i] = true;
	t->conn = (unsigned)i;
	return 0;
}

static int open_track(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	int rc;

	if (t->opened)
		return 0;
	rc = take_conn(c, t);
	if (rc < 0)
		return rc;
	t->session = malloc(sizeof(*t->session));
	if (!t->session)
		return oom(c);
	vhu_session_init(t->session, c->opts->device, 0);
	t->opened = true;
	if (c->dead && !spawn_step(c, t, r, VHU_TARGET_RESTART))
		return -ENOMEM;
	c->dead = false;
	/* The first is open when the steps begin. */
	if (c->started && !vhu_trace_step(c, VHU_VERB_CONNECT, t, r))
		return -ENOMEM;
	c->started = true;
	return 0;
}

static void end_session(struct track *t)
{
	vhu_trace_iotlb_done(t);
	vhu_trace_rings_done(t);
	for (int i = 0; i < VHU_TRACE_SIGNALS; i++) {
		free(t->signals[i]);
		t->signals[i] = NULL;
	}
	free(t->session);
	t->session = NULL;
}

static int close_track(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	struct vhu_step *s;

	if (t->closed || !t->opened)
		return 0;
	t->closed = true;
	c->busy[t->conn] = false;
	s = vhu_trace_step(c, VHU_VERB_CLOSE, t, r);
	if (!s)
		return -ENOMEM;
	s->close.main = s->close.backend = true;
	s->close.unread = t->session->n_pending > 0;
	end_session(t);
	return 0;
}

static int kill_target(struct trace_compile *c, const struct track *t, const struct vhu_record *r)
{
	if (c->dead || !c->opts->spawned)
		return 0;
	c->dead = true;
	return spawn_step(c, t, r, VHU_TARGET_KILL) ? 0 : -ENOMEM;
}

/* Who serves others meanwhile has not ended. */
static bool serves_others(const struct trace_compile *c, const struct track *t)
{
	for (size_t i = 0; i < c->n_conns; i++)
		if (c->busy[i] && i != t->conn)
			return true;
	return false;
}

/* It hung up: by itself over what it was sent or because it serves another, else because it ended. */
static int closed_by_target(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	struct vhu_step *s;
	int rc;

	if (t->closed || !t->opened)
		return 0;
	if (!t->provoked && (r->kind == VHU_CAP_LIFE_EXIT || !serves_others(c, t))) {
		rc = kill_target(c, t, r);
		if (rc < 0)
			return rc;
	}
	s = vhu_trace_step(c, VHU_VERB_END, t, r);
	if (!s)
		return -ENOMEM;
	s->end.provoked = t->provoked;
	return close_track(c, t, r);
}

static int life(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	int rc;

	switch (r->kind) {
	case VHU_CAP_LIFE_CONNECT:
	case VHU_CAP_LIFE_ACCEPT:
		return open_track(c, t, r);
	case VHU_CAP_LIFE_CLOSE:
		rc = open_track(c, t, r);
		if (rc < 0)
			return rc;
		if (r->dir == VHU_CAP_DIR_BE)
			return closed_by_target(c, t, r);
		rc = t->closed ? 0 : vhu_trace_rings_end(c, t);
		return rc < 0 ? rc : close_track(c, t, r);
	case VHU_CAP_LIFE_EXIT:
		return t->opened && !t->closed ? closed_by_target(c, t, r) : kill_target(c, t, r);
	case VHU_CAP_LIFE_LOST:
		vhu_trace_note(c, "record %" PRIu32 ": messages of session %" PRIu32 " were lost here",
			       r->seq, t->connection);
		return 0;
	default:
		return 0;
	}
}

/* --- messages of the front-end --------------------------------------------------------------------- */

/* Bytes that are no message: in the pieces that they were read in, descriptors with the first. */
static int raw(struct trace_compile *c, struct track *t, const struct vhu_record *r,
	       const struct vhu_frame *f)
{
	const uint32_t whole = (uint32_t)r->len;
	const uint32_t *pieces = r->n_recvs ? r->recvs : &whole;
	size_t n = r->n_recvs ? r->n_recvs : 1, at = 0;
	struct vhu_step_recorded carries = {0};
	int rc = vhu_trace_fds(c, t, r, f, &carries);

	for (size_t i = 0; rc == 0 && i < n && at < r->len; i++) {
		size_t len = i + 1 == n ? r->len - at : VHU_MIN((size_t)pieces[i], r->len - at);
		struct vhu_step *s = vhu_trace_step(c, VHU_VERB_RAW, t, r);

		if (!s)
			return -ENOMEM;
		s->raw.bytes = r->payload + at;
		s->raw.n_bytes = len;
		s->raw.channel = VHU_CHAN_MAIN;
		if (!at) {
			s->raw.fds = carries.fds;
			s->raw.n_fds = carries.n_fds;
		}
		at += len;
	}
	t->provoked = true;
	return rc;
}

bool vhu_trace_has_state(const struct trace_compile *c, const struct track *t)
{
	return c->saved_state || (t->state.len && !t->state_cut && !t->state.failed);
}

/* The state that goes through a pipe is moved before the front-end asks how that went. */
static int move_state(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	struct vhu_step *s;

	if (!t->saving && !t->loading)
		return 0;
	if (t->saving) {
		s = vhu_trace_step(c, VHU_VERB_STATE, t, r);
		if (!s)
			return -ENOMEM;
		s->state.op = VHU_TRANSFER_READ;
		c->saved_state = true;
		t->saving = false;
		return 0;
	}
	if (!vhu_trace_has_state(c, t))
		vhu_trace_note(c,
			       "record %" PRIu32 ": the device state that was loaded is not in the capture; "
			       "the verdict on it is not compared",
			       r->seq);
	for (int i = 0; i < 2; i++) {
		s = vhu_trace_step(c, VHU_VERB_STATE, t, r);
		if (!s)
			return -ENOMEM;
		s->state.op = i ? VHU_TRANSFER_CLOSE : VHU_TRANSFER_WRITE;
		s->state.pieces = 1;
		if (c->saved_state || !vhu_trace_has_state(c, t))
			continue;
		s->state.content = VHU_CONTENT_GIVEN;
		s->state.len = t->state.len;
		s->state.bytes = vhu_arena_memdup(c->arena, t->state.data, t->state.len);
		if (!s->state.bytes)
			return oom(c);
	}
	return 0;
}

/* What the front-end writes into the pipe; what the back-end saves is its own. */
static void keep_state(struct track *t, const struct vhu_record *r)
{
	if (!t->loading || r->dir == VHU_CAP_DIR_BE)
		return;
	t->state_cut |= r->len < r->orig_len;
	vhu_buf_add(&t->state, r->payload, r->len);
}

static void note_request(struct track *t, const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	if (!row || row->msg != VHU_MSG_SET_DEVICE_STATE_FD)
		return;
	t->loading = vhu_frame_u64(f, "direction") == 1;
	t->saving = !t->loading;
	t->state_cut = false;
	vhu_buf_reset(&t->state);
}

static int request(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		   const struct vhu_frame *f)
{
	bool intended = r->flags & VHU_CAP_INTENDED;
	const struct vhu_msg_row *row = vhu_frame_row(f);
	struct vhu_illegal illegal;
	struct vhu_step_recorded sent = {
		.row = row, .request = f->request, .flags = f->flags, .size = f->size, .intended = intended};
	struct vhu_step *s;
	int rc = 0;

	if (row && row->msg == VHU_MSG_CHECK_DEVICE_STATE)
		rc = move_state(c, t, r);
	if (rc == 0)
		rc = vhu_trace_fds(c, t, r, f, &sent);
	if (rc == 0)
		rc = vhu_trace_note_signal(t, f, &sent);
	if (rc == 0)
		rc = vhu_trace_note_ring(c, t, f);
	s = rc == 0 ? vhu_trace_step(c, VHU_VERB_RECORDED, t, r) : NULL;
	if (!s)
		return rc < 0 ? rc : -ENOMEM;
	sent.payload = r->payload + VHU_C_HEADER_SIZE;
	sent.n_payload = f->len;
	s->recorded = sent;
	t->provoked = intended || vhu_oracle_illegal(t->session, f, &illegal, 1) > 0;
	note_request(t, f, row);
	vhu_session_apply(t->session, f, intended);
	return 0;
}

static int sent(struct trace_compile *c, struct track *t, const struct vhu_record *r,
		const struct vhu_frame *f)
{
	if (r->len < r->orig_len) {
		vhu_trace_note(c, "record %" PRIu32 ": left out, since the recorder cut it", r->seq);
		return 0;
	}
	if (f->defects & (VHU_DEFECT_OVERSIZED | VHU_DEFECT_TRUNCATED))
		return raw(c, t, r, f);
	return request(c, t, r, f);
}

/* --- records ---------------------------------------------------------------------------------------- */

static int message(struct trace_compile *c, struct track *t, const struct vhu_record *r)
{
	_cleanup_(vhu_frame_done) struct vhu_frame f = {0};
	struct vhu_err why;
	int rc = open_track(c, t, r);

	if (rc < 0 || t->closed)
		return rc;
	if (r->channel == VHU_CAP_GPU)
		return vhu_trace_gpu(c, t, r);
	if (vhu_record_frame(r, &f, &why) < 0) {
		vhu_trace_note(c, "left out: %s", why.text);
		return 0;
	}
	if (f.dir == VHU_DIR_BE)
		return vhu_trace_came(c, t, r, &f);
	if (f.channel == VHU_CHAN_MAIN)
		return sent(c, t, r, &f);
	vhu_trace_answered(c, t, &f);
	return 0;
}

/* --- which sessions -------------------------------------------------------------------------------- */

static int choose(struct trace_compile *c)
{
	const struct vhu_trace *t = c->trace;

	c->tracks = calloc(t->n_sessions + 1, sizeof(*c->tracks));
	if (!c->tracks)
		return oom(c);
	for (size_t i = 0; i < t->n_sessions; i++)
		if (vhu_trace_chosen(t, c->opts, &t->sessions[i])) {
			c->tracks[c->n_tracks++].connection = t->sessions[i].connection;
			vhu_trace_tell_partial(c, &t->sessions[i]);
		}
	return vhu_trace_tell_choice(c);
}

/* The chosen session with that number, or NULL. */
static struct track *track_of(const struct trace_compile *c, uint32_t connection)
{
	size_t low = 0, high = c->n_tracks;

	/* They are in the order of their numbers. */
	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c->tracks[mid].connection < connection)
			low = mid + 1;
		else
			high = mid;
	}
	return low < c->n_tracks && c->tracks[low].connection == connection ? &c->tracks[low] : NULL;
}

/* --- the whole -------------------------------------------------------------------------------------- */

static int record(struct trace_compile *c, const struct vhu_record *r)
{
	struct track *t = track_of(c, r->connection);

	if (c->opts->until && r->seq > c->opts->until)
		return 0;
	/* A process that ended takes all its connections with it, which say so themselves. */
	if (!r->connection && r->channel == VHU_CAP_LIFE && r->kind == VHU_CAP_LIFE_EXIT && c->started)
		return kill_target(c, NULL, r);
	if (!t)
		return 0;
	if (!c->start_ns)
		c->start_ns = r->t_ns;
	if (vhu_record_is_message(r))
		return message(c, t, r);
	switch (r->channel) {
	case VHU_CAP_LIFE:
		return life(c, t, r);
	case VHU_CAP_MEM:
		return vhu_trace_memory(c, t, r);
	case VHU_CAP_RING:
		return vhu_trace_ring(c, t, r);
	case VHU_CAP_STATE:
		keep_state(t, r);
		return 0;
	default:
		return 0;
	}
}

static int walk(struct trace_compile *c)
{
	int rc = 0;

	for (size_t i = 0; i < c->trace->n_records && rc == 0; i++)
		rc = record(c, c->trace->records[i]);
	/* A session whose end is not in the capture ends with it. */
	for (size_t i = 0; i < c->n_tracks && rc == 0; i++)
		rc = close_track(c, &c->tracks[i], NULL);
	if (c->n_notes > NOTES_MAX)
		vhu_buf_printf(c->notes, "and %zu records more of the kind\n", c->n_notes - NOTES_MAX);
	c->n_notes = 0; /* what follows comes once */
	vhu_trace_tell_memory(c);
	if (c->drawings)
		vhu_trace_note(c,
			       "%zu messages of the graphics channel are not waited for: they come as the "
			       "guest draws",
			       c->drawings);
	if (c->no_fds)
		vhu_trace_note(c, "the descriptors of %zu messages were not seen: others take their places",
			       c->no_fds);
	if (c->others_fds)
		vhu_trace_note(
			c,
			"%zu descriptors were of kinds that cannot be made again: others take their places",
			c->others_fds);
	return rc;
}

static bool speaks(const struct trace_compile *c)
{
	for (size_t i = 0; i < c->n_steps; i++)
		if (c->steps[i].verb == VHU_VERB_RECORDED || c->steps[i].verb == VHU_VERB_RAW)
			return true;
	return false;
}

static int finish(struct trace_compile *c)
{
	static const enum vhu_req requirements[] = {VHU_REQ_REPLY_02};
	struct vhu_plan *p = c->plan;
	const char **conns = vhu_arena_array(c->arena, c->n_conns, sizeof(*conns));

	for (size_t i = 0; conns && i < c->n_conns; i++)
		conns[i] = vhu_arena_printf(c->arena, "%zu", i + 1);
	p->arena = c->arena;
	p->id = p->title = "replay";
	p->why = p->file = "";
	p->requirements = requirements;
	p->n_requirements = VHU_ARRAY_SIZE(requirements);
	p->device = c->opts->device;
	p->start = VHU_STATE_CONNECTED;
	p->profile = "plain";
	p->queues = 1;
	p->recorded = true;
	p->conns = conns;
	p->n_conns = c->n_conns;
	p->steps = vhu_arena_memdup(c->arena, c->steps, c->n_steps * sizeof(*c->steps));
	p->n_steps = c->n_steps;
	p->objects = vhu_arena_memdup(c->arena, c->objects, c->n_objects * sizeof(*c->objects));
	p->n_objects = c->n_objects;
	return conns && p->steps && (p->objects || !c->n_objects) ? 0 : oom(c);
}

static int compile(struct trace_compile *c)
{
	int rc = vhu_trace_mask_check(c->opts->ignore, c->opts->n_ignore, "--ignore", c->err);

	if (rc == 0)
		rc = choose(c);
	if (rc == 0)
		rc = walk(c);
	if (rc == 0 && !speaks(c))
		rc = vhu_err_set(c->err, -EINVAL,
				 "nothing in the capture can be replayed: no message of a "
				 "front-end is in it%s%.*s",
				 c->notes->len ? "\n  " : "", (int)strcspn(vhu_buf_text(c->notes), "\n"),
				 vhu_buf_text(c->notes));
	return rc == 0 ? finish(c) : rc;
}

static void end_track(struct track *t)
{
	for (int i = 0; i < VHU_CHAN_MAX; i++)
		free(t->asked[i].steps);
	vhu_buf_done(&t->state);
	end_session(t);
}

int vhu_plan_from_trace(const struct vhu_trace *t, const struct vhu_replay_opts *opts, struct vhu_plan **ret,
			struct vhu_buf *notes, struct vhu_err *err)
{
	struct trace_compile c = {.trace = t, .opts = opts, .notes = notes, .err = err};
	int rc = 0;

	c.arena = vhu_arena_new();
	c.plan = c.arena ? vhu_arena_alloc(c.arena, sizeof(*c.plan)) : NULL;
	rc = c.plan ? compile(&c) : oom(&c);
	for (size_t i = 0; i < c.n_tracks; i++)
		end_track(&c.tracks[i]);
	free(c.tracks);
	free(c.busy);
	free(c.steps);
	free(c.objects);
	free(c.known);
	if (rc < 0)
		vhu_arena_free(c.arena);
	else
		*ret = c.plan;
	return rc;
}
