/* Findings of a running case and the verdict that follows from them. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

void vhu_result_done(struct vhu_result *r)
{
	free(r->id);
	free(r->title);
	free(r->file);
	free(r->requirements);
	free(r->findings);
	free(r->grades);
	free(r->reason);
	free(r->trace);
	free(r->target_stderr);
	free(r->rerun);
	memset(r, 0, sizeof(*r));
}

enum { ALIKE_MAX = 3 };

/*
 * The same rule broken in the same way is told once; of what differs in the figures only a few, since who
 * gets it wrong does so with each request.
 */
static bool told(struct vhu_result *res, const struct vhu_finding *f)
{
	unsigned alike = 0;

	for (size_t i = 0; i < res->n_findings; i++) {
		const struct vhu_finding *have = &res->findings[i];

		if (have->req != f->req || strcmp(have->summary, f->summary))
			continue;
		if (!strcmp(have->actual, f->actual))
			return true;
		alike++;
	}
	res->dropped_findings += alike >= ALIKE_MAX;
	return alike >= ALIKE_MAX;
}

void vhu_run_finding(struct vhu_run *r, struct vhu_finding *f)
{
	struct vhu_result *res = r->res;
	struct vhu_finding *findings;
	enum vhu_verdict *grades;

	if (!f->where[0])
		snprintf(f->where, sizeof(f->where), "%s", r->step ? r->step->where : r->phase);
	if (told(res, f))
		return;
	if (res->n_findings == VHU_RESULT_FINDINGS_MAX) {
		res->dropped_findings++;
		return;
	}
	findings = realloc(res->findings, (res->n_findings + 1) * sizeof(*findings));
	if (findings)
		res->findings = findings;
	grades = realloc(res->grades, (res->n_findings + 1) * sizeof(*grades));
	if (grades)
		res->grades = grades;
	if (!findings || !grades) {
		vhu_run_broken(r, "out of memory");
		return;
	}
	findings[res->n_findings] = *f;
	grades[res->n_findings++] = vhu_finding_grade(f, &r->e->opts.judge);
	vhu_trace_log_note(r->e->trace, vhu_now_ns(), 0, "FINDING %s: %s", vhu_req_row(f->req)->id,
			   f->summary);
}

/* Findings about ourselves are mistakes of the case or of the tester: they were asked about before sending.
 */
void vhu_run_found(void *ctx, const struct vhu_finding *f)
{
	struct vhu_conn *c = ctx;
	enum vhu_party party = vhu_req_row(f->req)->party;
	struct vhu_finding copy = *f;

	if (party == VHU_PARTY_FRONT || party == VHU_PARTY_DRIVER || c->not_ours)
		return;
	vhu_run_finding(c->r, &copy);
}

void vhu_run_unmet(struct vhu_run *r, const struct vhu_step *s, enum vhu_finding_kind kind,
		   const char *accepted, const char *actual, ...)
{
	struct vhu_finding f;
	va_list ap;

	if (s->verb == VHU_VERB_CHAIN && s->chain.unmet_skips) {
		vhu_run_skip(r, "%s: the rest of the case is about another answer", s->where);
		return;
	}
	vhu_finding_init(&f, s->requirement, kind, "%s",
			 s->note ? s->note : vhu_req_row(s->requirement)->text);
	snprintf(f.accepted, sizeof(f.accepted), "%s", accepted);
	snprintf(f.where, sizeof(f.where), "%s", s->where);
	va_start(ap, actual);
	vsnprintf(f.actual, sizeof(f.actual), actual, ap);
	va_end(ap);
	vhu_run_finding(r, &f);
}

static void VHU_PRINTF(2, 0) set_reason(struct vhu_run *r, const char *format, va_list ap)
{
	char text[800];

	if (r->res->reason)
		return;
	vsnprintf(text, sizeof(text), format, ap);
	r->res->reason = strdup(text);
}

void vhu_run_broken(struct vhu_run *r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set_reason(r, format, ap);
	va_end(ap);
	r->broken = r->stop = true;
}

void vhu_run_skip(struct vhu_run *r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	set_reason(r, format, ap);
	va_end(ap);
	r->skipped = r->stop = true;
}

static enum vhu_verdict verdict_of(const struct vhu_run *r)
{
	enum vhu_verdict worst = VHU_PASS;

	if (r->broken)
		return VHU_BROKEN;
	for (size_t i = 0; i < r->res->n_findings; i++)
		worst = VHU_MAX(worst, r->res->grades[i]);
	if (worst < VHU_FAIL && r->skipped)
		return VHU_SKIP;
	return worst;
}

static void keep_trace(struct vhu_run *r)
{
	const struct vhu_engine_opts *opts = &r->e->opts;
	struct vhu_buf text = {0};

	if (r->res->verdict == VHU_SKIP || (!opts->trace_all && r->res->verdict == VHU_PASS))
		return;
	free(r->res->trace);
	vhu_trace_log_print(r->e->trace, opts->trace_entries, r->plan->device, opts->trace_hex, &text);
	r->res->trace = vhu_buf_steal(&text);
}

static void keep_stderr(struct vhu_run *r)
{
	const struct vhu_exit *x = vhu_target_exit(r->e->target);

	if (r->res->target_died && !r->res->target_stderr && x->stderr_tail && *x->stderr_tail)
		r->res->target_stderr = strdup(x->stderr_tail);
}

void vhu_run_conclude(struct vhu_run *r)
{
	r->res->verdict = verdict_of(r);
	/* A reason explains a verdict without findings; beside one it would only mislead. */
	if (r->res->verdict < VHU_SKIP) {
		free(r->res->reason);
		r->res->reason = NULL;
	}
	keep_trace(r);
	keep_stderr(r);
}
