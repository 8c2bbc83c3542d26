#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "cli/baseline.h"
#include "report/report.h"

static char folder[] = "/tmp/vhu-baseline-XXXXXX";
static char path[64];

static void write_file(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct vhu_baseline *load(const char *text)
{
	struct vhu_baseline *b = NULL;
	struct vhu_err err = {0};

	write_file(text);
	assert_int_equal(vhu_baseline_load(path, false, &b, &err), 0);
	return b;
}

static const char known[] =
	"{\"format\": \"vhu-baseline\", \"version\": 1, \"cases\": {\n"
	" \"core/a\": {\"verdict\": \"fail\", \"findings\": [\"HDR-01\", \"HDR-05\"], \"why\": \"bug 17\"},\n"
	" \"core/b\": {\"verdict\": \"flaky\", \"findings\": [\"HDR-01\"]},\n"
	" \"core/c\": {\"verdict\": \"fail\", \"findings\": []}}}\n";

/* An outcome with FAIL findings of these requirements. */
static struct vhu_outcome outcome(const char *id, enum vhu_verdict verdict, const enum vhu_req *reqs,
				  size_t n)
{
	struct vhu_outcome o = {.verdict = verdict, .runs = 1};

	o.result.id = strdup(id);
	o.result.verdict = verdict;
	o.result.findings = calloc(n + 1, sizeof(*o.result.findings));
	o.result.grades = calloc(n + 1, sizeof(*o.result.grades));
	o.result.n_findings = n;
	for (size_t i = 0; i < n; i++) {
		vhu_finding_init(&o.result.findings[i], reqs[i], VHU_FINDING_RULE, "wrong");
		o.result.grades[i] = VHU_FAIL;
	}
	return o;
}

static void assert_judged(struct vhu_baseline *b, struct vhu_outcome o, bool update, enum vhu_verdict verdict,
			  enum vhu_known how, const char *note)
{
	assert_int_equal(vhu_baseline_judge(b, &o, update, NULL), 0);
	assert_int_equal(o.verdict, verdict);
	assert_int_equal(o.known, how);
	if (note)
		assert_string_equal(o.note, note);
	else
		assert_null(o.note);
	vhu_outcome_done(&o);
}

static const enum vhu_req one[] = {VHU_REQ_HDR_01},
			  other[] = {VHU_REQ_HDR_01, VHU_REQ_HDR_02, VHU_REQ_HDR_02};

static void test_judge(void **state)
{
	struct vhu_baseline *b = load(known);
	struct vhu_outcome o;

	assert_judged(b, outcome("core/a", VHU_FAIL, one, 1), false, VHU_WARN, VHU_KNOWN_SAME, "bug 17");
	assert_judged(b, outcome("core/a", VHU_FAIL, other, 3), false, VHU_FAIL, VHU_KNOWN_WORSE, "HDR-02");
	assert_judged(b, outcome("core/a", VHU_PASS, NULL, 0), false, VHU_PASS, VHU_KNOWN_FIXED, "bug 17");
	assert_judged(b, outcome("core/a", VHU_WARN, NULL, 0), false, VHU_WARN, VHU_KNOWN_FIXED, "bug 17");
	assert_judged(b, outcome("core/new", VHU_FAIL, one, 1), false, VHU_FAIL, VHU_KNOWN_NOT, NULL);
	assert_judged(b, outcome("core/new", VHU_PASS, NULL, 0), false, VHU_PASS, VHU_KNOWN_NOT, NULL);
	/* A failure without any finding has nothing new in it. */
	assert_judged(b, outcome("core/c", VHU_FAIL, NULL, 0), false, VHU_WARN, VHU_KNOWN_SAME, "");
	assert_judged(b, outcome("core/c", VHU_FAIL, one, 1), false, VHU_FAIL, VHU_KNOWN_WORSE, "HDR-01");
	/* Our own fault, and what did not run, is no news about the target. */
	assert_judged(b, outcome("core/a", VHU_BROKEN, NULL, 0), false, VHU_BROKEN, VHU_KNOWN_NOT, NULL);
	assert_judged(b, outcome("core/a", VHU_SKIP, NULL, 0), false, VHU_SKIP, VHU_KNOWN_NOT, NULL);
	/* One that comes and goes is not fixed by passing once. */
	assert_judged(b, outcome("core/b", VHU_PASS, NULL, 0), false, VHU_PASS, VHU_KNOWN_NOT, NULL);
	o = outcome("core/b", VHU_FAIL, one, 1);
	o.flaky = true;
	assert_judged(b, o, false, VHU_WARN, VHU_KNOWN_SAME, "");
	vhu_baseline_free(b);
}

static void test_update(void **state)
{
	struct vhu_baseline *b = load(known);
	struct vhu_outcome o = outcome("core/d", VHU_FAIL, one, 1);

	o.flaky = true;
	assert_judged(b, outcome("core/a", VHU_FAIL, other, 3), true, VHU_WARN, VHU_KNOWN_SAME, "bug 17");
	assert_judged(b, outcome("core/c", VHU_PASS, NULL, 0), true, VHU_PASS, VHU_KNOWN_FIXED, "");
	assert_judged(b, o, true, VHU_WARN, VHU_KNOWN_SAME, "");
	assert_int_equal(vhu_baseline_save(b, path, NULL), 0);
	vhu_baseline_free(b);

	b = NULL;
	assert_int_equal(vhu_baseline_load(path, false, &b, NULL), 0);
	/* Rewritten, with its reason kept. */
	assert_judged(b, outcome("core/a", VHU_FAIL, other, 3), false, VHU_WARN, VHU_KNOWN_SAME, "bug 17");
	/* Learnt as flaky. */
	assert_judged(b, outcome("core/d", VHU_PASS, NULL, 0), false, VHU_PASS, VHU_KNOWN_NOT, NULL);
	assert_judged(b, outcome("core/d", VHU_FAIL, one, 1), false, VHU_WARN, VHU_KNOWN_SAME, "");
	/* Removed, since it was fixed; untouched, since it did not run. */
	assert_judged(b, outcome("core/c", VHU_FAIL, NULL, 0), false, VHU_FAIL, VHU_KNOWN_NOT, NULL);
	assert_judged(b, outcome("core/b", VHU_FAIL, one, 1), false, VHU_WARN, VHU_KNOWN_SAME, "");
	vhu_baseline_free(b);
}

static void test_absent(void **state)
{
	struct vhu_baseline *b = NULL;
	struct vhu_err err = {0};

	unlink(path);
	assert_int_equal(vhu_baseline_load(path, false, &b, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(vhu_baseline_load(path, true, &b, &err), 0);
	assert_judged(b, outcome("core/a", VHU_FAIL, one, 1), false, VHU_FAIL, VHU_KNOWN_NOT, NULL);
	assert_int_equal(vhu_baseline_save(b, "/nonexistent/folder/file", &err), -ENOENT);
	assert_int_equal(vhu_baseline_save(b, path, &err), 0);
	vhu_baseline_free(b);
	assert_int_equal(vhu_baseline_load(path, false, &b, &err), 0);
	vhu_baseline_free(b);
	vhu_baseline_free(NULL);
}

static void test_errors(void **state)
{
	static const struct { const char *text, *where;
	} wrong[] = {
		{"", ":1:"},
		{"{", ":1:"},
		{"[]", ":1:1: /format: "},
		{"{\"format\": \"x\"}", ":1:12: /format: "},
		{"{\"format\": \"vhu-baseline\",\n \"version\": 2}", ":2:13: /version: has to be 1"},
		{"{\"format\": \"vhu-baseline\", \"version\": 1}", "/cases: has to be an object"},
		{"{\"format\": \"vhu-baseline\", \"version\": 1, \"cases\":\n{\"a/b\": 1}}",
		 ":2:9: /cases/a~1b: has to be an object"},
		{"{\"format\": \"vhu-baseline\", \"version\": 1, \"cases\":\n{\"a\": {\"verdict\": "
		 "\"bad\"}}}",
		 ":2:19: /cases/a/verdict: has to be"},
		{"{\"format\": \"vhu-baseline\", \"version\": 1, \"cases\":\n{\"a\": {\"verdict\": \"fail\", "
		 "\"findings\": [1]}}}",
		 "/cases/a/findings: has to be"},
		{"{\"format\": \"vhu-baseline\", \"version\": 1, \"cases\":\n"
		 "{\"a\": {\"verdict\": \"fail\", \"findings\": [], \"why\": 1}}}",
		 "/cases/a/why: has to be a text"},
		{"{\"format\": \"vhu-baseline\", \"format\": 1}", "duplicate"},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(wrong); i++) {
		struct vhu_baseline *b = NULL;
		struct vhu_err err = {0};

		write_file(wrong[i].text);
		assert_int_equal(vhu_baseline_load(path, true, &b, &err), -EINVAL);
		assert_null(b);
		if (!strstr(err.text, wrong[i].where) || strncmp(err.text, path, strlen(path)))
			fail_msg("'%s' does not say '%s'", err.text, wrong[i].where);
	}
}

/* What is known to end the target, whether it always does or not. */
static void test_kills(void **state)
{
	struct vhu_baseline *b = load("{\"format\": \"vhu-baseline\", \"version\": 1, \"cases\": {\n"
				      " \"a\": {\"verdict\": \"fail\", \"findings\": [\"HDR-01\"]},\n"
				      " \"b\": {\"verdict\": \"flaky\", "
				      "\"findings\": [\"HDR-01\", \"PROG-16\"]}}}");

	assert_false(vhu_baseline_kills(NULL, "b"));
	assert_false(vhu_baseline_kills(b, "a"));
	assert_true(vhu_baseline_kills(b, "b"));
	assert_false(vhu_baseline_kills(b, "c"));
	vhu_baseline_free(b);
}

static int setup(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/known.json", folder);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_update),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_kills),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
