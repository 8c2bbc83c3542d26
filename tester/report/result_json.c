/* A result as one line of JSON, for the way from a worker process to its parent. */
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "impl.h"

static json_t *text_or_null(const char *text)
{
	return text ? vhu_text_json(text) : json_null();
}

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *finding_to_json(const struct vhu_finding *f, enum vhu_verdict grade)
{
	return json_pack("{s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "req", vhu_req_row(f->req)->id,
			 "kind", (int)f->kind, "grade", (int)grade, "summary", text_or_null(f->summary),
			 "accepted", text_or_null(f->accepted), "actual", text_or_null(f->actual),
			 "message", text_or_null(f->message), "hex", text_or_null(f->hex),
			 "where", text_or_null(f->where));
}

/* Consumes the arrays. */
static json_t *result_object(const struct vhu_result *r, json_t *requirements, json_t *findings)
{
	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:b}",
		"requirements", requirements, "findings", findings, "id", text_or_null(r->id), "title",
		text_or_null(r->title), "file", text_or_null(r->file), "verdict", (int)r->verdict, "dropped",
		number(r->dropped_findings), "reason", text_or_null(r->reason), "trace",
		text_or_null(r->trace), "stderr", text_or_null(r->target_stderr), "rerun",
		text_or_null(r->rerun), "duration", number(r->duration_ns), "settle", number(r->settle_ns),
		"frames", number(r->frames), "ios", number(r->ios), "gone", (int)r->target_gone, "died",
		(int)r->target_died, "deadline", (int)r->deadline);
}

char *vhu_result_to_json(const struct vhu_result *r)
{
	json_t *requirements = json_array();
	json_t *findings = json_array();
	int bad = requirements && findings ? 0 : -1;
	json_t *root;
	char *text;

	for (size_t i = 0; i < r->n_requirements && bad == 0; i++)
		bad = json_array_append_new(requirements, json_string(vhu_req_row(r->requirements[i])->id));
	for (size_t i = 0; i < r->n_findings && bad == 0; i++)
		bad = json_array_append_new(findings, finding_to_json(&r->findings[i], r->grades[i]));
	if (bad) {
		json_decref(requirements);
		json_decref(findings);
		return NULL;
	}
	root = result_object(r, requirements, findings);
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return text;
}

/* --- and back -------------------------------------------------------------------------------- */

static int wrong(struct vhu_err *err, const char *key)
{
	return vhu_err_set(err, -EINVAL, "a result between processes: '%s' is missing or wrong", key);
}

static int get_text(const json_t *object, const char *key, char **ret, struct vhu_err *err)
{
	const json_t *j = json_object_get(object, key);

	if (json_is_null(j))
		return 0;
	if (!json_is_string(j))
		return wrong(err, key);
	*ret = strdup(json_string_value(j));
	return *ret ? 0 : vhu_err_errno(err, -ENOMEM, "a result between processes");
}

static int get_fixed(const json_t *object, const char *key, char *out, size_t cap, struct vhu_err *err)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		return wrong(err, key);
	snprintf(out, cap, "%s", text);
	return 0;
}

/* An integer from 0 to max. */
static int get_number(const json_t *object, const char *key, uint64_t max, uint64_t *ret, struct vhu_err *err)
{
	const json_t *j = json_object_get(object, key);

	if (!json_is_integer(j) || json_integer_value(j) < 0 || (uint64_t)json_integer_value(j) > max)
		return wrong(err, key);
	*ret = (uint64_t)json_integer_value(j);
	return 0;
}

static int get_verdict(const json_t *object, const char *key, enum vhu_verdict *ret, struct vhu_err *err)
{
	uint64_t value;
	int code = get_number(object, key, VHU_VERDICT_MAX - 1, &value, err);

	if (code == 0)
		*ret = (enum vhu_verdict)value;
	return code;
}

static int finding_from_json(const json_t *j, struct vhu_finding *f, enum vhu_verdict *grade,
			     struct vhu_err *err)
{
	const char *id = json_string_value(json_object_get(j, "req"));
	const struct vhu_req_row *row = id ? vhu_req_by_id(id) : NULL;
	uint64_t kind = 0;
	int code = row ? 0 : wrong(err, "req");

	code = code < 0 ? code : get_number(j, "kind", VHU_FINDING_QUIRK, &kind, err);
	code = code < 0 ? code : get_verdict(j, "grade", grade, err);
	code = code < 0 ? code : get_fixed(j, "summary", f->summary, sizeof(f->summary), err);
	code = code < 0 ? code : get_fixed(j, "accepted", f->accepted, sizeof(f->accepted), err);
	code = code < 0 ? code : get_fixed(j, "actual", f->actual, sizeof(f->actual), err);
	code = code < 0 ? code : get_fixed(j, "message", f->message, sizeof(f->message), err);
	code = code < 0 ? code : get_fixed(j, "hex", f->hex, sizeof(f->hex), err);
	code = code < 0 ? code : get_fixed(j, "where", f->where, sizeof(f->where), err);
	if (code == 0) {
		f->req = row->req;
		f->kind = (enum vhu_finding_kind)kind;
	}
	return code;
}

static int get_findings(const json_t *root, struct vhu_result *r, struct vhu_err *err)
{
	const json_t *array = json_object_get(root, "findings");
	size_t n = json_array_size(array);
	int code = 0;

	if (!json_is_array(array) || n > VHU_RESULT_FINDINGS_MAX)
		return wrong(err, "findings");
	if (n == 0)
		return 0;
	r->findings = calloc(n, sizeof(*r->findings));
	r->grades = calloc(n, sizeof(*r->grades));
	if (!r->findings || !r->grades)
		return vhu_err_errno(err, -ENOMEM, "a result between processes");
	r->n_findings = n;
	for (size_t i = 0; i < n && code == 0; i++)
		code = finding_from_json(json_array_get(array, i), &r->findings[i], &r->grades[i], err);
	return code;
}

static int get_requirements(const json_t *root, struct vhu_result *r, struct vhu_err *err)
{
	const json_t *array = json_object_get(root, "requirements");
	size_t n = json_array_size(array);

	if (!json_is_array(array) || n > VHU_REQ_MAX)
		return wrong(err, "requirements");
	if (n == 0)
		return 0;
	r->requirements = calloc(n, sizeof(*r->requirements));
	if (!r->requirements)
		return vhu_err_errno(err, -ENOMEM, "a result between processes");
	for (size_t i = 0; i < n; i++) {
		const char *id = json_string_value(json_array_get(array, i));
		const struct vhu_req_row *row = id ? vhu_req_by_id(id) : NULL;

		if (!row)
			return wrong(err, "requirements");
		r->requirements[r->n_requirements++] = row->req;
	}
	return 0;
}

static int get_scalars(const json_t *root, struct vhu_result *r, struct vhu_err *err)
{
	uint64_t dropped = 0;
	int code = get_verdict(root, "verdict", &r->verdict, err);

	code = code < 0 ? code : get_number(root, "dropped", INT64_MAX, &dropped, err);
	code = code < 0 ? code : get_number(root, "duration", INT64_MAX, &r->duration_ns, err);
	code = code < 0 ? code : get_number(root, "settle", INT64_MAX, &r->settle_ns, err);
	code = code < 0 ? code : get_number(root, "frames", INT64_MAX, &r->frames, err);
	code = code < 0 ? code : get_number(root, "ios", INT64_MAX, &r->ios, err);
	r->dropped_findings = (size_t)dropped;
	r->target_gone = json_is_true(json_object_get(root, "gone"));
	r->target_died = json_is_true(json_object_get(root, "died"));
	r->deadline = json_is_true(json_object_get(root, "deadline"));
	return code;
}

static int get_texts(const json_t *root, struct vhu_result *r, struct vhu_err *err)
{
	const struct {
		const char *key;
		char **to;
	} texts[] = {
		{"id", &r->id}, {"title", &r->title}, {"file", &r->file}, {"reason", &r->reason},
		{"trace", &r->trace}, {"stderr", &r->target_stderr}, {"rerun", &r->rerun},
	};
	int code = 0;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(texts) && code == 0; i++)
		code = get_text(root, texts[i].key, texts[i].to, err);
	return code < 0 ? code : r->id ? 0 : wrong(err, "id");
}

int vhu_result_from_json(const char *text, size_t len, struct vhu_result *ret, struct vhu_err *err)
{
	json_error_t where;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	struct vhu_result r = {0};
	int code;

	if (!json_is_object(root)) {
		json_decref(root);
		return vhu_err_set(err, -EINVAL, "a result between processes: %s",
				   root ? "no object" : where.text);
	}
	code = get_texts(root, &r, err);
	code = code < 0 ? code : get_scalars(root, &r, err);
	code = code < 0 ? code : get_requirements(root, &r, err);
	code = code < 0 ? code : get_findings(root, &r, err);
	json_decref(root);
	if (code < 0) {
		vhu_result_done(&r);
		return code;
	}
	*ret = r;
	return 0;
}
