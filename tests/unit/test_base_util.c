/* Numbers, hex, hashes, byte orders, globs, near misses, error texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/err.h>
#include <base/util.h>
#include <errno.h>

/* --- numbers --------------------------------------------------------------------------------- */

static void numbers_that_are_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} rows[] = {
		{"0", 0},
		{"7", 7},
		{"010", 10},
		{"0x0", 0},
		{"0xfF", 255},
		{"0X10", 16},
		{"18446744073709551615", UINT64_MAX},
		{"0xffffffffffffffff", UINT64_MAX},
		{"0x00000000000000000001", 1},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		uint64_t value = 99;

		assert_int_equal(vhu_u64_parse(rows[i].text, &value), 0);
		assert_true(value == rows[i].value);
	}
}

static void numbers_that_are_none(void **state)
{
	static const char *const none[] = {"",	 "x",	"0x",  " 1",  "1 ",  "-1",
					   "+1", "1.0", "12a", "0xg", "1e3", "99999999999999999999999x"};
	static const char *const large[] = {"18446744073709551616", "99999999999999999999",
					    "0x10000000000000000"};
	uint64_t value = 99;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(none); i++)
		assert_int_equal(vhu_u64_parse(none[i], &value), -EINVAL);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(large); i++)
		assert_int_equal(vhu_u64_parse(large[i], &value), -ERANGE);
	assert_true(value == 99);
}

/* --- hex ------------------------------------------------------------------------------------- */

static void hex_is_read(void **state)
{
	static const uint8_t bytes[] = {0x00, 0xff, 0x1a};
	uint8_t out[3];

	assert_int_equal(vhu_hex_parse("00 ff 1A", out, sizeof(out)), 3);
	assert_memory_equal(out, bytes, sizeof(bytes));
	assert_int_equal(vhu_hex_parse(" 00FF  1a ", out, sizeof(out)), 3);
	assert_memory_equal(out, bytes, sizeof(bytes));
	assert_int_equal(vhu_hex_parse("", out, sizeof(out)), 0);
	assert_int_equal(vhu_hex_parse("  ", out, 0), 0);
}

static void hex_that_is_none(void **state)
{
	static const char *const bad[] = {"0", "0 0", "00 f", "gg", "0x00", "00,11", "00\n11", "f f"};
	uint8_t out[8];

	for (size_t i = 0; i < VHU_ARRAY_SIZE(bad); i++)
		assert_int_equal(vhu_hex_parse(bad[i], out, sizeof(out)), -EINVAL);
	assert_int_equal(vhu_hex_parse("00 11 22", out, 2), -ENOSPC);
	assert_int_equal(vhu_hex_parse("00", out, 0), -ENOSPC);
}

static void hex_is_written_and_cut(void **state)
{
	static const uint8_t bytes[] = {0x00, 0xff, 0x1a, 0x7b};
	char out[32];

	assert_string_equal(vhu_hex_format(bytes, 4, out, sizeof(out)), "00 ff 1a 7b");
	assert_string_equal(vhu_hex_format(bytes, 4, out, 12), "00 ff 1a 7b");
	assert_string_equal(vhu_hex_format(bytes, 4, out, 11), "00 ff …");
	assert_string_equal(vhu_hex_format(bytes, 4, out, 7), "00 …");
	assert_string_equal(vhu_hex_format(bytes, 4, out, 4), "…");
	assert_string_equal(vhu_hex_format(bytes, 4, out, 3), "");
	assert_string_equal(vhu_hex_format(bytes, 1, out, 3), "00");
	assert_string_equal(vhu_hex_format(NULL, 0, out, 1), "");
	out[0] = 'x';
	assert_ptr_equal(vhu_hex_format(bytes, 4, out, 0), out);
	assert_int_equal(out[0], 'x');
}

static void hex_never_leaves_its_place(void **state)
{
	static const uint8_t bytes[16] = {1, 2, 3};
	char out[64];

	for (size_t len = 0; len <= sizeof(bytes); len++) {
		for (size_t cap = 1; cap < sizeof(out); cap++) {
			memset(out, '#', sizeof(out));
			vhu_hex_format(bytes, len, out, cap);
			assert_non_null(memchr(out, '\0', cap));
			assert_int_equal(out[cap], '#');
		}
	}
}

/* --- hash, byte order ------------------------------------------------------------------------ */

static void fnv_is_fnv(void **state)
{
	assert_true(vhu_fnv1a64("", 0, VHU_FNV1A64_SEED) == UINT64_C(0xcbf29ce484222325));
	assert_true(vhu_fnv1a64("a", 1, VHU_FNV1A64_SEED) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(vhu_fnv1a64("foobar", 6, VHU_FNV1A64_SEED) == UINT64_C(0x85944171f73967e8));
	/* In parts it is the same. */
	assert_true(vhu_fnv1a64("bar", 3, vhu_fnv1a64("foo", 3, VHU_FNV1A64_SEED)) ==
		    UINT64_C(0x85944171f73967e8));
}

static void byte_orders(void **state)
{
	static const uint8_t le[] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
	uint8_t out[10];

	assert_true(vhu_le_get(le, 8) == UINT64_C(0x1122334455667788));
	assert_true(vhu_le_get(le, 4) == 0x55667788);
	assert_true(vhu_le_get(le + 1, 2) == 0x6677);
	assert_true(vhu_le_get(le, 1) == 0x88);
	for (size_t size = 1; size <= 8; size *= 2) {
		memset(out, 0xee, sizeof(out));
		vhu_le_put(out + 1, size, UINT64_C(0x1122334455667788));
		assert_memory_equal(out + 1, le, size);
		assert_int_equal(out[0], 0xee);
		assert_int_equal(out[1 + size], 0xee);

		memset(out, 0xee, sizeof(out));
		vhu_ne_put(out + 1, size, UINT64_C(0x1122334455667788));
		assert_true(vhu_ne_get(out + 1, size) == vhu_le_get(le, size));
		assert_int_equal(out[0], 0xee);
		assert_int_equal(out[1 + size], 0xee);
	}
	uint32_t native = 0x01020304;
	assert_true(vhu_ne_get(&native, sizeof(native)) == native);
}

/* --- names ----------------------------------------------------------------------------------- */

static void globs(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool match;
	} rows[] = {
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"**", "abc", true},
		{"a", "a", true},
		{"a", "ab", false},
		{"?", "", false},
		{"?", "a", true},
		{"a*c", "abbc", true},
		{"a*c", "abcb", false},
		{"*a*b*", "xxaxxbxx", true},
		{"*ab", "aab", true},
		{"*ab", "abab", true},
		{"a?c*", "abc", true},
		{"core/*", "core/get-features", true},
		{"core/*", "blk/x", false},
		{"[a]", "a", false},
		{"[a]", "[a]", true},
		/* A matcher that tries all ways would not come back from this one. */
		{"*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		 false},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++)
		assert_int_equal(vhu_glob(rows[i].pattern, rows[i].text), rows[i].match);
}

static const char *name_at(void *ctx, size_t i)
{
	static const char *const names[] = {"GET_FEATURES",   "SET_FEATURES", "SET_VRING_NUM",
					    "SET_VRING_BASE", "num",	      "ab"};

	return i < VHU_ARRAY_SIZE(names) ? names[i] : NULL;
}

static const char *nothing_at(void *ctx, size_t i)
{
	return NULL;
}

static void near_misses(void **state)
{
	static const struct {
		const char *name, *nearest;
	} rows[] = {
		{"GET_FEATURE", "GET_FEATURES"},
		{"GET_FAETURES", "GET_FEATURES"},
		{"SET_FEATURES", "SET_FEATURES"},
		{"set_vring_num", "SET_VRING_NUM"},
		{"SET_VRING_NUN", "SET_VRING_NUM"},
		{"nmu", "num"},
		{"nums", "num"},
		{"SET_MEM_TABLE", NULL},
		{"x", NULL},
		{"", NULL},
		{"abcde", NULL},
	};
	char long_name[400];

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		const char *nearest = vhu_nearest_name(rows[i].name, name_at, NULL);

		if (rows[i].nearest)
			assert_string_equal(nearest, rows[i].nearest);
		else
			assert_null(nearest);
	}
	assert_null(vhu_nearest_name("num", nothing_at, NULL));
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	assert_null(vhu_nearest_name(long_name, name_at, NULL));
}

/* --- errors ---------------------------------------------------------------------------------- */

static void errors_have_code_and_text(void **state)
{
	struct vhu_err err = {0};

	assert_int_equal(vhu_err_set(&err, -ENOENT, "case '%s': %d", "x", 3), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.text, "case 'x': 3");
	assert_int_equal(vhu_err_errno(&err, -EACCES, "cannot open '%s'", "f"), -EACCES);
	assert_string_equal(err.text, "cannot open 'f': Permission denied");
	assert_int_equal(vhu_err_prefix(&err, "%s:%d", "a.json", 7), -EACCES);
	assert_string_equal(err.text, "a.json:7: cannot open 'f': Permission denied");
	/* Its own text may be an argument. */
	assert_int_equal(vhu_err_set(&err, -EINVAL, "again: %s", err.text), -EINVAL);
	assert_string_equal(err.text, "again: a.json:7: cannot open 'f': Permission denied");
}

static void errors_may_have_no_place(void **state)
{
	assert_int_equal(vhu_err_set(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(vhu_err_errno(NULL, -ENOENT, "x"), -ENOENT);
	assert_true(vhu_err_prefix(NULL, "x") < 0);
}

static void long_errors_are_cut_between_characters(void **state)
{
	char text[2048];

	for (size_t lead = 0; lead < 4; lead++) {
		struct vhu_err err;
		size_t len;

		memset(text, 'a', lead);
		text[lead] = '\0';
		for (size_t i = 0; i < 500; i++)
			strcat(text, "…");
		vhu_err_set(&err, -EINVAL, "%s", text);
		len = strlen(err.text);
		assert_in_range(len, sizeof(err.text) - 4, sizeof(err.text) - 1);
		assert_int_equal((len - lead) % 3, 0);
		assert_memory_equal(err.text, text, len);
		vhu_err_prefix(&err, "a prefix");
		assert_memory_equal(err.text, "a prefix: ", 10);
		assert_true(strlen(err.text) < sizeof(err.text));
		vhu_err_errno(&err, -EINVAL, "%s", text);
		assert_true(strlen(err.text) < sizeof(err.text));
	}
}

/* --- descriptors, time ----------------------------------------------------------------------- */

static void closing_forgets(void **state)
{
	int fd = dup(STDOUT_FILENO), none = -1;

	assert_true(fd >= 0);
	vhu_close(&fd);
	assert_int_equal(fd, -1);
	vhu_close(&fd);
	vhu_close(&none);
	assert_int_equal(none, -1);
}

static void time_does_not_go_back(void **state)
{
	uint64_t a = vhu_now_ns(), b = vhu_now_ns();

	assert_true(a > 0);
	assert_true(b >= a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_that_are_numbers),
		cmocka_unit_test(numbers_that_are_none),
		cmocka_unit_test(hex_is_read),
		cmocka_unit_test(hex_that_is_none),
		cmocka_unit_test(hex_is_written_and_cut),
		cmocka_unit_test(hex_never_leaves_its_place),
		cmocka_unit_test(fnv_is_fnv),
		cmocka_unit_test(byte_orders),
		cmocka_unit_test(globs),
		cmocka_unit_test(near_misses),
		cmocka_unit_test(errors_have_code_and_text),
		cmocka_unit_test(errors_may_have_no_place),
		cmocka_unit_test(long_errors_are_cut_between_characters),
		cmocka_unit_test(closing_forgets),
		cmocka_unit_test(time_does_not_go_back),
	};

	return cmocka_run_group_tests_name("base_util", tests, NULL, NULL);
}
