/*
 * What every case ends with, unwritten: nothing unasked may be waiting, rings stop, memory is
 * audited, and the target still takes a new connection.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "channel/program.h"
#include "internal.h"

static const struct vhu_step epilogue_step = {.where = "epilogue", .requirement = VHU_REQ_PROG_16};

static bool usable(const struct vhu_conn *c)
{
	return vhu_conn_live(c) && !c->framing_lost && !c->oracle.session.tainted;
}

static void stop_rings(struct vhu_run *r, struct vhu_conn *c)
{
	for (unsigned q = 0; q < r->n_rings && !r->stop; q++) {
		uint32_t base;

		if (r->rings[q].started && c->oracle.session.ring[q].started)
			vhu_run_ring_stop(c, q, false, &epilogue_step, &base);
	}
}

static void fence_connections(struct vhu_run *r)
{
	for (size_t i = 0; i < r->n_conns && !r->stop; i++)
		if (usable(&r->conns[i]) && vhu_conn_fence(&r->conns[i], &epilogue_step, NULL))
			stop_rings(r, &r->conns[i]);
}

void vhu_run_moved_after_stop(struct vhu_run *r, unsigned queue, const char *how)
{
	struct vhu_obs obs = {.kind = VHU_OBS_BREACH, .breach = VHU_BREACH_USED_AFTER_STOP};
	char text[120];

	snprintf(text, sizeof(text), "ring %u: %s", queue, how);
	obs.text = text;
	vhu_oracle_observe(&r->conns[0].oracle, &obs);
}

/* A ring that has answered GET_VRING_BASE with nothing in flight may not move any more. */
static void audit_stopped(struct vhu_run *r)
{
	for (unsigned q = 0; q < r->n_rings; q++) {
		const struct vhu_ring_run *ring = &r->rings[q];
		uint16_t used = vhu_vring_used_idx(vhu_driver_ring(r->driver, q));
		char text[80];

		if (!ring->stopped || ring->busy_stop || used == ring->used_at_stop)
			continue;
		snprintf(text, sizeof(text), "the used index went from %u to %u", ring->used_at_stop, used);
		vhu_run_moved_after_stop(r, q, text);
	}
}

/*
 * The proof that it lives: a listening target takes a new connection and answers on it. A recording has it
 * only where it failed: it is no part of what the case is about.
 */
static void prove_alive(struct vhu_run *r)
{
	size_t findings = r->res->n_findings;
	struct vhu_conn *c = &r->conns[0];
	struct vhu_step closing = r->closing;
	bool closed = r->closed, alive;

	vhu_record_aside(r);
	if (!vhu_conn_open(r, c)) {
		vhu_record_take_back(r, true);
		return;
	}
	alive = vhu_conn_fence(c, &epilogue_step, NULL);
	if (alive)
		r->held = vhu_run_holdings(r);
	vhu_conn_close(c);
	vhu_record_take_back(r, !alive || r->res->n_findings > findings);
	/* A death that shows only now still belongs to the step that closed before. */
	if (closed)
		r->closing = closing;
}

/* A one-shot program ends with its session, in order; any other has to serve the next. */
static void prove_sound(struct vhu_run *r)
{
	struct vhu_err err = {0};
	int rc = vhu_target_end_one_shot(r->e->target, &err);

	if (rc == -EINTR)
		r->interrupted = true;
	else if (rc < 0)
		vhu_run_broken(r, "%s", err.text);
	else if (!vhu_target_one_shot(r->e->target) && !r->exited)
		prove_alive(r);
}

static void release(struct vhu_run *r)
{
	vhu_run_forget_ios(r);
	vhu_run_unwatch_calls(r);
	vhu_driver_free(r->driver);
	r->driver = NULL;
	vhu_run_log_release(r);
	if (r->inflight.map)
		munmap(r->inflight.map, r->inflight.size);
	vhu_close(&r->inflight.fd);
	vhu_run_state_release(r);
	vhu_run_io_release(r);
	vhu_run_foreign_release(r);
	vhu_run_objects_release(r);
	for (size_t i = 0; i < r->n_lent; i++)
		close(r->lent[i]);
	r->n_lent = 0;
	free(r->rings);
	free(r->ios);
	r->rings = NULL;
	r->ios = NULL;
	r->n_rings = 0;
}

void vhu_run_epilogue(struct vhu_run *r)
{
	bool reachable = !r->interrupted && !r->exited && !r->death_wanted && !r->res->deadline &&
			 !r->res->target_died;

	r->step = NULL;
	r->phase = "epilogue";
	if (!r->stop)
		fence_connections(r);
	if (r->driver) {
		vhu_driver_poll(r->driver);
		vhu_driver_audit(r->driver);
	}
	for (size_t i = 0; i < r->n_conns; i++)
		vhu_conn_close(&r->conns[i]);
	vhu_program_free(r->program);
	r->program = NULL;
	if (reachable && !r->skipped && !r->broken)
		prove_sound(r);
	if (r->driver)
		audit_stopped(r);
	release(r);
}
