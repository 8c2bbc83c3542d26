/* Rings as records tell of them: each rule with a planted element, and what may not be told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/err.h>
#include <oracle/rings.h>

enum { Q = 3, SIZE = 16 };

static struct vhu_oracle oracle;
static struct vhu_rings *rings;
static enum vhu_req told[16];
static size_t n_told;

static void found(void *ctx, const struct vhu_finding *f)
{
	assert_true(n_told < VHU_ARRAY_SIZE(told));
	assert_true(strlen(f->actual) > 0);
	told[n_told++] = f->req;
}

static void expect(size_t n, enum vhu_req req)
{
	assert_int_equal(n_told, n);
	if (n)
		assert_int_equal(told[n - 1], req);
	n_told = 0;
}

static void begin(bool packed, uint64_t features)
{
	struct vhu_err err;

	n_told = 0;
	vhu_oracle_init(&oracle, VHU_DEV_BLK, 0, found, NULL);
	oracle.session.features_set_known = true;
	oracle.session.features_set = features | (packed ? VHU_V(VIRTIO_F_RING_PACKED) : 0);
	assert_int_equal(vhu_rings_new(&rings, &err), 0);
	assert_int_equal(vhu_rings_start(rings, Q, SIZE, packed, &err), 0);
}

static void avail(uint32_t head)
{
	vhu_rings_avail(rings, Q, head, 513);
}

static void used(uint32_t id, uint32_t len, uint32_t index)
{
	vhu_rings_used(rings, &oracle, Q, id, false, len, index);
}

static void over(void)
{
	vhu_rings_free(rings);
	rings = NULL;
}

static void what_is_right_is_silent(void **state)
{
	begin(false, 0);
	for (uint32_t i = 65530; i < 65550; i++) {
		avail(i % SIZE);
		used(i % SIZE, 513, (uint16_t)(i + 1));
	}
	/* In any order. */
	avail(1);
	avail(2);
	used(2, 0, (uint16_t)65551);
	used(1, 513, (uint16_t)65552);
	vhu_rings_stop(rings, Q);
	expect(0, 0);
	over();
}

static void ids_that_are_not_out(void **state)
{
	begin(false, 0);
	avail(4);
	used(SIZE, 1, 1);
	expect(1, VHU_REQ_RING_01);
	used(5, 1, 2);
	expect(1, VHU_REQ_RING_01);
	used(4, 1, 3);
	expect(0, 0);
	used(4, 1, 4);
	expect(1, VHU_REQ_RING_02);
	over();
}

static void a_length_beyond_the_buffers(void **state)
{
	begin(false, 0);
	avail(4);
	used(4, 514, 1);
	expect(1, VHU_REQ_RING_04);
	over();
}

static void the_index_jumps(void **state)
{
	begin(false, 0);
	avail(1);
	used(1, 1, 101);
	avail(2);
	used(2, 1, 105);
	expect(1, VHU_REQ_RING_08);
	/* Behind it nothing is known. */
	used(2, 1, 105);
	expect(0, 0);
	over();

	begin(false, 0);
	avail(1);
	used(1, 1, 101);
	vhu_rings_used(rings, &oracle, Q, 0, true, 0, 102);
	expect(1, VHU_REQ_RING_08);
	over();

	begin(false, 0);
	vhu_rings_used(rings, &oracle, Q, 0, true, 0, 102);
	expect(1, VHU_REQ_RING_08);
	over();

	begin(false, 0);
	avail(1);
	used(1, 1, 101);
	avail(2);
	used(2, 1, 100);
	expect(1, VHU_REQ_RING_08);
	over();
}

static void used_after_the_stop(void **state)
{
	begin(false, 0);
	avail(1);
	vhu_rings_stop(rings, Q);
	used(1, 1, 1);
	expect(1, VHU_REQ_VRING_60);
	over();
}

static void packed_rings_have_rules_of_their_own(void **state)
{
	begin(true, 0);
	avail(1);
	used(1, 514, 0x8003);
	expect(1, VHU_REQ_PACKED_07);
	used(1, 1, 0x8004);
	expect(1, VHU_REQ_PACKED_05);
	used(2, 1, 0x8005);
	expect(1, VHU_REQ_PACKED_04);
	over();
}

/* An element for a batch stands for all before it, and one by one is right as well. */
static void batches(void **state)
{
	begin(false, VHU_V(VIRTIO_F_IN_ORDER));
	for (uint32_t i = 0; i < SIZE; i++)
		avail(i);
	used(7, 1, 8);
	used(8, 1, 9);
	used(15, 1, 16);
	for (uint32_t i = 0; i < SIZE; i++)
		avail(i);
	used(15, 1, 32);
	expect(0, 0);
	over();
}

static void what_is_in_doubt_is_not_told(void **state)
{
	struct vhu_err err;

	begin(false, 0);
	vhu_rings_used(rings, &oracle, Q + 1, 1, false, 1, 1);
	vhu_rings_used(rings, &oracle, UINT32_MAX, 1, false, 1, 1);
	vhu_rings_avail(rings, UINT32_MAX, 1, 1);
	vhu_rings_stop(rings, UINT32_MAX);
	vhu_rings_doubt(rings, Q);
	used(9, 9999, 77);
	/* A driver that makes a chain available twice. */
	assert_int_equal(vhu_rings_start(rings, Q, SIZE, false, &err), 0);
	avail(1);
	avail(1);
	used(9, 9999, 77);
	assert_int_equal(vhu_rings_start(rings, Q, SIZE, false, &err), 0);
	avail(SIZE);
	used(9, 9999, 77);
	/* Sizes that no ring has. */
	assert_int_equal(vhu_rings_start(rings, Q, 0, false, &err), 0);
	used(9, 9999, 77);
	assert_int_equal(vhu_rings_start(rings, Q, VHU_C_VRING_SIZE_MAX + 1, false, &err), 0);
	used(9, 9999, 77);
	assert_int_equal(vhu_rings_start(rings, UINT32_MAX, SIZE, false, &err), 0);
	vhu_rings_doubt(rings, VHU_SESSION_RINGS);
	expect(0, 0);
	over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_right_is_silent),
		cmocka_unit_test(ids_that_are_not_out),
		cmocka_unit_test(a_length_beyond_the_buffers),
		cmocka_unit_test(the_index_jumps),
		cmocka_unit_test(used_after_the_stop),
		cmocka_unit_test(packed_rings_have_rules_of_their_own),
		cmocka_unit_test(batches),
		cmocka_unit_test(what_is_in_doubt_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
