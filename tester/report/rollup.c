/* What the run says about each requirement. */
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "impl.h"

struct seen {
	json_t *cases;			/* ids of those that cite it or found it broken; NULL: none */
	bool failed, warned, passed, skipped;
};

struct vhu_rollup {
	struct seen row[VHU_REQ_MAX];
};

struct vhu_rollup *vhu_rollup_new(void)
{
	return calloc(1, sizeof(struct vhu_rollup));
}

void vhu_rollup_free(struct vhu_rollup *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < VHU_REQ_MAX; i++)
		json_decref(u->row[i].cases);
	free(u);
}

static int add_case(struct seen *s, const char *id)
{
	size_t n = json_array_size(s->cases);

	/* A case comes with all that concerns it, so a repeated id is the last one. */
	if (n && !strcmp(json_string_value(json_array_get(s->cases, n - 1)), id))
		return 0;
	if (!s->cases)
		s->cases = json_array();
	return s->cases && !json_array_append_new(s->cases, json_string_nocheck(id)) ? 0 : -ENOMEM;
}

int vhu_rollup_add(struct vhu_rollup *u, const struct vhu_outcome *o)
{
	const struct vhu_result *r = &o->result;
	int code = 0;

	for (size_t i = 0; i < r->n_requirements && code == 0; i++) {
		struct seen *s = &u->row[r->requirements[i]];

		/* A case that failed for another reason, or that we broke, proves nothing here. */
		s->passed |= o->verdict == VHU_PASS || o->verdict == VHU_WARN;
		s->skipped |= o->verdict == VHU_SKIP;
		code = add_case(s, r->id);
	}
	for (size_t i = 0; i < r->n_findings && code == 0; i++) {
		struct seen *s = &u->row[r->findings[i].req];

		s->failed |= vhu_outcome_grade(o, i) == VHU_FAIL;
		s->warned |= vhu_outcome_grade(o, i) == VHU_WARN;
		code = add_case(s, r->id);
	}
	return code;
}

/* Rows that bind the side under test are listed even if nothing was said about them. */
static bool binds_target(const struct vhu_req_row *row)
{
	switch (row->party) {
	case VHU_PARTY_BACK:
	case VHU_PARTY_BOTH:
	case VHU_PARTY_DEVICE:
		return true;
	case VHU_PARTY_FRONT:
	case VHU_PARTY_DRIVER:
		return false;
	}
	return false;
}

static const char *verdict_of(const struct seen *s)
{
	return s->failed    ? "fail"
	       : s->warned  ? "warn"
	       : s->passed  ? "pass"
	       : s->skipped ? "skip"
			    : "untested";
}

json_t *vhu_rollup_json(const struct vhu_rollup *u)
{
	json_t *array = json_array();

	for (int i = 0; i < VHU_REQ_MAX; i++) {
		const struct vhu_req_row *row = vhu_req_row((enum vhu_req)i);
		const struct seen *s = &u->row[i];
		json_t *cases;

		if (!s->cases && !binds_target(row))
			continue;
		cases = s->cases ? json_incref(s->cases) : json_array();
		if (json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:o}", "id", row->id, "level",
							   vhu_level_name(row->level), "verdict",
							   verdict_of(s), "cases", cases))) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}
