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
	return vhu_now_ns() + l->o->guest.timeout_ns;
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

static bool change(struct load *l, const struct vhu_step *s, struct vhu_target *next)
{
	l->run.phase = s->where;
	if (!pause_guest(l) || !stop_rings(l, s))
		return false;
	vhu_conn_close(&l->conn);
	if (next)
		vhu_engine_use_target(l->run.e, next);
	vhu_guest_replaced(l->guest, false);
	if (!vhu_load_connect(l, s->where))
		return false;
	l->run.phase = "load";
	return all_back(l);
}

bool vhu_load_reconnect(struct load *l)
{
	struct vhu_step s = vhu_load_step("reconnect");

	l->ret->reconnects++;
	return change(l, &s, NULL);
}

bool vhu_load_hand_over(struct load *l)
{
	struct vhu_step s = vhu_load_step("handover");

	l->taken_over = true;
	l->ret->handovers++;
	return change(l, &s, l->o->then);
}
