#include "oracle/oracle.h"

#include <stdio.h>
#include <string.h>

#include "internal.h"

void vhu_oracle_init(struct vhu_oracle *o, enum vhu_device device, unsigned queues,
		     void (*found)(void *ctx, const struct vhu_finding *f), void *ctx)
{
	vhu_session_init(&o->session, device, queues);
	vhu_oracle_tell(o, found, ctx);
}

void vhu_oracle_tell(struct vhu_oracle *o, void (*found)(void *ctx, const struct vhu_finding *f), void *ctx)
{
	o->partial = false;
	o->found = found;
	o->ctx = ctx;
}

static void report(struct vhu_oracle *o, struct vhu_finding *f, const struct vhu_judgement *j)
{
	if (o->partial && !vhu_finding_stands_alone(f->req))
		return;
	snprintf(f->accepted, sizeof(f->accepted), "%s", j->accepted);
	snprintf(f->actual, sizeof(f->actual), "%s", j->actual);
	if (j->f)
		vhu_finding_frame(f, j->f, o->session.device);
	o->found(o->ctx, f);
}

/* Whether the row's preconditions hold in what was negotiated. */
static bool applies(const struct vhu_session *s, enum vhu_req req)
{
	const struct vhu_req_row *row = vhu_req_row(req);
	uint64_t v = vhu_session_features(s), p = vhu_session_pfeatures(s);

	return (v & row->v_on) == row->v_on && (p & row->p_on) == row->p_on && !(v & row->v_off) &&
	       !(p & row->p_off) && (!row->v_any || (v & row->v_any));
}

static void judge(struct vhu_oracle *o, const struct vhu_rule *rules, struct vhu_judgement *j)
{
	for (const struct vhu_rule *r = rules; r->broken; r++) {
		struct vhu_finding f;

		if (r->msg >= 0 && (!j->row || (int)j->row->msg != r->msg))
			continue;
		if (!r->broken(j) || !applies(j->s, r->req))
			continue;
		vhu_finding_init(&f, r->req, r->kind, "%s", r->summary);
		report(o, &f, j);
	}
}

/* The rules of the frame's message, in lists by message. */
static void judge_message(struct vhu_oracle *o, const struct vhu_rule *const rules[], struct vhu_judgement *j)
{
	if (j->row && rules[j->row->msg])
		judge(o, rules[j->row->msg], j);
}

/* --- which request a reply answers --------------------------------------------------------------- */

enum vhu_req vhu_answer_req(const struct vhu_pending *p)
{
	if (p->due == VHU_DUE_ACK || !p->row)
		return VHU_REQ_REPLY_01;
	switch ((int)p->row->msg) {
	case VHU_MSG_GET_FEATURES:
	case VHU_MSG_GET_PROTOCOL_FEATURES:
	case VHU_MSG_GET_VRING_BASE:
		return VHU_REQ_REPLY_05;
	case VHU_MSG_SET_LOG_BASE:
		return VHU_REQ_REPLY_06;
	case VHU_MSG_GET_INFLIGHT_FD:
		return VHU_REQ_REPLY_07;
	default:
		return VHU_REQ_REPLY_08;
	}
}

static const char *pending_name(const struct vhu_pending *p, char *buf, size_t cap)
{
	if (p->row)
		return p->row->name;
	snprintf(buf, cap, "request %u", p->request);
	return buf;
}

static unsigned acks_due(const struct vhu_session *s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s->n_pending; i++)
		n += s->pending[i].due == VHU_DUE_ACK;
	return n;
}

static void tell_passed_over(struct vhu_oracle *o, const struct vhu_frame *f, const struct vhu_pending *p,
			     enum vhu_req req)
{
	struct vhu_judgement j = {.s = &o->session, .f = f};
	struct vhu_finding finding;
	char name[32];

	vhu_finding_init(&finding, req, VHU_FINDING_RULE, "%s was not answered",
			 pending_name(p, name, sizeof(name)));
	vhu_differs(&j, p->due == VHU_DUE_ACK ? "its acknowledgement" : "its reply",
		    "the answer to a later request");
	report(o, &finding, &j);
}

/* Requests that had to be answered and were passed over by a later reply. */
static void judge_passed_over(struct vhu_oracle *o, const struct vhu_frame *f, int match)
{
	for (int i = 0; i < match; i++) {
		const struct vhu_pending *p = &o->session.pending[i];

		if (p->due < VHU_DUE_ACK || p->intended)
			continue;
		tell_passed_over(o, f, p, vhu_answer_req(p));
		if (p->due == VHU_DUE_ACK && acks_due(&o->session) > 1)
			tell_passed_over(o, f, p, VHU_REQ_REPLY_25);
	}
}

static bool in_ring(const uint32_t *ids, size_t n, uint32_t id)
{
	for (size_t i = 0; i < VHU_MIN(n, (size_t)VHU_SESSION_QUIET); i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* Why a frame that answers nothing is wrong: which rule it breaks. */
static enum vhu_req unasked_req(const struct vhu_session *s, const struct vhu_frame *f)
{
	const struct vhu_pending *last = &s->answered;

	if (!(f->flags & VHU_C_HEADER_REPLY) && s->backend_channel &&
	    vhu_msg_by_id(VHU_CHAN_BACKEND, f->request))
		return VHU_REQ_BACKENDREQ_04;
	if (last->serial && last->request == f->request && f->request == VHU_ID_POSTCOPY_LISTEN)
		return VHU_REQ_POSTCOPY_15;
	if (s->postcopy_ended && f->request == VHU_ID_SET_MEM_TABLE)
		return VHU_REQ_POSTCOPY_18;
	if (in_ring(s->missed, s->n_missed, f->request))
		return VHU_REQ_HDR_36;
	if (in_ring(s->quiet, s->n_quiet, f->request))
		return VHU_REQ_HDR_37;
	/* Answered twice; or, if it asked for no more and another waits, that one under a wrong id. */
	if (last->serial && last->request == f->request && (last->need_reply || !vhu_session_overdue(s))) {
		if (last->row && last->row->msg == VHU_MSG_SET_PROTOCOL_FEATURES)
			return VHU_REQ_PROTO_19;
		if (last->due == VHU_DUE_MAYBE && last->need_reply)
			return VHU_REQ_REPLY_13;
		return last->due == VHU_DUE_REPLY ? VHU_REQ_REPLY_04 : VHU_REQ_HDR_37;
	}
	return s->n_pending ? VHU_REQ_HDR_05 : VHU_REQ_HDR_37;
}

static void judge_unasked(struct vhu_oracle *o, const struct vhu_frame *f)
{
	struct vhu_session *s = &o->session;
	const struct vhu_pending *due = vhu_session_overdue(s);
	struct vhu_judgement j = {.s = s, .f = f};
	enum vhu_req req = unasked_req(s, f);
	struct vhu_finding finding;
	char name[32];

	/* Any answer to bytes that were sent to confuse the back-end is its own affair. */
	if (s->tainted && !due)
		return;
	vhu_finding_init(&finding, req, VHU_FINDING_RULE, "an answer came that no request asked for");
	if (due)
		vhu_differs(&j, pending_name(due, name, sizeof(name)), "request id %u", f->request);
	else
		vhu_differs(&j, "no message", "request id %u", f->request);
	report(o, &finding, &j);
	/* It stands for the answer that was due, so that the session goes on. */
	if (req == VHU_REQ_HDR_05 && due) {
		size_t i = (size_t)(due - s->pending);

		memmove(&s->pending[i], &s->pending[i + 1], (s->n_pending - i - 1) * sizeof(*s->pending));
		s->n_pending--;
	}
}

/* --- observations -------------------------------------------------------------------------------- */

/* The texts are empty, without clearing all of them: checks are many, and few have something to say. */
static void judgement_init(struct vhu_judgement *j, const struct vhu_oracle *o, const struct vhu_frame *f)
{
	j->s = &o->session;
	j->f = f;
	j->row = vhu_frame_row(f);
	j->to = NULL;
	j->accepted[0] = j->actual[0] = '\0';
}

static void observe_reply(struct vhu_oracle *o, const struct vhu_frame *f)
{
	struct vhu_judgement j;
	int match = f->defects ? -1 : vhu_session_match(&o->session, f);

	judgement_init(&j, o, f);
	if (match >= 0) {
		j.to = &o->session.pending[match];
		judge_passed_over(o, f, match);
	}
	judge(o, vhu_rules_form, &j);
	if (f->defects)
		return;
	if (match < 0) {
		judge_unasked(o, f);
		return;
	}
	judge_message(o, vhu_rules_of_answer, &j);
	if (j.to->intended)
		return;
	judge(o, vhu_rules_reply, &j);
	judge_message(o, vhu_rules_of_reply, &j);
}

static void observe_illegal(struct vhu_oracle *o, const struct vhu_frame *f)
{
	struct vhu_illegal illegal[8];
	size_t n = vhu_oracle_illegal(&o->session, f, illegal, VHU_ARRAY_SIZE(illegal));

	for (size_t i = 0; i < n; i++) {
		struct vhu_judgement j = {.s = &o->session, .f = f};
		struct vhu_finding finding;

		if (illegal[i].broken == VHU_REQ_MAX)
			continue;
		vhu_finding_init(&finding, illegal[i].broken, VHU_FINDING_RULE, "%s", illegal[i].text);
		finding.front = true;
		report(o, &finding, &j);
	}
}

static uint64_t observe_frame(struct vhu_oracle *o, const struct vhu_obs *obs)
{
	const struct vhu_frame *f = obs->frame;

	/* The display's channel has rules of its own. */
	if (f->channel == VHU_CHAN_GPU)
		return 0;
	if (f->dir == VHU_DIR_FE && !obs->intended)
		observe_illegal(o, f);
	else if (f->dir == VHU_DIR_BE && f->channel == VHU_CHAN_MAIN)
		observe_reply(o, f);
	else if (f->dir == VHU_DIR_BE && f->channel == VHU_CHAN_BACKEND) {
		struct vhu_judgement j;

		judgement_init(&j, o, f);
		judge(o, vhu_rules_backend, &j);
	}
	if (f->defects)
		return 0;
	return vhu_session_apply(&o->session, f, obs->intended);
}

/* The connection ended while an answer to a legal request was due. */
static void observe_eof(struct vhu_oracle *o, const struct vhu_obs *obs)
{
	const struct vhu_pending *p = vhu_session_overdue(&o->session);
	struct vhu_judgement j = {.s = &o->session};
	struct vhu_finding f;
	char name[32];

	if (obs->channel != VHU_CHAN_MAIN || obs->expected || !p || o->session.tainted)
		return;
	vhu_finding_init(&f, VHU_REQ_REPLY_12, VHU_FINDING_ROBUST,
			 "the back-end closed the connection instead of answering %s",
			 pending_name(p, name, sizeof(name)));
	vhu_differs(&j, "an answer", "the end of the connection");
	report(o, &f, &j);
}

static void observe_exit(struct vhu_oracle *o, const struct vhu_obs *obs)
{
	struct vhu_judgement j = {.s = &o->session};
	struct vhu_finding f;

	vhu_finding_init(&f, VHU_REQ_PROG_16, VHU_FINDING_ROBUST, "the back-end's process ended");
	vhu_differs(&j, "a process that serves the next connection", "%s", obs->text);
	report(o, &f, &j);
}

static void observe_deadline(struct vhu_oracle *o, const struct vhu_obs *obs)
{
	const struct vhu_pending *p = vhu_session_overdue(&o->session);
	struct vhu_judgement j = {.s = &o->session};
	struct vhu_finding f;
	char name[32];

	if (!p)
		return;
	vhu_finding_init(&f, vhu_answer_req(p), VHU_FINDING_ROBUST, "%s was not answered in time",
			 pending_name(p, name, sizeof(name)));
	vhu_differs(&j, p->due == VHU_DUE_ACK ? "its acknowledgement" : "its reply",
		    "nothing until the deadline");
	report(o, &f, &j);
}

/* Breaches that harm nobody by themselves: a wrong count, a call too few. */
static bool harmless(enum vhu_breach b)
{
	return b == VHU_BREACH_USED_LEN_SHORT || b == VHU_BREACH_BLK_ID_FORM ||
	       b == VHU_BREACH_BLK_FAILED_LEN || b == VHU_BREACH_PACKED_WRITE_FLAG ||
	       b == VHU_BREACH_PACKED_DEVICE_EVENT;
}

/* Memory that no descriptor gave to the device, whatever the driver did to its ring. */
static bool out_of_bounds(enum vhu_breach b, bool packed)
{
	return b == VHU_BREACH_WROTE_OUTSIDE || b == VHU_BREACH_WROTE_READABLE ||
	       b == VHU_BREACH_WROTE_AVAIL || (b == VHU_BREACH_WROTE_DESC && !packed);
}

/*
 * What a device does with a ring that was spoilt on purpose is told, not judged; it has to survive, and to
 * keep to the memory that it was given.
 */
static enum vhu_finding_kind breach_kind(const struct vhu_obs *obs, bool packed)
{
	if (obs->intended && !out_of_bounds(obs->breach, packed))
		return VHU_FINDING_QUIRK;
	/*
	 * Without MRG_RXBUF num_buffers was new with VERSION_1, and is often left as it is. That DATA_VALID
	 * needs GUEST_CSUM is held to be an error of the text by those who write it.
	 */
	if (obs->breach == VHU_BREACH_NET_NUM_BUFFERS_ONE || obs->breach == VHU_BREACH_NET_DATA_VALID)
		return VHU_FINDING_QUIRK;
	return harmless(obs->breach) ? VHU_FINDING_RULE : VHU_FINDING_ROBUST;
}

static void observe_breach(struct vhu_oracle *o, const struct vhu_obs *obs)
{
	const struct vhu_breach_row *row = vhu_breach_row(obs->breach);
	bool packed = vhu_session_packed(&o->session);
	enum vhu_req req = vhu_breach_req(obs->breach, packed);
	struct vhu_judgement j = {.s = &o->session};
	struct vhu_finding f;

	vhu_finding_init(&f, req, breach_kind(obs, packed), "%s", row->summary);
	vhu_differs(&j, vhu_req_row(req)->text, "%s", obs->text);
	report(o, &f, &j);
}

uint64_t vhu_oracle_observe(struct vhu_oracle *o, const struct vhu_obs *obs)
{
	switch (obs->kind) {
	case VHU_OBS_FRAME:
		return observe_frame(o, obs);
	case VHU_OBS_EOF:
		observe_eof(o, obs);
		break;
	case VHU_OBS_EXIT:
		observe_exit(o, obs);
		break;
	case VHU_OBS_BREACH:
		observe_breach(o, obs);
		break;
	case VHU_OBS_DEADLINE:
		observe_deadline(o, obs);
		break;
	}
	return 0;
}
