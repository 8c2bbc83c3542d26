/* What befalls a guest under load: the back-end's death, a new connection, another program in its place. */
#include "load.h"

#include <signal.h>
#include <string.h>

static bool is_paused(void *ctx)
{
	return vhu_guest_paused(((struct load *)ctx)->guest);
}

static bool is_recovered(void *ctx)
{
	const struct load *l = ctx;

	return vhu_guest_recovering(l->guest) == 0 || vhu_guest_stuck(l->guest);
}

static uint64_t deadline(const struct load *l)
{
	return vhu_run_now(&l->run) + l->o->guest.timeout_ns;
}

/* Threads pause whatever the back-end does. */
static bool pause_guest(struct load *l)
{
	vhu_guest_pause(l->guest);
	return vhu_load_wait(l, is_paused, UINT64_MAX);
}

static bool all_back(struct load *l)
{
	vhu_guest_go(l->guest);
	return vhu_load_wait(l, is_recovered, deadline(l) + l->o->guest.timeout_ns);
}

static unsigned inflight(const struct load *l)
{
	unsigned n = 0;

	for (unsigned q = 0; q < l->o->guest.queues; q++)
		n += vhu_guest_inflight(l->guest, q);
	return n;
}

/*
 * Where rings go on. With a buffer that outlives the back-end they do so behind what was used, and nothing is
 * sent again. Without one nobody knows what was taken: the guest resets its device.
 */
static void carry_rings(struct load *l)
{
	bool again = !l->run.inflight.map;

	vhu_guest_replaced(l->guest, again);
	for (unsigned q = 0; q < l->run.n_rings; q++) {
		struct vhu_ring_run *ring = &l->run.rings[q];

		ring->started = ring->stopped = false;
		ring->base_is_used = ring->base_known = !again;
	}
}

bool vhu_load_crash(struct load *l)
{
	struct vhu_step s = vhu_load_step("crash");
	struct vhu_target *t = l->run.e->target;
	struct vhu_err err = {0};
	uint64_t start = vhu_now_ns();

	l->run.phase = s.where;
	l->run.death_wanted = true;
	if (vhu_target_signal(t, SIGKILL, true, &err) < 0 ||
	    vhu_target_await_exit(t, deadline(l), &err) < 0) {
		vhu_run_broken(&l->run, "%s", err.text);
		return false;
	}
	l->run.exited = l->conn.closed = false;
	vhu_conn_close(&l->conn);
	if (!pause_guest(l))
		return false;
	l->ret->crashes++;
	l->ret->idle_kills += inflight(l) == 0;
	carry_rings(l);
	if (!vhu_load_connect(l, s.where))
		return false;
	l->run.phase = "load";
	if (!all_back(l))
		return false;
	vhu_histogram_add(&l->ret->recovery, vhu_now_ns() - start, 1);
	return true;
}

/* Every ring stops where it stands, and says so. */
static bool stop_rings(struct load *l, const struct vhu_step *s)
{
	for (unsigned q = 0; q < l->o->guest.queues; q++)
		if (!vhu_run_ring_base(&l->conn, q, s))
			return false;
	return true;
}

/* Of what the back-end took, something is not in the used ring. A packed base may have its lower half only.
 */
static bool is_busy(const struct load *l, unsigned q)
{
	const struct vhu_vring *v = vhu_driver_ring(l->run.driver, q);

	return (l->run.rings[q].base ^ vhu_vring_base_used(v)) & 0xffff;
}

/* All that was taken is done by the reply, unless it was agreed that the inflight buffer tells of the rest.
 */
static void check_drained(struct load *l, const struct vhu_step *s)
{
	struct vhu_step step = *s;
	bool busy = false;

	step.requirement = VHU_REQ_VRING_13;
	for (unsigned q = 0; q < l->o->guest.queues; q++) {
		struct vhu_ring_run *ring = &l->run.rings[q];

		/* What came since we took what had come was in flight as well. */
		ring->busy_stop = is_busy(l, q) || vhu_guest_moved(l->guest, q);
		if (!ring->busy_stop || (l->plan.pfeatures & VHU_P(GET_VRING_BASE_INFLIGHT)))
			continue;
		busy = true;
		vhu_run_unmet(&l->run, &step, VHU_FINDING_RULE, "requests in flight are completed first",
			      "ring %u: base 0x%x, used up to 0x%x by now", q, ring->base,
			      vhu_vring_base_used(vhu_driver_ring(l->run.driver, q)));
	}
	/* They may come back yet, where nobody looks any more. */
	if (busy)
		vhu_run_settle(&l->run, vhu_run_settle_ns(&l->run));
}

/* Who took requests and left them undone without a word in an inflight buffer: the next one takes them again.
 */
static void take_again(struct load *l)
{
	vhu_guest_catch_up(l->guest);
	for (unsigned q = 0; q < l->o->guest.queues; q++)
		l->run.rings[q].base_is_used = !l->run.inflight.map && is_busy(l, q);
}

/*
 * What comes back after the reply is served once more by the next back-end. Where it was in flight then,
 * which was told, it is what had to be expected.
 */
static void check_stopped(struct load *l, const struct vhu_step *s)
{
	struct vhu_step step = *s;

	step.requirement = VHU_REQ_VRING_60;
	for (unsigned q = 0; q < l->o->guest.queues; q++) {
		if (!vhu_guest_moved(l->guest, q))
			continue;
		if (l->run.rings[q].busy_stop)
			vhu_run_unmet(&l->run, &step, VHU_FINDING_RULE, "a ring that stands still",
				      "ring %u: a request came back after the reply", q);
		else
			vhu_run_moved_after_stop(&l->run, q, "a request came back after the reply");
	}
}

static bool leave(struct load *l, const struct vhu_step *s)
{
	l->run.phase = s->where;
	if (!pause_guest(l) || !stop_rings(l, s))
		return false;
	vhu_guest_catch_up(l->guest);
	check_drained(l, s);
	vhu_load_log_judge(l);
	if (l->run.stop || (l->taken_over && !vhu_load_state_save(l)))
		return false;
	l->run.phase = s->where;
	if (!vhu_conn_fence(&l->conn, s, NULL))
		return false;
	check_stopped(l, s);
	vhu_conn_close(&l->conn);
	l->conn.logging = false;
	return true;
}

static bool arrive(struct load *l, const struct vhu_step *s)
{
	vhu_guest_replaced(l->guest, false);
	return vhu_load_connect(l, s->where);
}

bool vhu_load_reconnect(struct load *l)
{
	struct vhu_step s = vhu_load_step("reconnect");

	l->ret->reconnects++;
	if (!leave(l, &s) || !arrive(l, &s))
		return false;
	l->run.phase = "load";
	return all_back(l);
}

/* The first one ends before the second begins: both have the same image, which only one may hold. */
bool vhu_load_hand_over(struct load *l)
{
	struct vhu_step s = vhu_load_step("handover");

	l->taken_over = true;
	l->ret->handovers++;
	if (!leave(l, &s))
		return false;
	l->run.death_wanted = true;
	vhu_target_stop(l->run.e->target);
	l->run.exited = false;
	vhu_engine_use_target(l->run.e, l->o->then);
	l->run.death_wanted = false;
	take_again(l);
	if (!arrive(l, &s) || !vhu_load_state_check(l))
		return false;
	l->run.phase = "load";
	return all_back(l);
}
