#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "internal.h"

static vhu_do_fn *const on_verb[VHU_VERB_MAX] = {
	[VHU_VERB_SEND] = vhu_do_send,
	[VHU_VERB_RAW] = vhu_do_raw,
	[VHU_VERB_RECV] = vhu_do_recv,
	[VHU_VERB_FENCE] = vhu_do_fence,
	[VHU_VERB_CONNECT] = vhu_do_connect,
	[VHU_VERB_CLOSE] = vhu_do_close,
	[VHU_VERB_RECONNECT] = vhu_do_reconnect,
	[VHU_VERB_TARGET] = vhu_do_target,
	[VHU_VERB_PROGRAM] = vhu_do_program,
	[VHU_VERB_RING] = vhu_do_ring,
	[VHU_VERB_IO] = vhu_do_io,
	[VHU_VERB_CHAIN] = vhu_do_chain,
	[VHU_VERB_AWAIT] = vhu_do_await,
	[VHU_VERB_FRAMES] = vhu_do_frames,
	[VHU_VERB_MEMORY] = vhu_do_memory,
	[VHU_VERB_LOG] = vhu_do_log,
	[VHU_VERB_INFLIGHT] = vhu_do_inflight,
	[VHU_VERB_IOTLB] = vhu_do_iotlb,
	[VHU_VERB_STATE] = vhu_do_state,
	[VHU_VERB_PHASE] = vhu_do_phase,
	[VHU_VERB_ASSERT] = vhu_do_assert,
	[VHU_VERB_NOTE] = vhu_do_note,
	[VHU_VERB_RECORDED] = vhu_do_recorded,
	[VHU_VERB_ANSWER] = vhu_do_answer,
	[VHU_VERB_END] = vhu_do_end,
	[VHU_VERB_FILL] = vhu_do_fill,
	[VHU_VERB_SIGNAL] = vhu_do_signal,
	[VHU_VERB_OFFER] = vhu_do_offer,
	[VHU_VERB_USED] = vhu_do_used,
};

/* Nobody was connected when it ended, and it ended in order: a program that serves one session. */
static bool one_shot_end(const struct vhu_run *r, const struct vhu_exit *x)
{
	for (size_t i = 0; i < r->n_conns; i++)
		if (r->conns[i].main)
			return false;
	return r->conns[0].used && WIFEXITED(x->status);
}

/* The spawned process ended. Whether anybody wanted that is known to the run. */
static void on_exit_cb(void *ctx)
{
	struct vhu_engine *e = ctx;
	const struct vhu_exit *x = vhu_target_exit(e->target);

	if (!e->run || x->expected)
		return;
	if (one_shot_end(e->run, x)) {
		vhu_target_set_one_shot(e->target);
		return;
	}
	e->run->exited = true;
	e->run->exit_in_order = x->in_order;
	vhu_record_exited(e->run, x->status);
	snprintf(e->run->exit_what, sizeof(e->run->exit_what), "%s", x->what);
	vhu_trace_log_note(e->trace, vhu_now_ns(), 0, "the back-end's process: %s", x->what);
}

int vhu_engine_new(struct vhu_loop *loop, struct vhu_target *target, const struct vhu_engine_opts *opts,
		   struct vhu_engine **ret, struct vhu_err *err)
{
	struct vhu_engine *e = calloc(1, sizeof(*e));
	int rc;

	if (!e)
		return vhu_err_set(err, -ENOMEM, "out of memory");
	e->loop = loop;
	e->target = target;
	e->opts = *opts;
	if (!e->opts.trace_entries)
		e->opts.trace_entries = 16;
	rc = vhu_trace_log_new(e->opts.trace_entries, &e->trace, err);
	if (rc < 0) {
		free(e);
		return rc;
	}
	vhu_target_on_exit(target, on_exit_cb, e);
	*ret = e;
	return 0;
}

void vhu_engine_use_target(struct vhu_engine *e, struct vhu_target *target)
{
	vhu_target_on_exit(e->target, NULL, NULL);
	e->target = target;
	vhu_target_on_exit(target, on_exit_cb, e);
}

void vhu_engine_free(struct vhu_engine *e)
{
	if (!e)
		return;
	vhu_target_on_exit(e->target, NULL, NULL);
	vhu_engine_record(e, NULL, 0, NULL);
	vhu_trace_log_free(e->trace);
	vhu_capabilities_done(&e->capabilities);
	free(e);
}

/* --- one case ------------------------------------------------------------------------------------------- */

/* Whether a connection is open that was served, or one that nobody has answered yet. */
static bool has_open(const struct vhu_run *r, bool served)
{
	for (size_t i = 0; i < r->n_conns; i++)
		if (r->conns[i].main && r->conns[i].heard == served)
			return true;
	return false;
}

/* It ended in order along with a session, as programs do whose guest has moved away or is gone. */
static bool ended_with_session(const struct vhu_run *r)
{
	if (!r->exit_in_order)
		return false;
	return r->closed ? r->closing_accepted : r->session_over && !has_open(r, true);
}

bool vhu_run_exit_forgiven(struct vhu_run *r)
{
	struct vhu_finding f;

	if (!r->exited || !ended_with_session(r))
		return false;
	r->exited = false;
	/* A connection that only reached its backlog is lost with it. */
	r->stop |= !r->closed && has_open(r, false);
	vhu_finding_init(&f, VHU_REQ_PROG_16, VHU_FINDING_QUIRK,
			 "the program ends along with the connection");
	snprintf(f.accepted, sizeof(f.accepted), "the end of the connection");
	snprintf(f.actual, sizeof(f.actual), "%s", r->exit_what);
	snprintf(f.where, sizeof(f.where), "%s", r->closing.where);
	vhu_run_finding(r, &f);
	return true;
}

/* The process ended and nobody wanted that: the finding of the step that brought it down. */
static void tell_exit(struct vhu_run *r)
{
	const struct vhu_step *at = r->closed ? &r->closing : r->step;
	/* No step of this case did it: what an earlier one damaged shows when it does. */
	bool damaged = !r->step && r->inherited && !r->exit_in_order;
	char text[sizeof(r->exit_what) + 64];
	struct vhu_obs obs = {.kind = VHU_OBS_EXIT, .text = text};

	if (r->exit_told || vhu_run_exit_forgiven(r))
		return;
	snprintf(text, sizeof(text), "%s%s", r->exit_what,
		 damaged ? " in the set-up, in a process that other cases were run on" : "");
	r->exit_told = true;
	r->res->target_died = true;
	r->stop = true;
	r->step = at;
	if (r->conns[0].used)
		vhu_oracle_observe(&r->conns[0].oracle, &obs);
	/* A recorded step wants nothing but what was recorded, and that differs. */
	if (at && !r->plan->recorded && !damaged)
		vhu_run_unmet(r, at, VHU_FINDING_ROBUST, "a back-end that lives", "%s", r->exit_what);
}

static void check_exit(struct vhu_run *r)
{
	struct vhu_err err = {0};

	vhu_loop_poll(r->e->loop, &err);
	if (r->exited)
		tell_exit(r);
}

/* On a connection whose end the case has accepted, nothing is to be done until the next one. */
static bool passed_over(const struct vhu_run *r, const struct vhu_step *s)
{
	const struct vhu_conn *c = &r->conns[s->conn];

	switch (s->verb) {
	case VHU_VERB_SEND:
	case VHU_VERB_RAW:
	case VHU_VERB_RECV:
	case VHU_VERB_FENCE:
	case VHU_VERB_RING:
	case VHU_VERB_IO:
	case VHU_VERB_CHAIN:
	case VHU_VERB_FRAMES:
	case VHU_VERB_AWAIT:
	case VHU_VERB_MEMORY:
	case VHU_VERB_LOG:
	case VHU_VERB_INFLIGHT:
	case VHU_VERB_IOTLB:
	case VHU_VERB_STATE:
	case VHU_VERB_PHASE:
	case VHU_VERB_RECORDED:
	case VHU_VERB_ANSWER:
	case VHU_VERB_END:
	case VHU_VERB_FILL:
	case VHU_VERB_SIGNAL:
	case VHU_VERB_OFFER:
		return c->closed && c->close_told;
	case VHU_VERB_CONNECT:
	case VHU_VERB_CLOSE:
	case VHU_VERB_RECONNECT:
	case VHU_VERB_TARGET:
	case VHU_VERB_PROGRAM:
	case VHU_VERB_ASSERT:
	case VHU_VERB_NOTE:
	case VHU_VERB_USED: /* tells where the ring of a dead back-end stands */
	case VHU_VERB_MAX:
		break;
	}
	return false;
}

static void run_steps(struct vhu_run *r)
{
	for (size_t i = 0; i < r->plan->n_steps && !r->stop; i++) {
		r->step_index = i;
		r->step = &r->plan->steps[i];
		if (!passed_over(r, r->step))
			on_verb[r->step->verb](r, r->step);
		if (r->exited)
			tell_exit(r);
	}
}

static void run_case(struct vhu_run *r)
{
	char where[40];
	struct vhu_err err = {0};
	struct vhu_step start = {.where = where, .requirement = r->plan->requirements[0]};

	snprintf(where, sizeof(where), "start: %s", vhu_state_name(r->plan->start));
	r->phase = start.where;
	vhu_trace_log_clear(r->e->trace);
	if (vhu_conn_open(r, &r->conns[0]) &&
	    vhu_run_prelude(&r->conns[0], VHU_STATE_CONNECTED, r->plan->start, NULL, &start))
		run_steps(r);
	vhu_run_epilogue(r);
	if (!r->exit_told)
		check_exit(r);
	/* A back-end that hung is of no use to the next case. */
	if (r->res->deadline && vhu_target_spawned(r->e->target))
		vhu_target_stop(r->e->target);
	if (vhu_target_restore_image(r->e->target, &err) < 0)
		vhu_run_broken(r, "%s", err.text);
}

static int begin(struct vhu_run *r, struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret)
{
	*r = (struct vhu_run){.e = e,
			      .plan = plan,
			      .res = ret,
			      .last_added_region = SIZE_MAX,
			      .session_before = e->opened > 0,
			      .inherited = e->case_pid && e->case_pid == vhu_target_pid(e->target)};
	r->log.fd = r->inflight.fd = r->state.fd = r->postcopy.fd = -1;
	r->iommu.granule = VHU_C_LOG_PAGE;
	r->n_conns = VHU_MAX(plan->n_conns, (size_t)1);
	r->conns = calloc(r->n_conns, sizeof(*r->conns));
	r->vars = calloc(plan->n_vars + 1, sizeof(*r->vars));
	r->vars_set = calloc(plan->n_vars + 1, sizeof(*r->vars_set));
	ret->id = strdup(plan->id);
	ret->title = strdup(plan->title);
	ret->file = strdup(plan->file);
	ret->requirements = calloc(plan->n_requirements + 1, sizeof(*ret->requirements));
	if (!r->conns || !r->vars || !r->vars_set || !ret->id || !ret->title || !ret->file ||
	    !ret->requirements)
		return -ENOMEM;
	memcpy(ret->requirements, plan->requirements, plan->n_requirements * sizeof(*ret->requirements));
	ret->n_requirements = plan->n_requirements;
	for (size_t i = 0; i < r->n_conns; i++) {
		r->conns[i].r = r;
		r->conns[i].index = (unsigned)i;
		r->conns[i].features = plan->features;
		r->conns[i].pfeatures = plan->pfeatures;
	}
	return 0;
}

static void end(struct vhu_run *r)
{
	for (size_t i = 0; r->conns && i < r->n_conns; i++)
		vhu_conn_close(&r->conns[i]);
	free(r->conns);
	free(r->vars);
	free(r->vars_set);
	free(r->iommu.maps);
}

int vhu_engine_run_once(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			struct vhu_holdings *ret_held)
{
	uint64_t start = vhu_now_ns();
	struct vhu_run r;
	int rc = begin(&r, e, plan, ret);

	if (rc < 0) {
		end(&r);
		return rc;
	}
	e->run = &r;
	vhu_target_clear_exit(e->target);
	if (plan->skip) {
		vhu_run_skip(&r, "%s", plan->skip);
	} else {
		run_case(&r);
		e->case_pid = vhu_target_pid(e->target);
	}
	e->run = NULL;
	if (r.interrupted)
		vhu_run_skip(&r, "interrupted");
	vhu_run_conclude(&r);
	ret->duration_ns = vhu_now_ns() - start;
	*ret_held = r.held;
	end(&r);
	return r.interrupted ? -EINTR : 0;
}

int vhu_engine_run(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
		   struct vhu_err *err)
{
	struct vhu_holdings held = {0};
	int rc;

	memset(ret, 0, sizeof(*ret));
	/* Of a recording nobody asks what it leaves behind, and it begins at once. */
	if (!plan->skip && !plan->recorded)
		vhu_engine_meet(e);
	rc = vhu_engine_run_once(e, plan, ret, &held);
	vhu_engine_record(e, NULL, 0, NULL);
	if (rc == -EINTR)
		return vhu_err_set(err, rc, "interrupted");
	if (rc < 0) {
		vhu_result_done(ret);
		return vhu_err_set(err, rc, "out of memory");
	}
	if (held.pid && !plan->recorded)
		vhu_engine_check_leaks(e, plan, ret, &held);
	return 0;
}
