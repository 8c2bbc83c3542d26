/* Markdown for a job's summary or an issue: the counts, what failed and why, what warned, what was skipped.
 */
#include <errno.h>
#include <string.h>

#include "impl.h"

struct markdown {
	struct vhu_buf failed, warned, skipped;
};

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	r->state = calloc(1, sizeof(struct markdown));
	return r->state ? 0 : vhu_err_errno(err, -ENOMEM, "markdown report");
}

static void free_state(struct vhu_report *r)
{
	struct markdown *m = r->state;

	vhu_buf_done(&m->failed);
	vhu_buf_done(&m->warned);
	vhu_buf_done(&m->skipped);
	free(m);
	r->state = NULL;
}

/* "- name: text" on one line; nothing for an empty text. */
static void add_item(struct vhu_buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return;
	vhu_buf_printf(out, "- %s: ", name);
	vhu_text_add(out, VHU_TEXT_MARKDOWN, text);
	vhu_buf_puts(out, "\n");
}

/* Text as it is, which nothing in it can end. */
static void add_block(struct vhu_buf *out, const char *text)
{
	struct vhu_buf clean = {0};

	if (!text || !*text)
		return;
	vhu_text_add(&clean, VHU_TEXT_PLAIN, text);
	vhu_buf_puts(out, "\n");
	vhu_text_indent(out, "    ", vhu_buf_text(&clean));
	vhu_buf_puts(out, "\n");
	out->failed |= clean.failed;
	vhu_buf_done(&clean);
}

static void add_finding(struct vhu_buf *out, const struct vhu_finding *f)
{
	const struct vhu_req_row *row = vhu_req_row(f->req);

	vhu_buf_printf(out, "\n**%s** (%s%s): ", row->id, vhu_level_name(row->level),
		       vhu_finding_is_robustness(f) ? ", robustness" : "");
	vhu_text_add(out, VHU_TEXT_MARKDOWN, row->text);
	vhu_buf_puts(out, " [");
	vhu_text_add(out, VHU_TEXT_MARKDOWN, row->section);
	vhu_buf_puts(out, "]\n\n");
	add_item(out, "wrong", f->summary);
	add_item(out, "accepted", f->accepted);
	add_item(out, "got", f->actual);
	add_item(out, "message", f->message);
	add_item(out, "where", f->where);
}

static void add_details(struct vhu_buf *out, const char *summary, const char *text)
{
	if (!text || !*text)
		return;
	vhu_buf_printf(out, "\n<details><summary>%s</summary>\n", summary);
	add_block(out, text);
	vhu_buf_puts(out, "</details>\n");
}

static void add_failed(struct vhu_buf *out, const struct vhu_outcome *o)
{
	const struct vhu_result *r = &o->result;

	vhu_buf_printf(out, "\n### %s ", vhu_outcome_name(o));
	vhu_text_add(out, VHU_TEXT_MARKDOWN, r->id);
	vhu_buf_puts(out, "\n\n");
	vhu_text_add(out, VHU_TEXT_MARKDOWN, r->title);
	vhu_buf_puts(out, "\n\n");
	if (o->runs > 1)
		vhu_buf_printf(out, "- passed %u of %u runs\n", o->passed, o->runs);
	add_item(out, "reason", o->verdict == VHU_BROKEN ? r->reason : NULL);
	add_item(out, "baseline", o->note);
	for (size_t i = 0; i < r->n_findings; i++)
		add_finding(out, &r->findings[i]);
	add_details(out, "last messages", r->trace);
	add_details(out, "standard error", r->target_stderr);
	add_block(out, r->rerun);
}

static void add_row(struct vhu_buf *out, const char *id, const char *requirement, const char *text)
{
	vhu_buf_puts(out, "| ");
	vhu_text_add(out, VHU_TEXT_MARKDOWN, id);
	vhu_buf_puts(out, " | ");
	if (requirement)
		vhu_buf_printf(out, "%s | ", requirement);
	vhu_text_add(out, VHU_TEXT_MARKDOWN, text);
	vhu_buf_puts(out, " |\n");
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	struct markdown *m = r->state;

	switch (o->verdict) {
	case VHU_FAIL:
	case VHU_BROKEN:
		add_failed(&m->failed, o);
		break;
	case VHU_WARN:
		for (size_t i = 0; i < o->result.n_findings; i++)
			add_row(&m->warned, o->result.id, vhu_req_row(o->result.findings[i].req)->id,
				o->result.findings[i].summary);
		break;
	case VHU_SKIP:
		add_row(&m->skipped, o->result.id, NULL, o->result.reason);
		break;
	case VHU_PASS:
	case VHU_VERDICT_MAX:
		break;
	}
	return m->failed.failed || m->warned.failed || m->skipped.failed
		       ? vhu_err_errno(err, -ENOMEM, "markdown report")
		       : 0;
}

static void add_head(struct vhu_buf *out, const struct vhu_report *r, const struct vhu_summary *s)
{
	const struct vhu_report_target *t = &r->run.target;

	vhu_buf_printf(out, "## vhu-conform: %s\n\n",
		       s->fail || s->flaky  ? "failed"
		       : s->broken	    ? "broken"
		       : vhu_summary_ran(s) ? "passed"
					    : "empty");
	vhu_buf_puts(out, "**");
	vhu_summary_line(s, out);
	vhu_buf_puts(out, "**\n\n");
	add_item(out, "target", t->name);
	if (t->probed)
		vhu_buf_printf(
			out,
			"- device: %s, %u queues, features 0x%llx, protocol features 0x%llx, %s memory\n",
			t->device == VHU_DEV_ANY ? "unknown" : vhu_device_row(t->device)->name, t->queues,
			(unsigned long long)t->features, (unsigned long long)t->pfeatures, t->memory);
	vhu_buf_printf(out, "- vhu-conform %s, seed %llu%s\n", VHU_VERSION, (unsigned long long)r->run.seed,
		       r->run.strict ? ", strict" : "");
	add_item(out, "ended early", s->stopped);
}

static int add_part(struct vhu_report *r, const char *title, struct vhu_buf *part, struct vhu_err *err)
{
	struct vhu_buf b = {0};
	int code;

	if (!part->len)
		return 0;
	vhu_buf_printf(&b, "\n%s\n", title);
	code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code < 0 ? code : vhu_report_write(r, part, err);
}

static int end(struct vhu_report *r, const struct vhu_summary *s, struct vhu_err *err)
{
	struct markdown *m = r->state;
	struct vhu_buf b = {0};
	int code;

	add_head(&b, r, s);
	code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	if (code == 0)
		code = add_part(r, "## Failed", &m->failed, err);
	if (code == 0)
		code = add_part(r, "## Warnings\n\n| case | requirement | what |\n| --- | --- | --- |",
				&m->warned, err);
	if (code == 0)
		code = add_part(r, "## Skipped\n\n| case | why |\n| --- | --- |", &m->skipped, err);
	return code;
}

const struct vhu_report_ops vhu_report_markdown = {
	.name = "markdown",
	.begin = begin,
	.case_done = case_done,
	.end = end,
	.free = free_state,
};
