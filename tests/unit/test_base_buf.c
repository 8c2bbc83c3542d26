/* Growing buffers, arenas, random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/arena.h>
#include <base/buf.h>
#include <base/rng.h>

/* --- buffers --------------------------------------------------------------------------------- */

static void empty_buffers(void **state)
{
	struct vhu_buf b = {0};

	assert_string_equal(vhu_buf_text(&b), "");
	vhu_buf_add(&b, NULL, 0);
	vhu_buf_puts(&b, "");
	vhu_buf_printf(&b, "%s", "");
	assert_int_equal(b.len, 0);
	assert_false(b.failed);
	vhu_buf_reset(&b);
	vhu_buf_done(&b);
	vhu_buf_done(&b);
	vhu_buf_done(NULL);

	char *text = vhu_buf_steal(&b);

	assert_non_null(text);
	assert_string_equal(text, "");
	free(text);
}

static void buffers_grow(void **state)
{
	struct vhu_buf b = {0};

	for (unsigned i = 0; i < 5000; i++) {
		vhu_buf_printf(&b, "%04u", i);
		assert_int_equal(b.len, 4 * (i + 1));
		assert_int_equal(b.data[b.len], '\0');
	}
	assert_memory_equal(b.data + 4 * 4321, "4321", 4);
	assert_memory_equal(b.data, "00000001", 8);
	vhu_buf_done(&b);
	assert_null(b.data);
}

static void every_way_to_append(void **state)
{
	struct vhu_buf b = {0};
	char *text;

	vhu_buf_puts(&b, "one ");
	vhu_buf_add(&b, "two\0three", 9);
	vhu_buf_printf(&b, " %d", 4);
	assert_int_equal(b.len, 4 + 9 + 2);
	assert_memory_equal(b.data, "one two\0three 4", b.len + 1);
	text = vhu_buf_steal(&b);
	assert_string_equal(text, "one two");
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.cap, 0);
	free(text);
	vhu_buf_puts(&b, "again");
	assert_string_equal(vhu_buf_text(&b), "again");
	vhu_buf_done(&b);
}

/* A formatted text that fits exactly, or lacks room for its terminator only. */
static void formatting_at_the_edge(void **state)
{
	for (size_t first = 1; first < 140; first++) {
		struct vhu_buf b = {0};

		vhu_buf_printf(&b, "%*d", (int)first, 1);
		vhu_buf_printf(&b, "%*d", 64, 2);
		assert_int_equal(b.len, first + 64);
		assert_int_equal(strlen(b.data), b.len);
		assert_int_equal(b.data[first - 1], '1');
		assert_int_equal(b.data[b.len - 1], '2');
		vhu_buf_done(&b);
	}
}

static void reset_keeps_the_allocation(void **state)
{
	struct vhu_buf b = {0};
	const char *data;

	vhu_buf_puts(&b, "something");
	data = b.data;
	vhu_buf_reset(&b);
	assert_ptr_equal(b.data, data);
	assert_string_equal(vhu_buf_text(&b), "");
	vhu_buf_puts(&b, "else");
	assert_ptr_equal(b.data, data);
	assert_string_equal(vhu_buf_text(&b), "else");
	vhu_buf_done(&b);
}

static void a_failed_append_is_remembered(void **state)
{
	struct vhu_buf b = {0};

	vhu_buf_puts(&b, "kept");
	vhu_buf_add(&b, "x", SIZE_MAX);
	assert_true(b.failed);
	vhu_buf_puts(&b, "not added");
	vhu_buf_printf(&b, "nor %d", 1);
	assert_string_equal(vhu_buf_text(&b), "kept");
	assert_null(vhu_buf_steal(&b));
	assert_false(b.failed);
	assert_null(b.data);

	vhu_buf_puts(&b, "x");
	vhu_buf_add(&b, "x", SIZE_MAX / 2);
	assert_true(b.failed);
	vhu_buf_reset(&b);
	assert_false(b.failed);
	vhu_buf_puts(&b, "y");
	assert_string_equal(vhu_buf_text(&b), "y");
	vhu_buf_done(&b);
}

/* --- arenas ---------------------------------------------------------------------------------- */

static bool all_zero(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static void arenas_give_zeroed_aligned_memory(void **state)
{
	struct vhu_arena *a = vhu_arena_new();
	unsigned char *before = NULL;

	assert_non_null(a);
	for (size_t i = 0; i < 2000; i++) {
		size_t size = i % 7 == 0 ? i * 37 : i % 61;
		unsigned char *p = vhu_arena_alloc(a, size);

		assert_non_null(p);
		assert_ptr_not_equal(p, before);
		assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
		assert_true(all_zero(p, size));
		memset(p, 0xff, size);
		before = p;
	}
	vhu_arena_free(a);
	vhu_arena_free(NULL);
}

static void arena_texts(void **state)
{
	struct vhu_arena *a = vhu_arena_new();
	static const uint8_t bytes[] = {1, 0, 2};
	char large[5000];

	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	assert_string_equal(vhu_arena_strdup(a, "text"), "text");
	assert_string_equal(vhu_arena_strdup(a, ""), "");
	assert_string_equal(vhu_arena_strdup(a, large), large);
	assert_string_equal(vhu_arena_printf(a, "%s-%d", "a", 5), "a-5");
	assert_string_equal(vhu_arena_printf(a, "%s", large), large);
	assert_memory_equal(vhu_arena_memdup(a, bytes, sizeof(bytes)), bytes, sizeof(bytes));
	assert_non_null(vhu_arena_memdup(a, NULL, 0));
	vhu_arena_free(a);
}

static void a_large_piece_does_not_waste_the_block(void **state)
{
	struct vhu_arena *a = vhu_arena_new();
	char *first = vhu_arena_alloc(a, 16), *large, *second;

	large = vhu_arena_alloc(a, 1 << 20);
	second = vhu_arena_alloc(a, 16);
	assert_non_null(large);
	assert_ptr_equal(second, first + 16);
	vhu_arena_free(a);
}

static void arena_sizes_that_overflow(void **state)
{
	struct vhu_arena *a = vhu_arena_new();
	uint32_t *array = vhu_arena_array(a, 10, sizeof(*array));

	assert_non_null(array);
	assert_true(all_zero((unsigned char *)array, 10 * sizeof(*array)));
	assert_null(vhu_arena_array(a, SIZE_MAX / 2, 4));
	assert_null(vhu_arena_array(a, SIZE_MAX, SIZE_MAX));
	assert_null(vhu_arena_alloc(a, SIZE_MAX));
	assert_null(vhu_arena_alloc(a, SIZE_MAX - 7));
	assert_non_null(vhu_arena_array(a, 0, 8));
	vhu_arena_free(a);
}

/* --- random numbers -------------------------------------------------------------------------- */

/* Values that the algorithms' authors publish: the same on every machine, for ever. */
static void random_numbers_are_the_published_ones(void **state)
{
	static const uint64_t expected[] = {11520,
					    0,
					    1509978240,
					    UINT64_C(1215971899390074240),
					    UINT64_C(1216172134540287360),
					    UINT64_C(607988272756665600),
					    UINT64_C(16172922978634559625),
					    UINT64_C(8476171486693032832),
					    UINT64_C(10595114339597558777),
					    UINT64_C(2904607092377533576)};
	struct vhu_rng r = {{1, 2, 3, 4}};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(expected); i++)
		assert_true(vhu_rng_u64(&r) == expected[i]);
	assert_true(vhu_mix64(1234567) == UINT64_C(6457827717110365317));
	assert_true(vhu_mix64(1234567 + UINT64_C(0x9e3779b97f4a7c15)) == UINT64_C(3203168211198807973));
}

static void seeds_make_the_difference(void **state)
{
	struct vhu_rng a, b, c;

	vhu_rng_init(&a, 5);
	vhu_rng_init(&b, 5);
	vhu_rng_init(&c, 6);
	assert_true(a.s[0] == vhu_mix64(5));
	for (unsigned i = 0; i < 100; i++) {
		uint64_t x = vhu_rng_u64(&a);

		assert_true(x == vhu_rng_u64(&b));
		assert_true(x != vhu_rng_u64(&c));
	}
	vhu_rng_init(&a, 0);
	assert_true(a.s[0] | a.s[1] | a.s[2] | a.s[3]);
}

static void below_stays_below_and_reaches_all(void **state)
{
	unsigned seen[6] = {0};
	struct vhu_rng r;

	vhu_rng_init(&r, 1);
	for (unsigned i = 0; i < 6000; i++) {
		uint64_t x = vhu_rng_below(&r, 6);

		assert_true(x < 6);
		seen[x]++;
	}
	for (unsigned i = 0; i < 6; i++)
		assert_in_range(seen[i], 850, 1150);
	assert_int_equal(vhu_rng_below(&r, 0), 0);
	assert_int_equal(vhu_rng_below(&r, 1), 0);
	for (unsigned i = 0; i < 100; i++) {
		assert_true(vhu_rng_below(&r, UINT64_MAX) < UINT64_MAX);
		assert_true(vhu_rng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
	}
}

static void filling(void **state)
{
	struct vhu_rng a, b;
	uint8_t bytes[32], same[32];

	vhu_rng_init(&a, 9);
	vhu_rng_init(&b, 9);
	memset(bytes, 0, sizeof(bytes));
	vhu_rng_fill(&a, bytes, 21);
	for (size_t i = 0; i < 3; i++)
		vhu_le_put(same + 8 * i, 8, vhu_rng_u64(&b));
	assert_memory_equal(bytes, same, 21);
	assert_true(all_zero(bytes + 21, sizeof(bytes) - 21));
	vhu_rng_fill(&a, bytes, 0);
	assert_true(vhu_rng_u64(&a) == vhu_rng_u64(&b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_buffers),
		cmocka_unit_test(buffers_grow),
		cmocka_unit_test(every_way_to_append),
		cmocka_unit_test(formatting_at_the_edge),
		cmocka_unit_test(reset_keeps_the_allocation),
		cmocka_unit_test(a_failed_append_is_remembered),
		cmocka_unit_test(arenas_give_zeroed_aligned_memory),
		cmocka_unit_test(arena_texts),
		cmocka_unit_test(a_large_piece_does_not_waste_the_block),
		cmocka_unit_test(arena_sizes_that_overflow),
		cmocka_unit_test(random_numbers_are_the_published_ones),
		cmocka_unit_test(seeds_make_the_difference),
		cmocka_unit_test(below_stays_below_and_reaches_all),
		cmocka_unit_test(filling),
	};

	return cmocka_run_group_tests_name("base_buf", tests, NULL, NULL);
}
