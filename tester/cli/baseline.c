#include "cli/baseline.h"

#include <errno.h>
#include <string.h>

#include "jsonfile.h"
#include "report/report.h"

struct vhu_baseline {
	json_t *root;			/* the whole file */
	json_t *cases;			/* borrowed from it */
};

void vhu_baseline_free(struct vhu_baseline *b)
{
	if (!b)
		return;
	json_decref(b->root);
	free(b);
}

/* --- reading --------------------------------------------------------------------------------- */

static const char *entry_error(const json_t *entry, const char **key)
{
	const char *verdict = json_string_value(json_object_get(entry, "verdict"));
	const json_t *findings = json_object_get(entry, "findings");
	const json_t *why = json_object_get(entry, "why");
	const json_t *finding;
	size_t i;

	*key = NULL;
	if (!json_is_object(entry))
		return "has to be an object";
	*key = "verdict";
	if (!verdict || (strcmp(verdict, "fail") && strcmp(verdict, "flaky")))
		return "has to be \"fail\" or \"flaky\"";
	*key = "findings";
	if (!json_is_array(findings))
		return "has to be a list of requirement ids";
	json_array_foreach(findings, i, finding)
		if (!json_is_string(finding))
			return "has to be a list of requirement ids";
	*key = "why";
	return why && !json_is_string(why) ? "has to be a text" : NULL;
}

static int check_cases(const struct vhu_jsonfile *f, json_t *cases, struct vhu_err *err)
{
	const char *id;
	json_t *entry;

	json_object_foreach(cases, id, entry) {
		const char *key;
		const char *what = entry_error(entry, &key);
		struct vhu_buf path = {0};

		if (!what)
			continue;
		vhu_buf_puts(&path, "/cases");
		vhu_jsonfile_add_key(&path, id);
		if (key)
			vhu_jsonfile_add_key(&path, key);
		vhu_jsonfile_wrong(f, vhu_buf_text(&path), what, err);
		vhu_buf_done(&path);
		return -EINVAL;
	}
	return 0;
}

static int take(struct vhu_jsonfile *f, struct vhu_baseline *b, struct vhu_err *err)
{
	json_t *cases = json_object_get(f->root, "cases");

	if (!json_is_object(cases))
		return vhu_jsonfile_wrong(f, "/cases", "has to be an object", err);
	b->root = json_incref(f->root);
	b->cases = cases;
	return check_cases(f, cases, err);
}

static int make_empty(struct vhu_baseline *b, struct vhu_err *err)
{
	b->root = json_pack("{s:s, s:i, s:{}}", "format", "vhu-baseline", "version", 1, "cases");
	b->cases = json_object_get(b->root, "cases");
	return b->root ? 0 : vhu_err_errno(err, -ENOMEM, "baseline");
}

int vhu_baseline_load(const char *path, bool may_be_absent, struct vhu_baseline **ret, struct vhu_err *err)
{
	struct vhu_baseline *b = calloc(1, sizeof(*b));
	struct vhu_jsonfile f = {0};
	int code;

	if (!b)
		return vhu_err_errno(err, -ENOMEM, "%s", path);
	code = vhu_jsonfile_read(path, "vhu-baseline", &f, err);
	if (code == -ENOENT && may_be_absent)
		code = make_empty(b, err);
	else if (code == 0)
		code = take(&f, b, err);
	vhu_jsonfile_done(&f);
	if (code < 0) {
		vhu_baseline_free(b);
		return code;
	}
	*ret = b;
	return 0;
}

/* --- judging --------------------------------------------------------------------------------- */

static bool lists(const json_t *findings, const char *id)
{
	const json_t *finding;
	size_t i;

	json_array_foreach(findings, i, finding)
		if (!strcmp(json_string_value(finding), id))
			return true;
	return false;
}

/* Ids of what failed, each once, in the order found. NULL when out of memory. */
static json_t *failed_ids(const struct vhu_result *r)
{
	json_t *ids = json_array();

	for (size_t i = 0; i < r->n_findings && ids; i++) {
		const char *id = vhu_req_row(r->findings[i].req)->id;

		if (r->grades[i] != VHU_FAIL || lists(ids, id))
			continue;
		if (json_array_append_new(ids, json_string(id))) {
			json_decref(ids);
			return NULL;
		}
	}
	return ids;
}

/* Those of `ids` that the entry does not list, as "A, B". */
static void add_news(const json_t *entry, const json_t *ids, struct vhu_buf *out)
{
	const json_t *known = json_object_get(entry, "findings");
	const json_t *id;
	size_t i;

	json_array_foreach(ids, i, id)
		if (!lists(known, json_string_value(id)))
			vhu_buf_printf(out, "%s%s", out->len ? ", " : "", json_string_value(id));
}

static int set_note(struct vhu_outcome *o, const char *text)
{
	free(o->note);
	o->note = strdup(text);
	return o->note ? 0 : -ENOMEM;
}

static int learn(struct vhu_baseline *b, const struct vhu_outcome *o, json_t *ids)
{
	const json_t *old = json_object_get(b->cases, o->result.id);
	const char *why = json_string_value(json_object_get(old, "why"));
	json_t *entry = json_pack("{s:s, s:O, s:s}", "verdict", o->flaky ? "flaky" : "fail", "findings", ids,
				  "why", why ? why : "");

	return json_object_set_new(b->cases, o->result.id, entry) ? -ENOMEM : 0;
}

static int judge_failure(struct vhu_baseline *b, struct vhu_outcome *o, bool update)
{
	const json_t *entry = json_object_get(b->cases, o->result.id);
	json_t *ids = failed_ids(&o->result);
	struct vhu_buf news = {0};
	const char *why;
	int code = ids ? 0 : -ENOMEM;

	if (code == 0 && update) {
		code = learn(b, o, ids);
		entry = json_object_get(b->cases, o->result.id);
	}
	if (code == 0 && entry) {
		add_news(entry, ids, &news);
		why = json_string_value(json_object_get(entry, "why"));
		o->known = news.len ? VHU_KNOWN_WORSE : VHU_KNOWN_SAME;
		if (o->known == VHU_KNOWN_SAME)
			o->verdict = VHU_WARN;
		code = news.failed ? -ENOMEM : set_note(o, news.len ? vhu_buf_text(&news) : why ? why : "");
	}
	vhu_buf_done(&news);
	json_decref(ids);
	return code;
}

static int judge_success(struct vhu_baseline *b, struct vhu_outcome *o, bool update)
{
	const json_t *entry = json_object_get(b->cases, o->result.id);
	const char *verdict = json_string_value(json_object_get(entry, "verdict"));
	const char *why = json_string_value(json_object_get(entry, "why"));
	int code;

	/* One that is known to come and go has not been fixed by passing once. */
	if (!entry || !strcmp(verdict, "flaky"))
		return 0;
	o->known = VHU_KNOWN_FIXED;
	code = set_note(o, why ? why : "");
	if (update)
		json_object_del(b->cases, o->result.id);
	return code;
}

int vhu_baseline_judge(struct vhu_baseline *b, struct vhu_outcome *o, bool update, struct vhu_err *err)
{
	int code = 0;

	if (o->verdict == VHU_FAIL)
		code = judge_failure(b, o, update);
	else if (o->verdict == VHU_PASS || o->verdict == VHU_WARN)
		code = judge_success(b, o, update);
	return code < 0 ? vhu_err_errno(err, code, "baseline") : 0;
}

bool vhu_baseline_kills(const struct vhu_baseline *b, const char *id)
{
	const json_t *entry = b ? json_object_get(b->cases, id) : NULL;

	return entry && lists(json_object_get(entry, "findings"), vhu_req_row(VHU_REQ_PROG_16)->id);
}

/* --- writing --------------------------------------------------------------------------------- */

int vhu_baseline_save(const struct vhu_baseline *b, const char *path, struct vhu_err *err)
{
	return vhu_jsonfile_write(b->root, path, JSON_INDENT(2) | JSON_SORT_KEYS, err);
}
