#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "trace/log.h"
#include "wire/frame.h"

static const uint64_t ms = 1000000;

static struct vhu_trace_log *new_log(size_t cap)
{
	struct vhu_trace_log *l = NULL;
	struct vhu_err err = {0};

	assert_int_equal(vhu_trace_log_new(cap, &l, &err), 0);
	return l;
}

static void assert_prints(const struct vhu_trace_log *l, size_t n, bool hex, const char *want)
{
	struct vhu_buf out = {0};

	vhu_trace_log_print(l, n, VHU_DEV_BLK, hex, &out);
	assert_string_equal(vhu_buf_text(&out), want);
	vhu_buf_done(&out);
}

static void test_empty(void **state)
{
	struct vhu_trace_log *l = new_log(3);

	assert_int_equal(vhu_trace_log_count(l), 0);
	assert_int_equal(vhu_trace_log_dropped(l), 0);
	assert_prints(l, 10, true, "");
	vhu_trace_log_free(l);
	vhu_trace_log_free(NULL);
}

static void test_limits(void **state)
{
	struct vhu_trace_log *l = NULL;

	assert_int_equal(vhu_trace_log_new(0, &l, NULL), -EINVAL);
	assert_int_equal(vhu_trace_log_new(SIZE_MAX, &l, NULL), -EINVAL);
	assert_null(l);
}

static void test_frame(void **state)
{
	struct vhu_trace_log *l = new_log(4);
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_NUM, NULL), 0);
	vhu_frame_set(&f, VHU_PL_VRING_STATE, "index", 1);
	vhu_frame_set(&f, VHU_PL_VRING_STATE, "num", 128);
	vhu_trace_log_frame(l, 5 * ms, 1, &f);
	vhu_trace_log_note(l, 7 * ms + ms / 4, 2, "%s %d", "remark", 3);
	/* The log has its own copy. */
	vhu_frame_done(&f);
	assert_prints(l, 10, false, "    0.000 ms  > SET_VRING_NUM index=1 num=128\n"
				    "    2.250 ms  [2] remark 3\n");
	assert_prints(l, 1, false, "    2.250 ms  [2] remark 3\n");
	vhu_trace_log_free(l);
}

static void test_hex(void **state)
{
	struct vhu_trace_log *l = new_log(4);
	struct vhu_frame f = {0};
	uint8_t want[20] = {0};
	char text[64];
	struct vhu_buf all = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_NUM, NULL), 0);
	vhu_frame_set(&f, VHU_PL_VRING_STATE, "num", 0x80);
	vhu_ne_put(want, 4, f.request);
	vhu_ne_put(want + 4, 4, f.flags);
	vhu_ne_put(want + 8, 4, f.size);
	memcpy(want + 12, f.payload, 8);
	vhu_trace_log_frame(l, 0, 0, &f);
	vhu_frame_done(&f);
	vhu_buf_printf(&all, "    0.000 ms  > SET_VRING_NUM index=0 num=128\n                %s\n",
		       vhu_hex_format(want, sizeof(want), text, sizeof(text)));
	assert_prints(l, 1, true, vhu_buf_text(&all));
	vhu_buf_done(&all);
	vhu_trace_log_free(l);
}

/* Kinds are told; the descriptors themselves stay whose they were. */
static void test_descriptors(void **state)
{
	struct vhu_trace_log *l = new_log(4);
	struct vhu_frame f = {0};
	struct vhu_buf out = {0};
	size_t have = 0;

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_CALL, NULL), 0);
	for (int i = 0; i < 18; i++)
		assert_int_equal(vhu_frame_give_fd(&f, eventfd(0, EFD_CLOEXEC), NULL), 0);
	vhu_trace_log_frame(l, 0, 0, &f);
	assert_int_equal(f.n_fds, 18);
	vhu_frame_done(&f);
	vhu_trace_log_print(l, 1, VHU_DEV_BLK, false, &out);
	for (const char *p = strstr(out.data, "eventfd"); p; p = strstr(p + 1, "eventfd"))
		have++;
	assert_int_equal(have, 16);
	assert_non_null(strstr(out.data, " fds=eventfd,eventfd"));
	assert_non_null(strstr(out.data, ",+2\n"));
	vhu_buf_done(&out);
	vhu_trace_log_free(l);
}

static void test_long_payload(void **state)
{
	struct vhu_trace_log *l = new_log(2);
	struct vhu_frame f = {0};
	struct vhu_buf out = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_GET_CONFIG, NULL), 0);
	assert_int_equal(vhu_frame_resize(&f, 5000, NULL), 0);
	memset(f.payload, 0xab, f.len);
	vhu_trace_log_frame(l, 0, 0, &f);
	vhu_frame_done(&f);
	vhu_trace_log_print(l, 1, VHU_DEV_BLK, true, &out);
	assert_non_null(strstr(out.data, "and 4488 bytes more\n"));
	vhu_buf_done(&out);
	vhu_trace_log_free(l);
}

static void test_wraps(void **state)
{
	struct vhu_trace_log *l = new_log(3);

	for (unsigned i = 0; i < 7; i++)
		vhu_trace_log_note(l, (i + 1) * ms, 0, "note %u", i);
	assert_int_equal(vhu_trace_log_count(l), 3);
	assert_int_equal(vhu_trace_log_dropped(l), 4);
	/* Times count from the first entry, also from one that is gone. */
	assert_prints(l, 10, false, "    4.000 ms  note 4\n    5.000 ms  note 5\n    6.000 ms  note 6\n");
	assert_prints(l, 2, false, "    5.000 ms  note 5\n    6.000 ms  note 6\n");
	vhu_trace_log_clear(l);
	assert_int_equal(vhu_trace_log_count(l), 0);
	assert_int_equal(vhu_trace_log_dropped(l), 0);
	vhu_trace_log_note(l, 100 * ms, 0, "again");
	assert_prints(l, 10, false, "    0.000 ms  again\n");
	vhu_trace_log_free(l);
}

static void test_long_note(void **state)
{
	struct vhu_trace_log *l = new_log(1);
	char text[2000];
	struct vhu_buf out = {0};

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	vhu_trace_log_note(l, 0, 0, "%s", text);
	vhu_trace_log_print(l, 1, VHU_DEV_ANY, true, &out);
	assert_true(out.len > 500 && out.len < 600);
	vhu_buf_done(&out);
	vhu_trace_log_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_frame),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_long_payload),
		cmocka_unit_test(test_wraps),
		cmocka_unit_test(test_long_note),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
