/* Busy threads are told from sleeping ones, whatever else the machine does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/util.h>
#include <channel/runtime.h>

static void the_busiest_counts(void **state)
{
	struct vhu_runtime from = {
		.at_ns = 1000, .n = 2, .thread = {{7, 100, 500, false}, {8, 800, 900, true}}};
	struct vhu_runtime to = {
		.at_ns = 2000,
		.n = 3,
		.thread = {{7, 150, 1300, false}, {8, 890, 1000, false}, {9, 9000, 9000, false}}};

	/* A thread that is new may be as old as it likes. */
	assert_int_equal(vhu_runtime_busiest(&from, &to), 80);
	assert_int_equal(vhu_runtime_ran(&from, &to), 90);
	assert_true(vhu_runtime_ready(&from));
	assert_false(vhu_runtime_ready(&to));
	/* No time has passed, and accounts that went back: nothing to be said. */
	assert_int_equal(vhu_runtime_busiest(&to, &from), 0);
	assert_int_equal(vhu_runtime_busiest(&from, &from), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_busiest_counts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
