/* The JSON report: {"format": "vhu-report", "version": 1, …}. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "impl.h"

struct state {
	json_t *cases;
	struct vhu_rollup *rollup;
};

static int out_of_memory(struct vhu_err *err)
{
	return vhu_err_errno(err, -ENOMEM, "json report");
}

static int begin(struct vhu_report *r, struct vhu_err *err)
{
	struct state *s = calloc(1, sizeof(*s));

	if (!s)
		return out_of_memory(err);
	r->state = s;
	s->cases = json_array();
	s->rollup = vhu_rollup_new();
	return s->cases && s->rollup ? 0 : out_of_memory(err);
}

static void free_state(struct vhu_report *r)
{
	struct state *s = r->state;

	json_decref(s->cases);
	vhu_rollup_free(s->rollup);
	free(s);
	r->state = NULL;
}

static json_t *lower_json(const char *name)
{
	char text[32];
	size_t i;

	for (i = 0; name[i] && i + 1 < sizeof(text); i++)
		text[i] = (char)tolower((unsigned char)name[i]);
	text[i] = '\0';
	return json_string(text);
}

static json_t *hex_json(uint64_t value)
{
	return json_sprintf("0x%llx", (unsigned long long)value);
}

/* Adds text under key unless there is none. 0 or -1, as jansson. */
static int set_text(json_t *object, const char *key, const char *text)
{
	return text && *text ? json_object_set_new(object, key, vhu_text_json(text)) : 0;
}

/* The lines of a text, each one way of being right. */
static json_t *lines_json(const char *text)
{
	json_t *array = json_array();
	int bad = array ? 0 : -1;

	while (bad == 0 && *text) {
		size_t n = strcspn(text, "\n");
		char *line = strndup(text, n);

		if (n)
			bad |= line ? json_array_append_new(array, vhu_text_json(line)) : -1;
		free(line);
		text += n + (text[n] == '\n');
	}
	if (bad == 0)
		return array;
	json_decref(array);
	return NULL;
}

static json_t *finding_json(const struct vhu_outcome *o, size_t i)
{
	const struct vhu_finding *f = &o->result.findings[i];
	const struct vhu_req_row *row = vhu_req_row(f->req);
	json_t *actual = json_object();
	json_t *j = json_object();
	int bad = 0;

	bad |= json_object_set_new(j, "requirement", json_string(row->id));
	bad |= json_object_set_new(j, "level", json_string(vhu_level_name(row->level)));
	bad |= json_object_set_new(j, "kind", json_string(vhu_finding_kind_name(f->kind)));
	bad |= json_object_set_new(j, "grade", lower_json(vhu_verdict_name(vhu_outcome_grade(o, i))));
	bad |= json_object_set_new(j, "section", vhu_text_json(row->section));
	bad |= json_object_set_new(j, "asks", vhu_text_json(row->text));
	bad |= json_object_set_new(j, "summary", vhu_text_json(f->summary));
	bad |= json_object_set_new(j, "accepted", lines_json(f->accepted));
	bad |= json_object_set_new(actual, "text", vhu_text_json(f->actual));
	bad |= json_object_set_new(j, "actual", actual);
	bad |= json_object_set_new(j, "message", vhu_text_json(f->message));
	bad |= json_object_set_new(j, "hex", vhu_text_json(f->hex));
	bad |= set_text(j, "where", f->where);
	if (bad == 0)
		return j;
	json_decref(j);
	return NULL;
}

static json_t *findings_json(const struct vhu_outcome *o)
{
	json_t *array = json_array();

	for (size_t i = 0; i < o->result.n_findings; i++)
		if (json_array_append_new(array, finding_json(o, i))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *requirements_json(const struct vhu_result *r)
{
	json_t *array = json_array();

	for (size_t i = 0; i < r->n_requirements; i++)
		if (json_array_append_new(array, json_string(vhu_req_row(r->requirements[i])->id))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *case_json(const struct vhu_outcome *o)
{
	const struct vhu_result *r = &o->result;
	json_t *j = json_object();
	int bad = 0;

	bad |= json_object_set_new(j, "id", vhu_text_json(r->id));
	bad |= json_object_set_new(j, "title", vhu_text_json(r->title ? r->title : ""));
	bad |= set_text(j, "file", r->file);
	bad |= json_object_set_new(j, "requirements", requirements_json(r));
	bad |= json_object_set_new(j, "verdict", lower_json(vhu_outcome_name(o)));
	bad |= json_object_set_new(j, "duration_us", json_integer((json_int_t)(r->duration_ns / 1000)));
	bad |= json_object_set_new(j, "settle_us", json_integer((json_int_t)(r->settle_ns / 1000)));
	bad |= json_object_set_new(j, "messages", json_integer((json_int_t)r->frames));
	bad |= json_object_set_new(j, "ios", json_integer((json_int_t)r->ios));
	bad |= json_object_set_new(j, "findings", findings_json(o));
	if (r->dropped_findings)
		bad |= json_object_set_new(j, "dropped_findings",
					   json_integer((json_int_t)r->dropped_findings));
	if (o->verdict == VHU_SKIP)
		bad |= json_object_set_new(j, "skip_reason", vhu_text_json(r->reason ? r->reason : ""));
	else
		bad |= set_text(j, "broken_reason", o->verdict == VHU_BROKEN ? r->reason : NULL);
	if (o->runs > 1) {
		bad |= json_object_set_new(j, "runs", json_integer(o->runs));
		bad |= json_object_set_new(j, "passed", json_integer(o->passed));
	}
	bad |= set_text(j, "baseline", o->known == VHU_KNOWN_SAME ? "known" :
			o->known == VHU_KNOWN_WORSE ? "worse" : o->known == VHU_KNOWN_FIXED ? "fixed" : NULL);
	bad |= set_text(j, "note", o->note);
	bad |= set_text(j, "trace", r->trace);
	bad |= set_text(j, "stderr", r->target_stderr);
	bad |= set_text(j, "rerun", r->rerun);
	if (bad == 0)
		return j;
	json_decref(j);
	return NULL;
}

static int case_done(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	struct state *s = r->state;

	if (json_array_append_new(s->cases, case_json(o)) || vhu_rollup_add(s->rollup, o) < 0)
		return out_of_memory(err);
	return 0;
}

static json_t *target_json(const struct vhu_report_target *t)
{
	json_t *j = json_object();
	int bad = set_text(j, "name", t->name);

	if (!t->probed)
		return bad ? NULL : j;
	bad |= json_object_set_new(j, "device", t->device == VHU_DEV_ANY ? json_null() :
				   json_string(vhu_device_row(t->device)->name));
	bad |= json_object_set_new(j, "features", hex_json(t->features));
	bad |= json_object_set_new(j, "protocol_features", hex_json(t->pfeatures));
	bad |= json_object_set_new(j, "queues", json_integer(t->queues));
	bad |= json_object_set_new(j, "config_size", json_integer((json_int_t)t->config_size));
	bad |= set_text(j, "memory", t->memory);
	if (bad == 0)
		return j;
	json_decref(j);
	return NULL;
}

static const char *spec_name(enum vhu_since spec)
{
	switch (spec) {
	case VHU_SINCE_V7_2:
		return "7.2";
	case VHU_SINCE_V10_2:
		return "10.2";
	case VHU_SINCE_ANY:
	case VHU_SINCE_V11_1:
	case VHU_SINCE_PENDING:
		break;
	}
	return "11.1";
}

static json_t *tool_json(const struct vhu_report_run *run)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:I}", "name", "vhu-conform", "version", VHU_VERSION,
			 "spec", spec_name(run->spec), "profile", run->profile ? run->profile : "plain",
			 "strict", (int)run->strict, "seed", (json_int_t)run->seed);
}

static json_t *summary_json(const struct vhu_summary *s)
{
	json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "pass", (json_int_t)s->pass,
			      "fail", (json_int_t)s->fail, "warn", (json_int_t)s->warn,
			      "skip", (json_int_t)s->skip, "broken", (json_int_t)s->broken,
			      "flaky", (json_int_t)s->flaky);
	int bad = 0;

	bad |= json_object_set_new(j, "known", json_integer((json_int_t)s->known));
	bad |= json_object_set_new(j, "fixed", json_integer((json_int_t)s->fixed));
	bad |= json_object_set_new(j, "duration_us", json_integer((json_int_t)(s->wall_ns / 1000)));
	bad |= json_object_set_new(j, "settle_us", json_integer((json_int_t)(s->settle_ns / 1000)));
	bad |= json_object_set_new(j, "messages", json_integer((json_int_t)s->frames));
	bad |= json_object_set_new(j, "ios", json_integer((json_int_t)s->ios));
	bad |= set_text(j, "stopped", s->stopped);
	if (bad == 0)
		return j;
	json_decref(j);
	return NULL;
}

static int end(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err)
{
	struct state *s = r->state;
	struct vhu_buf b = {0};
	json_t *root = json_object();
	int bad = 0, code;
	char *text;

	bad |= json_object_set_new(root, "format", json_string("vhu-report"));
	bad |= json_object_set_new(root, "version", json_integer(1));
	bad |= json_object_set_new(root, "tool", tool_json(&r->run));
	bad |= json_object_set_new(root, "target", target_json(&r->run.target));
	bad |= json_object_set_new(root, "summary", summary_json(summary));
	bad |= json_object_set(root, "cases", s->cases);
	bad |= json_object_set_new(root, "requirements", vhu_rollup_json(s->rollup));
	text = bad ? NULL : json_dumps(root, JSON_INDENT(1));
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

const struct vhu_report_ops vhu_report_json = {
	.name = "json", .begin = begin, .case_done = case_done, .end = end, .free = free_state,
};
