/* Latencies in buckets: every value is known to some three per cent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <device/histogram.h>

static struct vhu_histogram h, other;

static void test_exact_when_small(void **state)
{
	h = (struct vhu_histogram){0};
	assert_int_equal(vhu_histogram_at(&h, 0.5), 0);
	for (uint64_t i = 0; i < 32; i++)
		vhu_histogram_add(&h, i, 1);
	assert_int_equal(vhu_histogram_at(&h, 0), 0);
	assert_int_equal(vhu_histogram_at(&h, 0.5), 15);
	assert_int_equal(vhu_histogram_at(&h, 1), 31);
}

static void test_near_when_large(void **state)
{
	for (uint64_t value = 1; value < UINT64_C(1) << 62; value += value / 2 + value / 4 + 1) {
		uint64_t at;

		h = (struct vhu_histogram){0};
		vhu_histogram_add(&h, 0, 1);
		vhu_histogram_add(&h, value, 1);
		vhu_histogram_add(&h, UINT64_MAX, 1);
		at = vhu_histogram_at(&h, 0.5);
		assert_true(at >= value && at - value <= value / 32);
	}
	assert_int_equal(h.max, UINT64_MAX);
}

static void test_merge(void **state)
{
	h = other = (struct vhu_histogram){0};
	vhu_histogram_merge(&h, &other);
	assert_int_equal(h.n, 0);
	vhu_histogram_add(&other, 70, 1);
	vhu_histogram_merge(&h, &other);
	vhu_histogram_add(&other, 5, 1);
	vhu_histogram_merge(&h, &other);
	assert_int_equal(h.n, 3);
	assert_int_equal(h.min, 5);
	assert_int_equal(h.max, 70);
	assert_int_equal(h.sum, 145);
	assert_int_equal(vhu_histogram_at(&h, 0.9), 70);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_when_small),
		cmocka_unit_test(test_near_when_large),
		cmocka_unit_test(test_merge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
