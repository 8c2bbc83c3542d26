/* SARIF 2.1.0, which code-scanning services read: a rule for each requirement, a result for each finding. */
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "impl.h"

struct sarif {
	json_t *results, *rules;
	size_t rule[VHU_REQ_MAX]; /* its place among the rules, plus 1; 0: not there yet */
};

static int out_of_memory(struct vhu_err *err)
{
	return vhu_err_errno(err, -ENOMEM, "sarif report");
}

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	struct sarif *s = calloc(1, sizeof(*s));

	if (!s)
		return out_of_memory(err);
	r->state = s;
	s->results = json_array();
	s->rules = json_array();
	return s->results && s->rules ? 0 : out_of_memory(err);
}

static void free_state(struct vhu_report *r)
{
	struct sarif *s = r->state;

	json_decref(s->results);
	json_decref(s->rules);
	free(s);
	r->state = NULL;
}

/* {"text": …}, NULL when out of memory. */
static json_t *message(const char *text)
{
	return json_pack("{s:o}", "text", vhu_text_json(text));
}

/* The place of a requirement's rule, which is made when first needed; -1: out of memory. */
static long rule_index(struct sarif *s, enum vhu_req req)
{
	const struct vhu_req_row *row = vhu_req_row(req);

	if (s->rule[req])
		return (long)s->rule[req] - 1;
	if (json_array_append_new(s->rules,
				  json_pack("{s:s, s:o, s:o, s:{s:s}}", "id", row->id, "shortDescription",
					    message(row->text), "help", message(row->section), "properties",
					    "level", vhu_level_name(row->level))))
		return -1;
	s->rule[req] = json_array_size(s->rules);
	return (long)s->rule[req] - 1;
}

static const char *level_of(enum vhu_verdict grade)
{
	return grade == VHU_FAIL ? "error" : grade == VHU_WARN ? "warning" : "note";
}

/* Where a reader of the results is led: the case file. */
static json_t *location(const struct vhu_result *r)
{
	return json_pack("{s:{s:{s:s}, s:{s:i}}, s:[{s:s, s:s}]}", "physicalLocation", "artifactLocation",
			 "uri", r->file ? r->file : r->id, "region", "startLine", 1, "logicalLocations",
			 "fullyQualifiedName", r->id, "kind", "test");
}

static int add_finding(struct sarif *s, const struct vhu_outcome *o, size_t i)
{
	const struct vhu_finding *f = &o->result.findings[i];
	struct vhu_buf text = {0}, id = {0};
	long rule = rule_index(s, f->req);
	int bad;

	vhu_buf_printf(&text, "%s: %s", o->result.title, f->summary);
	if (f->accepted[0])
		vhu_buf_printf(&text, "\naccepted: %s", f->accepted);
	if (f->actual[0])
		vhu_buf_printf(&text, "\ngot: %s", f->actual);
	if (f->where[0])
		vhu_buf_printf(&text, "\nwhere: %s", f->where);
	if (o->result.rerun)
		vhu_buf_printf(&text, "\nalone: %s", o->result.rerun);
	vhu_text_add(&id, VHU_TEXT_LINE, o->result.id);
	vhu_buf_printf(&id, ":%s", vhu_req_row(f->req)->id);
	bad = rule < 0 || text.failed || id.failed ||
	      json_array_append_new(s->results,
				    json_pack("{s:s, s:I, s:s, s:o, s:[o], s:{s:s}}", "ruleId",
					      vhu_req_row(f->req)->id, "ruleIndex", (json_int_t)rule, "level",
					      level_of(vhu_outcome_grade(o, i)), "message",
					      message(vhu_buf_text(&text)), "locations", location(&o->result),
					      "partialFingerprints", "case/v1", vhu_buf_text(&id)));
	vhu_buf_done(&text);
	vhu_buf_done(&id);
	return bad ? -ENOMEM : 0;
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	if (o->verdict != VHU_FAIL && o->verdict != VHU_WARN)
		return 0;
	for (size_t i = 0; i < o->result.n_findings; i++)
		if (add_finding(r->state, o, i) < 0)
			return out_of_memory(err);
	return 0;
}

static int end(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err)
{
	struct sarif *s = r->state;
	json_t *root = json_pack("{s:s, s:s, s:[{s:{s:{s:s, s:s, s:O}}, s:[{s:b}], s:O}]}", "$schema",
				 "https://json.schemastore.org/sarif-2.1.0.json", "version", "2.1.0", "runs",
				 "tool", "driver", "name", "vhu-conform", "version", VHU_VERSION, "rules",
				 s->rules, "invocations", "executionSuccessful",
				 (int)(!summary->broken && !summary->stopped), "results", s->results);
	struct vhu_buf b = {0};
	char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	int code;

	json_decref(root);
	if (!text)
		return out_of_memory(err);
	vhu_buf_puts(&b, text);
	vhu_buf_puts(&b, "\n");
	free(text);
	code = vhu_report_write(r, &b, err);
	vhu_buf_done(&b);
	return code;
}

const struct vhu_report_ops vhu_report_sarif = {
	.name = "sarif",
	.begin = begin,
	.case_done = case_done,
	.end = end,
	.free = free_state,
};
