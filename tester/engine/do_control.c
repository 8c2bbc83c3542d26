/* Steps that speak on the sockets, one function a verb. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "channel/runtime.h"
#include "internal.h"

static struct vhu_conn *conn_of(struct vhu_run *r, const struct vhu_step *s)
{
	return &r->conns[s->conn];
}

/* --- send -------------------------------------------------------------------------------------------- */

static bool wants_acknowledgement(const struct vhu_step *s)
{
	const uint32_t answers = VHU_OUT_ACK | VHU_OUT_NACK | VHU_OUT_ACCEPTS | VHU_OUT_REJECTS;

	return s->expect & answers;
}

static bool asks_reply(const struct vhu_conn *c, const struct vhu_step *s)
{
	const struct vhu_step_send *send = &s->send;

	if (send->need_reply != VHU_NR_PROFILE || c->r->plan->captured)
		return send->need_reply == VHU_NR_YES;
	/* Front-ends wait for its answer, whether REPLY_ACK was negotiated or not. */
	if (send->row && send->row->msg == VHU_MSG_IOTLB_MSG)
		return true;
	if (!vhu_session_reply_ack(&c->oracle.session))
		return false;
	if (s->expect_given && wants_acknowledgement(s))
		return true;
	if (!send->row || send->row->answer == VHU_ANSWER_ALWAYS)
		return false;
	return !s->breaks.set && !s->expect_given &&
	       vhu_profile_need_reply(c->r->plan->profile, send->row->msg);
}

static bool names(const struct vhu_breaks *b, const struct vhu_illegal *i)
{
	return b->req != VHU_REQ_MAX ? i->req == b->req
				     : (i->req == VHU_REQ_MAX && (unsigned)i->malformed == b->malformed);
}

/*
 * A frame of ours is judged before it goes out: what it breaks has to be what the step says.
 * False: the case can't go on.
 */
static bool legality(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_frame *f)
{
	struct vhu_illegal illegal[8];
	size_t n = c->r->plan->captured ? 0
					: vhu_send_illegal(&c->oracle.session, &s->send, f, illegal,
							   VHU_ARRAY_SIZE(illegal));

	if (!n && s->breaks.set && !c->r->plan->captured)
		vhu_run_skip(c->r,
			     "%s: on this target the step is legal, so that there is nothing to provoke",
			     s->where);
	/* A target whose offer was wrong may well have made it so: that is told, and no fault of the case. */
	if (n && !s->breaks.set && c->r->res->n_findings)
		vhu_run_skip(c->r, "%s: after what the target did, this would be an illegal frame: %s",
			     s->where, illegal[0].text);
	else if (n && !s->breaks.set)
		vhu_run_broken(c->r, "%s: the case sends an illegal frame without saying so (breaks): %s",
			       s->where, illegal[0].text);
	if (!n || !s->breaks.set)
		return !c->r->stop;
	for (size_t i = 0; i < n; i++)
		if (names(&s->breaks, &illegal[i]))
			return true;
	vhu_run_broken(c->r, "%s: the frame breaks something else than the step says: %s", s->where,
		       illegal[0].text);
	return false;
}

/* The moment for the ring and descriptors that this step is about. */
static struct vhu_moment moment_of(struct vhu_conn *c, const struct vhu_step_send *send)
{
	struct vhu_moment m = vhu_run_moment(c);
	struct vhu_run *r = c->r;

	for (size_t i = 0; i < send->n_with; i++) {
		uint64_t index;

		if (!strcmp(send->with[i].field, "index") && vhu_run_value(r, &send->with[i].value, &index))
			m.queue = (unsigned)VHU_MIN(index, (uint64_t)VHU_C_VRING_INDEX_MAX);
	}
	if (m.queue < r->n_rings)
		m.base = r->rings[m.queue].base_known
				 ? r->rings[m.queue].base
				 : vhu_vring_base(vhu_driver_ring(r->driver, m.queue));
	return m;
}

static void judge_reply(struct vhu_conn *c, const struct vhu_step *s)
{
	const struct vhu_step_send *send = &s->send;
	const struct vhu_frame *f = &c->answer;
	enum vhu_payload pl = vhu_frame_payload(f);

	for (size_t i = 0; i < send->n_reply; i++) {
		const struct vhu_field_row *row =
			pl < VHU_PL_MAX ? vhu_field_by_name(pl, send->reply[i].field) : NULL;
		uint64_t x;

		if (row && row->kind == VHU_FIELD_BYTES) {
			size_t term, off = VHU_MIN(row->offset, f->len);
			size_t len = row->size ? VHU_MIN(row->size, f->len - off) : f->len - off;
			char accepted[240], hex[200];

			if (vhu_match_bytes(&send->reply[i].match, f->payload + off, len, c->r->vars,
					    c->r->vars_set, &term) == 1)
				continue;
			vhu_matcher_describe(&send->reply[i].match, c->r->vars, c->r->vars_set, accepted,
					     sizeof(accepted));
			vhu_run_unmet(c->r, s, VHU_FINDING_RULE, accepted, "%s = %s", send->reply[i].field,
				      vhu_hex_format(f->payload + off, len, hex, sizeof(hex)));
		} else if (vhu_run_field(c->r, f, send->reply[i].field, &x)) {
			vhu_run_match(c->r, s, &send->reply[i].match, send->reply[i].field, x);
		} else if (!(s->expect & VHU_OUT_ALIVE)) { /* which takes a refusal, and that holds nothing */
			vhu_run_unmet(c->r, s, VHU_FINDING_RULE, send->reply[i].field,
				      "a reply without this field (%zu bytes)", f->len);
		}
	}
	vhu_run_match(c->r, s, &send->reply_size, "the reply's size", f->len);
	if (send->reply_fds >= 0 && f->n_fds != (size_t)send->reply_fds)
		vhu_run_unmet(c->r, s, VHU_FINDING_RULE, "another number of descriptors", "%zu", f->n_fds);
}

/* What the driver half has to know of messages that a case sends by hand. */
static void note_effects(struct vhu_conn *c, const struct vhu_frame *f, const struct vhu_msg_row *row)
{
	struct vhu_run *r = c->r;
	uint64_t queue = vhu_frame_u64(f, "index");
	struct vhu_ring_run *ring;
	struct vhu_vring *v;

	if (row && row->msg == VHU_MSG_GET_INFLIGHT_FD && r->plan->captured && c->have_answer)
		vhu_run_take_inflight(r, &c->answer);
	if (!row || row->scope != VHU_SCOPE_RING || queue >= r->n_rings)
		return;
	ring = &r->rings[queue];
	v = vhu_driver_ring(r->driver, (unsigned)queue);
	if (row->msg == VHU_MSG_SET_VRING_KICK) {
		ring->started = true;
		ring->stopped = ring->base_known = false;
	} else if ((row->msg == VHU_MSG_GET_VRING_BASE || row->msg == VHU_MSG_GET_VRING_BASE_SKIP_DRAIN) &&
		   c->have_answer) {
		ring->base = vhu_vring_base_cut(v, vhu_frame_u64(&c->answer, "num"));
		ring->base_known = true;
		ring->stopped = ring->started;
		ring->started = false;
		ring->busy_stop = vhu_vring_inflight(v) > 0;
		ring->used_at_stop = vhu_vring_used_idx(v);
	} else if (row->msg == VHU_MSG_SET_VRING_BASE) {
		ring->base = vhu_vring_base_cut(v, vhu_frame_u64(f, "num"));
		if (!ring->started && !vhu_vring_stands_at(v, ring->base))
			vhu_vring_reset(v, ring->base);
		ring->base_known = true;
	}
}

/* A header that promises more than we send leaves the back-end waiting: fences would be eaten. */
static bool breaks_framing(const struct vhu_frame *f)
{
	return f->size != f->len;
}

static void settle_send(struct vhu_conn *c, const struct vhu_step *s, struct vhu_exchange *x,
			const struct vhu_frame *f)
{
	uint32_t outcome = vhu_exchange_settle(x);

	if (x->row && x->row->msg == VHU_MSG_SET_DEVICE_STATE_FD)
		vhu_run_state_answered(c);
	if (!outcome)
		return;
	if (c->have_answer) {
		judge_reply(c, s);
		if (!c->r->stop)
			vhu_run_save(c->r, s->send.save, s->send.n_save, &c->answer);
	}
	if (!x->intended && (outcome & (VHU_OUT_REPLY | VHU_OUT_ACK | VHU_OUT_NONE | VHU_OUT_SILENT)))
		note_effects(c, f, x->row);
}

/* The peer hung up before our message was out: what the step would take as its answer. */
static bool end_allowed(const struct vhu_conn *c, const struct vhu_step *s)
{
	return !c->close_told && s->expect_given && (s->expect & (VHU_OUT_CLOSES | VHU_OUT_REJECTS));
}

/* Parts of a ring where others lie, or nothing: what the back-end writes there is what it was told. */
static void give_rings(struct vhu_run *r, const struct vhu_exchange *x)
{
	if (!x->intended || !x->row || x->row->msg != VHU_MSG_SET_VRING_ADDR)
		return;
	r->hostile = true;
	if (r->driver)
		vhu_driver_give_rings(r->driver);
}

void vhu_do_send(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	struct vhu_exchange x = {.c = c, .s = s, .row = s->send.row, .intended = s->breaks.set};
	struct vhu_frame f = {0};
	struct vhu_moment m;
	struct vhu_err err = {0};

	if (!vhu_conn_live(c)) {
		if (end_allowed(c, s)) {
			vhu_run_closed_at(c, s);
			c->close_told = true;
		} else {
			vhu_conn_fence(c, s, NULL);
		}
		return;
	}
	vhu_conn_keep_order(c);
	m = moment_of(c, &s->send);
	x.need_reply = asks_reply(c, s);
	if (r->stop)
		return;
	if (vhu_send_build(&s->send, &m, r->vars, r->vars_set, x.need_reply, &f, &err) < 0)
		vhu_run_broken(r, "%s: %s", s->where, err.text);
	else if (vhu_run_attach_fds(c, &f, &s->send) && legality(c, s, &f)) {
		x.need_reply = f.flags & VHU_C_HEADER_NEED_REPLY;
		x.due = x.intended ? VHU_DUE_MAYBE : vhu_session_due(&c->oracle.session, &f);
		c->framing_lost |= breaks_framing(&f);
		c->hold = s->send.hold;
		give_rings(r, &x);
		vhu_run_foreign_ring(c, &f);
		x.serial = vhu_conn_send(c, &f, x.intended, s->send.pieces, s->send.n_pieces);
		vhu_run_foreign_note(c, &f);
		if (x.serial)
			settle_send(c, s, &x, &f);
	}
	vhu_frame_done(&f);
}

/* --- raw ---------------------------------------------------------------------------------------------- */

void vhu_do_raw(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	struct vhu_chan *chan = s->raw.channel == VHU_CHAN_BACKEND ? c->backend : c->main;
	struct vhu_step_send fds = {.fds = s->raw.fds, .n_fds = s->raw.n_fds, .fds_given = true};
	struct vhu_exchange x = {.c = c, .s = s, .due = VHU_DUE_MAYBE, .intended = true};
	struct vhu_frame carrier = {.channel = s->raw.channel, .dir = VHU_DIR_FE};
	struct vhu_err err = {0};

	if (!chan || !vhu_conn_live(c)) {
		vhu_conn_fence(c, s, NULL);
		return;
	}
	if (vhu_run_attach_fds(c, &carrier, &fds)) {
		vhu_trace_log_note(r->e->trace, vhu_now_ns(), c->index + 1, "%zu raw bytes", s->raw.n_bytes);
		c->oracle.session.tainted = true;
		vhu_record_raw(c, s->raw.channel, s->raw.bytes, s->raw.n_bytes, carrier.fds, carrier.n_fds);
		if (vhu_chan_send_bytes(chan, s->raw.bytes, s->raw.n_bytes, carrier.fds, carrier.n_fds,
					&err) < 0)
			vhu_run_broken(r, "%s", err.text);
		else if (s->expect_given && s->raw.channel == VHU_CHAN_MAIN) {
			x.serial = UINT64_MAX;
			vhu_conn_watch(c, x.serial);
			vhu_exchange_settle(&x);
		}
		c->framing_lost |= s->raw.channel == VHU_CHAN_MAIN && !s->expect_given;
	}
	vhu_frame_done(&carrier);
}

/* --- recv --------------------------------------------------------------------------------------------- */

struct recv_wait {
	struct vhu_conn *c;
	const struct vhu_step *s;
};

static int find_in_inbox(const struct vhu_conn *c, const struct vhu_step *s)
{
	for (size_t i = 0; i < c->n_inbox; i++)
		if (vhu_frame_row(&c->inbox[i].f) == s->recv.row)
			return (int)i;
	return -1;
}

static bool received(void *ctx)
{
	struct recv_wait *w = ctx;

	return w->c->closed || w->c->r->exited || find_in_inbox(w->c, w->s) >= 0;
}

static void answer_request(struct vhu_run *r, const struct vhu_step *s, struct vhu_conn *c,
			   const struct vhu_frame *f)
{
	uint64_t value = 0;

	if (s->recv.answer == VHU_RECV_NONE)
		return;
	if (s->recv.answer == VHU_RECV_FIELDS && s->recv.n_fields &&
	    !vhu_run_value(r, &s->recv.fields[0].value, &value))
		return;
	vhu_conn_answer(c, f, value);
}

static void judge_request(struct vhu_run *r, const struct vhu_step *s, struct vhu_conn *c,
			  const struct vhu_frame *f)
{
	for (size_t i = 0; i < s->recv.n_with; i++) {
		uint64_t x;

		if (vhu_frame_get(f, vhu_frame_payload(f), s->recv.with[i].field, &x))
			vhu_run_match(r, s, &s->recv.with[i].match, s->recv.with[i].field, x);
		else
			vhu_run_unmet(r, s, VHU_FINDING_RULE, s->recv.with[i].field,
				      "a request without this field");
	}
	if (s->recv.fds >= 0 && f->n_fds != (size_t)s->recv.fds)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "another number of descriptors", "%zu", f->n_fds);
	vhu_run_save(r, s->recv.save, s->recv.n_save, f);
}

void vhu_do_recv(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	struct recv_wait w = {.c = c, .s = s};
	int i;

	if (vhu_conn_answers_aside(c, s))
		return;
	if (s->recv.optional) {
		if (!vhu_conn_fence(c, s, NULL))
			return;
		vhu_conn_backend_catch_up(c);
	} else {
		vhu_run_wait(r, received, &w, vhu_run_deadline(r, s), false);
	}
	i = find_in_inbox(c, s);
	if (i < 0) {
		if (!s->recv.optional && !r->stop)
			vhu_run_unmet(r, s, VHU_FINDING_RULE, s->recv.row->name,
				      "no such request until the deadline");
		return;
	}
	judge_request(r, s, c, &c->inbox[i].f);
	if (!c->inbox[i].answered)
		answer_request(r, s, c, &c->inbox[i].f);
	vhu_conn_inbox_drop(c, (size_t)i);
}

/* --- fence, connections ----------------------------------------------------------------------------- */

/* With expectations of its own a fence is a message like others. */
void vhu_do_fence(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_msg_row *row = s->fence.row ? s->fence.row : vhu_msg_row(VHU_MSG_GET_FEATURES);
	struct vhu_step step = *s;

	if (!s->expect_given) {
		vhu_conn_fence(conn_of(r, s), s, s->fence.row);
		return;
	}
	step.verb = VHU_VERB_SEND;
	step.send = (struct vhu_step_send){.row = row, .request = row->id, .reply_fds = -1};
	vhu_do_send(r, &step);
}

static void connect_to(struct vhu_run *r, struct vhu_conn *c, const struct vhu_step *s)
{
	c->no_status = s->reconnect.no_status;
	if (s->reconnect.features_given)
		c->features = s->reconnect.features;
	if (vhu_conn_open(r, c))
		vhu_run_prelude(c, VHU_STATE_CONNECTED, s->reconnect.state, s->reconnect.profile, s);
}

void vhu_do_connect(struct vhu_run *r, const struct vhu_step *s)
{
	if (!r->plan->recorded && (r->e->opts.listen || vhu_target_one_shot(r->e->target))) {
		vhu_run_skip(r, "the back-end serves one connection: a second beside it cannot be made");
		return;
	}
	connect_to(r, conn_of(r, s), s);
}

/* Nothing can be sent any more, so the end has to come by itself. */
static void half_close(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_exchange x = {
		.c = c, .s = s, .due = VHU_DUE_MAYBE, .intended = true, .serial = UINT64_MAX};

	vhu_conn_watch(c, x.serial);
	vhu_chan_half_close(c->main);
	c->framing_lost = true;
	if (s->expect_given)
		vhu_exchange_settle(&x);
}

void vhu_do_close(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);

	if (r->plan->recorded) {
		vhu_run_unasked(c, s);
		vhu_run_io_end(r);
	}
	vhu_conn_await_asides(c);
	if (s->close.backend)
		vhu_conn_backend_close(c);
	if (s->close.write_side && vhu_conn_live(c))
		half_close(c, s);
	else if (s->close.main)
		vhu_conn_close(c);
}

/* The rings go on where the old connection left them. */
static bool keep_rings(struct vhu_run *r, const struct vhu_step *s)
{
	r->carried = true;
	for (unsigned q = 0; q < r->n_rings; q++) {
		struct vhu_ring_run *ring = &r->rings[q];
		uint64_t base = ring->base;

		ring->started = ring->stopped = false;
		if (s->reconnect.base_from == VHU_BASE_VALUE && !vhu_run_value(r, &s->reconnect.base, &base))
			return false;
		if (s->reconnect.base_from == VHU_BASE_AVAIL)
			base = vhu_vring_base(vhu_driver_ring(r->driver, q));
		/* The used index is read as late as the ring starts: the old session may still be busy. */
		ring->base_is_used = s->reconnect.base_from == VHU_BASE_USED ||
				     (s->reconnect.base_from == VHU_BASE_SAVED && !ring->base_known);
		ring->base = vhu_vring_base_cut(vhu_driver_ring(r->driver, q), base);
		ring->base_known = true;
	}
	return true;
}

bool vhu_run_reset_rings(struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++) {
		struct vhu_vring *v = vhu_driver_ring(r->driver, q);

		vhu_driver_abandon(r->driver, q);
		vhu_vring_reset(v, vhu_vring_first_base(v));
		r->rings[q].started = r->rings[q].stopped = r->rings[q].base_known = false;
	}
	vhu_run_forget_ios(r);
	return true;
}

/*
 * Huge pages that the old session still maps are missing for the new guest: once a connection is
 * served anew, the back-end has let go of them.
 */
static int renew_driver(struct vhu_run *r, struct vhu_conn *c, const struct vhu_step *s, struct vhu_err *err)
{
	int rc = vhu_driver_renew(r->driver, err);

	if (rc == -ENOMEM && vhu_conn_open(r, c) && vhu_conn_fence(c, s, NULL)) {
		vhu_conn_close(c);
		rc = vhu_driver_renew(r->driver, err);
	}
	return rc;
}

/* Another guest: what the old session still writes goes to memory that nobody looks at. */
static bool renew_guest(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_err err = {0};

	vhu_driver_poll(r->driver);
	vhu_driver_audit(r->driver);
	vhu_run_forget_ios(r);
	vhu_run_unwatch_calls(r);
	r->last_added_region = SIZE_MAX;
	if (renew_driver(r, conn_of(r, s), s, &err) < 0) {
		vhu_driver_free(r->driver);
		r->driver = NULL;
		r->n_rings = 0;
		if (!r->stop)
			vhu_run_skip(r, "%s", err.text);
		return false;
	}
	memset(r->rings, 0, r->n_rings * sizeof(*r->rings));
	for (unsigned q = 0; q < r->n_rings; q++)
		r->rings[q].call_fd = -1;
	return true;
}

static bool carry_guest(struct vhu_run *r, const struct vhu_step *s)
{
	if (!r->driver)
		return true;
	if (s->reconnect.keep & VHU_KEEP_RINGS)
		return keep_rings(r, s);
	return s->reconnect.keep & VHU_KEEP_MEMORY ? vhu_run_reset_rings(r) : renew_guest(r, s);
}

void vhu_do_reconnect(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = conn_of(r, s);
	unsigned keeps;

	vhu_conn_close(c);
	/*
	 * Another guest's requests are none of this one's. In cases that know nothing of the buffer real
	 * front-ends keep it as long as their rings.
	 */
	keeps = vhu_profile_is_real(r->plan->profile) && !r->plan->own_persona ? VHU_KEEP_RINGS : 0;
	/* A captured front-end says itself what it keeps. */
	if (!r->plan->captured && !(s->reconnect.keep & (keeps | VHU_KEEP_INFLIGHT)))
		vhu_run_inflight_release(r);
	if (!carry_guest(r, s))
		return;
	/* A migration goes on; other cases begin it anew, or leave it. */
	c->logging &= r->plan->own_persona && (s->reconnect.keep & VHU_KEEP_LOG);
	connect_to(r, c, s);
}

/* --- the target process ------------------------------------------------------------------------------- */

static void await_exit(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_err err = {0};

	if (vhu_target_await_exit(r->e->target, vhu_run_deadline(r, s), &err) < 0)
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "the end of the process", "%s", err.text);
	r->exited = false;
	r->death_wanted = true;
}

/* What was asked to end may exit, or die by the very signal; a crash on the way is none of both. */
static void judge_death(struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_exit *x = vhu_target_exit(r->e->target);

	if (x->exited && !x->expected)
		vhu_run_unmet(r, s, VHU_FINDING_ROBUST, "an exit, or an end by that signal", "%s", x->what);
}

/*
 * How busy its busiest thread is, in percent. On a loaded machine a thread that does next to nothing may wait
 * long for its turn: only one that uses its turns, again and again, counts as busy.
 */
static unsigned busy_percent(struct vhu_run *r)
{
	enum { LOOKS = 8, CALM = 30, TURNS = 3, TURN_NS = 1000000 };
	struct vhu_runtime first, last, now;
	unsigned turns = 0;

	if (!vhu_target_runtime(r->e->target, &first))
		return 0;
	last = first;
	for (int i = 0; i < LOOKS && !r->stop; i++) {
		vhu_run_settle(r, vhu_run_settle_ns(r));
		if (!vhu_target_runtime(r->e->target, &now))
			return 0;
		if (vhu_runtime_busiest(&last, &now) < CALM && !vhu_runtime_ready(&now))
			return 0;
		turns += vhu_runtime_ran(&last, &now) >= TURN_NS;
		last = now;
	}
	return turns < TURNS ? 0 : vhu_runtime_busiest(&first, &last);
}

/* Who polls all the time is not judged: nothing that a case does makes him busier. */
static void judge_idle(struct vhu_run *r, const struct vhu_step *s)
{
	enum { BUSY = 60 };
	unsigned percent = busy_percent(r);

	if (percent < BUSY)
		r->calm_before = true;
	else if (!r->calm_before)
		vhu_run_skip(r, "needs a target that sleeps while there is nothing to do");
	else
		vhu_run_unmet(r, s, VHU_FINDING_RULE, "a target that sleeps, as before",
			      "a thread that is busy for %u percent of the time", percent);
}

void vhu_do_target(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_target *t = r->e->target;
	struct vhu_err err = {0};
	int rc = 0;

	switch (s->target.op) {
	case VHU_TARGET_KILL:
		for (size_t i = 0; i < r->n_conns; i++)
			vhu_conn_await_asides(&r->conns[i]);
		r->death_wanted = true;
		rc = vhu_target_signal(t, s->target.signal ? s->target.signal : SIGKILL, true, &err);
		if (!rc) {
			await_exit(r, s);
			judge_death(r, s);
		}
		/* Who serves one front-end ends once that has left, maybe sooner than it is asked to. */
		if (rc == -ESRCH && vhu_target_one_shot(t))
			rc = 0;
		break;
	case VHU_TARGET_STOP:
		rc = vhu_target_signal(t, SIGSTOP, false, &err);
		break;
	case VHU_TARGET_CONTINUE:
		rc = vhu_target_signal(t, SIGCONT, false, &err);
		break;
	case VHU_TARGET_RESTART:
		rc = vhu_target_start(t, &err);
		r->death_wanted = false;
		break;
	case VHU_TARGET_AWAIT_EXIT:
		await_exit(r, s);
		break;
	case VHU_TARGET_IDLE:
		judge_idle(r, s);
		break;
	case VHU_TARGET_GROW:
		vhu_run_grow(r, s);
		break;
	}
	if (rc < 0)
		vhu_run_broken(r, "%s", err.text);
}

/* --- assert, note ------------------------------------------------------------------------------------- */

static bool holds(enum vhu_cmp op, uint64_t a, uint64_t b)
{
	switch (op) {
	case VHU_CMP_EQ:
		return a == b;
	case VHU_CMP_NE:
		return a != b;
	case VHU_CMP_LT:
		return a < b;
	case VHU_CMP_LE:
		return a <= b;
	case VHU_CMP_GT:
		return a > b;
	case VHU_CMP_GE:
		return a >= b;
	case VHU_CMP_HAS:
		return (a & b) == b;
	case VHU_CMP_LACKS:
		return !(a & b);
	}
	return false;
}

void vhu_do_assert(struct vhu_run *r, const struct vhu_step *s)
{
	uint64_t a, b;

	if (!vhu_run_value(r, &s->assertion.a, &a) || !vhu_run_value(r, &s->assertion.b, &b) ||
	    holds(s->assertion.op, a, b))
		return;
	vhu_run_unmet(r, s, VHU_FINDING_RULE, s->assertion.says ? s->assertion.says : s->assertion.text,
		      "%s with 0x%llx and 0x%llx", s->assertion.text, (unsigned long long)a,
		      (unsigned long long)b);
}

void vhu_do_note(struct vhu_run *r, const struct vhu_step *s)
{
	vhu_trace_log_note(r->e->trace, vhu_now_ns(), s->conn + 1, "%s", s->note);
}
