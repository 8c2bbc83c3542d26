/* What vhu-conform can say without a target. */
#include <errno.h>
#include <string.h>

#include "cli/matrix.h"
#include "coverage.h"
#include "explain.h"
#include "jsonfile.h"
#include "program.h"
#include "reports.h"

static int print_help(void)
{
	struct vhu_buf text = {0};

	vhu_options_help(&vhu_conform_options, &text);
	return vhu_conform_print(&text);
}

static int print_version(void)
{
	struct vhu_buf text = {0};

	vhu_buf_printf(&text, "%s %s\n", vhu_conform_options.program, VHU_VERSION);
	return vhu_conform_print(&text);
}

static int print_schema(void)
{
	_cleanup_(vhu_freep) char *schema = vhu_case_schema();
	struct vhu_buf text = {.failed = !schema};

	if (schema)
		vhu_buf_puts(&text, schema);
	if (text.len && text.data[text.len - 1] != '\n')
		vhu_buf_puts(&text, "\n");
	return vhu_conform_print(&text);
}

static int explain(const struct vhu_conform_opts *o)
{
	struct vhu_case_set *set = NULL;
	struct vhu_buf text = {0}, ignored = {0};
	struct vhu_diags diags = {.text = &ignored};
	struct vhu_err err = {0};
	int code;

	/* Without cases, or with wrong ones, the tables still have something to say. */
	vhu_select_load(o, &set, &diags, NULL);
	code = vhu_explain(o->explain, set, &text, &err);
	vhu_case_set_free(set);
	vhu_buf_done(&ignored);
	if (code == 0)
		return vhu_conform_print(&text);
	vhu_buf_done(&text);
	return vhu_conform_complain(&err, VHU_EXIT_USAGE);
}

static int compile_selected(const struct vhu_conform_opts *o, const struct vhu_case_set *set, size_t *ret_n,
			    struct vhu_diags *diags, struct vhu_err *err)
{
	struct vhu_compile_opts opts = {.profile = o->profile, .allow_writes = true};
	struct vhu_selection s = {0};
	struct vhu_plan **plans = NULL;
	int code = vhu_select_set(o, set, o->target.device, &s, err);

	if (code == 0) {
		plans = calloc(s.n + 1, sizeof(*plans));
		code = plans ? 0 : vhu_err_errno(err, -ENOMEM, "cases");
	}
	if (code == 0)
		code = vhu_conform_compile(&s, set, &opts, plans, diags, err);
	vhu_conform_free_plans(plans, s.n);
	*ret_n = s.n;
	vhu_selection_done(&s);
	return code;
}

/* Files that cannot even be read don't keep the others from being compiled. */
static int check(const struct vhu_conform_opts *o)
{
	struct vhu_case_set *set = NULL;
	struct vhu_buf text = {0};
	struct vhu_diags diags = {.text = &text};
	struct vhu_err err = {0};
	size_t n = 0;
	int code = vhu_select_load(o, &set, &diags, &err);

	if (set && (code == 0 || diags.errors))
		code = compile_selected(o, set, &n, &diags, &err);
	if (diags.errors)
		code = vhu_conform_tell_diags(&diags);
	else if (code < 0)
		code = vhu_conform_complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	else if (n == 0)
		code = vhu_conform_nothing_to_run(o);
	vhu_case_set_free(set);
	vhu_buf_done(&text);
	return code;
}

static int list(const struct vhu_conform_opts *o)
{
	struct vhu_case_set *set = NULL;
	struct vhu_selection s = {0};
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	int code = vhu_conform_load(o, &set);

	if (code)
		return code;
	if (vhu_select_set(o, set, o->target.device, &s, &err) < 0) {
		code = vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	} else if (s.n == 0) {
		code = vhu_conform_nothing_to_run(o);
	} else {
		vhu_selection_list(&s, &text);
		code = vhu_conform_print(&text);
	}
	vhu_selection_done(&s);
	vhu_case_set_free(set);
	return code;
}

static int tell_coverage(const struct vhu_conform_opts *o, const struct vhu_matrix *m)
{
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	if (o->json && vhu_coverage_json(m, o, &err) < 0)
		return vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	if (!o->json || strcmp(o->json, "-")) {
		vhu_coverage_text(m, o, &text);
		code = vhu_conform_print(&text);
	}
	return code || vhu_coverage_suffices(m, o) ? code : VHU_EXIT_FAILED;
}

static int coverage(const struct vhu_conform_opts *o)
{
	struct vhu_case_set *set = NULL;
	struct vhu_selection s = {0};
	struct vhu_matrix *m = NULL;
	struct vhu_err err = {0};
	int code = vhu_conform_load(o, &set);

	if (code)
		return code;
	code = vhu_select_set(o, set, o->target.device, &s, &err);
	if (code == 0)
		code = vhu_matrix_new(s.info, s.n, &m, &err);
	if (code < 0)
		code = vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	else if (o->mutants && (code = vhu_matrix_measure(m, o->mutants, &err)) < 0)
		code = vhu_conform_complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	else
		code = tell_coverage(o, m);
	vhu_matrix_free(m);
	vhu_selection_done(&s);
	vhu_case_set_free(set);
	return code;
}

static int compare(const struct vhu_conform_opts *o)
{
	struct vhu_buf text = {0};
	struct vhu_err err = {0};
	bool worse = false;
	int code = vhu_reports_compare(o->parsed.rest.items[0], o->parsed.rest.items[1], &text, &worse, &err);

	if (code < 0) {
		vhu_buf_done(&text);
		return vhu_conform_complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	}
	code = vhu_conform_print(&text);
	return code ? code : worse ? VHU_EXIT_FAILED : VHU_EXIT_OK;
}

static int merge(const struct vhu_conform_opts *o)
{
	struct vhu_err err = {0};
	json_t *all = NULL;
	int code = vhu_reports_merge(&o->parsed.rest, &all, &err);

	if (code < 0)
		return vhu_conform_complain(&err, code == -ENOMEM ? VHU_EXIT_BROKEN : VHU_EXIT_USAGE);
	if (vhu_jsonfile_write(all, o->json ? o->json : "-", JSON_INDENT(1), &err) < 0)
		code = vhu_conform_complain(&err, VHU_EXIT_BROKEN);
	else if (vhu_report_has(all, "broken"))
		code = VHU_EXIT_BROKEN;
	else if (vhu_report_has(all, "fail") || vhu_report_has(all, "flaky"))
		code = VHU_EXIT_FAILED;
	json_decref(all);
	return code;
}

bool vhu_conform_asks(const struct vhu_conform_opts *o)
{
	return o->help || o->version || o->list || o->check || o->schema || o->explain || o->coverage ||
	       o->compare || o->merge;
}

int vhu_conform_answer(const struct vhu_conform_opts *o)
{
	if (o->help)
		return print_help();
	if (o->version)
		return print_version();
	if (o->schema)
		return print_schema();
	if (o->explain)
		return explain(o);
	if (o->coverage)
		return coverage(o);
	if (o->compare)
		return compare(o);
	if (o->merge)
		return merge(o);
	return o->check ? check(o) : list(o);
}
