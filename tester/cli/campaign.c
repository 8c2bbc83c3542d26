#include "campaign.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "channel/target.h"
#include "runner.h"

enum { HANG_STREAK = 3 };

void vhu_campaign_stop(struct vhu_campaign *c, const char *format, ...)
{
	va_list ap;

	if (c->stop)
		return;
	va_start(ap, format);
	if (vasprintf(&c->stop, format, ap) < 0)
		c->stop = NULL;
	va_end(ap);
	/* Without the words it ends all the same, as our fault. */
	if (!c->stop)
		c->tester_fault = true;
}

void vhu_campaign_interrupt(struct vhu_campaign *c, int signal)
{
	if (signal != SIGALRM) {
		c->signal = signal;
		return;
	}
	vhu_campaign_stop(c, "out of time");
	c->target_lost = true;
}

bool vhu_campaign_goes_on(const struct vhu_campaign *c)
{
	return !c->stop && !c->signal && !c->tester_fault;
}

/* Whether each requirement of --until has had its finding, now that these came. */
static bool all_found(struct vhu_campaign *c, const struct vhu_outcome *o)
{
	bool bad = o->verdict == VHU_FAIL || o->verdict == VHU_WARN;
	size_t found = 0;

	for (size_t i = 0; bad && i < o->result.n_findings; i++)
		c->found[o->result.findings[i].req] = true;
	for (size_t i = 0; i < c->o->n_until; i++)
		found += c->found[c->o->until[i]];
	return c->o->n_until && found == c->o->n_until;
}

/* What one outcome means for those that have not run yet. */
static void draw_conclusions(struct vhu_campaign *c, size_t i, const struct vhu_outcome *o,
			     struct vhu_streak *streak)
{
	const struct vhu_result *r = &o->result;
	const char *id = r->id;

	if (r->target_gone) {
		vhu_campaign_stop(c, "target gone since %s", id);
		c->target_lost = true;
	}
	if (r->deadline && streak->n++ == 0)
		streak->first = i;
	if (!r->deadline && o->verdict != VHU_SKIP)
		streak->n = 0;
	if (streak->n >= HANG_STREAK) {
		vhu_campaign_stop(c, "target hangs since %s", c->plans[streak->first]->id);
		c->target_lost = true;
	}
	/* A death that is known is no more news than the failure that comes with it. */
	if (r->target_died && o->known != VHU_KNOWN_SAME)
		c->target_lost = true;
	if (all_found(c, o))
		vhu_campaign_stop(c, "stopped: %s has the last finding that was wanted", id);
	if (c->o->fail_fast && (o->verdict == VHU_FAIL || o->verdict == VHU_BROKEN))
		vhu_campaign_stop(c, "stopped: %s %s", id, o->verdict == VHU_FAIL ? "failed" : "broke");
}

static int add_rerun(const struct vhu_campaign *c, size_t i, struct vhu_outcome *o)
{
	struct vhu_buf command = {0};

	if (o->verdict == VHU_SKIP)
		return 0;
	vhu_conform_rerun(c->o, c->words[i], c->filters[i], &command);
	free(o->result.rerun);
	o->result.rerun = vhu_buf_steal(&command);
	return o->result.rerun ? 0 : -ENOMEM;
}

static int report_next(struct vhu_campaign *c, struct vhu_err *err)
{
	struct vhu_outcome *o = &c->outcomes[c->next];
	int code = 0;

	vhu_summary_add(&c->summary, o);
	for (size_t r = 0; r < c->n_reports && code == 0; r++)
		code = vhu_report_case(c->reports[r], o, err);
	if (code == 0)
		code = vhu_bundle_case(&c->bundle, o, err);
	vhu_outcome_done(o);
	c->next++;
	return code;
}

int vhu_campaign_run(struct vhu_campaign *c, struct vhu_runner *r, size_t i, struct vhu_outcome *ret,
		     struct vhu_err *err)
{
	int code = vhu_runner_run(r, c->plans[i], ret, err);

	if (code == 0 && vhu_baseline_kills(c->baseline, c->plans[i]->id))
		vhu_target_stop(r->target);
	return code;
}

int vhu_campaign_deliver(struct vhu_campaign *c, size_t i, struct vhu_outcome *take,
			 struct vhu_streak *streak, struct vhu_err *err)
{
	int code = 0;

	if (add_rerun(c, i, take) < 0)
		code = vhu_err_errno(err, -ENOMEM, "%s", take->result.id);
	if (code == 0 && c->baseline)
		code = vhu_baseline_judge(c->baseline, take, c->o->update_baseline, err);
	if (code < 0) {
		vhu_outcome_done(take);
		return code;
	}
	draw_conclusions(c, i, take, streak);
	c->outcomes[i] = *take;
	c->done[i] = true;
	*take = (struct vhu_outcome){0};
	while (code == 0 && c->next < c->n && c->done[c->next])
		code = report_next(c, err);
	return code;
}

int vhu_campaign_finish(struct vhu_campaign *c, struct vhu_err *err)
{
	int code = 0;

	while (c->next < c->n && code == 0) {
		size_t i = c->next;

		if (!c->done[i] && c->signal) {
			c->next++;
			continue;
		}
		/* What cannot run here says so, whatever ended the run. */
		if (!c->done[i]) {
			const char *own = c->plans[i]->skip;
			const char *why = own ? own : c->stop ? c->stop : "not run";

			code = vhu_outcome_without_run(c->plans[i], VHU_SKIP, why, &c->outcomes[i], err);
		}
		if (code == 0)
			code = report_next(c, err);
	}
	c->summary.wall_ns = vhu_now_ns() - c->start_ns;
	if (c->signal)
		snprintf(c->interrupted, sizeof(c->interrupted), "interrupted by SIG%s: %zu of %zu cases ran",
			 sigabbrev_np(c->signal), vhu_summary_ran(&c->summary), c->n);
	c->summary.stopped = c->signal ? c->interrupted : c->stop;
	for (size_t r = 0; r < c->n_reports; r++) {
		int end = vhu_report_end(c->reports[r], &c->summary, code < 0 ? NULL : err);

		code = code < 0 ? code : end;
	}
	return code;
}

int vhu_campaign_exit_code(const struct vhu_campaign *c)
{
	const struct vhu_summary *s = &c->summary;

	if (c->signal)
		return VHU_EXIT_SIGNAL + c->signal;
	if (c->tester_fault || s->broken)
		return VHU_EXIT_BROKEN;
	if (c->target_lost)
		return VHU_EXIT_TARGET;
	if (s->fail || s->flaky)
		return VHU_EXIT_FAILED;
	if (vhu_summary_ran(s) == 0 && !c->o->allow_empty)
		return VHU_EXIT_EMPTY;
	return VHU_EXIT_OK;
}
