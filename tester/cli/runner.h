/* One target with its engine, and cases run against it one after the other. */
#pragma once

#include "cli/conform.h"
#include "plan/plan.h"
#include "report/report.h"
#include "cli/resources.h"

struct vhu_engine;

struct vhu_runner {
	const struct vhu_conform_opts *o;
	struct vhu_loop *loop;
	struct vhu_target *target;
	struct vhu_engine *engine;
	struct vhu_facts facts;
	struct vhu_resources idle;	/* before there was a target */
};

/*
 * Makes loop, target and engine; starts nothing. The target's device is `device`, or with `identify` what the
 * probe finds out where the user named none. Sockets and images go to `dir`, NULL: TMPDIR.
 * -EINVAL if the options are wrong.
 */
int vhu_runner_open(struct vhu_runner *r, const struct vhu_conform_opts *o, enum vhu_device device,
		    bool identify, const char *dir, struct vhu_err *err);
/* Lets go of the target; the loop, with its signals, stays. */
void vhu_runner_release_target(struct vhu_runner *r);
void vhu_runner_close(struct vhu_runner *r);	/* a zeroed one is fine */

/*
 * Collects r->facts. 1 if the target does not speak the protocol well enough to tell (text in
 * err; the cases will say what is wrong with it). Negative: -EINTR, or it cannot be reached.
 */
int vhu_runner_probe(struct vhu_runner *r, struct vhu_err *err);

/*
 * Runs the case as often as --repeat says and keeps the worst result. -EINTR on a signal (*ret
 * untouched), another negative errno if no further case makes sense.
 */
int vhu_runner_run(struct vhu_runner *r, const struct vhu_plan *plan, struct vhu_outcome *ret,
		   struct vhu_err *err);

/* An outcome for a case that did not run, or not to its end. */
int vhu_outcome_without_run(const struct vhu_plan *plan, enum vhu_verdict verdict, const char *reason,
			    struct vhu_outcome *ret, struct vhu_err *err);
