#include "cli/baseline.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/json_pos.h"
#include "report/report.h"

enum { SIZE_MAX_BYTES = 16 << 20 };

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

struct text {
	const char *path;
	struct vhu_buf buf;
};

static int read_text(struct text *t, struct vhu_err *err)
{
	_cleanup_(vhu_fclosep) FILE *f = fopen(t->path, "re");
	char chunk[4096];
	size_t n;

	if (!f)
		return vhu_err_errno(err, -errno, "%s", t->path);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && t->buf.len <= SIZE_MAX_BYTES)
		vhu_buf_add(&t->buf, chunk, n);
	if (ferror(f))
		return vhu_err_errno(err, -EIO, "%s", t->path);
	if (t->buf.len > SIZE_MAX_BYTES)
		return vhu_err_set(err, -EINVAL, "%s: larger than %d MiB", t->path, SIZE_MAX_BYTES >> 20);
	return t->buf.failed ? vhu_err_errno(err, -ENOMEM, "%s", t->path) : 0;
}

/* "FILE:LINE:COLUMN: JSON PATH: WHAT" */
static int wrong(const struct text *t, const char *path, const char *what, struct vhu_err *err)
{
	struct vhu_json_pos pos = {1, 1};

	vhu_json_find(t->buf.data, t->buf.len, path, false, &pos);
	return vhu_err_set(err, -EINVAL, "%s:%u:%u: %s: %s", t->path, pos.line, pos.column, path, what);
}

/* A key as a part of a JSON path. */
static void add_path_part(struct vhu_buf *out, const char *key)
{
	vhu_buf_puts(out, "/");
	for (; *key; key++) {
		if (*key == '~' || *key == '/')
			vhu_buf_puts(out, *key == '~' ? "~0" : "~1");
		else
			vhu_buf_add(out, key, 1);
	}
}

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

static int check_cases(const struct text *t, json_t *cases, struct vhu_err *err)
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
		add_path_part(&path, id);
		if (key)
			add_path_part(&path, key);
		wrong(t, vhu_buf_text(&path), what, err);
		vhu_buf_done(&path);
		return -EINVAL;
	}
	return 0;
}

static int parse(const struct text *t, struct vhu_baseline *b, struct vhu_err *err)
{
	json_error_t e;
	const char *format;

	b->root = json_loadb(vhu_buf_text(&t->buf), t->buf.len, JSON_REJECT_DUPLICATES, &e);
	if (!b->root)
		return vhu_err_set(err, -EINVAL, "%s:%d:%d: %s", t->path, e.line, e.column, e.text);
	format = json_string_value(json_object_get(b->root, "format"));
	if (!format || strcmp(format, "vhu-baseline"))
		return wrong(t, "/format", "has to be \"vhu-baseline\"", err);
	if (json_integer_value(json_object_get(b->root, "version")) != 1)
		return wrong(t, "/version", "has to be 1", err);
	b->cases = json_object_get(b->root, "cases");
	if (!json_is_object(b->cases))
		return wrong(t, "/cases", "has to be an object", err);
	return check_cases(t, b->cases, err);
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
	struct text t = {.path = path};
	int code;

	if (!b)
		return vhu_err_errno(err, -ENOMEM, "%s", path);
	code = read_text(&t, err);
	if (code == -ENOENT && may_be_absent)
		code = make_empty(b, err);
	else if (code == 0)
		code = parse(&t, b, err);
	vhu_buf_done(&t.buf);
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

/* --- writing --------------------------------------------------------------------------------- */

int vhu_baseline_save(const struct vhu_baseline *b, const char *path, struct vhu_err *err)
{
	_cleanup_(vhu_freep) char *text = json_dumps(b->root, JSON_INDENT(2) | JSON_SORT_KEYS);
	struct vhu_buf temporary = {0};
	int code = 0;
	FILE *f;

	vhu_buf_printf(&temporary, "%s.new", path);
	if (!text || temporary.failed) {
		vhu_buf_done(&temporary);
		return vhu_err_errno(err, -ENOMEM, "%s", path);
	}
	f = fopen(temporary.data, "we");
	if (!f || fprintf(f, "%s\n", text) < 0)
		code = -errno;
	if (f && fclose(f) && code == 0)
		code = -errno;
	if (code == 0 && rename(temporary.data, path))
		code = -errno;
	if (code < 0 && f)
		unlink(temporary.data);
	vhu_buf_done(&temporary);
	return code < 0 ? vhu_err_errno(err, code, "%s", path) : 0;
}
