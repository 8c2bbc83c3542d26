/* Reports that earlier runs wrote (--json): what changed between two, and the parts of one put together. */
#include "reports.h"

#include <errno.h>
#include <string.h>

#include "jsonfile.h"

/* --- what a report has to have ------------------------------------------------------------------- */

enum { VERDICTS = 6 };

/* From good to bad; what did not run is none of both. */
static const char *const verdicts[VERDICTS] = {"skip", "pass", "warn", "flaky", "fail", "broken"};

static int rank_of(const char *verdict)
{
	for (int i = 0; verdict && i < VERDICTS; i++)
		if (!strcmp(verdicts[i], verdict))
			return i;
	return -1;
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

static int wrong_case(const struct vhu_jsonfile *f, size_t i, const char *key, const char *what,
		      struct vhu_err *err)
{
	char path[80];

	snprintf(path, sizeof(path), "/cases/%zu%s%s", i, key ? "/" : "", key ? key : "");
	return vhu_jsonfile_wrong(f, path, what, err);
}

static int read_report(const char *path, struct vhu_jsonfile *ret, struct vhu_err *err)
{
	struct vhu_jsonfile f;
	json_t *cases;
	int code = vhu_jsonfile_read(path, "vhu-report", &f, err);

	if (code < 0)
		return code;
	cases = json_object_get(f.root, "cases");
	if (!json_is_array(cases))
		code = vhu_jsonfile_wrong(&f, "/cases", "has to be an array", err);
	for (size_t i = 0; code == 0 && i < json_array_size(cases); i++) {
		const json_t *c = json_array_get(cases, i);

		if (!text_of(c, "id"))
			code = wrong_case(&f, i, json_is_object(c) ? "id" : NULL, "has to have an id", err);
		else if (rank_of(text_of(c, "verdict")) < 0)
			code = wrong_case(&f, i, "verdict",
					  "has to be pass, fail, warn, skip, broken or flaky", err);
	}
	if (code < 0)
		vhu_jsonfile_done(&f);
	else
		*ret = f;
	return code;
}

/* --- compare ------------------------------------------------------------------------------------- */

enum change { SAME, WORSE, BETTER, APPEARED, GONE, STARTED, STOPPED, CHANGES };

static const char *const change_names[CHANGES] = {
	[SAME] = "same", [WORSE] = "worse",	 [BETTER] = "better",	    [APPEARED] = "new",
	[GONE] = "gone", [STARTED] = "runs now", [STOPPED] = "skipped now",
};

struct comparison {
	struct vhu_buf *out;
	size_t n[CHANGES];
};

/* By id: the reports' lists are looked up often. */
static json_t *by_id(json_t *list)
{
	json_t *map = json_object();

	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *item = json_array_get(list, i);
		const char *id = text_of(item, "id");

		if (id)
			json_object_set(map, id, item);
	}
	return map;
}

static bool did_not_run(const char *verdict)
{
	return !strcmp(verdict, "skip") || !strcmp(verdict, "untested");
}

static enum change judge(const char *before, const char *now)
{
	int a = rank_of(before), b = rank_of(now);

	if (!strcmp(before, now))
		return SAME;
	if (did_not_run(before))
		return b > rank_of("warn") ? WORSE : STARTED;
	if (did_not_run(now))
		return STOPPED;
	return a == b ? SAME : b > a ? WORSE : BETTER;
}

/* The requirements of a case's findings that count as much as its verdict does. */
static void add_reasons(const json_t *c, struct vhu_buf *out)
{
	const json_t *findings = json_object_get(c, "findings");

	for (size_t i = 0; i < json_array_size(findings); i++) {
		const char *req = text_of(json_array_get(findings, i), "requirement");

		if (req)
			vhu_buf_printf(out, "%s%s", i ? "," : "  ", req);
	}
}

static void tell(struct comparison *k, enum change change, const char *kind, const char *id,
		 const char *before, const char *now, const json_t *c)
{
	k->n[change]++;
	if (change == SAME)
		return;
	vhu_buf_printf(k->out, "%-11s  %s%s  %s", change_names[change], kind, id, before ? before : now);
	if (before && now)
		vhu_buf_printf(k->out, " -> %s", now);
	if (c)
		add_reasons(c, k->out);
	vhu_buf_puts(k->out, "\n");
}

static void compare_lists(struct comparison *k, const char *kind, json_t *before, json_t *now)
{
	json_t *old = by_id(before), *new = by_id(now);

	for (size_t i = 0; i < json_array_size(now); i++) {
		json_t *item = json_array_get(now, i);
		const char *id = text_of(item, "id"), *verdict = text_of(item, "verdict");
		const char *was = id ? text_of(json_object_get(old, id), "verdict") : NULL;

		if (id && verdict)
			tell(k,
			     was				  ? judge(was, verdict)
			     : rank_of(verdict) > rank_of("warn") ? WORSE
								  : APPEARED,
			     kind, id, was, verdict, item);
	}
	for (size_t i = 0; i < json_array_size(before); i++) {
		const json_t *item = json_array_get(before, i);
		const char *id = text_of(item, "id");

		if (id && !json_object_get(new, id))
			tell(k, GONE, kind, id, text_of(item, "verdict"), NULL, NULL);
	}
	json_decref(old);
	json_decref(new);
}

static void add_counts(const struct comparison *k, const char *what, struct vhu_buf *out)
{
	vhu_buf_printf(out, "%s: ", what);
	for (int i = CHANGES - 1; i > SAME; i--)
		if (k->n[i])
			vhu_buf_printf(out, "%zu %s, ", k->n[i], change_names[i]);
	vhu_buf_printf(out, "%zu same\n", k->n[SAME]);
}

int vhu_reports_compare(const char *before, const char *now, struct vhu_buf *out, bool *ret_worse,
			struct vhu_err *err)
{
	struct comparison cases = {.out = out}, reqs = {.out = out};
	struct vhu_jsonfile a, b;
	int code = read_report(before, &a, err);

	if (code < 0)
		return code;
	code = read_report(now, &b, err);
	if (code == 0) {
		compare_lists(&cases, "", json_object_get(a.root, "cases"), json_object_get(b.root, "cases"));
		compare_lists(&reqs, "requirement ", json_object_get(a.root, "requirements"),
			      json_object_get(b.root, "requirements"));
		add_counts(&cases, "cases", out);
		add_counts(&reqs, "requirements", out);
		*ret_worse = cases.n[WORSE] > 0;
		vhu_jsonfile_done(&b);
	}
	vhu_jsonfile_done(&a);
	return code;
}

/* --- merge --------------------------------------------------------------------------------------- */

/* A number of each summary, added up. */
static int add_summary(json_t *to, const json_t *from)
{
	const char *key;
	json_t *value;
	int bad = 0;

	json_object_foreach((json_t *)from, key, value)
	{
		json_t *sum = json_object_get(to, key);

		if (!json_is_integer(value))
			bad |= json_object_set(to, key, value);
		else
			bad |= json_object_set_new(
				to, key, json_integer(json_integer_value(sum) + json_integer_value(value)));
	}
	return bad;
}

static const char *worse_of(const char *a, const char *b)
{
	static const char *const order[] = {"untested", "skip", "pass", "warn", "fail"};
	size_t i = 0, k = 0;

	while (i < VHU_ARRAY_SIZE(order) && strcmp(order[i], a))
		i++;
	while (k < VHU_ARRAY_SIZE(order) && strcmp(order[k], b))
		k++;
	return i >= k ? a : b;
}

static int add_requirements(json_t *to, json_t *from)
{
	json_t *known = by_id(to);
	int bad = 0;

	for (size_t i = 0; i < json_array_size(from) && !bad; i++) {
		json_t *item = json_array_get(from, i);
		const char *id = text_of(item, "id"), *verdict = text_of(item, "verdict");
		json_t *mine = id ? json_object_get(known, id) : NULL;
		const char *so_far = text_of(mine, "verdict");

		if (!mine)
			bad = json_array_append(to, item);
		else if (so_far && verdict)
			bad = json_object_set_new(mine, "verdict", json_string(worse_of(so_far, verdict))) ||
			      json_array_extend(json_object_get(mine, "cases"),
						json_object_get(item, "cases"));
	}
	json_decref(known);
	return bad;
}

static int add_cases(json_t *to, const struct vhu_jsonfile *f, struct vhu_err *err)
{
	json_t *from = json_object_get(f->root, "cases"), *known = by_id(to);
	int code = 0;

	for (size_t i = 0; i < json_array_size(from) && code == 0; i++) {
		json_t *item = json_array_get(from, i);

		if (json_object_get(known, text_of(item, "id")))
			code = wrong_case(f, i, "id",
					  "is in another of the reports, too: these are no shards", err);
		else if (json_array_append(to, item))
			code = vhu_err_errno(err, -ENOMEM, "merge");
	}
	json_decref(known);
	return code;
}

static int same_target(const json_t *all, const struct vhu_jsonfile *f, struct vhu_err *err)
{
	static const char *const keys[] = {"device", "features", "protocol_features"};
	const json_t *a = json_object_get(all, "target"), *b = json_object_get(f->root, "target");

	for (size_t i = 0; i < VHU_ARRAY_SIZE(keys); i++) {
		const char *x = text_of(a, keys[i]), *y = text_of(b, keys[i]);
		char path[60];

		if (!x || !y || !strcmp(x, y))
			continue;
		snprintf(path, sizeof(path), "/target/%s", keys[i]);
		return vhu_jsonfile_wrong(f, path, "is another target than that of the first report", err);
	}
	return 0;
}

static int add_report(json_t *all, const struct vhu_jsonfile *f, struct vhu_err *err)
{
	int code = same_target(all, f, err);

	if (code == 0)
		code = add_cases(json_object_get(all, "cases"), f, err);
	if (code == 0 && (add_summary(json_object_get(all, "summary"), json_object_get(f->root, "summary")) ||
			  add_requirements(json_object_get(all, "requirements"),
					   json_object_get(f->root, "requirements"))))
		code = vhu_err_errno(err, -ENOMEM, "merge");
	return code;
}

int vhu_reports_merge(const struct vhu_words *paths, json_t **ret, struct vhu_err *err)
{
	json_t *all = NULL;
	int code = 0;

	for (size_t i = 0; i < paths->n && code == 0; i++) {
		struct vhu_jsonfile f;

		code = read_report(paths->items[i], &f, err);
		if (code < 0)
			break;
		if (!all)
			all = json_deep_copy(f.root);
		else
			code = add_report(all, &f, err);
		if (!all)
			code = vhu_err_errno(err, -ENOMEM, "merge");
		vhu_jsonfile_done(&f);
	}
	if (code < 0)
		json_decref(all);
	else
		*ret = all;
	return code;
}

bool vhu_report_has(const json_t *report, const char *verdict)
{
	return json_integer_value(json_object_get(json_object_get(report, "summary"), verdict)) > 0;
}
