/* Where values stand in a JSON text, by path. Every text is one that jansson takes, unless said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/json_pos.h>
#include <jansson.h>

static const char shapes[] = "\n"							     /* 1 */
			     "{\n"							     /* 2 */
			     "\t\"id\": \"a,b}]{[:\",\n"				     /* 3 */
			     "  \"steps\" : [ 1, -2.5e3, true,\n"			     /* 4 */
			     "    {\"send\": \"X\", \"with\": {\"num\": 7}},\n"		     /* 5 */
			     "    [],{} , [[\"deep\",[null]]] ],\n"			     /* 6 */
			     "  \"\": 0, \"a/b\": 1, \"m~n\": 2, \"~1\": 3,\r\n"	     /* 7 */
			     "  \"q\\\"\\\\\": {\"\\u0041\\n\": 4},\n"			     /* 8 */
			     "  \"ü\": 5, \"\\u00e4\": 6, \"\\ud83d\\ude00\": 7, \"7\": 8\n" /* 9 */
			     "}\n";

static void expect(const char *text, const char *path, bool key, unsigned line, unsigned column)
{
	struct vhu_json_pos pos = {0};
	bool found = vhu_json_find(text, strlen(text), path, key, &pos);

	if (!found || pos.line != line || pos.column != column)
		fail_msg("path '%s' (%s): %s at %u:%u, not at %u:%u", path, key ? "key" : "value",
			 found ? "found" : "not found", pos.line, pos.column, line, column);
}

static void expect_none(const char *text, const char *path, unsigned line, unsigned column)
{
	struct vhu_json_pos pos = {0};
	bool found = vhu_json_find(text, strlen(text), path, false, &pos);

	if (found || pos.line != line || pos.column != column)
		fail_msg("path '%s': %s at %u:%u, not missing with %u:%u before it", path,
			 found ? "found" : "not found", pos.line, pos.column, line, column);
}

static void the_shapes_are_json(void **state)
{
	json_t *root = json_loads(shapes, JSON_REJECT_DUPLICATES, NULL);

	assert_non_null(root);
	json_decref(root);
}

static void values(void **state)
{
	expect(shapes, "", false, 2, 1);
	expect(shapes, "/id", false, 3, 8);
	expect(shapes, "/steps", false, 4, 13);
	expect(shapes, "/steps/0", false, 4, 15);
	expect(shapes, "/steps/1", false, 4, 18);
	expect(shapes, "/steps/2", false, 4, 26);
	expect(shapes, "/steps/3", false, 5, 5);
	expect(shapes, "/steps/3/send", false, 5, 14);
	expect(shapes, "/steps/3/with", false, 5, 27);
	expect(shapes, "/steps/3/with/num", false, 5, 35);
	expect(shapes, "/steps/4", false, 6, 5);
	expect(shapes, "/steps/5", false, 6, 8);
	expect(shapes, "/steps/6", false, 6, 13);
	expect(shapes, "/steps/6/0/0", false, 6, 15);
	expect(shapes, "/steps/6/0/1/0", false, 6, 23);
}

static void keys(void **state)
{
	expect(shapes, "/id", true, 3, 2);
	expect(shapes, "/steps", true, 4, 3);
	expect(shapes, "/steps/3/with", true, 5, 19);
	expect(shapes, "/steps/3/with/num", true, 5, 28);
	/* What has no key is itself. */
	expect(shapes, "", true, 2, 1);
	expect(shapes, "/steps/3", true, 5, 5);
}

static void keys_that_are_written_otherwise(void **state)
{
	expect(shapes, "/", false, 7, 7);
	expect(shapes, "/a~1b", false, 7, 17);
	expect(shapes, "/m~0n", false, 7, 27);
	expect(shapes, "/~01", false, 7, 36);
	expect(shapes, "/q\"\\", false, 8, 12);
	expect(shapes, "/q\"\\/A\n", false, 8, 25);
	expect(shapes, "/q\"\\/A\n", true, 8, 13);
	expect(shapes, "/ü", false, 9, 9);
	expect(shapes, "/ä", false, 9, 22);
	expect(shapes, "/😀", false, 9, 41);
	/* In an object a number is a key. */
	expect(shapes, "/7", false, 9, 49);
	expect("{\"b\\b\\f\\r\\t\\/x\": 1}", "/b\b\f\r\t~1x", false, 1, 18);
}

static void paths_that_lead_nowhere(void **state)
{
	expect_none(shapes, "/nothing", 2, 1);
	expect_none(shapes, "id", 2, 1);
	expect_none(shapes, "/id/deeper", 3, 8);
	expect_none(shapes, "/i", 2, 1);
	expect_none(shapes, "/id2", 2, 1);
	expect_none(shapes, "/a/b", 2, 1);
	expect_none(shapes, "/steps/7", 4, 13);
	expect_none(shapes, "/steps/01", 4, 13);
	expect_none(shapes, "/steps/-", 4, 13);
	expect_none(shapes, "/steps/", 4, 13);
	expect_none(shapes, "/steps/x", 4, 13);
	expect_none(shapes, "/steps/99999999999999999999999999", 4, 13);
	expect_none(shapes, "/steps/4/0", 6, 5);
	expect_none(shapes, "/steps/5/x", 6, 8);
	expect_none(shapes, "/steps/3/with/nun", 5, 27);
	expect_none(shapes, "/steps/0/x", 4, 15);
}

/* With the key asked for, a missing member is still reported where its parent stands. */
static void a_missing_key_is_its_parent(void **state)
{
	struct vhu_json_pos pos;

	assert_false(vhu_json_find(shapes, strlen(shapes), "/steps/3/with/nun", true, &pos));
	assert_int_equal(pos.line, 5);
	assert_int_equal(pos.column, 27);
}

static void scalars_alone(void **state)
{
	expect("1", "", false, 1, 1);
	expect(" \r\n\t\"x\" ", "", false, 2, 2);
	expect_none("1", "/0", 1, 1);
	expect_none("\"{\"", "/0", 1, 1);
}

static void of_two_equal_keys_the_last_counts(void **state)
{
	static const char text[] = "{\"a\": 1,\n \"b\": 2,\n \"a\": 3}";
	json_t *root = json_loads(text, 0, NULL);

	assert_int_equal(json_integer_value(json_object_get(root, "a")), 3);
	json_decref(root);
	expect(text, "/a", false, 3, 7);
	expect(text, "/a", true, 3, 2);
}

static void deep_nesting(void **state)
{
	enum { DEPTH = 2000 };
	char text[2 * DEPTH + 2], path[2 * DEPTH + 1];

	for (size_t i = 0; i < DEPTH; i++) {
		text[i] = '[';
		text[2 * DEPTH - i] = ']';
		memcpy(path + 2 * i, "/0", 2);
	}
	text[DEPTH] = '5';
	text[2 * DEPTH + 1] = '\0';
	path[2 * DEPTH] = '\0';
	expect(text, path, false, 1, DEPTH + 1);
	expect_none(text, "/1", 1, 1);
}

/* Every cut of the text, in memory of exactly that size: nothing beyond it is read. */
static void cut_texts_are_survived(void **state)
{
	static const char *const paths[] = {"", "/7", "/steps/6/0/1/0", "/q\"\\/A\n", "/😀", "/zz"};

	for (size_t len = 0; len < sizeof(shapes); len++) {
		char *text = malloc(len ? len : 1);

		assert_non_null(text);
		memcpy(text, shapes, len);
		for (size_t i = 0; i < VHU_ARRAY_SIZE(paths); i++) {
			struct vhu_json_pos pos = {0};

			vhu_json_find(text, len, paths[i], true, &pos);
			assert_in_range(pos.line, 1, 11);
		}
		free(text);
	}
}

static void broken_texts_are_survived(void **state)
{
	static const char *const texts[] = {
		"",	"{",	   "[",	       "}",	  "[}",		  "{]",
		"[,,]", "{\"a\"}", "{\"a\":}", "{:1}",	  "[1 2]",	  "{\"a\" 1}",
		"\"\\", "{\"\\",   "{\"\\u",   "{\"\\u1", "{\"\\ud83d\"", "{\"\\ud8",
		"[[[[", "]]]]",	   "{\"a\":[}"};
	static const char *const paths[] = {"/0", "/a", "/a/0", "/1/2", "/", "/~", "/~2"};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(texts); i++) {
		for (size_t k = 0; k < VHU_ARRAY_SIZE(paths); k++) {
			struct vhu_json_pos pos = {0};

			vhu_json_find(texts[i], strlen(texts[i]), paths[k], false, &pos);
			assert_int_equal(pos.line, 1);
			assert_in_range(pos.column, 1, strlen(texts[i]) + 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shapes_are_json),
		cmocka_unit_test(values),
		cmocka_unit_test(keys),
		cmocka_unit_test(keys_that_are_written_otherwise),
		cmocka_unit_test(paths_that_lead_nowhere),
		cmocka_unit_test(a_missing_key_is_its_parent),
		cmocka_unit_test(scalars_alone),
		cmocka_unit_test(of_two_equal_keys_the_last_counts),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(cut_texts_are_survived),
		cmocka_unit_test(broken_texts_are_survived),
	};

	return cmocka_run_group_tests_name("base_json_pos", tests, NULL, NULL);
}
