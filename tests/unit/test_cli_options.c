#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "cli/conform.h"

enum { WORDS_MAX = 32 };

/* Parses "vhu-conform" and these words (up to NULL). */
static int parse(struct vhu_conform_opts *o, struct vhu_err *err, ...)
{
	static char *argv[WORDS_MAX + 1];
	static char copies[WORDS_MAX][256];
	int argc = 0;
	va_list ap;

	va_start(ap, err);
	for (const char *w = "vhu-conform"; w; w = va_arg(ap, const char *)) {
		assert_true(argc < WORDS_MAX);
		snprintf(copies[argc], sizeof(copies[argc]), "%s", w);
		argv[argc] = copies[argc];
		argc++;
	}
	va_end(ap);
	argv[argc] = NULL;
	*err = (struct vhu_err){0};
	return vhu_conform_opts_parse(argc, argv, o, err);
}

#define assert_refused(part, ...) do { \
	struct vhu_conform_opts refused_; \
	struct vhu_err err_; \
	assert_int_equal(parse(&refused_, &err_, __VA_ARGS__, NULL), -EINVAL); \
	if (!strstr(err_.text, part)) \
		fail_msg("'%s' does not say '%s'", err_.text, part); \
} while (0)

static void test_defaults(void **state)
{
	struct vhu_conform_opts o;
	struct vhu_err err;

	assert_int_equal(parse(&o, &err, "--backend", "/run/x", NULL), 0);
	assert_string_equal(o.target.backend, "/run/x");
	assert_int_equal(o.target.device, VHU_DEV_ANY);
	assert_int_equal(o.target.timeout_ms, 5000);
	assert_int_equal(o.target.memory, VHU_BACKING_AUTO);
	assert_false(o.target.allow_writes);
	assert_int_equal(o.jobs, 1);
	assert_int_equal(o.repeat, 1);
	assert_int_equal(o.seed, 1);
	assert_int_equal(o.spec, VHU_SINCE_V11_1);
	assert_int_equal(o.shards, 0);
	assert_int_equal(o.parsed.rest.n, 0);
	vhu_conform_opts_done(&o);
}

static void test_everything(void **state)
{
	struct vhu_conform_opts o;
	struct vhu_err err;

	assert_int_equal(parse(&o, &err, "cases/blk", "-s", "be {socket} {image}", "--image-size", "16M",
			       "--queues=0x2", "-d", "blk", "--settle", "7", "--memory", "memfd", "-T", "250",
			       "--max-time", "9", "-f", "a*", "--filter", "b*", "-R", "HDR-01", "-R",
			       "VRING-*", "-t", "smoke", "--shard", "2/3", "-S", "--spec", "10.2", NULL),
			 0);
	assert_string_equal(o.target.spawn, "be {socket} {image}");
	assert_int_equal(o.target.image_size, 16 << 20);
	assert_int_equal(o.target.queues, 2);
	assert_int_equal(o.target.device, VHU_DEV_BLK);
	assert_int_equal(o.target.settle_ms, 7);
	assert_int_equal(o.target.memory, VHU_BACKING_MEMFD);
	assert_int_equal(o.target.timeout_ms, 250);
	assert_int_equal(o.target.max_time_s, 9);
	assert_true(o.target.allow_writes);	/* we made the disk */
	assert_int_equal(o.filters.n, 2);
	assert_string_equal(o.filters.items[1], "b*");
	assert_int_equal(o.requirements.n, 2);
	assert_string_equal(o.tags.items[0], "smoke");
	assert_int_equal(o.shard, 2);
	assert_int_equal(o.shards, 3);
	assert_true(o.strict);
	assert_int_equal(o.spec, VHU_SINCE_V10_2);
	assert_int_equal(o.parsed.rest.n, 1);
	assert_string_equal(o.parsed.rest.items[0], "cases/blk");
	vhu_conform_opts_done(&o);
}

static void test_run_and_reports(void **state)
{
	struct vhu_conform_opts o;
	struct vhu_err err;

	assert_int_equal(parse(&o, &err, "-r", "-j", "3", "-n", "5", "--shuffle", "--seed", "42", "-x", "-B",
			       "b.json", "--update-baseline", "--allow-empty", "--tap", "--junit", "j.xml",
			       "--json", "r.json", "-vv", "--spawn-per", "case", "-1", "--", "--odd-name",
			       NULL),
			 0);
	assert_true(o.target.reference && o.target.allow_writes && o.target.spawn_per_case &&
		    o.target.one_shot);
	assert_null(o.target.fault);
	assert_int_equal(o.jobs, 3);
	assert_int_equal(o.repeat, 5);
	assert_int_equal(o.seed, 42);
	assert_true(o.shuffle && o.fail_fast && o.update_baseline && o.allow_empty && o.tap);
	assert_string_equal(o.baseline, "b.json");
	assert_int_equal(o.verbose, 2);
	assert_string_equal(o.parsed.rest.items[0], "--odd-name");
	vhu_conform_opts_done(&o);
}

static void test_unknown(void **state)
{
	assert_refused("--bakcend: there is no such option\n  did you mean '--backend'?", "--bakcend", "x");
	assert_refused("--bakcend: there is no such option", "--bakcend=x");
	assert_refused("--entirely-different: there is no such option", "--entirely-different");
	assert_refused("-Z: there is no such option", "-Z");
	assert_refused("--re: there is no such option, or more than one begins so", "--re");
}

static void test_arguments(void **state)
{
	assert_refused("--backend: SOCKET is missing", "--backend");
	assert_refused("--backend: SOCKET is missing", "-b");
	assert_refused("--backend: SOCKET is empty", "--backend=");
	assert_refused("--strict: takes no argument", "--strict=yes");
	assert_refused("--jobs: '0' is no number from 1 to 256", "-r", "-j", "0");
	assert_refused("--jobs: 'two' is no number", "-r", "-j", "two");
	assert_refused("--repeat: '' is no number", "-r", "--repeat=");
	assert_refused("--queues: '257' is no number from 1 to 256", "-r", "--queues", "257");
	assert_refused("--image-size: '16X' is no size", "-r", "--image-size", "16X");
	assert_refused("--image-size: '99999999999999T' is no size", "-r", "--image-size", "99999999999999T");
	assert_refused("--device: there is no device 'bkl'\n  did you mean 'blk'?", "-r", "-d", "bkl");
	assert_refused("--memory: 'ram' is none of hugetlb, memfd, auto", "-r", "--memory", "ram");
	assert_refused("--spawn-per: 'step' is not 'case'", "-r", "--spawn-per", "step");
	assert_refused("--spec: '9.0' is none of", "-r", "--spec", "9.0");
	assert_refused("--profile: there is no profile 'bochs'", "-r", "--profile", "bochs");
	assert_refused("--reference: there is no fault 'no-such-fault-at-all'",
		       "--reference=no-such-fault-at-all");
	assert_refused("--requirement: there is no requirement 'HDR-O1'\n  did you mean 'HDR-01'?", "-r",
		       "-R", "HDR-O1");
}

static void test_shards(void **state)
{
	static const char *const wrong[] = {"",	     "1",   "/",       "0/2",  "3/2",		"1/0",
					    "1/2/3", "a/b", "1/99999", "-1/2", "123456789012/2"};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(wrong); i++)
		assert_refused("is not I/N", "-r", "--shard", wrong[i]);
}

static void test_contradictions(void **state)
{
	assert_refused("no target: nothing says what to test", "cases");
	assert_refused("only one of --backend", "-b", "x", "-s", "y");
	assert_refused("only one of --backend", "-l", "x", "-r");
	assert_refused("--after-start: only with --spawn", "-b", "x", "--after-start", "y");
	assert_refused("--spawn-per: only with", "-b", "x", "--spawn-per", "case");
	assert_refused("--image-size: only with", "-b", "x", "--image-size", "1M");
	assert_refused("--image-size: there is no {image}", "-s", "be {socket}", "--image-size", "1M");
	assert_refused("--jobs: only with", "-b", "x", "-j", "2");
	assert_refused("--update-baseline: which one?", "-r", "--update-baseline");
	assert_refused("only one of --list", "--list", "--check");
	assert_refused("only one of them can go to standard output", "-r", "--tap", "--json", "-");
	assert_refused("name the same file", "-r", "--junit", "x", "--json", "x");
	assert_refused("--quiet: not together", "-r", "-q", "-v");
}

/* Questions need no target, and help needs nothing at all. */
static void test_questions(void **state)
{
	static const char *const questions[] = {"--list",	    "--check", "--schema",
						"--explain=HDR-01", "--help",  "-V"};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(questions); i++) {
		struct vhu_conform_opts o;
		struct vhu_err err;

		assert_int_equal(parse(&o, &err, questions[i], NULL), 0);
		assert_true(o.list || o.check || o.schema || o.explain || o.help || o.version);
		vhu_conform_opts_done(&o);
	}
}

static void test_shuffle_has_a_seed(void **state)
{
	struct vhu_conform_opts o;
	struct vhu_err err;

	assert_int_equal(parse(&o, &err, "-r", "--shuffle", "--seed", "0", NULL), 0);
	assert_int_equal(o.seed, 0);
	vhu_conform_opts_done(&o);
	assert_int_equal(parse(&o, &err, "-r", "--shuffle", NULL), 0);
	assert_true(o.seed <= UINT32_MAX);
	vhu_conform_opts_done(&o);
}

/* Names and letters are unique, every row says what it is, and lists of one group stand together. */
static void test_table(void **state)
{
	const struct vhu_option *a, *b;

	for (size_t i = 0; (a = vhu_option_at(&vhu_conform_options, i)); i++) {
		assert_true(a->help && *a->help && a->group);
		assert_ptr_equal(vhu_option_by_name(&vhu_conform_options, a->name), a);
		assert_int_equal(a->kind == VHU_OPTION_CALL, a->set != NULL);
		for (size_t j = i + 1; (b = vhu_option_at(&vhu_conform_options, j)); j++) {
			assert_string_not_equal(a->name, b->name);
			assert_false(a->letter && a->letter == b->letter);
		}
	}
	assert_null(vhu_option_by_name(&vhu_conform_options, "nonsense"));
}

static void test_help(void **state)
{
	const struct vhu_option *o;
	struct vhu_buf text = {0};
	char name[64];

	vhu_options_help(&vhu_conform_options, &text);
	for (size_t i = 0; (o = vhu_option_at(&vhu_conform_options, i)); i++) {
		snprintf(name, sizeof(name), "--%s", o->name);
		assert_non_null(strstr(text.data, name));
	}
	for (const char *line = text.data; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		assert_true(strcspn(line, "\n") <= 110);
	vhu_buf_done(&text);
}

static void test_sizes(void **state)
{
	uint64_t v = 0;

	assert_int_equal(vhu_size_parse("512", &v), 0);
	assert_int_equal(v, 512);
	assert_int_equal(vhu_size_parse("4k", &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(vhu_size_parse("1G", &v), 0);
	assert_int_equal(v, 1 << 30);
	assert_int_equal(vhu_size_parse("0x10M", &v), 0);
	assert_int_equal(v, 16 << 20);
	assert_int_equal(vhu_size_parse("", &v), -EINVAL);
	assert_int_equal(vhu_size_parse("K", &v), -EINVAL);
	assert_int_equal(vhu_size_parse("-1", &v), -EINVAL);
	assert_int_equal(vhu_size_parse("1KB", &v), -EINVAL);
	assert_int_equal(vhu_size_parse("16777216T", &v), -ERANGE);
	assert_int_equal(vhu_size_parse("16777215T", &v), 0);
}

static void assert_quoted(const char *word, const char *want)
{
	struct vhu_buf out = {0};

	vhu_shell_quote(&out, word);
	assert_string_equal(vhu_buf_text(&out), want);
	vhu_buf_done(&out);
}

static void test_quoting(void **state)
{
	assert_quoted("cases/blk/read.json", "cases/blk/read.json");
	assert_quoted("", "''");
	assert_quoted("a b", "'a b'");
	assert_quoted("it's", "'it'\\''s'");
	assert_quoted("core/x#row%packed", "'core/x#row%packed'");
	assert_quoted("{socket}", "'{socket}'");
	assert_quoted("$(x) `y`\n", "'$(x) `y`\n'");
}

/* Everything that shapes the target and the judgement goes along, nothing else does. */
static void test_rerun(void **state)
{
	struct vhu_conform_opts o;
	struct vhu_buf out = {0};
	struct vhu_err err;

	assert_int_equal(parse(&o, &err, "-s", "be -s {socket}", "-j4", "--strict", "-q", "-f", "x*",
			       "--timeout=9", "--json", "f", "--seed=3", "--spawn-per", "case", "cases",
			       NULL),
			 0);
	vhu_conform_rerun(&o, "core/x#1", NULL, &out);
	assert_string_equal(vhu_buf_text(&out), "vhu-conform --spawn 'be -s {socket}' --strict --timeout 9 "
			    "--spawn-per case --seed 3 'core/x#1'");
	vhu_conform_opts_done(&o);
	vhu_buf_reset(&out);
	assert_int_equal(parse(&o, &err, "--reference", "-v", NULL), 0);
	vhu_conform_rerun(&o, "my cases/x.json", "x", &out);
	assert_string_equal(vhu_buf_text(&out),
			    "vhu-conform --reference --seed 1 --filter x 'my cases/x.json'");
	vhu_conform_opts_done(&o);
	vhu_buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_run_and_reports),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_shards),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_shuffle_has_a_seed),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_quoting),
		cmocka_unit_test(test_rerun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
