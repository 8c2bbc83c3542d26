/* The matrix behind --coverage: what counts for what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/conform.h"
#include "cli/matrix.h"
#include "plan/plan.h"

static const enum vhu_req header[] = {VHU_REQ_HDR_01, VHU_REQ_HDR_02}, version[] = {VHU_REQ_HDR_02};
#define CITES(r) .cites = r, .n_cites = VHU_ARRAY_SIZE(r)
static const struct vhu_case_info cases[] = {
	{.id = "core/a#one", .file = "a.json", CITES(header)},
	{.id = "core/a#two", .file = "a.json", CITES(header)},
	{.id = "core/b", .file = "b.json", CITES(version)},
};

static struct vhu_matrix *make(void)
{
	const struct vhu_case_info *infos[] = {&cases[0], &cases[1], &cases[2]};
	struct vhu_matrix *m = NULL;

	assert_int_equal(vhu_matrix_new(infos, VHU_ARRAY_SIZE(infos), &m, NULL), 0);
	return m;
}

static void rows_of_a_file_are_one_case(void **state)
{
	struct vhu_matrix *m = make();

	assert_int_equal(m->n_cases, 3);
	assert_int_equal(m->rows[VHU_REQ_HDR_01].n_cases, 1);
	assert_string_equal(m->rows[VHU_REQ_HDR_01].cases[0], "core/a");
	assert_int_equal(m->rows[VHU_REQ_HDR_02].n_cases, 2);
	assert_string_equal(m->rows[VHU_REQ_HDR_02].cases[1], "core/b");
	assert_int_equal(m->rows[VHU_REQ_HDR_03].n_cases, 0);
	vhu_matrix_free(m);
}

static void each_fault_stands_at_each_row_that_it_names(void **state)
{
	struct vhu_matrix *m = make();
	const struct vhu_fault_row *fault;
	size_t named = 0, listed = 0;

	for (size_t i = 0; (fault = vhu_fault_row(i)); i++)
		named += fault->n_reqs;
	for (int i = 0; i < VHU_REQ_MAX; i++)
		listed += m->rows[i].n_faults;
	assert_int_equal(listed, named);
	assert_true(vhu_matrix_has_fault(m, &m->rows[VHU_REQ_HDR_02]));
	vhu_matrix_free(m);
}

static const char *written(const char *text)
{
	static char path[] = "/tmp/vhu-mutants-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static void measured_faults_count_where_they_were_shown(void **state)
{
	struct vhu_matrix *m = make();
	const char *path = written("{\"format\": \"vhu-mutants\", \"version\": 1, \"faults\": {"
				   "\"hdr-version\": {\"requirements\": [\"HDR-02\", \"MEM-01\", \"NO-99\"]},"
				   "\"gone\": {\"requirements\": [\"HDR-01\"]}}}");
	struct vhu_err err = {0};

	assert_int_equal(vhu_matrix_measure(m, path, &err), 0);
	assert_true(m->measured);
	assert_true(vhu_matrix_has_fault(m, &m->rows[VHU_REQ_HDR_02]));
	/* Named by the table only, found but not named, and of no fault that is there. */
	assert_false(vhu_matrix_has_fault(m, &m->rows[VHU_REQ_HDR_36]));
	assert_false(vhu_matrix_has_fault(m, &m->rows[VHU_REQ_MEM_01]));
	assert_false(vhu_matrix_has_fault(m, &m->rows[VHU_REQ_HDR_01]));
	unlink(path);
	vhu_matrix_free(m);
}

static void only_the_back_ends_side_counts(void **state)
{
	assert_true(vhu_matrix_binds(vhu_req_row(VHU_REQ_HDR_01)));
	assert_true(vhu_matrix_binds(vhu_req_row(VHU_REQ_HDR_02)));
	assert_false(vhu_matrix_binds(vhu_req_row(VHU_REQ_HDR_07)));
	assert_true(vhu_matrix_binds(vhu_req_row(VHU_REQ_RING_02)));
}

static void options_belong_together(void **state)
{
	struct vhu_conform_opts o;
	struct vhu_err err = {0};
	const char *alone[] = {"vhu-conform", "--reference", "--fail-under", "90", NULL};
	const char *with[] = {"vhu-conform", "--coverage", "--area", "HDR,MEM", "--fail-under", "90", NULL};
	const char *none[] = {"vhu-conform", "--coverage", "--area", "HDR,", NULL};

	assert_true(vhu_conform_opts_parse(4, (char **)alone, &o, &err) < 0);
	assert_true(vhu_conform_opts_parse(4, (char **)none, &o, &err) < 0);
	assert_int_equal(vhu_conform_opts_parse(6, (char **)with, &o, &err), 0);
	assert_string_equal(o.areas, "HDR,MEM");
	assert_int_equal(o.fail_under, 90);
	vhu_conform_opts_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_of_a_file_are_one_case),
		cmocka_unit_test(each_fault_stands_at_each_row_that_it_names),
		cmocka_unit_test(measured_faults_count_where_they_were_shown),
		cmocka_unit_test(only_the_back_ends_side_counts),
		cmocka_unit_test(options_belong_together),
	};

	return cmocka_run_group_tests_name("cli_coverage", tests, NULL, NULL);
}
