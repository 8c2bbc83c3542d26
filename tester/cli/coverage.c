#include "coverage.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "cli/matrix.h"
#include "jsonfile.h"

/* Levels that can be broken. A MAY is a permission: nothing that a back-end does is against it. */
static const enum vhu_level levels[] = {VHU_LEVEL_MUST, VHU_LEVEL_SHOULD, VHU_LEVEL_IMPLIED};
enum { N_LEVELS = VHU_ARRAY_SIZE(levels) };

struct counts {
	size_t total, observable, partial, with_case, with_fault;
	size_t proven;			/* observable, with case and fault */
};

/* Words of "A,B" lists. */
static bool names(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; *at; at += strspn(at, ",")) {
		size_t n = strcspn(at, ",");

		if (n == len && !strncmp(at, word, len))
			return true;
		at += n;
	}
	return false;
}

bool vhu_coverage_wants(const struct vhu_conform_opts *o, const struct vhu_req_row *req)
{
	return !o->areas || names(o->areas, req->area);
}

static bool counts_for(const struct vhu_conform_opts *o, const struct vhu_matrix_row *row)
{
	return vhu_matrix_binds(row->req) && row->req->level != VHU_LEVEL_MAY &&
	       vhu_coverage_wants(o, row->req);
}

static bool proven(const struct vhu_matrix *m, const struct vhu_matrix_row *row)
{
	return row->n_cases && vhu_matrix_has_fault(m, row);
}

static void count_row(const struct vhu_matrix *m, const struct vhu_matrix_row *row, struct counts *c)
{
	c->total++;
	c->partial += row->req->seen == VHU_SEEN_PARTIAL;
	if (row->req->seen != VHU_SEEN_YES)
		return;
	c->observable++;
	c->with_case += row->n_cases > 0;
	c->with_fault += vhu_matrix_has_fault(m, row);
	c->proven += proven(m, row);
}

/* Of an area (NULL: all) and a level (VHU_LEVEL_MAX: all). */
static struct counts count(const struct vhu_matrix *m, const struct vhu_conform_opts *o, const char *area,
			   enum vhu_level level)
{
	struct counts c = {0};

	for (int i = 0; i < VHU_REQ_MAX; i++) {
		const struct vhu_matrix_row *row = &m->rows[i];

		if (counts_for(o, row) && (!area || !strcmp(area, row->req->area)) &&
		    (level == VHU_LEVEL_MAX || level == row->req->level))
			count_row(m, row, &c);
	}
	return c;
}

/* The areas in the tables' order: the i-th that counts has a row in front of which none is of it. */
static bool first_of_area(const struct vhu_matrix *m, const struct vhu_conform_opts *o, int i)
{
	if (!counts_for(o, &m->rows[i]))
		return false;
	for (int k = 0; k < i; k++)
		if (counts_for(o, &m->rows[k]) && !strcmp(m->rows[k].req->area, m->rows[i].req->area))
			return false;
	return true;
}

bool vhu_coverage_suffices(const struct vhu_matrix *m, const struct vhu_conform_opts *o)
{
	struct counts c = count(m, o, NULL, VHU_LEVEL_MUST);

	return c.proven * 100 >= c.observable * o->fail_under;
}

/* --- as text --------------------------------------------------------------------------------- */

static void add_counts(struct vhu_buf *out, const char *area, const char *level, const struct counts *c)
{
	if (c->total)
		vhu_buf_printf(out, "%-10s  %-7s  %5zu  %10zu  %9zu  %10zu  %7zu\n", area, level, c->total,
			       c->observable, c->with_case, c->with_fault, c->partial);
}

static void add_table(const struct vhu_matrix *m, const struct vhu_conform_opts *o, struct vhu_buf *out)
{
	struct counts c;

	vhu_buf_printf(out, "%-10s  %-7s  %5s  %10s  %9s  %10s  %7s\n", "area", "level", "rows", "observable",
		       "with case", "with fault", "in part");
	for (int i = 0; i < VHU_REQ_MAX; i++) {
		if (!first_of_area(m, o, i))
			continue;
		for (size_t l = 0; l < N_LEVELS; l++) {
			c = count(m, o, m->rows[i].req->area, levels[l]);
			add_counts(out, m->rows[i].req->area, vhu_level_name(levels[l]), &c);
		}
	}
	for (size_t l = 0; l < N_LEVELS; l++) {
		c = count(m, o, NULL, levels[l]);
		add_counts(out, "all", vhu_level_name(levels[l]), &c);
	}
}

static void add_row(const struct vhu_matrix *m, const struct vhu_matrix_row *row, struct vhu_buf *out)
{
	vhu_buf_printf(out, "%s  %s  %s\n", row->req->id, vhu_level_name(row->req->level), row->req->text);
	for (size_t i = 0; i < row->n_cases; i++)
		vhu_buf_printf(out, "  case   %s\n", row->cases[i]);
	for (size_t i = 0; i < row->n_faults; i++)
		vhu_buf_printf(out, "  fault  %s%s\n", row->faults[i].fault->id,
			       m->measured && !row->faults[i].shown ? " (not shown)" : "");
}

typedef bool row_test(const struct vhu_matrix *m, const struct vhu_matrix_row *row);

static bool is_observable(const struct vhu_matrix *m, const struct vhu_matrix_row *row)
{
	return row->req->seen == VHU_SEEN_YES;
}

static bool is_partial(const struct vhu_matrix *m, const struct vhu_matrix_row *row)
{
	return row->req->seen == VHU_SEEN_PARTIAL;
}

static bool is_unproven(const struct vhu_matrix *m, const struct vhu_matrix_row *row)
{
	return is_observable(m, row) && !proven(m, row);
}

static void add_rows(const struct vhu_matrix *m, const struct vhu_conform_opts *o, row_test *test,
		     const char *heading, struct vhu_buf *out)
{
	bool any = false;

	for (int i = 0; i < VHU_REQ_MAX; i++) {
		if (!counts_for(o, &m->rows[i]) || !test(m, &m->rows[i]))
			continue;
		if (!any)
			vhu_buf_printf(out, "\n%s\n", heading);
		any = true;
		add_row(m, &m->rows[i], out);
	}
}

static void add_unproven(const struct vhu_matrix *m, const struct vhu_conform_opts *o, struct vhu_buf *out)
{
	bool any = false;

	for (int i = 0; i < VHU_REQ_MAX; i++) {
		const struct vhu_matrix_row *row = &m->rows[i];
		bool has_fault = vhu_matrix_has_fault(m, row);

		if (!counts_for(o, row) || !is_unproven(m, row))
			continue;
		if (!any)
			vhu_buf_puts(out, "\nUnproven\n");
		any = true;
		vhu_buf_printf(out, "%s  %s  no %s%s%s\n", row->req->id, vhu_level_name(row->req->level),
			       row->n_cases ? "" : "case", row->n_cases || has_fault ? "" : ", no ",
			       has_fault ? "" : row->n_faults ? "fault that was shown" : "fault");
	}
}

void vhu_coverage_text(const struct vhu_matrix *m, const struct vhu_conform_opts *o, struct vhu_buf *out)
{
	struct counts all = count(m, o, NULL, VHU_LEVEL_MAX), must = count(m, o, NULL, VHU_LEVEL_MUST);

	vhu_buf_printf(out,
		       "%zu requirements bind the back-end or its device: %zu observable, %zu in part; "
		       "%zu cases, %zu faults\n",
		       all.total, all.observable, all.partial, m->n_cases, m->n_faults);
	if (m->measured)
		vhu_buf_printf(out, "a fault counts where %s has a finding of the very requirement\n\n",
			       o->mutants);
	else
		vhu_buf_puts(out, "faults as the tables name them; --mutants FILE counts what was shown\n\n");
	add_table(m, o, out);
	if (!o->quiet) {
		add_rows(m, o, is_observable, "Observable", out);
		add_rows(m, o, is_partial, "Observable in part", out);
		add_unproven(m, o, out);
	}
	vhu_buf_printf(out, "\n%zu of %zu observable requirements proven (case and fault), %zu of %zu MUST\n",
		       all.proven, all.observable, must.proven, must.observable);
}

/* --- as data --------------------------------------------------------------------------------- */

static json_t *levels_json(const struct vhu_matrix *m, const struct vhu_conform_opts *o, const char *area)
{
	json_t *all = json_object();

	for (size_t l = 0; l < N_LEVELS; l++) {
		struct counts c = count(m, o, area, levels[l]);

		json_object_set_new(all, vhu_level_name(levels[l]),
				    json_pack("{s:I, s:I, s:I, s:I, s:I}", "total", (json_int_t)c.total,
					      "observable", (json_int_t)c.observable, "partial",
					      (json_int_t)c.partial, "with_case", (json_int_t)c.with_case,
					      "with_fault", (json_int_t)c.with_fault));
	}
	return all;
}

static json_t *areas_json(const struct vhu_matrix *m, const struct vhu_conform_opts *o)
{
	json_t *areas = json_object();

	for (int i = 0; i < VHU_REQ_MAX; i++)
		if (first_of_area(m, o, i))
			json_object_set_new(areas, m->rows[i].req->area,
					    levels_json(m, o, m->rows[i].req->area));
	return areas;
}

static json_t *ids_json(const struct vhu_matrix *m, const struct vhu_conform_opts *o, row_test *test)
{
	json_t *ids = json_array();

	for (int i = 0; i < VHU_REQ_MAX; i++)
		if (counts_for(o, &m->rows[i]) && test(m, &m->rows[i]))
			json_array_append_new(ids, json_string(m->rows[i].req->id));
	return ids;
}

static json_t *row_json(const struct vhu_matrix *m, const struct vhu_matrix_row *row)
{
	static const char *const seen[] = {
		[VHU_SEEN_YES] = "yes", [VHU_SEEN_PARTIAL] = "partial", [VHU_SEEN_NO] = "no",
	};
	json_t *cases = json_array(), *faults = json_array(), *shown = json_array();

	for (size_t i = 0; i < row->n_cases; i++)
		json_array_append_new(cases, json_string(row->cases[i]));
	for (size_t i = 0; i < row->n_faults; i++) {
		json_array_append_new(faults, json_string(row->faults[i].fault->id));
		if (row->faults[i].shown)
			json_array_append_new(shown, json_string(row->faults[i].fault->id));
	}
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "id", row->req->id, "level",
			 vhu_level_name(row->req->level), "observable", seen[row->req->seen], "cases", cases,
			 "faults", faults, "shown", shown);
}

static json_t *rows_json(const struct vhu_matrix *m, const struct vhu_conform_opts *o)
{
	json_t *rows = json_array();

	for (int i = 0; i < VHU_REQ_MAX; i++)
		if (counts_for(o, &m->rows[i]))
			json_array_append_new(rows, row_json(m, &m->rows[i]));
	return rows;
}

int vhu_coverage_json(const struct vhu_matrix *m, const struct vhu_conform_opts *o, struct vhu_err *err)
{
	json_t *root = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:I, s:I, s:b, s:o}",
				 "format", "vhu-coverage", "version", 1,
				 "areas", areas_json(m, o), "levels", levels_json(m, o, NULL),
				 "unproven", ids_json(m, o, is_unproven),
				 "partial", ids_json(m, o, is_partial),
				 "cases", (json_int_t)m->n_cases, "faults", (json_int_t)m->n_faults,
				 "measured", m->measured, "requirements", rows_json(m, o));
	int code = vhu_jsonfile_write(root, o->json, JSON_INDENT(1), err);

	json_decref(root);
	return code;
}
