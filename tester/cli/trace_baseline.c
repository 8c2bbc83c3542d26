/* Findings in a capture that are known and explained. */
#include "trace_baseline.h"

#include <errno.h>
#include <string.h>

#include "jsonfile.h"

enum { ENTRIES_MAX = 4096 };

struct vhu_known {
	struct vhu_jsonfile file;
	json_t *findings; /* borrowed; NULL: none */
	bool used[ENTRIES_MAX];
	json_t *learnt;
};

static const char *text_of(const json_t *entry, const char *key)
{
	return json_string_value(json_object_get(entry, key));
}

/* What is wrong with an entry, and under which key. */
static const char *entry_error(const json_t *entry, const char **key)
{
	const char *id = text_of(entry, "requirement");
	const json_t *summary = json_object_get(entry, "summary");

	*key = NULL;
	if (!json_is_object(entry))
		return "has to be an object";
	*key = "requirement";
	if (!id || !vhu_req_by_id(id))
		return "has to be the id of a requirement";
	*key = "summary";
	if (summary && !json_is_string(summary))
		return "has to be a text";
	*key = "why";
	return !text_of(entry, "why") || !*text_of(entry, "why") ? "has to say why it is known" : NULL;
}

static int check(struct vhu_known *k, struct vhu_err *err)
{
	json_t *entry;
	size_t i;

	k->findings = json_object_get(k->file.root, "findings");
	if (!json_is_array(k->findings) || json_array_size(k->findings) > ENTRIES_MAX)
		return vhu_jsonfile_wrong(&k->file, "/findings", "has to be a list", err);
	json_array_foreach(k->findings, i, entry)
	{
		const char *key, *what = entry_error(entry, &key);
		char path[64];

		if (!what)
			continue;
		snprintf(path, sizeof(path), "/findings/%zu%s%s", i, key ? "/" : "", key ? key : "");
		return vhu_jsonfile_wrong(&k->file, path, what, err);
	}
	return 0;
}

int vhu_known_load(const char *path, struct vhu_known **ret, struct vhu_err *err)
{
	struct vhu_known *k = calloc(1, sizeof(*k));
	int code = 0;

	if (k)
		k->learnt = json_array();
	if (!k || !k->learnt) {
		free(k);
		return vhu_err_errno(err, -ENOMEM, "baseline");
	}
	if (path)
		code = vhu_jsonfile_read(path, "vhu-trace-baseline", &k->file, err);
	if (path && code == 0)
		code = check(k, err);
	if (code < 0) {
		vhu_known_free(k);
		return code;
	}
	*ret = k;
	return 0;
}

void vhu_known_free(struct vhu_known *k)
{
	if (!k)
		return;
	vhu_jsonfile_done(&k->file);
	json_decref(k->learnt);
	free(k);
}

static const json_t *entry_of(const json_t *list, const struct vhu_finding *f, size_t *index)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *summary = text_of(entry, "summary");

		if (strcmp(text_of(entry, "requirement"), vhu_req_row(f->req)->id) != 0)
			continue;
		if (summary && strcmp(summary, f->summary) != 0)
			continue;
		*index = i;
		return entry;
	}
	return NULL;
}

const char *vhu_known_why(struct vhu_known *k, const struct vhu_finding *f)
{
	size_t i;
	const json_t *entry = entry_of(k->findings, f, &i);

	if (!entry)
		return NULL;
	k->used[i] = true;
	return text_of(entry, "why");
}

void vhu_known_unused(const struct vhu_known *k, struct vhu_buf *out)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(k->findings, i, entry) if (!k->used[i])
		vhu_buf_printf(out, "%s%s", out->len ? ", " : "", text_of(entry, "requirement"));
}

int vhu_known_learn(struct vhu_known *k, const struct vhu_finding *f, struct vhu_err *err)
{
	const char *why = vhu_known_why(k, f);
	size_t i;

	if (entry_of(k->learnt, f, &i) || json_array_size(k->learnt) == ENTRIES_MAX)
		return 0;
	if (json_array_append_new(k->learnt,
				  json_pack("{s:s, s:s, s:s}", "requirement", vhu_req_row(f->req)->id,
					    "summary", f->summary, "why", why ? why : "")))
		return vhu_err_errno(err, -ENOMEM, "baseline");
	return 0;
}

int vhu_known_save(const struct vhu_known *k, const char *path, size_t *ret_open, struct vhu_err *err)
{
	json_t *root = json_pack("{s:s, s:i, s:O}", "format", "vhu-trace-baseline", "version", 1, "findings",
				 k->learnt);
	const json_t *entry;
	size_t i;
	int code = root ? vhu_jsonfile_write(root, path, JSON_INDENT(2), err)
			: vhu_err_errno(err, -ENOMEM, "%s", path);

	*ret_open = 0;
	json_array_foreach(k->learnt, i, entry) *ret_open += !*text_of(entry, "why");
	json_decref(root);
	return code;
}

bool vhu_known_path(const char *capture, char *out, size_t cap)
{
	const char *name = strrchr(capture, '/') ? strrchr(capture, '/') : capture, *dot = strrchr(name, '.');
	size_t stem = dot && dot != name ? (size_t)(dot - capture) : strlen(capture);
	int n = snprintf(out, cap, "%.*s.baseline.json", (int)stem, capture);

	return strcmp(capture, "-") != 0 && n > 0 && (size_t)n < cap;
}
