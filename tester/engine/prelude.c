/* Messages of a persona, and the rings that they start and stop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* --- the guest ---------------------------------------------------------------------------------------- */

static void on_breach(void *ctx, const struct vhu_ring_event *event)
{
	struct vhu_run *r = ctx;
	struct vhu_obs obs = {
		.kind = VHU_OBS_BREACH, .breach = event->breach, .text = event->text, .intended = r->hostile};

	vhu_oracle_observe(&r->conns[0].oracle, &obs);
}

bool vhu_run_driver(struct vhu_run *r)
{
	struct vhu_driver_opts opts = {
		.device = r->plan->device,
		.layout = &r->plan->layout,
		.features = r->conns[0].features,
		.capacity = r->e->capacity,
		.seed = r->e->opts.seed,
		.breach = on_breach,
		.ctx = r,
		.watch = vhu_record_watch(r),
	};
	struct vhu_err err = {0};
	int rc;

	if (r->driver)
		return true;
	rc = vhu_driver_new(&opts, &r->driver, &err);
	if (rc == -ENOMEM && r->plan->layout.region[0].backing == VHU_BACKING_HUGETLB) {
		vhu_run_skip(r, "%s", err.text);
		return false;
	}
	if (rc < 0) {
		vhu_run_broken(r, "%s", err.text);
		return false;
	}
	r->n_rings = vhu_driver_rings(r->driver);
	r->rings = calloc(VHU_MAX(r->n_rings, (size_t)1), sizeof(*r->rings));
	if (!r->rings) {
		vhu_run_broken(r, "out of memory");
		return false;
	}
	for (unsigned q = 0; q < r->n_rings; q++)
		r->rings[q].call_fd = -1;
	return true;
}

static void on_call(void *ctx, uint32_t events)
{
	struct vhu_run *r = ctx;

	for (unsigned q = 0; q < r->n_rings; q++)
		r->rings[q].calls += vhu_vring_take_calls(vhu_driver_ring(r->driver, q));
}

void vhu_run_watch_calls(struct vhu_run *r, unsigned queue)
{
	struct vhu_ring_run *ring = queue < r->n_rings ? &r->rings[queue] : NULL;
	struct vhu_err err = {0};
	int fd;

	if (!ring)
		return;
	fd = vhu_vring_fd(vhu_driver_ring(r->driver, queue), VHU_VRING_CALL);
	if (fd == ring->call_fd && ring->call)
		return;
	vhu_source_free(ring->call);
	ring->call = NULL;
	ring->call_fd = fd;
	if (fd >= 0 && vhu_loop_add_fd(r->e->loop, fd, EPOLLIN, on_call, r, &ring->call, &err) < 0)
		vhu_run_broken(r, "%s", err.text);
}

void vhu_run_unwatch_calls(struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++) {
		vhu_source_free(r->rings[q].call);
		r->rings[q].call = NULL;
		r->rings[q].call_fd = -1;
	}
}

/* --- messages of a script ------------------------------------------------------------------------- */

struct vhu_moment vhu_run_moment(struct vhu_conn *c)
{
	struct vhu_run *r = c->r;

	return (struct vhu_moment){
		.layout = &r->plan->layout,
		.session = &c->oracle.session,
		.features = c->features,
		.pfeatures = c->pfeatures,
		.plugged = r->plugged,
		.logging = c->logging,
		.log_size = r->log.size,
		.log_offset = r->log.offset,
		.inflight_size = r->inflight.size,
		.inflight_offset = r->inflight.offset,
		.inflight_queues = r->inflight.queues ? r->inflight.queues : (uint16_t)r->plan->queues,
		.inflight_queue_size = r->inflight.queue_size ? r->inflight.queue_size : r->plan->queue_size,
		.config_size = r->e->config_size,
		.status = VHU_C_STATUS_ACKNOWLEDGE,
	};
}

bool vhu_run_item(struct vhu_conn *c, const struct vhu_script_item *item, const struct vhu_step *s,
		  struct vhu_moment *m)
{
	struct vhu_exchange x = {.c = c, .s = s, .row = vhu_msg_row(item->msg)};
	struct vhu_frame f = {0};
	struct vhu_err err = {0};
	bool ok = false;

	if (!vhu_conn_live(c))
		return vhu_conn_fence(c, s, NULL); /* says that it is gone */
	vhu_moment_take(m, item);
	if (vhu_frame_request(&f, item->msg, &err) < 0 || vhu_moment_fill(m, &f, &err) < 0) {
		vhu_run_broken(c->r, "%s: %s", x.row->name, err.text);
		goto out;
	}
	/* A message with a reply of its own needs no acknowledgement, and few front-ends ask for one. */
	x.need_reply =
		item->need_reply && vhu_session_reply_ack(&c->oracle.session) &&
		(item->needlessly || vhu_session_due(&c->oracle.session, &f) != VHU_DUE_REPLY);
	if (x.need_reply)
		f.flags |= VHU_C_HEADER_NEED_REPLY;
	if (!vhu_run_attach_fds(c, &f, NULL))
		goto out;
	x.due = vhu_session_due(&c->oracle.session, &f);
	x.serial = vhu_conn_send(c, &f, false, NULL, 0);
	ok = x.serial && vhu_exchange_settle(&x) && !c->r->stop;
out:
	vhu_frame_done(&f);
	return ok;
}

/* A pseudo step in place of the given one: default expectations whatever that one says. */
struct vhu_step vhu_run_plain_step(const struct vhu_step *s)
{
	return (struct vhu_step){
		.where = s->where, .note = s->note, .requirement = s->requirement, .within_ms = s->within_ms};
}

/* --- rings ---------------------------------------------------------------------------------------- */

/* Where the ring goes on: where it was stopped, where memory says, or at 0 on fresh ring memory. */
uint32_t vhu_run_ring_place(struct vhu_run *r, unsigned queue)
{
	struct vhu_ring_run *ring = &r->rings[queue];

	if (ring->base_is_used)
		ring->base = vhu_vring_base_used(vhu_driver_ring(r->driver, queue));
	else if (!ring->base_known)
		ring->base = vhu_vring_base(vhu_driver_ring(r->driver, queue));
	return ring->base;
}

void vhu_run_ring_started(struct vhu_run *r, unsigned queue)
{
	struct vhu_ring_run *ring = &r->rings[queue];

	r->carried = false;
	ring->started = true;
	ring->stopped = ring->busy_stop = ring->base_known = ring->base_is_used = false;
}

bool vhu_run_ring_start(struct vhu_conn *c, unsigned queue, const char *profile, const struct vhu_step *s)
{
	struct vhu_script_opts opts = vhu_run_script_opts(c, VHU_STATE_MAPPED, VHU_STATE_RUNNING, profile);
	struct vhu_step step = vhu_run_plain_step(s);
	struct vhu_moment m = vhu_run_moment(c);
	struct vhu_script_item items[16];
	struct vhu_err err = {0};
	long n;

	if (!vhu_run_driver(c->r))
		return false;
	n = vhu_script_ring(&opts, queue, items, VHU_ARRAY_SIZE(items), &err);
	if (n < 0) {
		vhu_run_broken(c->r, "%s", err.text);
		return false;
	}
	vhu_driver_features(c->r->driver, c->features);
	m.base = vhu_run_ring_place(c->r, queue);
	vhu_run_ring_started(c->r, queue);
	for (long i = 0; i < n; i++)
		if (!vhu_run_item(c, &items[i], &step, &m))
			return false;
	vhu_run_drop_unsent(c, queue);
	vhu_run_watch_calls(c->r, queue);
	/* Front-ends kick once after SET_VRING_KICK, for back-ends that wait for it. */
	vhu_vring_kick(vhu_driver_ring(c->r->driver, queue));
	return true;
}

/* What the reply may say: everything taken was used, nothing that was never made available was taken. */
static void judge_base(struct vhu_conn *c, const struct vhu_step *s, unsigned queue, uint32_t base)
{
	struct vhu_vring *v = vhu_driver_ring(c->r->driver, queue);
	struct vhu_finding f;
	char right[160];

	if (vhu_vring_base_right(v, base, right, sizeof(right)))
		return;
	vhu_finding_init(&f, c->r->plan->packed ? VHU_REQ_VRING_10 : VHU_REQ_VRING_08, VHU_FINDING_ROBUST,
			 "GET_VRING_BASE does not tell where the ring stands");
	snprintf(f.accepted, sizeof(f.accepted), "%s", right);
	snprintf(f.actual, sizeof(f.actual), c->r->plan->packed ? "0x%08x" : "%u", base);
	snprintf(f.where, sizeof(f.where), "%s", s->where);
	vhu_run_finding(c->r, &f);
}

/* `needlessly`: an acknowledgement is asked for as well, beside the answer. */
static bool ask_base(struct vhu_conn *c, unsigned queue, bool needlessly, const struct vhu_step *s,
		     uint32_t *ret_base)
{
	struct vhu_script_item item = {.msg = VHU_MSG_GET_VRING_BASE,
				       .queue = queue,
				       .need_reply = needlessly,
				       .needlessly = needlessly};
	struct vhu_step step = vhu_run_plain_step(s);
	struct vhu_moment m = vhu_run_moment(c);

	if (!vhu_run_item(c, &item, &step, &m))
		return false;
	*ret_base = c->have_answer ? (uint32_t)vhu_frame_u64(&c->answer, "num") : 0;
	return true;
}

bool vhu_run_ring_base(struct vhu_conn *c, unsigned queue, const struct vhu_step *s)
{
	struct vhu_ring_run *ring = &c->r->rings[queue];
	uint32_t base;

	if (!ask_base(c, queue, false, s, &base))
		return false;
	ring->base = vhu_vring_base_cut(vhu_driver_ring(c->r->driver, queue), base);
	ring->base_known = true;
	ring->started = ring->stopped = false;
	judge_base(c, s, queue, ring->base);
	return true;
}

bool vhu_run_ring_stop(struct vhu_conn *c, unsigned queue, bool needlessly, const struct vhu_step *s,
		       uint32_t *ret_base)
{
	struct vhu_ring_run *ring = &c->r->rings[queue];
	struct vhu_vring *v = vhu_driver_ring(c->r->driver, queue);
	bool was_started = ring->started;

	if (!ask_base(c, queue, needlessly, s, ret_base))
		return false;
	vhu_driver_poll(c->r->driver);
	ring->base = vhu_vring_base_cut(v, *ret_base);
	ring->base_known = true;
	ring->started = false;
	if (!was_started)
		return true;
	ring->stopped = true;
	ring->busy_stop = vhu_vring_inflight(v) > 0;
	ring->used_at_stop = vhu_vring_used_idx(v);
	judge_base(c, s, queue, ring->base);
	return true;
}
