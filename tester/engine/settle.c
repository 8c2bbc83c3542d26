/*
 * From an action to its outcome: accept sets, fences, deadlines. Nothing here waits for time to
 * pass where a fence can prove the same.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static const uint64_t leaving_ns = UINT64_C(1000000000);

#define MS UINT64_C(1000000)

uint64_t vhu_run_now(const struct vhu_run *r)
{
	return vhu_loop_now(r->e->loop);
}

uint64_t vhu_run_deadline(const struct vhu_run *r, const struct vhu_step *s)
{
	return vhu_run_now(r) + (s && s->within_ms ? s->within_ms * MS : r->e->opts.timeout_ns);
}

uint64_t vhu_run_settle_ns(const struct vhu_run *r)
{
	if (r->e->opts.settle_ns)
		return r->e->opts.settle_ns;
	return VHU_MAX(20 * MS, 50 * r->e->rtt_ns);
}

int vhu_run_wait(struct vhu_run *r, bool (*done)(void *ctx), void *ctx, uint64_t deadline_ns, bool spin)
{
	struct vhu_err err = {0};
	int rc = vhu_loop_run_until(r->e->loop, done, ctx, deadline_ns, spin, &err);

	if (rc == -EINTR)
		r->interrupted = r->stop = true;
	else if (rc < 0 && rc != -ETIME)
		vhu_run_broken(r, "%s", err.text);
	return rc;
}

static bool never(void *ctx)
{
	struct vhu_run *r = ctx;

	return r->exited;
}

void vhu_run_settle(struct vhu_run *r, uint64_t ns)
{
	uint64_t start = vhu_now_ns();

	vhu_run_wait(r, never, r, vhu_run_now(r) + ns, false);
	r->res->settle_ns += vhu_now_ns() - start;
}

/* --- waiting for one answer ------------------------------------------------------------------------ */

struct wait {
	struct vhu_conn *c;
	uint64_t serial;
};

/* The answer came, or something later was answered, or the request was given up, or the peer is gone. */
static bool answered(void *ctx)
{
	struct wait *w = ctx;

	return w->c->closed || w->c->r->exited || w->c->last_serial >= w->serial ||
	       !vhu_session_pending(&w->c->oracle.session, w->serial);
}

static bool await_answer(struct vhu_conn *c, uint64_t serial, uint64_t deadline_ns)
{
	struct wait w = {.c = c, .serial = serial};

	return vhu_run_wait(c->r, answered, &w, deadline_ns, false) == 0;
}

static bool closed_or_gone(void *ctx)
{
	struct vhu_conn *c = ctx;

	return c->closed || c->r->exited;
}

static bool target_gone(void *ctx)
{
	struct vhu_run *r = ctx;

	return !vhu_target_running(r->e->target);
}

/* --- fences ---------------------------------------------------------------------------------------- */

/*
 * Which message proves that all before it was handled: one that is always answered, changes
 * nothing, and is not itself waited for already (its answer could not be told apart).
 */
static const struct vhu_msg_row *fence_row(const struct vhu_conn *c)
{
	const struct vhu_session *s = &c->oracle.session;
	bool taken = false;

	for (size_t i = 0; i < s->n_pending; i++)
		taken |= s->pending[i].request == VHU_ID_GET_FEATURES;
	if (taken && (s->features_offered & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)))
		return vhu_msg_row(VHU_MSG_GET_PROTOCOL_FEATURES);
	return vhu_msg_row(VHU_MSG_GET_FEATURES);
}

/* Sends one: its serial, or 0. Keeps the answer that is being watched for. */
static uint64_t send_fence(struct vhu_conn *c, const struct vhu_msg_row *row)
{
	struct vhu_frame f = {0};
	struct vhu_err err = {0};
	uint64_t serial;

	if (vhu_frame_request(&f, row->msg, &err) < 0) {
		vhu_run_broken(c->r, "%s", err.text);
		return 0;
	}
	serial = vhu_conn_send_aside(c, &f);
	vhu_frame_done(&f);
	return serial;
}

/* Tells that the answer did not come, as the oracle sees it and as the step does. */
static void tell_deadline(struct vhu_conn *c, const struct vhu_step *s, const char *accepted)
{
	struct vhu_obs obs = {.kind = VHU_OBS_DEADLINE};

	vhu_oracle_observe(&c->oracle, &obs);
	if (s->expect_given || !vhu_session_overdue(&c->oracle.session))
		vhu_run_unmet(c->r, s, VHU_FINDING_ROBUST, accepted, "no answer until the deadline");
	c->r->res->deadline = c->r->res->target_died = true;
	c->r->stop = true;
}

static void remember_close(struct vhu_conn *c, const struct vhu_step *s)
{
	/* A connection that was never served died of what the one before it did. */
	if (!c->heard && (c->r->closed || c->r->session_over))
		return;
	c->r->closed = true;
	c->r->closing = *s;
	c->r->closing_accepted = false;
}

/* Remembers where a connection ended, and whether the process did with it: that shows a moment later. */
void vhu_run_closed_at(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_run *r = c->r;

	remember_close(c, s);
	if (!vhu_target_spawned(r->e->target) || r->exited)
		return;
	/* One that takes nobody in after a session, or holds nothing any more, is on its way out. */
	if ((!c->heard && r->session_over) || vhu_target_fd_count(r->e->target) == 0)
		vhu_run_wait(r, target_gone, r, VHU_MIN(vhu_run_deadline(r, s), vhu_run_now(r) + leaving_ns),
			     false);
	else
		vhu_run_settle(r, vhu_run_settle_ns(r));
}

/*
 * A back-end that serves one at a time may turn away who comes before it has seen that the one before has
 * left. Who comes then is served.
 */
static bool turned_away(struct vhu_conn *c, const struct vhu_step *s)
{
	struct vhu_run *r = c->r;

	if (c->heard || !(r->session_over || r->session_before) || r->exited || r->turned_away)
		return false;
	r->turned_away = true;
	r->stop = false;
	if (!vhu_conn_open(r, c) || !vhu_conn_fence(c, s, NULL))
		return false;
	vhu_run_unmet(r, s, VHU_FINDING_QUIRK, "a connection that is served",
		      "one right behind another was turned away, the next one was served");
	return true;
}

/* The connection or the process ended where nothing allowed it. True: only this one did, and is made anew. */
static bool tell_closed(struct vhu_conn *c, const struct vhu_step *s, const char *accepted)
{
	bool told = c->close_told, first = !c->r->turned_away;

	c->close_told = c->r->stop = true;
	if (told)
		return false;
	vhu_run_closed_at(c, s);
	if (c->r->exited)
		return false;
	if (turned_away(c, s))
		return true;
	if (first && c->r->turned_away)
		return false; /* told of the second one */
	vhu_run_unmet(c->r, s, VHU_FINDING_ROBUST, accepted, "the back-end closed the connection%s%s",
		      c->closed_errno ? ": " : "", c->closed_errno ? strerror(c->closed_errno) : "");
	return false;
}

bool vhu_conn_fence(struct vhu_conn *c, const struct vhu_step *s, const struct vhu_msg_row *row)
{
	uint64_t start = vhu_now_ns(), serial;

	if (!vhu_conn_live(c)) {
		return tell_closed(c, s, "an open connection");
	}
	if (!row)
		row = fence_row(c);
	serial = send_fence(c, row);
	if (!serial)
		return false;
	if (!await_answer(c, serial, vhu_run_deadline(c->r, s))) {
		if (!c->r->stop)
			tell_deadline(c, s, "the answer to the fence");
		return false;
	}
	/* The first one may have waited for the program to start. */
	if (!c->r->e->rtt_ns || vhu_now_ns() - start < c->r->e->rtt_ns)
		c->r->e->rtt_ns = vhu_now_ns() - start;
	if (c->last_serial >= serial || !vhu_session_pending(&c->oracle.session, serial))
		return true;
	return tell_closed(c, s, "an open connection");
}

/* --- outcomes -------------------------------------------------------------------------------------- */

/* What an accept set means in this exchange: aliases resolved, the default filled in. */
static uint32_t resolve(const struct vhu_exchange *x, uint32_t set, bool given)
{
	bool asked = x->need_reply && (x->due == VHU_DUE_ACK || x->intended);

	if (!given) {
		if (x->due == VHU_DUE_REPLY)
			return VHU_OUT_REPLY;
		return x->due == VHU_DUE_ACK ? VHU_OUT_ACK : VHU_OUT_NONE;
	}
	if (set & VHU_OUT_ACCEPTS)
		set |= VHU_OUT_ACK |
		       (asked && vhu_session_reply_ack(&x->c->oracle.session) ? 0 : VHU_OUT_SILENT);
	if (set & VHU_OUT_REJECTS)
		set |= VHU_OUT_NACK | VHU_OUT_CLOSES |
		       (asked && vhu_session_reply_ack(&x->c->oracle.session) ? 0 : VHU_OUT_SILENT);
	return set & ~(uint32_t)(VHU_OUT_ACCEPTS | VHU_OUT_REJECTS);
}

/* A reply of its own that says what an acknowledgement says: 0 for success. */
static bool reply_is_verdict(const struct vhu_msg_row *row)
{
	return row->msg == VHU_MSG_IOTLB_MSG;
}

/* What the answer that came is. */
static uint32_t classify(const struct vhu_exchange *x)
{
	const struct vhu_frame *f = &x->c->answer;
	bool own = x->row && x->due != VHU_DUE_ACK &&
		   (x->due == VHU_DUE_REPLY ||
		    (x->row->answer != VHU_ANSWER_ON_NEED_REPLY && x->row->answer != VHU_ANSWER_NEVER));

	if (own && reply_is_verdict(x->row))
		return vhu_frame_u64(f, "u64") ? VHU_OUT_NACK : VHU_OUT_ACK | VHU_OUT_REPLY;
	/* A reply that may have either form, or none of its own: its size tells. */
	if (x->row && x->row->answer == VHU_ANSWER_ON_NEED_REPLY && x->row->reply_alt != x->row->reply &&
	    f->len > sizeof(uint64_t))
		own = true;
	if (own && x->row->reply == VHU_PL_NONE && x->row->answer == VHU_ANSWER_ALWAYS && f->len)
		own = false;
	if (own && !(x->intended && f->len == sizeof(uint64_t) && x->row->reply != VHU_PL_U64))
		return VHU_OUT_REPLY;
	return f->len >= sizeof(uint64_t) && vhu_ne_get(f->payload, sizeof(uint64_t)) ? VHU_OUT_NACK
										      : VHU_OUT_ACK;
}

/* Acknowledged with 0: whether the connection then ends after all, which is a refusal (and reported). */
static uint32_t after_zero(struct vhu_exchange *x, uint32_t accepted, uint32_t outcome)
{
	struct vhu_finding f;
	uint64_t serial;

	if ((accepted & outcome) || !(accepted & VHU_OUT_CLOSES))
		return outcome;
	serial = send_fence(x->c, fence_row(x->c));
	if (!serial)
		return 0;
	await_answer(x->c, serial, vhu_run_deadline(x->c->r, x->s));
	if (!x->c->closed)
		return outcome;
	vhu_finding_init(&f, VHU_REQ_REPLY_23, VHU_FINDING_QUIRK,
			 "a refusal is acknowledged with 0 before the connection closes");
	snprintf(f.accepted, sizeof(f.accepted), "a value other than 0\nthe end of the connection alone");
	snprintf(f.actual, sizeof(f.actual), "0, then the end of the connection");
	snprintf(f.where, sizeof(f.where), "%s", x->s->where);
	vhu_run_finding(x->c->r, &f);
	return VHU_OUT_CLOSES;
}

/* Whether it may be told by an answer alone, without a fence behind it. */
static bool answer_is_due(const struct vhu_exchange *x)
{
	/* What a capture says to come needs no proof that it might not. */
	if (x->c->r->plan->captured && x->s->expect_given)
		return x->s->expect & (VHU_OUT_REPLY | VHU_OUT_ACK | VHU_OUT_NACK);
	return x->due >= VHU_DUE_ACK && !x->intended;
}

/*
 * An answer to a request that was sent to confuse is not owed in any one form; one that need_reply
 * asked for, or that the row promises, comes before the fence does.
 */
static uint32_t observe_outcome(struct vhu_exchange *x, uint32_t accepted)
{
	struct vhu_conn *c = x->c;
	uint64_t deadline = vhu_run_deadline(c->r, x->s), serial = x->serial;
	bool in_time;

	if (accepted == VHU_OUT_CLOSES && (c->framing_lost || c->r->plan->captured)) {
		in_time = vhu_run_wait(c->r, closed_or_gone, c, deadline, false) == 0;
	} else {
		if (!answer_is_due(x) && !c->framing_lost) {
			serial = send_fence(c, fence_row(c));
			if (!serial)
				return 0;
		}
		in_time = await_answer(c, serial, deadline);
	}
	if (c->r->stop)
		return 0;
	/* Answered, and deaf from then on: the fence did not come through. */
	if (c->have_answer && !in_time && !c->closed && !c->r->exited)
		return 0;
	if (c->have_answer)
		return classify(x) & VHU_OUT_ACK ? after_zero(x, accepted, classify(x)) : classify(x);
	if (c->closed || c->r->exited)
		return VHU_OUT_CLOSES;
	if (!in_time)
		return 0;
	return answer_is_due(x) ? VHU_OUT_NONE : VHU_OUT_SILENT;
}

static bool matches(uint32_t outcome, uint32_t accepted)
{
	const uint32_t alive = VHU_OUT_REPLY | VHU_OUT_ACK | VHU_OUT_NACK | VHU_OUT_SILENT;

	return (accepted & outcome) || ((accepted & VHU_OUT_ALIVE) && (outcome & alive)) ||
	       (accepted == VHU_OUT_NONE && outcome != VHU_OUT_CLOSES);
}

static const char *describe_answer(const struct vhu_exchange *x, uint32_t outcome, char *buf, size_t cap)
{
	struct vhu_buf text = {0};

	if (x->c->have_answer) {
		vhu_frame_describe(&x->c->answer, x->c->r->plan->device, &text);
		snprintf(buf, cap, "%s", vhu_buf_text(&text));
		vhu_buf_done(&text);
	} else if (outcome == VHU_OUT_CLOSES) {
		snprintf(buf, cap, "the back-end closed the connection");
	} else {
		snprintf(buf, cap, "%s",
			 outcome == VHU_OUT_SILENT ? "no answer (the fence behind it was answered)"
						   : "an answer to another request");
	}
	return buf;
}

/* Default expectations are the protocol's own: a legal request is served. */
static enum vhu_req default_req(uint32_t outcome)
{
	return outcome == VHU_OUT_CLOSES ? VHU_REQ_REPLY_12 : VHU_REQ_REPLY_02;
}

static void tell_outcome(struct vhu_exchange *x, uint32_t outcome, uint32_t set, bool tolerated)
{
	struct vhu_run *r = x->c->r;
	struct vhu_step s = *x->s;
	char accepted[120], actual[400];
	enum vhu_finding_kind kind = outcome == VHU_OUT_CLOSES ? VHU_FINDING_ROBUST : VHU_FINDING_RULE;

	if (!s.expect_given)
		s.requirement = default_req(outcome);
	vhu_outcomes_describe(set, accepted, sizeof(accepted));
	describe_answer(x, outcome, actual, sizeof(actual));
	vhu_run_unmet(r, &s, tolerated ? VHU_FINDING_QUIRK : kind, accepted, "%s", actual);
	if (!tolerated)
		r->stop = true;
}

/* The end of the process, as the step wants it: fatal to the connection, and maybe to the case. */
static uint32_t settle_death(struct vhu_exchange *x)
{
	struct vhu_run *r = x->c->r;
	uint64_t deadline = vhu_run_deadline(r, x->s);

	if (vhu_run_wait(r, target_gone, r, deadline, false) == 0) {
		r->exited = false;
		r->death_wanted = true;
		return VHU_OUT_DEAD;
	}
	if (!r->stop)
		vhu_run_unmet(r, x->s, VHU_FINDING_RULE, "the end of the process", "it lives on");
	return 0;
}

/* A process without descriptors is on its way out: the next connection is for another. */
static void accept_close(struct vhu_exchange *x)
{
	struct vhu_run *r = x->c->r;

	r->closing_accepted = true;
	if (vhu_target_fd_count(r->e->target) == 0)
		vhu_run_wait(r, target_gone, r, vhu_run_deadline(r, x->s), false);
}

/* The end of the connection as an answer. False: what there is to tell has been told, or will be. */
static bool settle_close(struct vhu_exchange *x, uint32_t accepted, uint32_t borne)
{
	struct vhu_run *r = x->c->r;
	bool wanted = matches(VHU_OUT_CLOSES, accepted), exited;

	x->c->close_told = true;
	remember_close(x->c, x->s);
	if (wanted || matches(VHU_OUT_CLOSES, borne))
		accept_close(x);
	else
		vhu_run_closed_at(x->c, x->s);
	exited = r->exited;
	/* A death is told as one, once the step is over. */
	if (exited && (!vhu_run_exit_forgiven(r) || r->stop))
		return false;
	if (wanted || matches(VHU_OUT_CLOSES, borne))
		return true;
	/* It went with the session before: what was asked of it is lost, and no answer. */
	if (exited && !x->c->heard)
		r->stop = true;
	if (r->stop)
		return false;
	/* What was sent to the one that was turned away is lost. */
	if (turned_away(x->c, x->s))
		r->stop = true;
	return !r->stop;
}

uint32_t vhu_exchange_settle(struct vhu_exchange *x)
{
	struct vhu_run *r = x->c->r;
	uint32_t accepted = resolve(x, x->s->expect, x->s->expect_given);
	uint32_t tolerated = x->s->tolerate ? resolve(x, x->s->tolerate, true) : 0;
	uint32_t skipped = x->s->skip ? resolve(x, x->s->skip, true) : 0;
	uint32_t outcome;
	char text[120];

	if (accepted == VHU_OUT_DEAD)
		return settle_death(x);
	if (accepted == VHU_OUT_NONE && (x->s->expect_given || !answer_is_due(x)))
		return VHU_OUT_NONE;
	outcome = observe_outcome(x, accepted | tolerated | skipped);
	if (!outcome) {
		if (!r->stop)
			tell_deadline(x->c, x->s, vhu_outcomes_describe(accepted, text, sizeof(text)));
		return 0;
	}
	if (outcome == VHU_OUT_CLOSES && !settle_close(x, accepted, skipped | tolerated))
		return 0;
	if (!matches(outcome, accepted) && matches(outcome, skipped))
		vhu_run_skip(r, "%s: the rest of the case is about another answer", x->s->where);
	else if (!matches(outcome, accepted))
		tell_outcome(x, outcome, accepted, matches(outcome, tolerated));
	return r->stop ? 0 : outcome;
}
