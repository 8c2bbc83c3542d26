/* Counts once for all reports, and says what a case came to in a line. */
#include "impl.h"

void vhu_outcome_done(struct vhu_outcome *o)
{
	if (!o)
		return;
	vhu_result_done(&o->result);
	free(o->note);
	*o = (struct vhu_outcome){0};
}

const char *vhu_outcome_name(const struct vhu_outcome *o)
{
	return o->flaky && o->verdict == VHU_FAIL ? "FLAKY" : vhu_verdict_name(o->verdict);
}

enum vhu_verdict vhu_outcome_grade(const struct vhu_outcome *o, size_t finding)
{
	enum vhu_verdict grade = o->result.grades[finding];

	return grade == VHU_FAIL && o->known == VHU_KNOWN_SAME ? VHU_WARN : grade;
}

void vhu_summary_add(struct vhu_summary *s, const struct vhu_outcome *o)
{
	switch (o->verdict) {
	case VHU_PASS:
		s->pass++;
		break;
	case VHU_WARN:
		s->warn++;
		break;
	case VHU_FAIL:
		if (o->flaky)
			s->flaky++;
		else
			s->fail++;
		break;
	case VHU_SKIP:
		s->skip++;
		break;
	case VHU_BROKEN:
		s->broken++;
		break;
	case VHU_VERDICT_MAX:
		break;
	}
	s->known += o->known == VHU_KNOWN_SAME;
	s->fixed += o->known == VHU_KNOWN_FIXED;
	s->settle_ns += o->result.settle_ns;
	s->frames += o->result.frames;
	s->ios += o->result.ios;
}

size_t vhu_summary_ran(const struct vhu_summary *s)
{
	return s->pass + s->fail + s->warn + s->broken + s->flaky;
}

void vhu_summary_line(const struct vhu_summary *s, struct vhu_buf *out)
{
	vhu_buf_printf(out, "%zu passed, %zu failed, %zu warned, %zu skipped", s->pass, s->fail, s->warn,
		       s->skip);
	if (s->broken)
		vhu_buf_printf(out, ", %zu broken", s->broken);
	if (s->flaky)
		vhu_buf_printf(out, ", %zu flaky", s->flaky);
	vhu_buf_printf(out, " in %.2f s", (double)s->wall_ns / 1e9);
}

const struct vhu_finding *vhu_outcome_main_finding(const struct vhu_outcome *o)
{
	const struct vhu_result *r = &o->result;

	for (size_t i = 0; i < r->n_findings; i++)
		if (r->grades[i] == r->verdict)
			return &r->findings[i];
	return r->n_findings ? &r->findings[0] : NULL;
}

void vhu_outcome_headline(const struct vhu_outcome *o, struct vhu_buf *out)
{
	const struct vhu_finding *f = vhu_outcome_main_finding(o);

	if (o->verdict == VHU_SKIP || o->verdict == VHU_BROKEN || !f) {
		vhu_text_add(out, VHU_TEXT_LINE, o->result.reason);
		return;
	}
	vhu_buf_printf(out, "%s: ", vhu_req_row(f->req)->id);
	vhu_text_add(out, VHU_TEXT_LINE, f->summary);
}

bool vhu_finding_is_robustness(const struct vhu_finding *f)
{
	return f->kind == VHU_FINDING_ROBUST && vhu_req_row(f->req)->level == VHU_LEVEL_IMPLIED;
}

const char *vhu_finding_kind_name(enum vhu_finding_kind kind)
{
	switch (kind) {
	case VHU_FINDING_RULE:
		return "rule";
	case VHU_FINDING_ROBUST:
		return "robustness";
	case VHU_FINDING_QUIRK:
		return "quirk";
	}
	return "rule";
}
