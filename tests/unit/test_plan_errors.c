/* Everything that can be wrong in a case file, and what is said about it, byte for byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "plan_case.h"

struct row {
	const char *start, *extra, *steps; /* see work_case */
	const char *errors;
};

static const struct row rows[] = {
#include "plan_errors.inc"
};

static void test_table(void **state)
{
	struct work w;
	size_t wrong = 0;

	work_start(&w);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		work_case("x.json", rows[i].start, rows[i].extra, rows[i].steps);
		assert_int_equal(work_load(&w, ".", "x.json"), 0);
		if (!strcmp(vhu_buf_text(&w.text), rows[i].errors) && vhu_case_set_count(w.set) == 0)
			continue;
		print_error("row %zu: %s\n  expected:\n%s  actual:\n%s\n", i, rows[i].steps, rows[i].errors,
			    vhu_buf_text(&w.text));
		wrong++;
	}
	work_end(&w);
	assert_int_equal(wrong, 0);
}

/* Files that are no case at all. */
static void test_files(void **state)
{
	static const struct {
		const char *text, *errors;
	} files[] = {
		{"", "x.json:1:1: /: no JSON: '[' or '{' expected near end of file\n"},
		{"{\"title\": 1,\n \"why\" 2}", "x.json:2:8: /: no JSON: ':' expected near '2'\n"},
		{"[1]", "x.json:1:1: /: expected an object, not a list\n"},
		{"\xef\xbb\xbf{}",
		 "x.json:1:1: /: the file starts with a byte order mark: it has to be plain UTF-8\n"},
		{"{\"a\": 9223372036854775808}",
		 "x.json:1:25: /: no JSON: too big integer near '9223372036854775808'\n"},
		{"{}", "x.json:1:1: /: 'title' is missing\nx.json:1:1: /: 'why' is missing\n"
		       "x.json:1:1: /: 'requirements' is missing\nx.json:1:1: /: 'start' is missing\n"
		       "x.json:1:1: /: 'steps' is missing\n"},
		{"{\"title\": \"It should hold whatever comes\", \"why\": \"too short\", \"requirements\": "
		 "[\"HDR-1\"],\n"
		 " \"start\": \"owned\", \"steps\": [{\"fence\": true}]}",
		 "x.json:1:51: /why: 9 characters, at least 20 are needed\n"
		 "x.json:1:11: /title: a title states what holds: no 'should'\n"
		 "x.json:1:81: /requirements/0: no requirement 'HDR-1'; did you mean 'HDR-01'?\n"},
		{"{\"macros\": {\"M\": {\"steps\": []}}, \"tags\": []}",
		 "x.json:1:13: /macros/M: 'M' is not a name of lower-case letters, digits and _\n"
		 "x.json:1:28: /macros/M/steps: the list is empty\n"
		 "x.json:1:34: /tags: unknown key 'tags'\n"},
	};
	struct work w;

	work_start(&w);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(files); i++) {
		work_write("x.json", files[i].text);
		assert_int_equal(work_load(&w, ".", "x.json"), 0);
		assert_string_equal(vhu_buf_text(&w.text), files[i].errors);
		assert_int_equal(vhu_case_set_count(w.set), 0);
	}
	work_end(&w);
}

static void test_size(void **state)
{
	static char text[(1 << 20) + 2];
	struct work w;

	memset(text, ' ', sizeof(text));
	text[0] = '[';
	work_start(&w);
	/* At the limit it is read, and is no case; above it is not read. */
	text[(1 << 20) - 1] = ']';
	work_bytes("x.json", text, 1 << 20);
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "x.json:1:1: /: expected an object, not a list\n");
	work_bytes("x.json", text, (1 << 20) + 1);
	assert_int_equal(work_load(&w, ".", "x.json"), 0);
	assert_string_equal(vhu_buf_text(&w.text), "x.json:1:1: /: the file is larger than 1048576 bytes\n");
	work_end(&w);
}

/* All errors of all files in one run; files without errors are cases all the same. */
static void test_all_files(void **state)
{
	struct work w;

	work_start(&w);
	work_folder("c");
	work_folder("c/lib");
	work_case("c/a.json", "owned", "", "{\"send\": \"GET_FEATURE\"}, {\"send\": \"SET_OWNERS\"}");
	work_case("c/b.json", "owned", "", "{\"fence\": true}");
	work_case("c/c.json", "owned", "", "{\"use\": \"m\"}");
	work_write("c/d.json", "{");
	work_write("c/lib/l.json", "{\"macros\": {\"m\": {\"steps\": [{\"fenec\": true}]}}}");
	assert_int_equal(work_load(&w, "c", "c"), 0);
	assert_string_equal(
		vhu_buf_text(&w.text),
		"c/lib/l.json:1:30: /macros/m/steps/0/fenec: unknown key 'fenec', and no verb; did you mean "
		"'fence'?\n"
		"c/a.json:4:10: /steps/0/send: no message 'GET_FEATURE'; did you mean 'GET_FEATURES'?\n"
		"c/a.json:4:35: /steps/1/send: no message 'SET_OWNERS'; did you mean 'SET_OWNER'?\n"
		"c/d.json:1:1: /: no JSON: string or '}' expected near end of file\n");
	assert_int_equal(w.diags.errors, 4);
	/* c/c.json uses what is broken. */
	assert_int_equal(vhu_case_set_count(w.set), 1);
	assert_string_equal(vhu_case_set_info(w.set, 0)->id, "b");
	work_end(&w);
}

static void test_no_such_path(void **state)
{
	struct work w;

	work_start(&w);
	work_folder("c");
	work_folder("c/blk");
	work_case("c/blk/read.json", "owned", "\"rows\": [{\"row\": \"one\"}, {\"row\": \"two\"}],",
		  "{\"fence\": true}");
	assert_int_equal(work_load(&w, "c", "blk/raed"), -ENOENT);
	assert_string_equal(w.err.text, "no file, folder or case 'blk/raed'; did you mean 'blk/read'?");
	assert_int_equal(work_load(&w, "c", "blk/read#tow"), -ENOENT);
	assert_string_equal(w.err.text, "c/blk/read.json has no row 'tow'; did you mean 'two'?");
	assert_int_equal(work_load(&w, "nowhere", "x"), -ENOENT);
	work_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	     cmocka_unit_test(test_files),
		cmocka_unit_test(test_size),	     cmocka_unit_test(test_all_files),
		cmocka_unit_test(test_no_such_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
