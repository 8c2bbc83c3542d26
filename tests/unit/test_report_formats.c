/*
 * Every report format with every verdict, byte for byte. Set VHU_UPDATE_GOLDEN=1 to write the
 * expected files anew, and read the difference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <errno.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "report/report.h"

/* --- a run with everything in it --------------------------------------------------------------- */

static char *dup_or_null(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct vhu_outcome outcome(const char *id, const char *title, enum vhu_verdict verdict,
				  const char *req)
{
	struct vhu_outcome o = {.verdict = verdict, .runs = verdict == VHU_SKIP ? 0 : 1};

	o.passed = verdict == VHU_PASS || verdict == VHU_WARN;
	o.result.id = strdup(id);
	o.result.title = strdup(title);
	o.result.file = strdup("cases/core/example.json");
	o.result.verdict = verdict;
	o.result.duration_ns = 800000;
	o.result.frames = 12;
	o.result.ios = 2;
	o.result.requirements = calloc(1, sizeof(*o.result.requirements));
	o.result.requirements[0] = vhu_req_by_id(req)->req;
	o.result.n_requirements = 1;
	return o;
}

static struct vhu_finding *add_finding(struct vhu_outcome *o, const char *req, enum vhu_finding_kind kind,
				       enum vhu_verdict grade, const char *summary, const char *actual)
{
	struct vhu_result *r = &o->result;
	struct vhu_finding *f;

	r->findings = realloc(r->findings, (r->n_findings + 1) * sizeof(*r->findings));
	r->grades = realloc(r->grades, (r->n_findings + 1) * sizeof(*r->grades));
	f = &r->findings[r->n_findings];
	vhu_finding_init(f, vhu_req_by_id(req)->req, kind, "%s", summary);
	snprintf(f->actual, sizeof(f->actual), "%s", actual);
	snprintf(f->accepted, sizeof(f->accepted), "nack\ncloses");
	snprintf(f->message, sizeof(f->message), "< SET_VRING_NUM reply u64=0x0");
	snprintf(f->hex, sizeof(f->hex), "08 00 00 00 05 00 00 00 08 00 00 00");
	snprintf(f->where, sizeof(f->where), "/steps/0[index=0xffff]/do/0");
	r->grades[r->n_findings++] = grade;
	return f;
}

static struct vhu_outcome failed(const char *id)
{
	struct vhu_outcome o = outcome(id, "An index that no device can have is refused", VHU_FAIL, "HDR-01");

	add_finding(&o, "HDR-01", VHU_FINDING_RULE, VHU_FAIL, "the index was accepted", "ack");
	add_finding(&o, "HDR-02", VHU_FINDING_RULE, VHU_WARN, "the version is 0", "flags 0x4");
	o.result.trace =
		dup_or_null("    0.000 ms  > GET_FEATURES\n    0.051 ms  < GET_FEATURES reply u64=0x0\n");
	o.result.rerun = dup_or_null("vhu-conform --spawn 'a b' --seed 1 'core/example#num'");
	return o;
}

/* Texts as a hostile or careless target writes them. */
static const char nasty[] =
	"line <1> & \"two\"\r\n\033[31mred\033[0m \xff\xfe not UTF-8 \xe2\x82\xac\n\ttab \\ end";

static size_t make_outcomes(struct vhu_outcome *o)
{
	size_t n = 0;

	o[n++] = outcome("core/hdr/fine", "A good one", VHU_PASS, "HDR-06");
	o[n++] = failed("core/example#num");
	o[n] = failed("core/example#base");
	o[n].result.duration_ns = UINT64_C(12345678901);
	o[n++].result.dropped_findings = 3;
	o[n] = outcome("core/hdr/dies", "A strange request does not bring it down", VHU_FAIL, "HDR-05");
	add_finding(&o[n], "HDR-05", VHU_FINDING_ROBUST, VHU_FAIL, "the back-end died", "killed by SIGSEGV");
	o[n].result.target_stderr = dup_or_null(nasty);
	o[n].result.target_died = true;
	o[n++].result.rerun = dup_or_null("vhu-conform --reference core/hdr/dies");
	o[n] = outcome("core/hdr/warns", "It could do better", VHU_WARN, "HDR-09");
	add_finding(&o[n], "HDR-09", VHU_FINDING_RULE, VHU_WARN, "it answers twice", "2 replies");
	add_finding(&o[n++], "HDR-04", VHU_FINDING_QUIRK, VHU_WARN, "it is slow", "");
	o[n] = outcome("core/hdr/warns-too", "It could do better", VHU_WARN, "HDR-09");
	add_finding(&o[n++], "HDR-09", VHU_FINDING_RULE, VHU_WARN, "it answers twice", "2 replies");
	o[n] = outcome("blk/discard", "Discarded sectors", VHU_SKIP, "HDR-03");
	o[n++].result.reason = dup_or_null("the target does not offer VIRTIO_BLK_F_DISCARD");
	o[n] = outcome("blk/discard#big", "Discarded sectors", VHU_SKIP, "HDR-03");
	o[n++].result.reason = dup_or_null("the target does not offer VIRTIO_BLK_F_DISCARD");
	o[n] = outcome("blk/write", "Written sectors", VHU_SKIP, "HDR-03");
	o[n++].result.reason = dup_or_null("writes to the disk; --allow-writes permits it");
	o[n] = outcome("blk/broken", "Ours fails", VHU_BROKEN, "HDR-06");
	o[n].result.reason = dup_or_null("the tester leaked in this case: 1 more of anon_inode:[eventfd]");
	o[n++].result.rerun = dup_or_null("vhu-conform --reference blk/broken");
	o[n] = failed("blk/flaky");
	o[n].flaky = true;
	o[n].runs = 5;
	o[n++].passed = 3;
	o[n] = failed("blk/known");
	o[n].verdict = VHU_WARN;
	o[n].known = VHU_KNOWN_SAME;
	o[n++].note = dup_or_null("reported as #17");
	o[n] = failed("blk/worse");
	o[n].known = VHU_KNOWN_WORSE;
	o[n++].note = dup_or_null("HDR-01");
	o[n] = outcome("blk/fixed", "Was bad", VHU_PASS, "HDR-06");
	o[n].runs = o[n].passed = 4;
	o[n].known = VHU_KNOWN_FIXED;
	o[n++].note = dup_or_null("reported as #16");
	o[n] = outcome("blk/last", "A good one", VHU_PASS, "HDR-06");
	o[n++].result.trace = dup_or_null("    0.000 ms  > SET_OWNER\n");
	return n;
}

static const struct vhu_report_run run = {
	.target = {
		.name = "reference back-end",
		.probed = true,
		.device = VHU_DEV_BLK,
		.features = UINT64_C(0x140000000),
		.pfeatures = 0x9,
		.queues = 4,
		.config_size = 60,
		.memory = "memfd",
	},
	.seed = 7,
	.spec = VHU_SINCE_V11_1,
};

static struct vhu_summary count(const struct vhu_outcome *o, size_t n)
{
	struct vhu_summary s = {.wall_ns = 610000000};

	for (size_t i = 0; i < n; i++)
		vhu_summary_add(&s, &o[i]);
	return s;
}

/* --- comparing --------------------------------------------------------------------------------- */

static void read_file(const char *path, struct vhu_buf *out)
{
	FILE *f = fopen(path, "re");
	char bytes[4096];
	size_t n;

	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
		vhu_buf_add(out, bytes, n);
	fclose(f);
}

static void compare_golden(const char *name, const struct vhu_buf *have)
{
	char path[512];
	struct vhu_buf want = {0};

	snprintf(path, sizeof(path), "%s/report/%s", VHU_TEST_DATA, name);
	if (getenv("VHU_UPDATE_GOLDEN")) {
		FILE *f = fopen(path, "we");

		assert_non_null(f);
		fputs(vhu_buf_text(have), f);
		fclose(f);
	}
	read_file(path, &want);
	assert_string_equal(vhu_buf_text(have), vhu_buf_text(&want));
	vhu_buf_done(&want);
}

static void write_report(const char *format, const struct vhu_report_opts *how, const struct vhu_outcome *o,
			 size_t n, const char *stopped, struct vhu_buf *out)
{
	char path[] = "/tmp/vhu-report-XXXXXX";
	struct vhu_report_opts opts = *how;
	struct vhu_summary s = count(o, n);
	struct vhu_report *r = NULL;
	struct vhu_err err = {0};
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	opts.path = path;
	s.stopped = stopped;
	assert_int_equal(vhu_report_open(format, &opts, &r, &err), 0);
	assert_int_equal(vhu_report_begin(r, &run, n, &err), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(vhu_report_case(r, &o[i], &err), 0);
	assert_int_equal(vhu_report_end(r, &s, &err), 0);
	vhu_report_free(r);
	read_file(path, out);
	unlink(path);
}

static void check_golden(const char *format, const struct vhu_report_opts *how, const char *stopped,
			 const char *name)
{
	struct vhu_outcome o[32];
	struct vhu_buf have = {0};
	size_t n = make_outcomes(o);

	write_report(format, how, o, n, stopped, &have);
	compare_golden(name, &have);
	vhu_buf_done(&have);
	while (n)
		vhu_outcome_done(&o[--n]);
}

static void test_tty(void **state)
{
	check_golden("tty", &(struct vhu_report_opts){0}, NULL, "tty.txt");
}

static void test_tty_verbose(void **state)
{
	check_golden("tty", &(struct vhu_report_opts){.verbosity = 1}, NULL, "tty-verbose.txt");
}

static void test_tty_quiet(void **state)
{
	check_golden("tty", &(struct vhu_report_opts){.verbosity = -1}, "out of time", "tty-quiet.txt");
}

static void test_tty_color(void **state)
{
	check_golden("tty", &(struct vhu_report_opts){.color = true, .live = true}, NULL, "tty-color.txt");
}

static void test_tap(void **state)
{
	check_golden("tap", &(struct vhu_report_opts){0}, "target gone since blk/x", "tap.txt");
}

static void test_junit(void **state)
{
	check_golden("junit", &(struct vhu_report_opts){0}, NULL, "junit.txt");
}

static void test_html(void **state)
{
	check_golden("html", &(struct vhu_report_opts){0}, NULL, "html.txt");
}

static void test_markdown(void **state)
{
	check_golden("markdown", &(struct vhu_report_opts){0}, "interrupted by SIGINT", "markdown.txt");
}

static void test_sarif(void **state)
{
	check_golden("sarif", &(struct vhu_report_opts){0}, NULL, "sarif.txt");
}

static json_t *json_report(const struct vhu_outcome *o, size_t n)
{
	struct vhu_buf text = {0};
	json_error_t where;
	json_t *root;

	write_report("json", &(struct vhu_report_opts){0}, o, n, "interrupted by SIGINT", &text);
	root = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &where);
	assert_non_null(root);
	vhu_buf_done(&text);
	return root;
}

/* Most rows are untested here, and new ones come; they would only make the expected file long. */
static size_t drop_untested(json_t *requirements)
{
	size_t dropped = 0;

	for (size_t i = json_array_size(requirements); i-- > 0;) {
		const json_t *row = json_array_get(requirements, i);

		if (strcmp(json_string_value(json_object_get(row, "verdict")), "untested") ||
		    json_array_size(json_object_get(row, "cases")))
			continue;
		json_array_remove(requirements, i);
		dropped++;
	}
	return dropped;
}

static void test_json(void **state)
{
	struct vhu_outcome o[32];
	size_t n = make_outcomes(o);
	json_t *root = json_report(o, n);
	struct vhu_buf have = {0};
	char *text;

	assert_true(drop_untested(json_object_get(root, "requirements")) > 100);
	text = json_dumps(root, JSON_INDENT(1));
	vhu_buf_puts(&have, text);
	vhu_buf_puts(&have, "\n");
	compare_golden("json.txt", &have);
	free(text);
	vhu_buf_done(&have);
	json_decref(root);
	while (n)
		vhu_outcome_done(&o[--n]);
}

/* The contract of the JSON report, apart from how it looks. */
static void test_json_contract(void **state)
{
	struct vhu_outcome o[32];
	size_t n = make_outcomes(o);
	json_t *root = json_report(o, n);
	const json_t *summary = json_object_get(root, "summary");
	const char *counts[] = {"pass", "fail", "warn", "skip", "broken", "flaky"};
	json_int_t total = 0;

	assert_string_equal(json_string_value(json_object_get(root, "format")), "vhu-report");
	assert_int_equal(json_integer_value(json_object_get(root, "version")), 1);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(counts); i++)
		total += json_integer_value(json_object_get(summary, counts[i]));
	assert_int_equal(total, n);
	assert_int_equal(json_array_size(json_object_get(root, "cases")), n);
	for (size_t i = 0; i < n; i++) {
		const json_t *c = json_array_get(json_object_get(root, "cases"), i);

		assert_string_equal(json_string_value(json_object_get(c, "id")), o[i].result.id);
		assert_true(json_is_array(json_object_get(c, "findings")));
		assert_int_equal(json_is_string(json_object_get(c, "skip_reason")), o[i].verdict == VHU_SKIP);
	}
	json_decref(root);
	while (n)
		vhu_outcome_done(&o[--n]);
}

/* --- the rest ---------------------------------------------------------------------------------- */

static void test_empty_run(void **state)
{
	static const char *const formats[] = {"tty", "tap", "junit", "json", "html", "markdown", "sarif"};
	struct vhu_buf text = {0};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(formats); i++) {
		vhu_buf_reset(&text);
		write_report(formats[i], &(struct vhu_report_opts){0}, NULL, 0, NULL, &text);
		assert_true(text.len > 0);
	}
	vhu_buf_done(&text);
}

static void test_open_errors(void **state)
{
	struct vhu_report_opts opts = {.path = "/nonexistent/folder/report"};
	struct vhu_report *r = NULL;
	struct vhu_err err = {0};

	assert_int_equal(vhu_report_open("json", &opts, &r, &err), -ENOENT);
	assert_non_null(strstr(err.text, opts.path));
	opts.path = "-";
	assert_int_equal(vhu_report_open("pdf", &opts, &r, &err), -ENOENT);
	assert_non_null(strstr(err.text, "pdf"));
	assert_null(r);
	vhu_report_free(NULL);
}

/* A full disk shows, at the latest, at the end. */
static void test_write_error(void **state)
{
	static const char *const formats[] = {"tty", "tap", "junit", "json", "html", "markdown", "sarif"};
	struct vhu_report_opts opts = {.path = "/dev/full"};
	struct vhu_summary s = {0};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(formats); i++) {
		struct vhu_report *r = NULL;
		struct vhu_err err = {0};
		int code;

		assert_int_equal(vhu_report_open(formats[i], &opts, &r, &err), 0);
		code = vhu_report_begin(r, &run, 0, &err);
		if (code == 0)
			code = vhu_report_end(r, &s, &err);
		assert_int_equal(code, -ENOSPC);
		assert_non_null(strstr(err.text, "/dev/full"));
		vhu_report_free(r);
	}
}

static void test_result_round_trip(void **state)
{
	struct vhu_outcome o[32];
	size_t n = make_outcomes(o);

	for (size_t i = 0; i < n; i++) {
		struct vhu_result *a = &o[i].result, b = {0};
		struct vhu_err err = {0};
		char *text, *again;

		a->settle_ns = 20000000 + i;
		text = vhu_result_to_json(a);
		assert_non_null(text);
		assert_null(strchr(text, '\n'));
		assert_int_equal(vhu_result_from_json(text, strlen(text), &b, &err), 0);
		assert_string_equal(b.id, a->id);
		assert_int_equal(b.verdict, a->verdict);
		assert_int_equal(b.n_findings, a->n_findings);
		assert_int_equal(b.dropped_findings, a->dropped_findings);
		assert_int_equal(b.duration_ns, a->duration_ns);
		assert_int_equal(b.target_died, a->target_died);
		assert_int_equal(!b.trace, !a->trace);
		if (a->n_findings) {
			assert_int_equal(b.findings[0].req, a->findings[0].req);
			assert_string_equal(b.findings[0].accepted, a->findings[0].accepted);
			assert_memory_equal(b.grades, a->grades, a->n_findings * sizeof(*a->grades));
		}
		again = vhu_result_to_json(&b);
		assert_string_equal(again, text);
		free(again);
		free(text);
		vhu_result_done(&b);
		vhu_outcome_done(&o[i]);
	}
}

static void test_result_nonsense(void **state)
{
	struct vhu_outcome o = failed("core/example");
	char *text = vhu_result_to_json(&o.result);
	const char *const wrong[] = {"", "[]", "{}", "{\"id\":1}", "{\"id\":\"x\"}"};
	struct vhu_result r = {0};
	json_t *root;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(wrong); i++)
		assert_int_equal(vhu_result_from_json(wrong[i], strlen(wrong[i]), &r, NULL), -EINVAL);
	for (size_t len = 0; len < strlen(text); len++)
		assert_int_equal(vhu_result_from_json(text, len, &r, NULL), -EINVAL);
	root = json_loads(text, 0, NULL);
	json_object_set_new(root, "verdict", json_integer(VHU_VERDICT_MAX));
	free(text);
	text = json_dumps(root, 0);
	assert_int_equal(vhu_result_from_json(text, strlen(text), &r, NULL), -EINVAL);
	assert_null(r.id);
	json_decref(root);
	free(text);
	vhu_outcome_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tty),
		cmocka_unit_test(test_tty_verbose),
		cmocka_unit_test(test_tty_quiet),
		cmocka_unit_test(test_tty_color),
		cmocka_unit_test(test_tap),
		cmocka_unit_test(test_junit),
		cmocka_unit_test(test_html),
		cmocka_unit_test(test_markdown),
		cmocka_unit_test(test_sarif),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_contract),
		cmocka_unit_test(test_empty_run),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_write_error),
		cmocka_unit_test(test_result_round_trip),
		cmocka_unit_test(test_result_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
