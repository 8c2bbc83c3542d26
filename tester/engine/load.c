/* A guest under load: one session from its start to its end. */
#include "load.h"

#include <errno.h>
#include <string.h>

enum { LOG_PARTS = 8 }; /* of the time before a handover; in the latter half the log is on */

/* --- what the guest tells ---------------------------------------------------------------------- */

static void hear(struct load *l)
{
	struct vhu_ring_event event;

	vhu_guest_heard(l->guest);
	while (vhu_guest_next(l->guest, &event)) {
		struct vhu_obs obs = {.kind = VHU_OBS_BREACH, .breach = event.breach, .text = event.text};

		vhu_oracle_observe(&l->conn.oracle, &obs);
	}
}

static void on_told(void *ctx, uint32_t events)
{
	hear(ctx);
}

static void add(struct vhu_guest_stats *to, const struct vhu_guest_stats *s)
{
	to->ios += s->ios;
	to->bytes += s->bytes;
	to->recovered += s->recovered;
	to->cpu_ns += s->cpu_ns;
	to->kicks += s->kicks;
	to->sleeps += s->sleeps;
	to->errors.io += s->errors.io;
	to->errors.lost += s->errors.lost;
	to->errors.duplicated += s->errors.duplicated;
	to->errors.torn += s->errors.torn;
	to->errors.stale += s->errors.stale;
	to->errors.misplaced += s->errors.misplaced;
	to->errors.ring += s->errors.ring;
}

static void on_timer(void *ctx, uint32_t events)
{
	struct load *l = ctx;
	struct vhu_load_progress p = {.at_ns = vhu_now_ns() - l->start_ns, .crashes = l->ret->crashes};

	for (unsigned q = 0; q < l->o->guest.queues; q++) {
		struct vhu_guest_stats s;

		vhu_guest_stats(l->guest, q, &s);
		add(&p.sum, &s);
	}
	l->o->progress(l->o->ctx, &p);
}

static void on_tick(void *ctx, uint32_t events)
{
	vhu_guest_tick(((struct load *)ctx)->guest);
}

/* --- waiting ----------------------------------------------------------------------------------- */

struct wait {
	struct load *l;
	bool (*done)(void *ctx);
};

static bool over(const struct load *l)
{
	return l->run.exited || l->conn.closed || l->run.stop;
}

static bool wait_done(void *ctx)
{
	const struct wait *w = ctx;

	return over(w->l) || (w->done && w->done(w->l));
}

bool vhu_load_wait(struct load *l, bool (*done)(void *ctx), uint64_t deadline_ns)
{
	struct wait w = {l, done};
	int rc = vhu_run_wait(&l->run, wait_done, &w, deadline_ns, false);

	return (rc == 0 || rc == -ETIME) && !over(l);
}

static bool is_finished(void *ctx)
{
	const struct load *l = ctx;

	return vhu_guest_finished(l->guest) || vhu_guest_stuck(l->guest);
}

/* --- the session ------------------------------------------------------------------------------- */

bool vhu_load_connect(struct load *l, const char *where)
{
	struct vhu_step s = vhu_load_step(where);

	l->run.phase = where;
	if (!vhu_conn_open(&l->run, &l->conn) ||
	    !vhu_run_prelude(&l->conn, VHU_STATE_CONNECTED, VHU_STATE_NEGOTIATED, NULL, &s) ||
	    !vhu_load_state_load(l) ||
	    !vhu_run_prelude(&l->conn, VHU_STATE_NEGOTIATED, VHU_STATE_RUNNING, NULL, &s))
		return false;
	/* The threads listen to the call descriptors themselves. */
	vhu_run_unwatch_calls(&l->run);
	return !l->run.stop;
}

/* Which features: what both know, but for those that the load does without. */
static void negotiate(struct load *l, const struct vhu_facts *facts)
{
	const uint64_t of_ring = VHU_V(VIRTIO_RING_F_EVENT_IDX) | VHU_V(VIRTIO_RING_F_INDIRECT_DESC) |
				 VHU_V(VIRTIO_F_IN_ORDER) | VHU_V(VIRTIO_F_RING_PACKED);
	const struct vhu_load_opts *o = l->o;
	uint64_t v = vhu_features_known(VHU_NS_VIRTIO, facts->device) & ~of_ring;
	uint64_t p = vhu_features_known(VHU_NS_PROTOCOL, facts->device);

	v |= VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);
	v |= o->event_idx ? VHU_V(VIRTIO_RING_F_EVENT_IDX) : 0;
	v |= o->guest.indirect ? VHU_V(VIRTIO_RING_F_INDIRECT_DESC) : 0;
	v |= o->in_order ? VHU_V(VIRTIO_F_IN_ORDER) : 0;
	v |= o->packed ? VHU_V(VIRTIO_F_RING_PACKED) : 0;
	l->plan.features = vhu_features_with_needs(VHU_NS_VIRTIO, facts->device, facts->features & v);
	/* A session that goes on to its end in peace has no use for the buffer of requests in flight. */
	if (o->crash_every_ns || o->reconnect_every_ns || o->then)
		p |= VHU_P(INFLIGHT_SHMFD);
	if (l->plan.features & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES))
		l->plan.pfeatures =
			vhu_features_with_needs(VHU_NS_PROTOCOL, facts->device, facts->pfeatures & p);
	l->ret->inflight = l->plan.pfeatures & VHU_P(INFLIGHT_SHMFD);
	l->state_moves = o->then && (l->plan.pfeatures & VHU_P(DEVICE_STATE));
}

static int need(uint64_t have, uint64_t feature, const char *what, struct vhu_err *err)
{
	return have & feature ? 0 : vhu_err_set(err, -EINVAL, "the back-end does not offer %s", what);
}

static int make_plan(struct load *l, const struct vhu_facts *facts, struct vhu_err *err)
{
	const struct vhu_load_opts *o = l->o;
	struct vhu_layout_opts layout = {
		.regions = 1,
		.backing = o->backing,
		.rings = o->guest.queues,
		.queue_size = o->ring_size,
		.packed = o->packed,
	};
	uint64_t rings = o->guest.queues * ((uint64_t)o->ring_size * 512 + (64 << 10));
	int r = 0;

	l->plan = (struct vhu_plan){.id = "load",
				    .profile = "plain",
				    .device = facts->device,
				    .start = VHU_STATE_RUNNING,
				    .queues = o->guest.queues,
				    .queue_size = o->ring_size,
				    .packed = o->packed};
	negotiate(l, facts);
	if (o->packed)
		r = need(l->plan.features, VHU_V(VIRTIO_F_RING_PACKED), "packed rings", err);
	if (r == 0 && o->guest.indirect)
		r = need(l->plan.features, VHU_V(VIRTIO_RING_F_INDIRECT_DESC), "indirect descriptors", err);
	if (r == 0 && o->event_idx)
		r = need(l->plan.features, VHU_V(VIRTIO_RING_F_EVENT_IDX), "event indexes", err);
	if (r == 0 && o->in_order)
		r = need(l->plan.features, VHU_V(VIRTIO_F_IN_ORDER), "use in order", err);
	layout.size = rings + o->guest.queues * vhu_guest_memory(o->guest.bs, o->guest.depth);
	layout.size = (layout.size + VHU_REGION_ALIGN - 1) / VHU_REGION_ALIGN * VHU_REGION_ALIGN;
	return r < 0 ? r : vhu_layout_make(&layout, &l->plan.layout, err);
}

static int start_guest(struct load *l, struct vhu_err *err)
{
	struct vhu_guest_opts opts = l->o->guest;
	int r;

	opts.driver = l->run.driver;
	opts.packed = l->plan.features & VHU_V(VIRTIO_F_RING_PACKED);
	opts.event_idx = l->plan.features & VHU_V(VIRTIO_RING_F_EVENT_IDX);
	opts.in_order = l->plan.features & VHU_V(VIRTIO_F_IN_ORDER);
	r = vhu_guest_new(&opts, &l->guest, err);
	if (r == 0)
		r = vhu_loop_add_fd(l->run.e->loop, vhu_guest_fd(l->guest), EPOLLIN, on_told, l, &l->told,
				    err);
	if (r == 0)
		r = vhu_loop_add_timer(l->run.e->loop, VHU_GUEST_TICK_NS, VHU_GUEST_TICK_NS, on_tick, l,
				       &l->tick, err);
	l->start_ns = vhu_now_ns();
	l->began_ns = vhu_run_now(&l->run);
	if (r == 0 && l->o->progress_ns)
		r = vhu_loop_add_timer(l->run.e->loop, l->o->progress_ns, l->o->progress_ns, on_timer, l,
				       &l->timer, err);
	return r;
}

/* --- the load ---------------------------------------------------------------------------------- */

static uint64_t at(uint64_t start, uint64_t every, uint64_t n)
{
	return every ? start + every * (n + 1) : UINT64_MAX;
}

/* A handover is a migration: half of the time before it the log is on, and read some times. */
static uint64_t next_look(const struct load *l)
{
	uint64_t part = l->o->runtime_ns / (2 * LOG_PARTS);

	if (!l->o->then || l->taken_over)
		return UINT64_MAX;
	return l->began_ns + part * (LOG_PARTS / 2 + l->looks);
}

static uint64_t ios(const struct load *l)
{
	uint64_t n = 0;

	for (unsigned q = 0; q < l->o->guest.queues; q++) {
		struct vhu_guest_stats s;

		vhu_guest_stats(l->guest, q, &s);
		n += s.ios;
	}
	return n;
}

static bool has_moved(void *ctx)
{
	const struct load *l = ctx;

	return is_finished(ctx) || ios(l) >= l->ios_awaited;
}

/* Each look finds something new, also where the machine has no time for us. */
static bool look_at_log(struct load *l)
{
	enum { PATIENCE_NS = 1000000000 };

	if (!vhu_load_wait(l, has_moved, vhu_run_now(&l->run) + PATIENCE_NS))
		return false;
	l->ios_awaited = ios(l) + (uint64_t)l->o->guest.queues * (l->o->guest.depth + 1);
	if (l->looks++ == 0)
		return vhu_load_log_begin(l);
	if (l->looks <= LOG_PARTS / 2) {
		vhu_load_log_collect(l);
		return true;
	}
	return vhu_load_hand_over(l);
}

/* A disturbance that was asked for takes place once, however late. */
static uint64_t ends_at(const struct load *l)
{
	const struct vhu_load_opts *o = l->o;
	bool to_come =
		(o->then && !l->taken_over) ||
		(o->crash_every_ns && o->crash_every_ns < o->runtime_ns && !l->ret->crashes) ||
		(o->reconnect_every_ns && o->reconnect_every_ns < o->runtime_ns && !l->ret->reconnects);

	return o->runtime_ns && !to_come ? l->began_ns + o->runtime_ns : UINT64_MAX;
}

static void run_load(struct load *l)
{
	const struct vhu_load_opts *o = l->o;
	bool goes_on = true;

	vhu_guest_go(l->guest);
	while (goes_on) {
		uint64_t crash = at(l->began_ns, o->crash_every_ns, l->ret->crashes);
		uint64_t again = at(l->began_ns, o->reconnect_every_ns, l->ret->reconnects);
		uint64_t next = VHU_MIN(VHU_MIN(crash, again), next_look(l));
		uint64_t end = ends_at(l);

		goes_on = vhu_load_wait(l, is_finished, VHU_MIN(next, end));
		if (!goes_on || is_finished(l) || vhu_run_now(&l->run) >= end)
			break;
		if (next == crash)
			goes_on = vhu_load_crash(l);
		else
			goes_on = next == again ? vhu_load_reconnect(l) : look_at_log(l);
	}
}

/* What still is in flight comes back. A signal ends the load, a second one this as well. */
static void drain(struct load *l)
{
	uint64_t deadline = vhu_run_now(&l->run) + l->o->guest.timeout_ns;

	if (l->run.interrupted) {
		l->ret->signal = vhu_loop_signalled(l->run.e->loop);
		vhu_loop_acknowledge(l->run.e->loop);
		l->run.interrupted = l->run.stop = false;
	}
	if (over(l))
		return;
	vhu_guest_drain(l->guest);
	vhu_load_wait(l, is_finished, deadline);
}

/* In flight at the end, and given up: they never came back. Those of a queue that is stuck were told. */
static void tell_left(struct load *l)
{
	struct vhu_obs obs = {.kind = VHU_OBS_BREACH, .breach = VHU_BREACH_USED_NEVER};
	unsigned left = 0;
	char text[80];

	for (unsigned q = 0; q < l->o->guest.queues; q++)
		left += vhu_guest_inflight(l->guest, q);
	if (left == 0 || over(l) || vhu_guest_stuck(l->guest))
		return;
	snprintf(text, sizeof(text), "%u requests have not come back", left);
	obs.text = text;
	l->ret->sum.errors.lost += left;
	vhu_oracle_observe(&l->conn.oracle, &obs);
}

/* The back-end went without being asked to. */
static void tell_end(struct load *l)
{
	struct vhu_step s = vhu_load_step("load");

	if (l->run.exited) {
		struct vhu_obs obs = {.kind = VHU_OBS_EXIT, .text = l->run.exit_what};

		vhu_oracle_observe(&l->conn.oracle, &obs);
		vhu_run_unmet(&l->run, &s, VHU_FINDING_ROBUST, "a back-end that lives", "%s",
			      l->run.exit_what);
	} else if (l->conn.closed) {
		vhu_run_unmet(&l->run, &s, VHU_FINDING_ROBUST, "an open connection",
			      "the back-end closed it under load");
	} else {
		return;
	}
	l->run.res->target_died = true;
	for (unsigned q = 0; q < l->o->guest.queues; q++)
		l->ret->sum.errors.lost += vhu_guest_inflight(l->guest, q);
}

static int collect(struct load *l, struct vhu_err *err)
{
	struct vhu_load_result *ret = l->ret;

	ret->queues = l->o->guest.queues;
	ret->queue = calloc(ret->queues, sizeof(*ret->queue));
	if (!ret->queue)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	for (unsigned q = 0; q < ret->queues; q++) {
		vhu_guest_stats(l->guest, q, &ret->queue[q].stats);
		ret->queue[q].latency = *vhu_guest_latency(l->guest, q);
		add(&ret->sum, &ret->queue[q].stats);
		vhu_histogram_merge(&ret->latency, &ret->queue[q].latency);
	}
	ret->result.ios = ret->sum.ios;
	return 0;
}

/* The rings stop, and what was not to be written is looked at. */
static void finish(struct load *l)
{
	struct vhu_step s = vhu_load_step("end");
	uint32_t base;

	l->run.phase = "end";
	for (unsigned q = 0; q < l->o->guest.queues && !over(l); q++)
		vhu_run_ring_stop(&l->conn, q, false, &s, &base);
	if (!l->run.stop)
		vhu_driver_audit(l->run.driver);
}

static int run(struct load *l, struct vhu_err *err)
{
	int r;

	if (!vhu_load_connect(l, "start"))
		return l->run.interrupted ? -EINTR : 0;
	r = start_guest(l, err);
	if (r < 0)
		return r;
	l->ret->memory = vhu_mem_kind(vhu_driver_mem(l->run.driver));
	run_load(l);
	drain(l);
	l->ret->runtime_ns = vhu_now_ns() - l->start_ns;
	vhu_source_free(l->timer);
	vhu_source_free(l->tick);
	l->timer = l->tick = NULL;
	/* Nothing is changed any more while it is read. */
	vhu_guest_pause(l->guest);
	while (!vhu_guest_paused(l->guest))
		usleep(100);
	tell_left(l);
	hear(l);
	tell_end(l);
	r = collect(l, err);
	vhu_source_free(l->told);
	l->told = NULL;
	vhu_guest_free(l->guest);
	l->guest = NULL;
	if (r == 0)
		finish(l);
	return r;
}

static void release(struct load *l)
{
	struct vhu_run *r = &l->run;

	vhu_source_free(l->timer);
	vhu_source_free(l->tick);
	vhu_source_free(l->told);
	vhu_guest_free(l->guest);
	vhu_conn_close(&l->conn);
	vhu_run_inflight_release(r);
	vhu_run_state_release(r);
	vhu_run_log_release(r);
	free(l->marked);
	if (r->driver) {
		vhu_run_unwatch_calls(r);
		vhu_driver_free(r->driver);
	}
	free(r->rings);
}

int vhu_engine_load(struct vhu_engine *e, const struct vhu_facts *facts, const struct vhu_load_opts *opts,
		    struct vhu_load_result *ret, struct vhu_err *err)
{
	struct load *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	*ret = (struct vhu_load_result){.memory = "none"};
	l->o = opts;
	l->facts = facts;
	l->ret = ret;
	l->run = (struct vhu_run){.e = e,
				  .plan = &l->plan,
				  .res = &ret->result,
				  .phase = "load",
				  .conns = &l->conn,
				  .n_conns = 1,
				  .last_added_region = SIZE_MAX};
	l->run.log.fd = l->run.inflight.fd = l->run.state.fd = l->run.postcopy.fd = -1;
	l->run.iommu.granule = VHU_C_LOG_PAGE;
	l->conn.r = &l->run;
	vhu_target_clear_exit(e->target);
	e->run = &l->run;
	r = make_plan(l, facts, err);
	l->conn.features = l->plan.features;
	l->conn.pfeatures = l->plan.pfeatures;
	if (r == 0)
		r = run(l, err);
	e->run = NULL;
	release(l);
	vhu_run_conclude(&l->run);
	free(l);
	if (r == -EINTR)
		ret->signal = vhu_loop_signalled(e->loop);
	if (r < 0 && r != -EINTR) {
		vhu_load_result_done(ret);
		return r;
	}
	return 0;
}

void vhu_load_result_done(struct vhu_load_result *r)
{
	vhu_result_done(&r->result);
	free(r->queue);
	r->queue = NULL;
}
