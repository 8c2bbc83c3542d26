/* Records of rings: their bytes, and bytes that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <trace/ring_record.h>

static struct vhu_ring_record back(const struct vhu_buf *bytes, unsigned kind)
{
	const struct vhu_record r = {.channel = VHU_CAP_RING,
				     .kind = (uint16_t)kind,
				     .payload = (const uint8_t *)bytes->data,
				     .len = bytes->len};
	struct vhu_ring_record ret;

	assert_true(vhu_ring_record_parse(&r, &ret));
	return ret;
}

static void what_is_put_is_read(void **state)
{
	const struct vhu_ring_desc desc[] = {{0x1000, 16, 1, 5}, {0x2000, 512, 2, 4}};
	const struct vhu_ring_record layout = {.kind = VHU_CAP_RING_LAYOUT, .queue = 3, .size = 256,
					       .packed = true, .part = {1, 2, 3}, .base = 0x80018002};
	struct vhu_ring_record avail = {.kind = VHU_CAP_RING_AVAIL, .queue = 7, .head = 5, .n_desc = 2,
					.index = 9, .data = (const uint8_t *)"abc", .n_data = 3};
	struct vhu_ring_record used = {.kind = VHU_CAP_RING_USED, .queue = 7, .id = 5, .len = 513,
				       .index = 10, .hash = 77, .data = (const uint8_t *)"de", .n_data = 2};
	struct vhu_ring_record r = {.kind = VHU_CAP_RING_ERR, .queue = 1, .value = 12};
	struct vhu_buf table = {0}, bytes = {0};

	vhu_ring_record_put(&r, &bytes);
	assert_int_equal(bytes.len, VHU_CAP_EVENT_LEN);
	r = back(&bytes, VHU_CAP_RING_ERR);
	assert_true(r.queue == 1 && r.value == 12);

	for (size_t i = 0; i < VHU_ARRAY_SIZE(desc); i++)
		vhu_ring_desc_put(&table, &desc[i]);
	avail.desc = (const uint8_t *)table.data;
	vhu_buf_reset(&bytes);
	vhu_ring_record_put(&avail, &bytes);
	r = back(&bytes, VHU_CAP_RING_AVAIL);
	assert_true(r.queue == 7 && r.head == 5 && r.n_desc == 2 && r.index == 9 && r.n_data == 3);
	assert_memory_equal(r.data, "abc", 3);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(desc); i++) {
		struct vhu_ring_desc d = vhu_ring_record_desc(&r, i);

		assert_true(d.addr == desc[i].addr && d.len == desc[i].len && d.flags == desc[i].flags &&
			    d.id == desc[i].id);
	}

	vhu_buf_reset(&bytes);
	vhu_ring_record_put(&used, &bytes);
	r = back(&bytes, VHU_CAP_RING_USED);
	assert_true(r.queue == 7 && r.id == 5 && r.len == 513 && r.index == 10 && r.hash == 77 &&
		    r.n_data == 2);
	assert_memory_equal(r.data, "de", 2);

	vhu_buf_reset(&bytes);
	vhu_ring_record_put(&layout, &bytes);
	r = back(&bytes, VHU_CAP_RING_LAYOUT);
	assert_true(r.queue == 3 && r.size == 256 && r.packed && r.part[2] == 3 && r.base == 0x80018002);
	vhu_buf_done(&table);
	vhu_buf_done(&bytes);
}

/* Every length of every kind, with numbers as large as they get: nothing is read that is not there. */
static void lies_are_no_records(void **state)
{
	for (unsigned kind = 0; kind < VHU_CAP_RING_MAX + 2; kind++)
		for (size_t len = 0; len < 64; len++) {
			uint8_t *bytes = malloc(len + 1);
			struct vhu_record r = {.channel = VHU_CAP_RING,
					       .kind = (uint16_t)kind,
					       .payload = bytes,
					       .len = len};
			struct vhu_ring_record ring;

			assert_non_null(bytes);
			memset(bytes, 0xff, len + 1);
			if (vhu_ring_record_parse(&r, &ring))
				assert_true(kind >= VHU_CAP_RING_KICK && kind <= VHU_CAP_RING_ERR &&
					    len >= VHU_CAP_EVENT_LEN);
			memset(bytes, 0, len + 1);
			assert_true(!vhu_ring_record_parse(&r, &ring) ||
				    (size_t)(ring.data ? ring.data - bytes : 0) + ring.n_data <= len);
			free(bytes);
		}
}

static void a_count_beyond_the_record_is_a_lie(void **state)
{
	uint8_t bytes[VHU_CAP_AVAIL_HEAD + 2 * VHU_CAP_AVAIL_ENTRY + 4] = {0};
	const struct vhu_record r = {.channel = VHU_CAP_RING, .kind = VHU_CAP_RING_AVAIL,
				     .payload = bytes, .len = sizeof(bytes)};
	struct vhu_ring_record ring;

	vhu_le_put(bytes + 6, 2, 2);
	vhu_le_put(bytes + 12, 4, 4);
	assert_true(vhu_ring_record_parse(&r, &ring));
	vhu_le_put(bytes + 12, 4, 5);
	assert_false(vhu_ring_record_parse(&r, &ring));
	vhu_le_put(bytes + 12, 4, 4);
	vhu_le_put(bytes + 6, 2, 3);
	assert_false(vhu_ring_record_parse(&r, &ring));
}

static void contents_fit_into_a_record(void **state)
{
	struct vhu_ring_record used = {.kind = VHU_CAP_RING_USED, .n_data = 1 << 20};
	struct vhu_buf bytes = {0};
	uint8_t *data = calloc(1, used.n_data);

	assert_non_null(data);
	used.data = data;
	vhu_ring_record_put(&used, &bytes);
	assert_true(bytes.len <= VHU_CAP_RECORD_MAX - VHU_CAP_HEADER_SOFT);
	assert_int_equal(back(&bytes, VHU_CAP_RING_USED).n_data, bytes.len - VHU_CAP_USED_HEAD);
	vhu_buf_done(&bytes);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_read),
		cmocka_unit_test(lies_are_no_records),
		cmocka_unit_test(a_count_beyond_the_record_is_a_lie),
		cmocka_unit_test(contents_fit_into_a_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
