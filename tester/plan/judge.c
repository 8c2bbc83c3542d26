/*
 * The dry run: every frame of ours that is known before the run is judged by the oracle, as it
 * is when it goes out. What is wrong has to be declared, what is declared has to be wrong.
 */
#include <errno.h>
#include <string.h>

#include "model.h"

static struct model_conn *conn_of(struct model *m, const struct vhu_step *s)
{
	return &m->conns[s->conn];
}

/* --- send, raw, recv ----------------------------------------------------------------------------- */

/* As the engine decides it. */
static bool asks_reply(const struct model *m, const struct model_conn *mc, const struct vhu_step *s)
{
	const uint32_t acknowledgements = VHU_OUT_ACK | VHU_OUT_NACK | VHU_OUT_ACCEPTS | VHU_OUT_REJECTS;

	if (s->send.need_reply != VHU_NR_PROFILE)
		return s->send.need_reply == VHU_NR_YES;
	if (s->send.row && s->send.row->msg == VHU_MSG_IOTLB_MSG)
		return true;
	if (!vhu_session_reply_ack(mc->s))
		return false;
	if (s->expect & acknowledgements)
		return true;
	if (!s->send.row || s->send.row->answer == VHU_ANSWER_ALWAYS)
		return false;
	return !s->breaks.set && !s->expect_given &&
	       vhu_profile_need_reply(m->c->plan->profile, s->send.row->msg);
}

/* Messages after which nothing can be said of a session if their values are not known. */
static bool decides_much(const struct vhu_msg_row *row)
{
	return row && (row->msg == VHU_MSG_SET_FEATURES || row->msg == VHU_MSG_SET_PROTOCOL_FEATURES ||
		       row->msg == VHU_MSG_SET_MEM_TABLE || row->msg == VHU_MSG_ADD_MEM_REG ||
		       row->msg == VHU_MSG_REM_MEM_REG);
}

static void model_send(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	struct vhu_moment moment = vhu_model_moment(m, mc);
	bool ask = asks_reply(m, mc, s), in_run;
	struct vhu_illegal list[ILLEGAL_MAX];
	struct vhu_frame f = {0};
	struct vhu_err err = {0};
	int r = vhu_send_build(&s->send, &moment, m->vals, m->none, ask, &f, &err);

	in_run = r == -ENODATA;
	if (in_run) {
		/* The facts stand in for what is saved; where they don't know it, the frame tells nothing. */
		r = vhu_send_build(&s->send, &moment, m->vals, m->known, ask, &f, &err);
		if (r == -ENODATA) {
			mc->vague |= decides_much(s->send.row);
			r = vhu_send_build(&s->send, &moment, m->vals, m->all, ask, &f, &err);
		}
	}
	if (r < 0) {
		m->failed |= r == -ENOMEM;
		/* With zeroes for what is not known a value may leave its range, and that means nothing. */
		if (!in_run && !m->failed)
			vhu_model_complain(m, "%s", err.text);
		return;
	}
	if (vhu_model_fds(m, &f, s->send.fds_given ? s->send.n_fds : vhu_moment_fds(&moment, &f)) &&
	    !mc->vague && !in_run)
		vhu_model_illegal(m, list, vhu_send_illegal(mc->s, &s->send, &f, list, ILLEGAL_MAX));
	if (!s->breaks.set && !m->n_illegal && !m->failed)
		vhu_model_apply(m, mc, &f);
	vhu_frame_done(&f);
}

static void half_a_message(struct model *m)
{
	static const struct vhu_illegal half = {.req = VHU_REQ_MAX,
						.malformed = VHU_MALFORMED_BYTES,
						.broken = VHU_REQ_HDR_04,
						.text = "the bytes end inside a message"};

	vhu_model_illegal(m, &half, 1);
}

static void model_raw(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	struct vhu_assembler a;
	struct vhu_frame f = {0};
	struct vhu_err err;
	size_t fds = s->raw.n_fds;

	/* Bytes that are no message may hold whole messages, too. */
	if (s->raw.channel != VHU_CHAN_MAIN ||
	    (s->breaks.req == VHU_REQ_MAX && s->breaks.malformed == VHU_MALFORMED_BYTES))
		return;
	vhu_assembler_init(&a, VHU_CHAN_MAIN, VHU_DIR_FE);
	m->failed |= vhu_assembler_feed(&a, s->raw.bytes, s->raw.n_bytes, NULL, 0, false, &err) < 0;
	while (!m->failed && vhu_assembler_next(&a, &f, &err) == 1) {
		if (vhu_model_fds(m, &f, fds))
			vhu_model_judge(m, mc, &f);
		fds = 0;
		vhu_frame_done(&f);
	}
	if (!m->failed && vhu_assembler_end(&a, &f, &err) == 1) {
		half_a_message(m);
		vhu_model_judge(m, mc, &f);
		vhu_frame_done(&f);
	}
	vhu_assembler_done(&a);
}

/* A request of the back-end came, and was answered unless the step leaves that to others. */
static void model_recv(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	struct vhu_frame f = {.channel = VHU_CHAN_BACKEND,
			      .dir = VHU_DIR_BE,
			      .request = s->recv.row->id,
			      .flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_NEED_REPLY};

	/* The graphics channel changes nothing in the session. */
	if (s->recv.row->channel == VHU_CHAN_GPU)
		return;
	vhu_session_apply(mc->s, &f, false);
	if (s->recv.answer == VHU_RECV_NONE)
		return;
	f.dir = VHU_DIR_FE;
	f.flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
	vhu_session_apply(mc->s, &f, false);
}

/* --- rings
 * ----------------------------------------------------------------------------------------------------- */

static void ring_start(struct model *m, struct model_conn *mc, const struct vhu_step *s)
{
	const struct vhu_plan *p = m->c->plan;
	struct vhu_script_opts o = {.profile = p->profile,
				    .device = p->device,
				    .features_offered = m->c->facts.features,
				    .features = mc->features,
				    .pfeatures = p->pfeatures,
				    .queues = p->queues,
				    .regions = p->layout.n_regions};
	struct vhu_moment moment = vhu_model_moment(m, mc);
	struct vhu_err err;
	uint64_t base;
	long n = vhu_script_ring(&o, s->ring.queue, m->items, SCRIPT_MAX, &err);

	m->failed |= n < 0;
	moment.queue = s->ring.queue;
	if (s->ring.base.n && vhu_value_eval(&s->ring.base.terms[0].value, NULL, NULL, &base) == 0)
		moment.base = (uint32_t)base;
	for (long i = 0; i < n; i++)
		vhu_model_message(m, mc, m->items[i].msg, &moment);
}

/* The guest gets a region, or loses one; false: not with this target. */
static bool model_memory_module(struct model *m, struct model_conn *mc, bool in)
{
	const struct compile *c = m->c;
	const size_t regions = c->plan->layout.n_regions + m->plugged,
		     max = vhu_session_pfeatures(mc->s) & VHU_P(CONFIGURE_MEM_SLOTS)
				   ? (size_t)c->facts.mem_slots
				   : VHU_C_MEM_TABLE_REGIONS;

	if (!in && !m->plugged) {
		vhu_model_complain(m, "nothing was plugged in that could be unplugged");
		return false;
	}
	if (in && regions >= max) {
		vhu_plan_skip(m->c, "%zu regions are all that the target takes: no memory is plugged in",
			      max);
		return false;
	}
	m->plugged += in ? 1 : (size_t)-1;
	return true;
}

static void model_phase(struct model *m, struct model_conn *mc, const struct vhu_step *s)
{
	const struct vhu_plan *p = m->c->plan;
	struct vhu_script_opts o = {
		.profile = p->profile,
		.device = p->device,
		.from = VHU_STATE_OWNED,
		.to = VHU_STATE_RUNNING,
		.features_offered = m->c->facts.features,
		.features = mc->features,
		.pfeatures = p->pfeatures,
		.queues = p->queues,
		.reconnected = true,
		.pairs = s->phase.pairs,
		.ready = s->phase.rings,
		.written = s->phase.value,
	};
	struct vhu_moment moment;
	struct vhu_err err;
	long n;

	if ((s->phase.phase == VHU_DO_PHASE_PLUG || s->phase.phase == VHU_DO_PHASE_UNPLUG) &&
	    !model_memory_module(m, mc, s->phase.phase == VHU_DO_PHASE_PLUG))
		return;
	if (s->phase.phase == VHU_DO_PHASE_LOG_ON || s->phase.phase == VHU_DO_PHASE_LOG_OFF)
		mc->logging = s->phase.phase == VHU_DO_PHASE_LOG_ON;
	o.logging = mc->logging;
	o.postcopy = mc->s->postcopy_listening;
	vhu_script_regions(&o, s->phase.phase, mc->s, p->layout.n_regions + m->plugged);
	moment = vhu_model_moment(m, mc);
	n = vhu_phase_script(s->phase.phase, &o, m->items, SCRIPT_MAX, &err);
	m->failed |= n < 0;
	for (long i = 0; i < n; i++)
		vhu_model_item(m, mc, &m->items[i], &moment);
}

static void ring_enable(struct model *m, struct model_conn *mc, const struct vhu_step *s)
{
	const struct vhu_assign with[] = {
		{.field = "index", .value = {&(struct vhu_term){.u = s->ring.queue}, 1}},
		{.field = "num", .value = {&(struct vhu_term){.u = s->ring.op == VHU_RING_ENABLE}, 1}},
	};
	struct vhu_step step = *s;

	step.send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_SET_VRING_ENABLE),
					   .with = with,
					   .n_with = VHU_ARRAY_SIZE(with),
					   .reply_fds = -1};
	model_send(m, &step);
}

static void model_ring(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	struct vhu_moment moment = vhu_model_moment(m, mc);

	switch (s->ring.op) {
	case VHU_RING_START:
		ring_start(m, mc, s);
		break;
	case VHU_RING_STOP:
		moment.queue = s->ring.queue;
		vhu_model_message(m, mc, VHU_MSG_GET_VRING_BASE, &moment);
		break;
	case VHU_RING_ENABLE:
	case VHU_RING_DISABLE:
		ring_enable(m, mc, s);
		break;
	case VHU_RING_KICK:
	case VHU_RING_POKE:
	case VHU_RING_CHECK:
	case VHU_RING_FLIP:
		break;
	}
}

/* --- memory, log, inflight
 * ---------------------------------------------------------------------------------------- */

static void region_message(struct model *m, struct model_conn *mc, const struct vhu_step *s, enum vhu_msg msg,
			   size_t region)
{
	struct vhu_moment moment = vhu_model_moment(m, mc);
	struct vhu_step_send send = {.row = vhu_msg_row(msg),
				     .regions = s->memory.regions,
				     .n_regions = s->memory.n_regions,
				     .regions_given = s->memory.n_regions > 0,
				     .reply_fds = -1};
	struct vhu_frame f = {0};
	struct vhu_err err = {0};
	size_t before = m->n_illegal;
	int r;

	moment.region = region;
	r = vhu_send_build(&send, &moment, m->vals, m->none, false, &f, &err);
	if (r == -ENODATA) {
		mc->vague = true;
		return;
	}
	m->failed |= r == -ENOMEM;
	if (r < 0) {
		vhu_model_complain(m, "%s", err.text);
		return;
	}
	if (vhu_model_fds(m, &f, vhu_moment_fds(&moment, &f)))
		vhu_model_judge(m, mc, &f);
	if (m->n_illegal == before && !m->failed)
		vhu_model_apply(m, mc, &f);
	vhu_frame_done(&f);
}

static void map_all(struct model *m, struct model_conn *mc, const struct vhu_step *s)
{
	size_t n = m->c->plan->layout.n_regions;

	if (s->memory.n_regions || n <= VHU_C_MEM_TABLE_REGIONS) {
		region_message(m, mc, s, VHU_MSG_SET_MEM_TABLE, 0);
		return;
	}
	for (size_t i = 0; i < n; i++)
		region_message(m, mc, s, VHU_MSG_ADD_MEM_REG, i);
}

static void model_memory(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	size_t first = m->c->plan->layout.n_regions;

	switch (s->memory.op) {
	case VHU_MEMORY_MAP:
		map_all(m, mc, s);
		break;
	case VHU_MEMORY_ADD:
		region_message(m, mc, s, VHU_MSG_ADD_MEM_REG, first + mc->added++);
		break;
	case VHU_MEMORY_REMOVE:
		if (!s->memory.n_regions && !mc->added)
			vhu_model_complain(m,
					   "'remove' takes away the region added last, and none was added");
		else
			region_message(m, mc, s, VHU_MSG_REM_MEM_REG,
				       first + (s->memory.n_regions ? mc->added : --mc->added));
		break;
	case VHU_MEMORY_FILL:
	case VHU_MEMORY_CHECK:
	case VHU_MEMORY_FAULTED:
		break;
	}
}

static bool chosen(const struct vhu_step_log *l, unsigned queue)
{
	for (size_t i = 0; i < l->n_queues; i++)
		if (l->queues[i] == queue)
			return true;
	return l->n_queues == 0;
}

static void model_log(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	struct vhu_moment moment;

	if (s->log.op != VHU_LOG_START && s->log.op != VHU_LOG_STOP)
		return;
	mc->logging = s->log.op == VHU_LOG_START;
	moment = vhu_model_moment(m, mc);
	if (mc->logging)
		vhu_model_message(m, mc, VHU_MSG_SET_LOG_BASE, &moment);
	vhu_model_message(m, mc, VHU_MSG_SET_FEATURES, &moment);
	for (unsigned q = 0; q < m->c->plan->layout.n_rings; q++) {
		moment.queue = q;
		if (chosen(&s->log, q) && mc->s->ring[q].started)
			vhu_model_message(m, mc, VHU_MSG_SET_VRING_ADDR, &moment);
	}
}

static void model_inflight(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);
	struct vhu_moment moment = vhu_model_moment(m, mc);
	uint64_t queues = moment.inflight_queues, size = moment.inflight_queue_size;

	if (s->inflight.op == VHU_INFLIGHT_SET)
		vhu_model_message(m, mc, VHU_MSG_SET_INFLIGHT_FD, &moment);
	if (s->inflight.op != VHU_INFLIGHT_GET)
		return;
	if ((s->inflight.queues.n && vhu_value_eval(&s->inflight.queues, m->vals, m->known, &queues) < 0) ||
	    (s->inflight.queue_size.n &&
	     vhu_value_eval(&s->inflight.queue_size, m->vals, m->known, &size) < 0))
		return;
	if (queues > UINT16_MAX || size > UINT16_MAX) {
		vhu_model_complain(m, "%llu queues of %llu do not fit GET_INFLIGHT_FD",
				   (unsigned long long)queues, (unsigned long long)size);
		return;
	}
	/* 0 in a moment is "as usual"; here it would be the step's own. */
	moment.inflight_queues = (uint16_t)queues;
	moment.inflight_queue_size = (uint16_t)size;
	vhu_model_message(m, mc, VHU_MSG_GET_INFLIGHT_FD, &moment);
	m->inflight_size = VHU_C_LOG_PAGE;
}

/* --- connections
 * ------------------------------------------------------------------------------------------------------ */

static void model_reconnect(struct model *m, const struct vhu_step *s)
{
	struct model_conn *mc = conn_of(m, s);

	if (s->reconnect.features_given)
		mc->features = s->reconnect.features;
	mc->logging &= m->c->plan->own_persona && (s->reconnect.keep & VHU_KEEP_LOG);
	vhu_model_open(m, mc, s->reconnect.state, s->reconnect.profile, s->reconnect.no_status);
}

static void model_target(struct model *m, const struct vhu_step *s)
{
	switch (s->target.op) {
	case VHU_TARGET_KILL:
	case VHU_TARGET_RESTART:
	case VHU_TARGET_AWAIT_EXIT:
		vhu_model_close_all(m);
		break;
	case VHU_TARGET_STOP:
	case VHU_TARGET_CONTINUE:
	case VHU_TARGET_IDLE:
	case VHU_TARGET_GROW:
		break;
	}
}

static void model_fence(struct model *m, const struct vhu_step *s)
{
	struct vhu_moment moment = vhu_model_moment(m, conn_of(m, s));

	vhu_model_message(m, conn_of(m, s), s->fence.row ? s->fence.row->msg : VHU_MSG_GET_FEATURES, &moment);
}

static void walk(struct model *m, const struct vhu_step *s)
{
	if (s->verb == VHU_VERB_CONNECT || s->verb == VHU_VERB_RECONNECT) {
		model_reconnect(m, s);
		return;
	}
	if (s->verb == VHU_VERB_TARGET) {
		model_target(m, s);
		return;
	}
	if (s->verb == VHU_VERB_PROGRAM) {
		vhu_model_close_all(m);
		return;
	}
	if (!conn_of(m, s)->open)
		return;
	switch (s->verb) {
	case VHU_VERB_SEND:
		model_send(m, s);
		break;
	case VHU_VERB_RAW:
		model_raw(m, s);
		break;
	case VHU_VERB_RECV:
		model_recv(m, s);
		break;
	case VHU_VERB_FENCE:
		model_fence(m, s);
		break;
	case VHU_VERB_CLOSE:
		conn_of(m, s)->open = !s->close.main;
		break;
	case VHU_VERB_RING:
		model_ring(m, s);
		break;
	case VHU_VERB_MEMORY:
		model_memory(m, s);
		break;
	case VHU_VERB_LOG:
		model_log(m, s);
		break;
	case VHU_VERB_INFLIGHT:
		model_inflight(m, s);
		break;
	case VHU_VERB_PHASE:
		model_phase(m, &m->conns[s->conn], s);
		break;
	case VHU_VERB_RECORDED: /* a case file has none */
	case VHU_VERB_ANSWER:
	case VHU_VERB_END:
	case VHU_VERB_FILL:
	case VHU_VERB_SIGNAL:
	case VHU_VERB_OFFER:
	case VHU_VERB_USED:
	case VHU_VERB_CONNECT:
	case VHU_VERB_RECONNECT:
	case VHU_VERB_TARGET:
	case VHU_VERB_PROGRAM:
	case VHU_VERB_IOTLB: /* legal by what its keys take, and judged when it goes out */
	case VHU_VERB_IO:
	case VHU_VERB_CHAIN:
	case VHU_VERB_FRAMES:
	case VHU_VERB_AWAIT:
	case VHU_VERB_STATE:
	case VHU_VERB_ASSERT:
	case VHU_VERB_NOTE:
	case VHU_VERB_MAX:
		break;
	}
}

void vhu_plan_judge(struct compile *c)
{
	struct model m;

	if (vhu_model_init(&m, c) < 0)
		m.failed = true;
	for (size_t i = 0; !m.failed && i < c->n_conns; i++)
		m.conns[i].features = c->plan->features;
	if (!m.failed)
		vhu_model_open(&m, &m.conns[0], c->plan->start, NULL, false);
	for (size_t i = 0; !m.failed && i < c->n_steps; i++) {
		m.step = &c->steps[i];
		m.judged = false;
		m.n_illegal = 0;
		walk(&m, m.step);
		vhu_model_verdict(&m);
	}
	c->oom |= m.failed;
	vhu_model_done(&m);
}
