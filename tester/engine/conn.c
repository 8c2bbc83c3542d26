/* The connections of a case: opening, closing, and what arrives on them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "internal.h"

void vhu_conn_observe(struct vhu_conn *c, const struct vhu_frame *f, bool intended)
{
	struct vhu_obs obs = {.kind = VHU_OBS_FRAME, .frame = f, .intended = intended};
	size_t findings = c->r->res->n_findings;

	vhu_trace_log_frame(c->r->e->trace, vhu_now_ns(), c->index + 1, f);
	c->r->res->frames++;
	vhu_oracle_observe(&c->oracle, &obs);
	vhu_record_frame_seen(c, f, intended, NULL, 0, findings);
}

/* --- main channel ---------------------------------------------------------------------------------- */

/* A legal translation that was sent beside the steps is taken. */
static void judge_aside(struct vhu_conn *c, const struct vhu_pending *p, const struct vhu_frame *f)
{
	struct vhu_finding found;

	if (p->serial == c->watch || p->intended || f->request != VHU_ID_IOTLB_MSG ||
	    !vhu_frame_u64(f, "u64"))
		return;
	vhu_finding_init(&found, VHU_REQ_IOTLB_01, VHU_FINDING_RULE,
			 "a translation that the back-end asked for is refused");
	snprintf(found.accepted, sizeof(found.accepted), "0");
	snprintf(found.actual, sizeof(found.actual), "0x%llx", (unsigned long long)vhu_frame_u64(f, "u64"));
	vhu_run_finding(c->r, &found);
}

/* The answer to what a replay sent for its own requests; nobody has to look at it. */
static bool was_aside(struct vhu_conn *c, uint64_t serial)
{
	for (size_t i = 0; serial && i < c->n_asides; i++)
		if (c->asides[i] == serial) {
			c->asides[i] = c->asides[--c->n_asides];
			return true;
		}
	return false;
}

static void on_main_frame(void *ctx, struct vhu_frame *f)
{
	struct vhu_conn *c = ctx;
	int match = f->defects ? -1 : vhu_session_match(&c->oracle.session, f);
	uint64_t serial = match >= 0 ? c->oracle.session.pending[match].serial : 0;

	if (!c->heard)
		vhu_target_answered(c->r->e->target);
	c->heard = true;
	/* What it asked before this answer is seen before: at the reply to GET_VRING_BASE that counts. */
	vhu_conn_backend_catch_up(c);
	vhu_record_catch_up(c);
	if (match >= 0)
		judge_aside(c, &c->oracle.session.pending[match], f);
	vhu_conn_observe(c, f, false);
	if (match >= 0)
		vhu_run_postcopy_saw(c, f);
	if (serial)
		c->last_serial = serial;
	if (c->r->plan->recorded && !was_aside(c, serial)) {
		vhu_run_came(c, f);
		return;
	}
	if (serial && serial == c->watch && !c->have_answer) {
		c->answer = *f;
		c->have_answer = true;
		return;
	}
	vhu_frame_done(f);
}

static void on_main_closed(void *ctx, int errno_value)
{
	struct vhu_conn *c = ctx;
	struct vhu_obs obs = {.kind = VHU_OBS_EOF, .channel = VHU_CHAN_MAIN, .expected = true};

	c->closed = true;
	c->closed_errno = errno_value;
	vhu_trace_log_note(c->r->e->trace, vhu_now_ns(), c->index + 1,
			   "the back-end closed the connection%s%s", errno_value ? ": " : "",
			   errno_value ? strerror(errno_value) : "");
	vhu_oracle_observe(&c->oracle, &obs);
	vhu_record_closed(c, VHU_DIR_BE, errno_value);
}

static const struct vhu_chan_events main_events = {.frame = on_main_frame, .closed = on_main_closed};

/* --- back-end channel ------------------------------------------------------------------------------ */

void vhu_conn_answer(struct vhu_conn *c, const struct vhu_frame *request, uint64_t value)
{
	const struct vhu_msg_row *row = vhu_frame_row(request);
	struct vhu_frame answer = {
		.channel = VHU_CHAN_BACKEND, .dir = VHU_DIR_FE, .request = request->request};
	struct vhu_err err = {0};

	if (!(request->flags & VHU_C_HEADER_NEED_REPLY) && !(row && row->answer == VHU_ANSWER_ALWAYS))
		return;
	answer.flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
	if (vhu_frame_resize(&answer, sizeof(value), &err) < 0) {
		vhu_run_broken(c->r, "%s", err.text);
		return;
	}
	vhu_ne_put(answer.payload, sizeof(value), value);
	vhu_conn_observe(c, &answer, false);
	if (c->backend && vhu_chan_send(c->backend, &answer, NULL, 0, 0, &err) < 0)
		vhu_run_broken(c->r, "%s", err.text);
	vhu_frame_done(&answer);
}

/* The later step of the plan that wants to see this request itself; each takes one. */
static bool takes(const struct vhu_step *s, const struct vhu_frame *f)
{
	if (s->verb == VHU_VERB_ANSWER)
		return s->answer.channel == f->channel && s->answer.request == f->request;
	return s->verb == VHU_VERB_RECV && s->recv.row == vhu_frame_row(f);
}

const struct vhu_step *vhu_conn_step_wants(struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	const struct vhu_plan *plan = c->r->plan;
	size_t before = 0, from = c->r->step_index;

	for (size_t i = 0; i < c->n_inbox; i++)
		before += vhu_frame_row(&c->inbox[i].f) == row;
	/* A captured front-end answers the n-th as it did, whenever that comes: no fence waits for it. */
	if (plan->captured && row) {
		before = c->wanted[row->msg]++;
		from = c->since;
	}
	for (size_t i = from; i < plan->n_steps; i++) {
		const struct vhu_step *s = &plan->steps[i];

		if (s->conn == c->index && takes(s, f) && !before--)
			return s;
	}
	return NULL;
}

bool vhu_conn_answers_aside(const struct vhu_conn *c, const struct vhu_step *s)
{
	return c->r->plan->captured && s->verb == VHU_VERB_RECV && s->recv.optional;
}

/* Whether a request came for each step that was passed by and would have answered it. */
static bool asides_came(void *ctx)
{
	struct vhu_conn *c = ctx;
	unsigned due[VHU_MSG_MAX] = {0};

	if (c->closed || c->r->exited)
		return true;
	for (size_t i = c->since; i < c->r->step_index; i++) {
		const struct vhu_step *s = &c->r->plan->steps[i];

		if (s->conn == c->index && vhu_conn_answers_aside(c, s) &&
		    ++due[s->recv.row->msg] > c->wanted[s->recv.row->msg])
			return false;
	}
	return true;
}

static bool await_asides(struct vhu_conn *c, uint64_t ns)
{
	if (!c->r->plan->captured || !c->backend || !vhu_conn_live(c))
		return true;
	return vhu_run_wait(c->r, asides_came, c, vhu_run_now(c->r) + ns, false) == 0;
}

/* A back-end may have to wait for its turn on a busy machine. One that says nothing costs that once. */
void vhu_conn_keep_order(struct vhu_conn *c)
{
	if (!c->silent)
		c->silent = !await_asides(c, 50 * vhu_run_settle_ns(c->r));
}

void vhu_conn_await_asides(struct vhu_conn *c)
{
	vhu_conn_keep_order(c);
	await_asides(c, vhu_run_settle_ns(c->r));
}

/*
 * Kept for its step. A back-end may serve nothing else until it is answered, so that is done at once, unless
 * the step wants it otherwise.
 */
static void keep(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_frame *f)
{
	struct vhu_inbox_item *item = &c->inbox[c->n_inbox++];

	*item = (struct vhu_inbox_item){.f = *f};
	if (s->verb == VHU_VERB_ANSWER) {
		item->answered = true;
		vhu_conn_answer(c, f, s->answer.value);
		return;
	}
	item->answered = s->recv.answer == VHU_RECV_ACK || s->recv.answer == VHU_RECV_NACK;
	if (item->answered)
		vhu_conn_answer(c, f, s->recv.answer == VHU_RECV_NACK);
}

/* What a front-end has to refuse: what it does not know, and mappings that it cannot make. */
static bool acceptable(const struct vhu_conn *c, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	if (row && row->msg == VHU_MSG_BACKEND_SHMEM_MAP) {
		const struct vhu_shm_map m = vhu_session_shm_range(f);

		return f->n_fds == 1 && vhu_session_shm_valid(&c->oracle.session, &m) &&
		       vhu_session_shm_free(&c->oracle.session, &m);
	}
	return row;
}

static void on_backend_frame(void *ctx, struct vhu_frame *f)
{
	struct vhu_conn *c = ctx;
	const struct vhu_step *s = f->defects ? NULL : vhu_conn_step_wants(c, f);
	bool ok = acceptable(c, f);

	c->requests++;
	c->config_changes += f->request == VHU_ID_BACKEND_CONFIG_CHANGE_MSG;
	vhu_conn_observe(c, f, false);
	vhu_run_io_missed(c, f);
	vhu_run_signalled(c, f);
	vhu_run_shm(c, f);
	if (!f->defects && vhu_frame_row(f) == vhu_msg_row(VHU_MSG_BACKEND_IOTLB_MSG) &&
	    (c->features & VHU_V(VIRTIO_F_ACCESS_PLATFORM)) && !c->r->plan->recorded &&
	    !c->r->plan->captured) {
		if (vhu_run_iotlb_keeps(c, f))
			c->inbox[c->n_inbox++] = (struct vhu_inbox_item){.f = *f};
		else
			vhu_frame_done(f);
		return;
	}
	if (s && vhu_conn_answers_aside(c, s)) {
		vhu_conn_answer(c, f, s->recv.answer == VHU_RECV_NACK);
		vhu_frame_done(f);
		return;
	}
	if (s && c->n_inbox < VHU_INBOX_MAX) {
		keep(c, s, f);
		return;
	}
	if (!f->defects)
		vhu_conn_answer(c, f, ok ? 0 : 1);
	vhu_frame_done(f);
}

void vhu_conn_inbox_drop(struct vhu_conn *c, size_t i)
{
	vhu_frame_done(&c->inbox[i].f);
	memmove(&c->inbox[i], &c->inbox[i + 1], (c->n_inbox - i - 1) * sizeof(*c->inbox));
	c->n_inbox--;
}

static void on_backend_closed(void *ctx, int errno_value)
{
	struct vhu_conn *c = ctx;

	vhu_trace_log_note(c->r->e->trace, vhu_now_ns(), c->index + 1, "the back-end closed its channel");
}

static const struct vhu_chan_events backend_events = {.frame = on_backend_frame, .closed = on_backend_closed};

int vhu_conn_channel_open(struct vhu_conn *c, enum vhu_channel channel, const struct vhu_chan_events *events,
			  struct vhu_chan **ret)
{
	struct vhu_err err = {0};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		vhu_run_broken(c->r, "socketpair: %s", strerror(errno));
		return -1;
	}
	if (vhu_chan_new(c->r->e->loop, pair[0], channel, VHU_DIR_BE, events, c, ret, &err) < 0) {
		close(pair[1]);
		vhu_run_broken(c->r, "%s", err.text);
		return -1;
	}
	return pair[1];
}

int vhu_conn_backend_open(struct vhu_conn *c)
{
	vhu_conn_backend_close(c);
	return vhu_conn_channel_open(c, VHU_CHAN_BACKEND, &backend_events, &c->backend);
}

void vhu_conn_backend_catch_up(struct vhu_conn *c)
{
	if (c->backend)
		vhu_chan_drain(c->backend);
}

void vhu_conn_backend_close(struct vhu_conn *c)
{
	vhu_chan_free(c->backend);
	c->backend = NULL;
	for (size_t i = 0; i < c->n_inbox; i++)
		vhu_frame_done(&c->inbox[i].f);
	c->n_inbox = 0;
}

/* --- life ------------------------------------------------------------------------------------------ */

/* The target can't be reached: in words, and as the finding of the step that wanted it. */
static void unreachable(struct vhu_run *r, const struct vhu_err *err)
{
	struct vhu_finding f;

	vhu_finding_init(&f, VHU_REQ_PROG_16, VHU_FINDING_ROBUST, "the back-end takes no connection");
	snprintf(f.accepted, sizeof(f.accepted), "a new connection");
	snprintf(f.actual, sizeof(f.actual), "%s", err->text);
	vhu_run_finding(r, &f);
	r->res->target_died = true;
	r->res->target_gone = !vhu_target_spawned(r->e->target);
	r->stop = true;
}

static bool nobody_is_connected(const struct vhu_run *r)
{
	for (size_t i = 0; i < r->n_conns; i++)
		if (vhu_conn_live(&r->conns[i]))
			return false;
	return true;
}

bool vhu_conn_open(struct vhu_run *r, struct vhu_conn *c)
{
	struct vhu_err err = {0};
	int fd, rc;

	vhu_conn_close(c);
	if (nobody_is_connected(r))
		vhu_target_left(r->e->target);
	rc = vhu_target_connect(r->e->target, &fd, &err);
	if (rc == -EINTR) {
		r->interrupted = r->stop = true;
		return false;
	}
	/* It died of what came before, and was started again for this connection: that end is told. */
	if (r->exited && r->conns[0].used && !vhu_run_exit_forgiven(r))
		r->stop = true;
	else if (rc < 0)
		unreachable(r, &err);
	if (r->stop) {
		if (rc == 0)
			close(fd);
		return false;
	}
	if (vhu_chan_new(r->e->loop, fd, VHU_CHAN_MAIN, VHU_DIR_BE, &main_events, c, &c->main, &err) < 0) {
		vhu_run_broken(r, "%s", err.text);
		return false;
	}
	vhu_oracle_init(&c->oracle, r->plan->device, r->e->rings, vhu_run_found, c);
	c->used = true;
	vhu_run_foreign_forget(c);
	r->e->opened++;
	c->closed = c->close_told = c->framing_lost = c->heard = c->silent = false;
	c->closed_errno = 0;
	c->last_serial = c->watch = 0;
	c->since = r->step_index;
	c->n_asides = 0;
	memset(c->wanted, 0, sizeof(c->wanted));
	vhu_trace_log_note(r->e->trace, vhu_now_ns(), c->index + 1, "connected");
	vhu_record_opened(c);
	return true;
}

void vhu_conn_close(struct vhu_conn *c)
{
	vhu_run_played_look(c, true);
	vhu_gpu_close(c);
	vhu_conn_backend_close(c);
	if (c->main) {
		vhu_trace_log_note(c->r->e->trace, vhu_now_ns(), c->index + 1, "we close the connection");
		if (!c->closed) {
			c->r->session_over = true;
			vhu_record_closed(c, VHU_DIR_FE, 0);
		}
	}
	vhu_chan_free(c->main);
	c->main = NULL;
	vhu_run_postcopy_release(c->r);
	for (size_t i = 0; i < c->n_came; i++)
		vhu_frame_done(&c->came[i]);
	c->n_came = 0;
	vhu_conn_watch(c, 0);
}

bool vhu_conn_live(const struct vhu_conn *c)
{
	return c->main && !c->closed;
}

void vhu_conn_watch(struct vhu_conn *c, uint64_t serial)
{
	if (c->have_answer)
		vhu_frame_done(&c->answer);
	c->have_answer = false;
	c->watch = serial;
}

uint64_t vhu_conn_send(struct vhu_conn *c, const struct vhu_frame *f, bool intended, const size_t *pieces,
		       size_t n_pieces)
{
	struct vhu_obs obs = {.kind = VHU_OBS_FRAME, .frame = f, .intended = intended};
	struct vhu_run *r = c->r;
	struct vhu_err err = {0};
	size_t findings = r->res->n_findings;
	bool hold = c->hold;
	uint64_t serial;

	c->hold = false;
	vhu_trace_log_frame(r->e->trace, vhu_now_ns(), c->index + 1, f);
	r->res->frames++;
	/* What a captured front-end does wrong is no news of the target. */
	c->not_ours = r->plan->recorded || r->plan->captured;
	serial = vhu_oracle_observe(&c->oracle, &obs);
	c->not_ours = false;
	vhu_record_frame_seen(c, f, intended, pieces, n_pieces, findings);
	vhu_conn_watch(c, serial);
	if (hold)
		vhu_chan_hold(c->main);
	if (vhu_chan_send(c->main, f, pieces, n_pieces, vhu_run_settle_ns(r), &err) < 0 ||
	    (!hold && vhu_chan_release(c->main, &err) < 0)) {
		vhu_run_broken(r, "%s", err.text);
		return 0;
	}
	return serial;
}

uint64_t vhu_conn_send_aside(struct vhu_conn *c, const struct vhu_frame *f)
{
	uint64_t watch = c->watch, serial;
	bool have = c->have_answer;
	struct vhu_frame kept = c->answer;

	c->have_answer = false;
	serial = vhu_conn_send(c, f, false, NULL, 0);
	if (c->n_asides < VHU_ARRAY_SIZE(c->asides))
		c->asides[c->n_asides++] = serial;
	c->watch = watch;
	c->have_answer = have;
	c->answer = kept;
	return serial;
}
