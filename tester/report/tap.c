/*
 * Test Anything Protocol 13 with YAML diagnostics; as 14 it would differ by its first line only,
 * which older readers refuse. The YAML keeps to the subset that they read.
 */
#include <errno.h>
#include <string.h>

#include "impl.h"

struct tap {
	size_t done;
};

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	struct vhu_buf b = {0};
	int code;

	r->state = calloc(1, sizeof(struct tap));
	if (!r->state)
		return vhu_err_errno(err, -ENOMEM, "tap report");
	vhu_buf_puts(&b, "TAP version 13\n");
	code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code;
}

static void free_state(struct vhu_report *r)
{
	free(r->state);
	r->state = NULL;
}

/* A description or a directive's text: one line in which # and \ are escaped. */
static void add_escaped(const char *text, struct vhu_buf *out)
{
	struct vhu_buf line = {0};

	vhu_text_add(&line, VHU_TEXT_LINE, text);
	for (const char *p = vhu_buf_text(&line); *p; p++) {
		if (*p == '#' || *p == '\\')
			vhu_buf_puts(out, "\\");
		vhu_buf_add(out, p, 1);
	}
	vhu_buf_done(&line);
}

static void add_key(const char *indent, const char *key, const char *text, struct vhu_buf *out)
{
	if (!text || !*text)
		return;
	vhu_buf_printf(out, "  %s%s: \"", indent, key);
	vhu_text_add(out, VHU_TEXT_YAML, text);
	vhu_buf_puts(out, "\"\n");
}

/* Several lines as a list, since block scalars are not in that subset. */
static void add_lines(const char *key, const char *text, struct vhu_buf *out)
{
	struct vhu_buf clean = {0};

	vhu_text_add(&clean, VHU_TEXT_PLAIN, text);
	if (clean.len)
		vhu_buf_printf(out, "  %s:\n", key);
	for (const char *p = vhu_buf_text(&clean); *p;) {
		size_t n = strcspn(p, "\n");
		char *line = strndup(p, n);

		vhu_buf_puts(out, "    - \"");
		vhu_text_add(out, VHU_TEXT_YAML, line);
		vhu_buf_puts(out, "\"\n");
		out->failed |= !line;
		free(line);
		p += n + (p[n] == '\n');
	}
	out->failed |= clean.failed;
	vhu_buf_done(&clean);
}

static void add_finding(const struct vhu_outcome *o, size_t i, struct vhu_buf *out)
{
	const struct vhu_finding *f = &o->result.findings[i];
	const struct vhu_req_row *row = vhu_req_row(f->req);

	vhu_buf_printf(out, "    - requirement: \"%s\"\n", row->id);
	add_key("    ", "level", vhu_level_name(row->level), out);
	add_key("    ", "kind", vhu_finding_kind_name(f->kind), out);
	add_key("    ", "grade", vhu_outcome_grade(o, i) == VHU_FAIL ? "fail" : "warn", out);
	add_key("    ", "section", row->section, out);
	add_key("    ", "asks", row->text, out);
	add_key("    ", "summary", f->summary, out);
	add_key("    ", "accepted", f->accepted, out);
	add_key("    ", "actual", f->actual, out);
	add_key("    ", "message", f->message, out);
	add_key("    ", "hex", f->hex, out);
	add_key("    ", "where", f->where, out);
}

static void add_diagnostics(const struct vhu_outcome *o, struct vhu_buf *out)
{
	const struct vhu_result *r = &o->result;

	vhu_buf_puts(out, "  ---\n");
	vhu_buf_puts(out, "  verdict: \"");
	vhu_text_add(out, VHU_TEXT_YAML, vhu_outcome_name(o));
	vhu_buf_puts(out, "\"\n");
	vhu_buf_printf(out, "  duration_ms: %.1f\n", (double)r->duration_ns / 1e6);
	add_key("", "title", r->title, out);
	add_key("", "file", r->file, out);
	add_key("", "reason", r->reason, out);
	add_key("", "baseline", o->note, out);
	if (o->runs > 1)
		vhu_buf_printf(out, "  runs: %u\n  passed: %u\n", o->runs, o->passed);
	if (r->n_findings)
		vhu_buf_puts(out, "  findings:\n");
	for (size_t i = 0; i < r->n_findings; i++)
		add_finding(o, i, out);
	add_lines("messages", r->trace, out);
	add_lines("stderr", r->target_stderr, out);
	add_key("", "alone", r->rerun, out);
	vhu_buf_puts(out, "  ...\n");
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	struct tap *t = r->state;
	struct vhu_buf b = {0};
	/* A known failure is something to do: not ok and no failure, or ok once it is fixed. */
	bool known = o->known == VHU_KNOWN_SAME;
	bool fixed = o->known == VHU_KNOWN_FIXED;
	bool ok = o->verdict != VHU_FAIL && o->verdict != VHU_BROKEN && !known;
	int code;

	vhu_buf_printf(&b, "%s %zu - ", ok ? "ok" : "not ok", ++t->done);
	add_escaped(o->result.id, &b);
	if (o->verdict == VHU_SKIP) {
		vhu_buf_puts(&b, " # SKIP ");
		add_escaped(o->result.reason, &b);
	} else if (known || fixed) {
		vhu_buf_puts(&b, " # todo ");
		add_escaped(o->note && *o->note ? o->note : known ? "known failure" : "fixed", &b);
	}
	vhu_buf_puts(&b, "\n");
	if (o->verdict != VHU_SKIP && (!ok || o->verdict == VHU_WARN))
		add_diagnostics(o, &b);
	code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code;
}

/* The plan comes last, so that it is right however the run ended. */
static int end(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err)
{
	const struct tap *t = r->state;
	struct vhu_buf b = {0};
	int code;

	vhu_buf_printf(&b, "1..%zu\n", t->done);
	if (summary->stopped) {
		vhu_buf_puts(&b, "# ");
		vhu_text_add(&b, VHU_TEXT_LINE, summary->stopped);
		vhu_buf_puts(&b, "\n");
	}
	vhu_buf_puts(&b, "# ");
	vhu_summary_line(summary, &b);
	vhu_buf_puts(&b, "\n");
	code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code;
}

const struct vhu_report_ops vhu_report_tap = {
	.name = "tap", .begin = begin, .case_done = case_done, .end = end, .free = free_state,
};
