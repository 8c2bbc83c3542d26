/* Phases of a device's life, by the script of a persona, and what goes with their messages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { SCRIPT_MAX = 4096 };

struct vhu_script_opts vhu_run_script_opts(struct vhu_conn *c, enum vhu_state from, enum vhu_state to,
					   const char *profile)
{
	const struct vhu_session *session = &c->oracle.session;
	struct vhu_script_opts opts = {
		.profile = profile ? profile : c->r->plan->profile,
		.device = c->r->plan->device,
		.from = from,
		.to = to,
		.features_offered = session->features_known ? session->features_offered : c->features,
		.features = c->features,
		.pfeatures = c->pfeatures,
		.queues = c->r->plan->queues,
		.no_status = c->no_status,
		.reconnected = c->r->reconnected,
		.has_area = c->r->inflight.map,
		.pairs = c->r->pairs,
		.ready = c->r->ready,
		.logging = c->logging,
		.postcopy = session->postcopy_listening,
		.status = (uint8_t)session->status,
	};

	vhu_script_regions(&opts, VHU_DO_PHASE_START, session, c->r->plan->layout.n_regions + c->r->plugged);
	return opts;
}

static bool is_ring_message(const struct vhu_script_item *item)
{
	return vhu_msg_row(item->msg)->scope == VHU_SCOPE_RING;
}

/* Once the last message of a ring is out. Front-ends kick, for back-ends that wait for it. */
static void ring_is_up(struct vhu_conn *c, unsigned queue)
{
	vhu_run_drop_unsent(c, queue);
	vhu_run_watch_calls(c->r, queue);
	vhu_vring_kick(vhu_driver_ring(c->r->driver, queue));
}

/* A front-end that makes new descriptors for each start; the guest's first kick is in them already. */
static bool renew_fd(struct vhu_conn *c, const struct vhu_script_item *item, enum vhu_vring_fd which)
{
	struct vhu_vring *v;
	struct vhu_err err = {0};

	if (!item->fresh || item->queue >= c->r->n_rings)
		return true;
	v = vhu_driver_ring(c->r->driver, item->queue);
	if (vhu_vring_renew_fd(v, which, &err) < 0) {
		vhu_run_broken(c->r, "%s", err.text);
		return false;
	}
	if (which == VHU_VRING_KICK)
		vhu_vring_kick(v);
	return true;
}

/* The back-end gives its state, or takes the one that it gave before, while the front-end moves the bytes. */
static bool run_transfer(struct vhu_conn *c, const struct vhu_script_item *item, const struct vhu_step *s,
			 struct vhu_moment *m)
{
	struct vhu_step move = *s;

	if (!vhu_run_item(c, item, s, m))
		return false;
	vhu_run_state_answered(c);
	move.state = (struct vhu_step_state){.op = item->load ? VHU_TRANSFER_WRITE : VHU_TRANSFER_READ,
					     .content = VHU_CONTENT_SAVED,
					     .pieces = 1};
	vhu_do_state(c->r, &move);
	if (item->load && !c->r->stop) {
		move.state.op = VHU_TRANSFER_CLOSE;
		vhu_do_state(c->r, &move);
	}
	return !c->r->stop;
}

/*
 * What a back-end may refuse, and what is tested ends there: one that can't use userfaultfd has no postcopy,
 * and one that is told of a region twice is right to complain.
 */
static bool run_refusable(struct vhu_conn *c, const struct vhu_script_item *item, const struct vhu_step *s,
			  struct vhu_moment *m)
{
	struct vhu_step asks = *s;

	asks.skip = VHU_OUT_NACK | VHU_OUT_CLOSES;
	return vhu_run_item(c, item, &asks, m);
}

/*
 * Of a back-end that does not give what it is asked for, front-ends say so and give up: then there is nothing
 * to be tested with this one.
 */
static bool took_config(struct vhu_conn *c, const struct vhu_script_item *item)
{
	size_t len = c->have_answer ? c->answer.len : 0;

	if (!item->config_size || !c->have_answer || len >= item->config_size)
		return true;
	vhu_run_skip(c->r, "the persona '%s' reads %zu bytes of config space, and gives up where it gets %zu",
		     c->r->plan->profile, item->config_size, len);
	return false;
}

/* What the front-end has to do or to know beside the message itself. */
static bool run_one(struct vhu_conn *c, const struct vhu_script_item *item, const struct vhu_step *s,
		    struct vhu_moment *m)
{
	struct vhu_run *r = c->r;
	uint32_t base;

	switch ((int)item->msg) {
	case VHU_MSG_GET_INFLIGHT_FD:
		return vhu_run_inflight_get(c, s, r->plan->queues, r->plan->queue_size, item->needlessly);
	case VHU_MSG_SET_INFLIGHT_FD:
		if (!r->inflight.map)
			return true;
		*m = vhu_run_moment(c);
		break;
	case VHU_MSG_GET_VRING_BASE:
		return item->queue >= r->n_rings ||
		       vhu_run_ring_stop(c, item->queue, item->needlessly, s, &base);
	case VHU_MSG_SET_VRING_NUM:
		vhu_driver_features(r->driver, c->features);
		break;
	case VHU_MSG_SET_VRING_BASE:
		m->base = vhu_run_ring_place(r, item->queue);
		break;
	case VHU_MSG_SET_VRING_CALL:
		if (!renew_fd(c, item, VHU_VRING_CALL))
			return false;
		break;
	case VHU_MSG_SET_VRING_KICK:
		vhu_run_ring_started(r, item->queue);
		if (!renew_fd(c, item, VHU_VRING_KICK))
			return false;
		break;
	case VHU_MSG_SET_DEVICE_STATE_FD:
		return run_transfer(c, item, s, m);
	case VHU_MSG_POSTCOPY_ADVISE:
	case VHU_MSG_POSTCOPY_LISTEN:
		return run_refusable(c, item, s, m);
	case VHU_MSG_ADD_MEM_REG:
		return item->again ? run_refusable(c, item, s, m) : vhu_run_item(c, item, s, m);
	case VHU_MSG_GET_CONFIG:
		return vhu_run_item(c, item, s, m) && took_config(c, item);
	default:
		break;
	}
	return vhu_run_item(c, item, s, m);
}

static bool run_script(struct vhu_conn *c, const struct vhu_script_item *items, size_t n,
		       const struct vhu_step *s)
{
	struct vhu_moment m = vhu_run_moment(c);
	bool kicked[VHU_LAYOUT_RINGS_MAX] = {false};
	size_t last[VHU_LAYOUT_RINGS_MAX] = {0};

	for (size_t i = 0; i < n; i++)
		if (is_ring_message(&items[i]) && items[i].queue < c->r->n_rings)
			last[items[i].queue] = i;
	for (size_t i = 0; i < n; i++) {
		const unsigned queue = items[i].queue;
		const bool ring = is_ring_message(&items[i]) && queue < c->r->n_rings;

		if (!run_one(c, &items[i], s, &m))
			return false;
		if (ring)
			kicked[queue] |= items[i].msg == VHU_MSG_SET_VRING_KICK;
		if (ring && kicked[queue] && last[queue] == i)
			ring_is_up(c, queue);
	}
	return true;
}

static bool has_rings(const struct vhu_script_item *items, long n)
{
	for (long i = 0; i < n; i++)
		if (is_ring_message(&items[i]))
			return true;
	return false;
}

/* The messages of `word`, or (for a start) of the states between the two. */
static bool run_phase(struct vhu_conn *c, enum vhu_phase_word word, const struct vhu_script_opts *opts,
		      const struct vhu_step *s)
{
	struct vhu_step step = vhu_run_plain_step(s);
	struct vhu_script_item *items;
	struct vhu_err err = {0};
	bool ok = false;
	long n;

	items = calloc(SCRIPT_MAX, sizeof(*items));
	if (!items) {
		vhu_run_broken(c->r, "out of memory");
		return false;
	}
	n = vhu_phase_script(word, opts, items, SCRIPT_MAX, &err);
	if (n < 0)
		vhu_run_broken(c->r, "%s", err.text);
	else if ((opts->to < VHU_STATE_MAPPED && !has_rings(items, n)) || vhu_run_driver(c->r))
		ok = run_script(c, items, (size_t)n, &step);
	free(items);
	return ok;
}

bool vhu_run_prelude(struct vhu_conn *c, enum vhu_state from, enum vhu_state to, const char *profile,
		     const struct vhu_step *s)
{
	struct vhu_script_opts opts = vhu_run_script_opts(c, from, to, profile);
	bool ok = run_phase(c, VHU_DO_PHASE_START, &opts, s);

	c->r->reconnected |= to >= VHU_STATE_OWNED;
	return ok;
}

static bool is_started(const struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++)
		if (r->rings[q].started)
			return true;
	return false;
}

/* How many regions the back-end can be told of; those that never ask how many slots there are find out. */
static size_t regions_max(const struct vhu_conn *c)
{
	const struct vhu_session *s = &c->oracle.session;

	if (!(vhu_session_pfeatures(s) & VHU_P(CONFIGURE_MEM_SLOTS)))
		return VHU_C_MEM_TABLE_REGIONS;
	return s->mem_slots ? (size_t)s->mem_slots : SIZE_MAX;
}

/* One more region of the guest's, as a memory module that is plugged in; one that was there comes again. */
static bool plug(struct vhu_conn *c)
{
	struct vhu_run *r = c->r;
	struct vhu_moment m = vhu_run_moment(c);
	const size_t regions = r->plan->layout.n_regions + r->plugged;
	struct vhu_region_layout at = vhu_moment_region(&m, regions);
	struct vhu_err err = {0};

	if (regions >= regions_max(c)) {
		vhu_run_skip(r, "the back-end has no slot left beside %zu regions: no memory is plugged in",
			     regions);
		return false;
	}
	at.backing = VHU_BACKING_MEMFD;
	if (vhu_mem_regions(vhu_driver_mem(r->driver)) <= regions &&
	    vhu_mem_add(vhu_driver_mem(r->driver), &at, &err) < 0) {
		vhu_run_broken(r, "%s", err.text);
		return false;
	}
	r->plugged++;
	return true;
}

/* What is done to the guest before the front-end speaks. *ret_silent: it says nothing of it yet. */
static bool before_phase(struct vhu_conn *c, const struct vhu_step *s, bool *ret_silent)
{
	struct vhu_run *r = c->r;

	switch (s->phase.phase) {
	case VHU_DO_PHASE_START:
		r->ready = s->phase.rings;
		/* Whoever starts a device in the middle of a migration does so with another log. */
		return !c->logging || vhu_run_log_make(r, 0);
	case VHU_DO_PHASE_RESET:
		r->pairs = 1;
		break;
	case VHU_DO_PHASE_PLUG:
		*ret_silent = !is_started(r);
		return plug(c);
	case VHU_DO_PHASE_UNPLUG:
		if (!r->plugged || !is_started(r)) {
			vhu_run_broken(r, "%s: nothing was plugged in, or the device does not run",
				       s->where);
			return false;
		}
		r->plugged--;
		break;
	case VHU_DO_PHASE_LOG_ON:
		c->logging = true;
		return vhu_run_log_make(r, 0);
	case VHU_DO_PHASE_LOG_OFF:
		c->logging = false;
		break;
	default:
		break;
	}
	return true;
}

void vhu_do_phase(struct vhu_run *r, const struct vhu_step *s)
{
	struct vhu_conn *c = &r->conns[s->conn];
	struct vhu_script_opts opts;
	bool silent = false;

	if (!vhu_run_driver(r) || !before_phase(c, s, &silent) || silent)
		return;
	if (s->phase.pairs)
		r->pairs = s->phase.pairs;
	opts = vhu_run_script_opts(c, VHU_STATE_OWNED, VHU_STATE_RUNNING, NULL);
	opts.written = s->phase.value;
	vhu_script_regions(&opts, s->phase.phase, &c->oracle.session, r->plan->layout.n_regions + r->plugged);
	/* The machine that a guest arrives in by migration is reset before it has the guest. */
	if (run_phase(c, s->phase.phase, &opts, s) && s->phase.phase == VHU_DO_PHASE_RESET && !r->carried) {
		vhu_run_inflight_release(r);
		vhu_run_reset_rings(r);
	}
}
