#include "cli/matrix.h"

#include <errno.h>
#include <string.h>

#include "jsonfile.h"
#include "plan/plan.h"

/* --- from the tables ------------------------------------------------------------------------- */

static int out_of_memory(struct vhu_err *err)
{
	return vhu_err_errno(err, -ENOMEM, "coverage");
}

/* "core/x#row%packed" is one variant of the file core/x. */
static char *file_id(struct vhu_arena *arena, const char *id)
{
	return vhu_arena_printf(arena, "%.*s", (int)strcspn(id, "#%"), id);
}

static bool same_file(const struct vhu_case_info *a, const struct vhu_case_info *b)
{
	return !strcmp(a->file, b->file);
}

/* Called twice: to count, then, where there is room, to fill in. */
static int add_cases(struct vhu_matrix *m, const struct vhu_case_info *const *infos, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *id;

		if (i && same_file(infos[i - 1], infos[i]))
			continue;
		id = file_id(m->arena, infos[i]->id);
		if (!id)
			return -ENOMEM;
		for (size_t c = 0; c < infos[i]->n_cites; c++) {
			struct vhu_matrix_row *row = &m->rows[infos[i]->cites[c]];

			if (row->cases)
				row->cases[row->n_cases] = id;
			row->n_cases++;
		}
	}
	return 0;
}

static size_t add_faults(struct vhu_matrix *m)
{
	const struct vhu_fault_row *fault;
	size_t n = 0;

	for (; (fault = vhu_fault_row(n)); n++)
		for (size_t i = 0; i < fault->n_reqs; i++) {
			struct vhu_matrix_row *row = &m->rows[fault->reqs[i]];

			if (row->faults)
				row->faults[row->n_faults].fault = fault;
			row->n_faults++;
		}
	return n;
}

static bool make_room(struct vhu_matrix *m)
{
	for (int i = 0; i < VHU_REQ_MAX; i++) {
		struct vhu_matrix_row *row = &m->rows[i];

		row->cases = vhu_arena_array(m->arena, row->n_cases + 1, sizeof(*row->cases));
		row->faults = vhu_arena_array(m->arena, row->n_faults + 1, sizeof(*row->faults));
		row->n_cases = row->n_faults = 0;
		if (!row->cases || !row->faults)
			return false;
	}
	return true;
}

int vhu_matrix_new(const struct vhu_case_info *const *infos, size_t n, struct vhu_matrix **ret,
		   struct vhu_err *err)
{
	struct vhu_matrix *m = calloc(1, sizeof(*m));

	if (m)
		m->arena = vhu_arena_new();
	if (!m || !m->arena) {
		free(m);
		return out_of_memory(err);
	}
	for (int i = 0; i < VHU_REQ_MAX; i++)
		m->rows[i].req = vhu_req_row((enum vhu_req)i);
	m->n_cases = n;
	m->n_faults = add_faults(m);
	if (add_cases(m, infos, n) < 0 || !make_room(m) || add_cases(m, infos, n) < 0) {
		vhu_matrix_free(m);
		return out_of_memory(err);
	}
	add_faults(m);
	*ret = m;
	return 0;
}

void vhu_matrix_free(struct vhu_matrix *m)
{
	if (!m)
		return;
	vhu_arena_free(m->arena);
	free(m);
}

/* --- from a run of tools/mutants ------------------------------------------------------------- */

static void mark(struct vhu_matrix_row *row, const char *fault)
{
	for (size_t i = 0; i < row->n_faults; i++)
		if (!strcmp(row->faults[i].fault->id, fault))
			row->faults[i].shown = true;
}

static int measure_fault(struct vhu_matrix *m, const struct vhu_jsonfile *f, const char *id,
			 const json_t *entry, struct vhu_err *err)
{
	const json_t *found = json_object_get(entry, "requirements"), *req;
	struct vhu_buf path = {0};
	size_t i;
	bool bad = !json_is_array(found);

	json_array_foreach(found, i, req) {
		const char *name = json_string_value(req);
		const struct vhu_req_row *row = name ? vhu_req_by_id(name) : NULL;

		bad |= !name;
		if (row)
			mark(&m->rows[row->req], id);
	}
	if (!bad)
		return 0;
	vhu_buf_puts(&path, "/faults");
	vhu_jsonfile_add_key(&path, id);
	vhu_jsonfile_add_key(&path, "requirements");
	vhu_jsonfile_wrong(f, vhu_buf_text(&path), "has to be a list of requirement ids", err);
	vhu_buf_done(&path);
	return -EINVAL;
}

int vhu_matrix_measure(struct vhu_matrix *m, const char *path, struct vhu_err *err)
{
	struct vhu_jsonfile f;
	json_t *faults, *entry;
	const char *id;
	int code = vhu_jsonfile_read(path, "vhu-mutants", &f, err);

	if (code < 0)
		return code;
	faults = json_object_get(f.root, "faults");
	if (!json_is_object(faults))
		code = vhu_jsonfile_wrong(&f, "/faults", "has to be an object", err);
	json_object_foreach(faults, id, entry)
		if (code == 0)
			code = measure_fault(m, &f, id, entry, err);
	m->measured = code == 0;
	vhu_jsonfile_done(&f);
	return code;
}

/* --- questions ------------------------------------------------------------------------------- */

bool vhu_matrix_binds(const struct vhu_req_row *req)
{
	return req->party == VHU_PARTY_BACK || req->party == VHU_PARTY_BOTH || req->party == VHU_PARTY_DEVICE;
}

bool vhu_matrix_has_fault(const struct vhu_matrix *m, const struct vhu_matrix_row *row)
{
	for (size_t i = 0; i < row->n_faults; i++)
		if (row->faults[i].shown || !m->measured)
			return true;
	return false;
}
