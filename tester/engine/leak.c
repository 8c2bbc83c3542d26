/*
 * Whether a spawned target gives back what it was given. It is looked at while a fresh connection
 * is open, so that the session before is gone; programs may keep a descriptor or two for good, so
 * that only growth with every further run of the same case is a leak.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum { ROUNDS = 3 };

struct vhu_holdings vhu_run_holdings(const struct vhu_run *r)
{
	const struct vhu_target *t = r->e->target;

	return (struct vhu_holdings){
		.pid = vhu_target_pid(t), .fds = vhu_target_fd_count(t), .maps = vhu_target_map_count(t)};
}

/* What it holds counts only for the same process, and where it can be seen. */
static bool comparable(const struct vhu_holdings *a, const struct vhu_holdings *b)
{
	return a->pid && a->pid == b->pid && a->fds >= 0 && b->fds >= 0;
}

static bool more_fds(const struct vhu_holdings *a, const struct vhu_holdings *b)
{
	return comparable(a, b) && b->fds > a->fds;
}

static bool more_maps(const struct vhu_holdings *a, const struct vhu_holdings *b)
{
	return comparable(a, b) && b->maps > a->maps;
}

/* Runs the case again, for what it leaves behind alone. */
static struct vhu_holdings once_more(struct vhu_engine *e, const struct vhu_plan *plan)
{
	struct vhu_result scratch = {0};
	struct vhu_holdings held = {0};

	vhu_engine_run_once(e, plan, &scratch, &held);
	vhu_result_done(&scratch);
	return held;
}

static void tell(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
		 const struct vhu_holdings *now, const struct vhu_holdings *before, bool fds)
{
	struct vhu_run r = {.e = e, .plan = plan, .res = ret, .phase = "after the case"};
	struct vhu_finding f;

	vhu_finding_init(&f, plan->requirements[0], VHU_FINDING_ROBUST, "the back-end leaks %s",
			 fds ? "descriptors" : "mappings");
	snprintf(f.accepted, sizeof(f.accepted), "as many as before, however often the case runs");
	snprintf(f.actual, sizeof(f.actual), "%d after %d, and more with each further run",
		 fds ? now->fds : now->maps, fds ? before->fds : before->maps);
	vhu_run_finding(&r, &f);
	vhu_run_conclude(&r);
}

void vhu_engine_check_leaks(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
			    const struct vhu_holdings *now)
{
	struct vhu_holdings before = e->held, last = *now;
	bool fds = more_fds(&before, now), maps = more_maps(&before, now);

	e->held = *now;
	for (int i = 0; i < ROUNDS && (fds || maps); i++) {
		struct vhu_holdings next = once_more(e, plan);

		fds &= more_fds(&last, &next);
		maps &= more_maps(&last, &next);
		last = next;
		if (next.pid)
			e->held = next;
	}
	if (fds)
		tell(e, plan, ret, now, &before, true);
	if (maps)
		tell(e, plan, ret, now, &before, false);
}
