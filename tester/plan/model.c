/* Sessions of thought: frames are applied, and answered with what the facts say. */
#include "model.h"

#include <string.h>

int vhu_model_init(struct model *m, struct compile *c)
{
	size_t vars = VHU_MAX(c->n_vars, (size_t)1);

	*m = (struct model){.c = c};
	m->conns = calloc(VHU_MAX(c->n_conns, (size_t)1), sizeof(*m->conns));
	m->vals = calloc(vars, sizeof(*m->vals));
	m->known = calloc(vars, sizeof(*m->known));
	m->all = malloc(vars * sizeof(*m->all));
	m->none = calloc(vars, sizeof(*m->none));
	m->items = calloc(SCRIPT_MAX, sizeof(*m->items));
	if (!m->conns || !m->vals || !m->known || !m->all || !m->none || !m->items)
		return -1;
	memset(m->all, true, vars * sizeof(*m->all));
	return 0;
}

void vhu_model_done(struct model *m)
{
	for (size_t i = 0; m->conns && i < m->c->n_conns; i++)
		free(m->conns[i].s);
	free(m->conns);
	free(m->vals);
	free(m->known);
	free(m->all);
	free(m->none);
	free(m->items);
}

struct vhu_moment vhu_model_moment(struct model *m, struct model_conn *mc)
{
	const struct vhu_plan *p = m->c->plan;

	return (struct vhu_moment){
		.layout = &p->layout,
		.session = mc->s,
		.features = mc->features,
		.pfeatures = p->pfeatures,
		.plugged = m->plugged,
		.logging = mc->logging,
		.inflight_size = m->inflight_size,
		.inflight_queues = (uint16_t)p->queues,
		.inflight_queue_size = p->queue_size,
		.config_size = m->c->facts.config_size,
		.status = VHU_C_STATUS_ACKNOWLEDGE,
	};
}

bool vhu_model_fds(struct model *m, struct vhu_frame *f, size_t n)
{
	struct vhu_err err;

	for (size_t i = 0; i < n; i++) {
		if (vhu_frame_give_fd(f, -1, &err) == 0)
			continue;
		m->failed = true;
		return false;
	}
	return true;
}

/* --- answers ------------------------------------------------------------------------------------- */

static bool fact_of(const struct vhu_facts *f, enum vhu_msg msg, uint64_t *ret)
{
	switch ((int)msg) {
	case VHU_MSG_GET_FEATURES:
		*ret = f->features;
		return true;
	case VHU_MSG_GET_PROTOCOL_FEATURES:
		*ret = f->pfeatures;
		return true;
	case VHU_MSG_GET_QUEUE_NUM:
		*ret = f->queue_num;
		return true;
	case VHU_MSG_GET_MAX_MEM_SLOTS:
		*ret = f->mem_slots;
		return true;
	default:
		return false;
	}
}

static void save_fact(struct model *m, uint64_t value)
{
	const struct vhu_step *s = m->step;

	for (size_t i = 0; s && s->verb == VHU_VERB_SEND && i < s->send.n_save; i++) {
		m->vals[s->send.save[i].var] = value;
		m->known[s->send.save[i].var] = true;
	}
}

static void answer(struct model *m, struct model_conn *mc, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	struct vhu_frame reply = {.channel = VHU_CHAN_MAIN,
				  .dir = VHU_DIR_BE,
				  .request = f->request,
				  .flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY};
	struct vhu_err err;
	uint64_t value;

	if (row && fact_of(&m->c->facts, row->msg, &value)) {
		m->failed |= vhu_frame_resize(&reply, vhu_payload_row(row->reply)->min, &err) < 0 ||
			     vhu_frame_set(&reply, row->reply, "u64", value) < 0;
		if (!m->failed)
			vhu_session_apply(mc->s, &reply, false);
		save_fact(m, value);
	}
	vhu_frame_done(&reply);
	/* Of all others only that they came matters. */
	mc->s->n_pending = 0;
}

void vhu_model_apply(struct model *m, struct model_conn *mc, const struct vhu_frame *f)
{
	vhu_session_apply(mc->s, f, false);
	if (f->channel == VHU_CHAN_MAIN)
		answer(m, mc, f);
}

/* --- frames -------------------------------------------------------------------------------------- */

void vhu_model_illegal(struct model *m, const struct vhu_illegal *list, size_t n)
{
	m->judged = true;
	for (size_t i = 0; i < n && m->n_illegal < ILLEGAL_MAX; i++)
		m->illegal[m->n_illegal++] = list[i];
}

void vhu_model_judge(struct model *m, struct model_conn *mc, const struct vhu_frame *f)
{
	struct vhu_illegal list[ILLEGAL_MAX];

	if (!mc->vague)
		vhu_model_illegal(m, list, vhu_oracle_illegal(mc->s, f, list, ILLEGAL_MAX));
}

static bool make(struct model *m, enum vhu_msg msg, const struct vhu_moment *moment, bool need_reply,
		 struct vhu_frame *ret)
{
	struct vhu_err err;

	if (vhu_frame_request(ret, msg, &err) < 0 || vhu_moment_fill(moment, ret, &err) < 0) {
		m->failed = true;
		return false;
	}
	if (need_reply && vhu_session_reply_ack(moment->session))
		ret->flags |= VHU_C_HEADER_NEED_REPLY;
	return vhu_model_fds(m, ret, vhu_moment_fds(moment, ret));
}

static void say(struct model *m, struct model_conn *mc, enum vhu_msg msg, const struct vhu_moment *moment,
		bool need_reply)
{
	struct vhu_frame f = {0};
	size_t before = m->n_illegal;

	if (make(m, msg, moment, need_reply, &f)) {
		vhu_model_judge(m, mc, &f);
		/* What is wrong on purpose changes nothing. */
		if (m->n_illegal == before)
			vhu_model_apply(m, mc, &f);
	}
	vhu_frame_done(&f);
}

void vhu_model_message(struct model *m, struct model_conn *mc, enum vhu_msg msg,
		       const struct vhu_moment *moment)
{
	say(m, mc, msg, moment, vhu_profile_need_reply(m->c->plan->profile, msg));
}

void vhu_model_item(struct model *m, struct model_conn *mc, const struct vhu_script_item *item,
		    struct vhu_moment *moment)
{
	vhu_moment_take(moment, item);
	say(m, mc, item->msg, moment, item->need_reply);
}

/* --- connections
 * ----------------------------------------------------------------------------------------------- */

static void run_script(struct model *m, struct model_conn *mc, size_t n)
{
	struct vhu_moment moment = vhu_model_moment(m, mc);

	for (size_t i = 0; i < n && !m->failed; i++) {
		struct vhu_frame f = {0};

		vhu_moment_take(&moment, &m->items[i]);
		if (make(m, m->items[i].msg, &moment, m->items[i].need_reply, &f))
			vhu_model_apply(m, mc, &f);
		vhu_frame_done(&f);
	}
}

void vhu_model_open(struct model *m, struct model_conn *mc, enum vhu_state to, const char *profile,
		    bool no_status)
{
	const struct vhu_plan *p = m->c->plan;
	struct vhu_script_opts o = {
		.profile = profile ? profile : p->profile,
		.device = p->device,
		.from = VHU_STATE_CONNECTED,
		.to = to,
		.features_offered = m->c->facts.features,
		.features = mc->features,
		.pfeatures = p->pfeatures,
		.queues = p->queues,
		.regions = p->layout.n_regions,
		.no_status = no_status,
	};
	const struct vhu_step *step = m->step;
	struct vhu_err err;
	long n;

	if (!mc->s)
		mc->s = malloc(sizeof(*mc->s));
	n = vhu_script(&o, m->items, SCRIPT_MAX, &err);
	if (!mc->s || n < 0) {
		m->failed = true;
		return;
	}
	vhu_session_init(mc->s, m->c->facts.device, m->c->facts.queues);
	mc->open = true;
	mc->vague = false;
	mc->added = 0;
	m->step = NULL;
	run_script(m, mc, (size_t)n);
	m->step = step;
}

void vhu_model_close_all(struct model *m)
{
	for (size_t i = 0; i < m->c->n_conns; i++)
		m->conns[i].open = false;
}
