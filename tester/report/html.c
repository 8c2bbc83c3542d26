/* One page of HTML that needs nothing beside it: the counts, what failed, and a table of all cases. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "impl.h"

static const char head[] =
	"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width\">\n<title>vhu-conform</title>\n<style>\n"
	"body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }\n"
	"table { border-collapse: collapse; width: 100% }\n"
	"td, th { border-bottom: 1px solid #ddd; padding: .2em .5em; text-align: left; vertical-align: top "
	"}\n"
	"pre { background: #f4f4f4; overflow-x: auto; padding: .5em }\n"
	".pass { color: #060 } .fail, .flaky { color: #b00 } .warn { color: #a60 } .skip { color: #666 }\n"
	".broken { color: #80c }\n"
	"</style>\n</head>\n<body>\n";

struct html {
	struct vhu_buf failed, rows;
};

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	r->state = calloc(1, sizeof(struct html));
	return r->state ? 0 : vhu_err_errno(err, -ENOMEM, "html report");
}

static void free_state(struct vhu_report *r)
{
	struct html *h = r->state;

	vhu_buf_done(&h->failed);
	vhu_buf_done(&h->rows);
	free(h);
	r->state = NULL;
}

static void add_text(struct vhu_buf *out, const char *text)
{
	vhu_text_add(out, VHU_TEXT_XML, text);
}

static void add_term(struct vhu_buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return;
	vhu_buf_printf(out, "<dt>%s</dt><dd>", name);
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, "\n");
		_cleanup_(vhu_freep) char *line = strndup(at, n);

		vhu_buf_puts(out, at == text ? "" : "<br>");
		add_text(out, line);
		out->failed |= !line;
		at += n + (at[n] == '\n');
	}
	vhu_buf_puts(out, "</dd>\n");
}

static void add_block(struct vhu_buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return;
	vhu_buf_printf(out, "<details><summary>%s</summary><pre>", name);
	add_text(out, text);
	vhu_buf_puts(out, "</pre></details>\n");
}

static void add_finding(struct vhu_buf *out, const struct vhu_finding *f)
{
	const struct vhu_req_row *row = vhu_req_row(f->req);

	vhu_buf_printf(out, "<p><b>%s</b> %s%s: ", row->id, vhu_level_name(row->level),
		       vhu_finding_is_robustness(f) ? ", robustness" : "");
	add_text(out, row->text);
	vhu_buf_puts(out, " [");
	add_text(out, row->section);
	vhu_buf_puts(out, "]</p>\n<dl>\n");
	add_term(out, "wrong", f->summary);
	add_term(out, "accepted", f->accepted);
	add_term(out, "got", f->actual);
	add_term(out, "message", f->message);
	add_term(out, "bytes", f->hex);
	add_term(out, "where", f->where);
	vhu_buf_puts(out, "</dl>\n");
}

/* The verdict's name as a class. */
static void add_class(struct vhu_buf *out, const struct vhu_outcome *o)
{
	for (const char *at = vhu_outcome_name(o); *at; at++) {
		char c = (char)tolower((unsigned char)*at);

		vhu_buf_add(out, &c, 1);
	}
}

static void add_failed(struct vhu_buf *out, const struct vhu_outcome *o)
{
	const struct vhu_result *r = &o->result;

	vhu_buf_puts(out, "<section>\n<h3><span class=\"");
	add_class(out, o);
	vhu_buf_printf(out, "\">%s</span> ", vhu_outcome_name(o));
	add_text(out, r->id);
	vhu_buf_puts(out, "</h3>\n<p>");
	add_text(out, r->title);
	vhu_buf_puts(out, "</p>\n");
	if (o->runs > 1)
		vhu_buf_printf(out, "<p>passed %u of %u runs</p>\n", o->passed, o->runs);
	vhu_buf_puts(out, "<dl>\n");
	add_term(out, "reason", o->verdict == VHU_BROKEN ? r->reason : NULL);
	add_term(out, "baseline", o->note);
	vhu_buf_puts(out, "</dl>\n");
	for (size_t i = 0; i < r->n_findings; i++)
		add_finding(out, &r->findings[i]);
	add_block(out, "last messages", r->trace);
	add_block(out, "standard error", r->target_stderr);
	if (r->rerun) {
		vhu_buf_puts(out, "<pre>");
		add_text(out, r->rerun);
		vhu_buf_puts(out, "</pre>\n");
	}
	vhu_buf_puts(out, "</section>\n");
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	struct html *h = r->state;
	struct vhu_buf line = {0};

	if (o->verdict == VHU_FAIL || o->verdict == VHU_BROKEN)
		add_failed(&h->failed, o);
	if (o->verdict != VHU_PASS)
		vhu_outcome_headline(o, &line);
	vhu_buf_puts(&h->rows, "<tr class=\"");
	add_class(&h->rows, o);
	vhu_buf_printf(&h->rows, "\"><td>%s</td><td>", vhu_outcome_name(o));
	add_text(&h->rows, o->result.id);
	vhu_buf_puts(&h->rows, "</td><td>");
	add_text(&h->rows, line.len ? vhu_buf_text(&line) : o->result.title);
	vhu_buf_printf(&h->rows, "</td><td>%.1f ms</td></tr>\n", (double)o->result.duration_ns / 1e6);
	h->rows.failed |= line.failed;
	vhu_buf_done(&line);
	return h->failed.failed || h->rows.failed ? vhu_err_errno(err, -ENOMEM, "html report") : 0;
}

static void add_head(struct vhu_buf *out, const struct vhu_report *r, const struct vhu_summary *s)
{
	const struct vhu_report_target *t = &r->run.target;

	vhu_buf_puts(out, head);
	vhu_buf_puts(out, "<h1>vhu-conform</h1>\n<p><b>");
	vhu_summary_line(s, out);
	vhu_buf_puts(out, "</b></p>\n<dl>\n");
	add_term(out, "target", t->name);
	if (t->probed)
		vhu_buf_printf(out,
			       "<dt>device</dt><dd>%s, %u queues, features 0x%llx, protocol features 0x%llx, "
			       "%s memory</dd>\n",
			       t->device == VHU_DEV_ANY ? "unknown" : vhu_device_row(t->device)->name,
			       t->queues, (unsigned long long)t->features, (unsigned long long)t->pfeatures,
			       t->memory);
	vhu_buf_printf(out, "<dt>tool</dt><dd>vhu-conform %s, seed %llu%s</dd>\n", VHU_VERSION,
		       (unsigned long long)r->run.seed, r->run.strict ? ", strict" : "");
	add_term(out, "ended early", s->stopped);
	vhu_buf_puts(out, "</dl>\n");
}

static int end(struct vhu_report *r, const struct vhu_summary *s, struct vhu_err *err)
{
	struct html *h = r->state;
	struct vhu_buf b = {0};
	int code;

	add_head(&b, r, s);
	if (h->failed.len)
		vhu_buf_puts(&b, "<h2>Failed</h2>\n");
	code = vhu_report_write(r, &b, err);
	if (code == 0)
		code = vhu_report_write(r, &h->failed, err);
	vhu_buf_puts(&b, "<h2>Cases</h2>\n<table>\n");
	if (code == 0)
		code = vhu_report_write(r, &b, err);
	if (code == 0)
		code = vhu_report_write(r, &h->rows, err);
	vhu_buf_puts(&b, "</table>\n</body>\n</html>\n");
	if (code == 0)
		code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code;
}

const struct vhu_report_ops vhu_report_html = {
	.name = "html",
	.begin = begin,
	.case_done = case_done,
	.end = end,
	.free = free_state,
};
