/* Split rings: everything that a device can do wrong in one is told, once, and nothing breaks. */
#include "toy_ring.h"

/* --- breaches of the used ring ------------------------------------------------------------------- */

static void test_bad_ids(void **state)
{
	struct vhu_ring_event e;
	uint16_t head;

	(void)state;
	open_ring(8, false, false, false);
	head = owned(2);
	toy_return(8, 3);
	assert_int_equal(reap(), 0);
	e = expect(VHU_BREACH_USED_ID_RANGE);
	assert_int_equal(e.id, 8);
	assert_int_equal(e.len, 3);
	toy_return(head, 0);
	assert_int_equal(reap(), 1);
	expect_none();

	head = owned(2);
	toy_return(get16(toy.desc + 16 * head + 14), 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ID_INNER);
	toy_return(UINT32_MAX, 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ID_RANGE);
	toy_return(head, 0);
	assert_int_equal(reap(), 1);
	still_works();

	vhu_vring_reset(ring, 0);
	toy_attach(0);
	head = owned(1);
	toy_return(7, 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ID_IDLE);
	toy_return(head, 0);
	assert_int_equal(reap(), 1);
	/* Added and not yet published: not the device's. */
	owned(1);
	head = add(1);
	toy_return(head, 0);
	assert_int_equal(reap(), 0);
	e = expect(VHU_BREACH_USED_ID_IDLE);
	assert_int_equal(e.head, head);
	close_ring();
}

static void test_twice(void **state)
{
	uint16_t a, b;

	(void)state;
	open_ring(8, false, false, false);
	a = owned(1);
	toy_return(a, 0);
	toy_return(a, 0);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_USED_TWICE);
	still_works();
	/* Later, while others are in flight. */
	a = owned(1);
	b = owned(1);
	toy_return(a, 0);
	assert_int_equal(reap(), 1);
	toy_return(a, 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_TWICE);
	toy_return(b, 0);
	assert_int_equal(reap(), 1);
	still_works();
	close_ring();
}

static void test_len(void **state)
{
	struct vhu_ring_event e;
	uint16_t head;

	(void)state;
	open_ring(8, false, false, false);
	head = owned(3);
	toy_return(head, 32);
	assert_int_equal(reap(), 1);
	expect_none();
	head = owned(3);
	toy_return(head, 33);
	assert_int_equal(reap(), 1); /* it is back all the same */
	assert_int_equal(used[0].len, 33);
	e = expect(VHU_BREACH_USED_LEN_LONG);
	assert_int_equal(e.head, head);
	assert_int_equal(e.len, 33);
	head = owned(1); /* nothing writable */
	toy_return(head, 1);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_USED_LEN_LONG);
	still_works();
	close_ring();
}

static void test_late_element(void **state)
{
	uint16_t a, b;

	(void)state;
	open_ring(8, false, false, false);
	a = owned(1);
	toy_raise(1);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ELEMENT_LATE);
	assert_int_equal(reap(), 0);
	expect_none();
	toy_element(0, a, 0);
	assert_int_equal(reap(), 1); /* it came, and the chain is not lost */
	still_works();

	/* Half of an element. */
	a = owned(1);
	b = owned(1);
	vhu_le_put(toy.used + 4 + 8 * (size_t)(toy.idx & 7), 4, a);
	toy_element((uint16_t)(toy.idx + 1), b, 0);
	toy_raise((uint16_t)(toy.idx + 2));
	assert_int_equal(reap(), 1);
	assert_int_equal(used[0].head, b);
	expect(VHU_BREACH_USED_ELEMENT_LATE);
	toy_element((uint16_t)(toy.idx - 2), a, 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(used[0].head, a);
	still_works();
	close_ring();
}

static void test_wrong_slot(void **state)
{
	uint16_t head;

	(void)state;
	open_ring(8, false, false, false);
	head = owned(1);
	toy_element(3, head, 0);
	toy_raise(1);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_SLOT);
	close_ring();

	/* Without the modulo: behind the ring. */
	open_ring(8, false, false, false);
	for (int i = 0; i < 8; i++) {
		toy_return(owned(1), 0);
		assert_int_equal(reap(), 1);
	}
	head = owned(1);
	vhu_le_put(toy.used + 4 + 8 * 8, 4, head);
	toy_raise(9);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_SLOT);
	close_ring();

	/* Written and never reached by the index: the audit finds it. */
	open_ring(8, false, false, false);
	toy_return(owned(1), 0);
	assert_int_equal(reap(), 1);
	toy_element(5, 0, 0);
	vhu_vring_audit(ring);
	assert_int_equal(expect(VHU_BREACH_USED_SLOT).gpa, layout.ring[0].used + 4 + 8 * 5);
	still_works();
	/* Elements ahead of the index are legal while chains are outstanding. */
	head = owned(1);
	toy_element(toy.idx, head, 0);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_jump(void **state)
{
	uint16_t a, b;

	(void)state;
	open_ring(8, false, false, false);
	toy_raise(1);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_IDX_JUMP);
	toy.idx = 1;
	still_works();

	/* Of the elements that came along, those that are right count. */
	a = owned(1);
	b = owned(1);
	toy_element(toy.idx, b, 0);
	toy_raise((uint16_t)(toy.idx + 5));
	assert_int_equal(reap(), 1);
	assert_int_equal(used[0].head, b);
	expect(VHU_BREACH_USED_IDX_JUMP);
	assert_int_equal(vhu_vring_seen_idx(ring), toy.idx);
	toy_return(a, 0);
	assert_int_equal(reap(), 1);
	still_works();

	/* Farther than the ring is long. */
	a = owned(1);
	toy_raise((uint16_t)(toy.idx + 1000));
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_IDX_JUMP);
	toy_return(a, 0);
	assert_int_equal(reap(), 1);
	still_works();

	a = owned(1);
	toy_raise((uint16_t)(toy.idx - 1));
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_IDX_BACK);
	toy_return(a, 0);
	assert_int_equal(reap(), 1);
	still_works();
	close_ring();
}

/* A jump is one finding, however small the pieces are in which it is looked at. */
static void test_jump_in_pieces(void **state)
{
	size_t n = 0;

	(void)state;
	open_ring(8, false, false, false);
	for (int i = 0; i < 3; i++)
		add(1);
	vhu_vring_publish(ring);
	for (int i = 0; i < 3; i++)
		toy_element((uint16_t)i, toy_take(), 0);
	toy_raise(7);
	for (int i = 0; i < 10; i++)
		n += vhu_vring_reap(ring, used, 1);
	assert_int_equal(n, 3);
	expect(VHU_BREACH_USED_IDX_JUMP);
	still_works();
	close_ring();
}

static void test_start_index(void **state)
{
	uint16_t head;

	(void)state;
	open_ring(128, false, false, false);
	vhu_vring_reset(ring, 0xfff0);
	toy_attach(0xfff0);
	assert_int_equal(get16(toy.used + 2), 0xfff0);
	assert_int_equal(get16(toy.avail + 2), 0xfff0);
	for (int i = 0; i < 32; i++) {
		toy_return(owned(1), 0);
		assert_int_equal(reap(), 1);
	}
	assert_int_equal(vhu_vring_used_idx(ring), 0x10);
	expect_none();

	/* A device that counts from 0. */
	vhu_vring_reset(ring, 0xfff0);
	toy_attach(0xfff0);
	toy.idx = 0;
	head = owned(1);
	toy_return(head, 0);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_USED_IDX_START);
	still_works();
	vhu_vring_reset(ring, 5);
	toy_attach(5);
	toy_raise(0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_IDX_START);
	still_works();
	close_ring();
}

static void test_flags(void **state)
{
	(void)state;
	open_ring(8, false, false, false);
	put16(toy.used, 1);
	assert_int_equal(reap(), 0);
	expect_none();
	put16(toy.used, 2);
	reap();
	reap();
	assert_int_equal(expect(VHU_BREACH_USED_FLAGS).gpa, layout.ring[0].used);
	put16(toy.used, 3);
	vhu_vring_publish(ring);
	expect(VHU_BREACH_USED_FLAGS);
	put16(toy.used, 1);
	reap();
	/* Left there by the device under other features: not its fault now. */
	vhu_vring_features(ring, true, false, false);
	reap();
	expect_none();
	put16(toy.used, 0);
	reap();
	put16(toy.used, 1);
	reap();
	vhu_vring_audit(ring);
	expect(VHU_BREACH_USED_FLAGS_EVENT_IDX);
	close_ring();
}

/* --- IN_ORDER ------------------------------------------------------------------------------------ */

static void own_many(size_t n)
{
	uint16_t head;

	for (size_t i = 0; i < n; i++)
		assert_int_equal(add_n(2, false, cookie(i), &head), 0);
	vhu_vring_publish(ring);
	for (size_t i = 0; i < n; i++)
		toy_take();
}

static void test_in_order(void **state)
{
	(void)state;
	open_ring(16, false, false, true);
	for (int round = 0; round < 20; round++) {
		/* One by one. */
		own_many(3);
		for (int i = 0; i < 3; i++)
			toy_return((uint32_t)(round * 16 + i * 2) % 16, 7);
		assert_int_equal(reap(), 3);
		assert_int_equal(used[2].len, 7);
		assert_false(used[0].batch || used[1].batch || used[2].batch);
		/* One element for five, in the slot of the first. */
		own_many(5);
		toy_element(toy.idx, (uint32_t)(round * 16 + 6 + 8) % 16, 9);
		toy_raise((uint16_t)(toy.idx + 5));
		assert_int_equal(reap(), 5);
		for (size_t i = 0; i < 5; i++) {
			assert_ptr_equal(used[i].cookie, cookie(i));
			assert_int_equal(used[i].batch, i < 4);
			assert_int_equal(used[i].len, i < 4 ? 16 : 9);
		}
		assert_int_equal(vhu_vring_inflight(ring), 0);
	}
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_in_order_pieces(void **state)
{
	size_t n = 0;

	(void)state;
	open_ring(16, false, false, true);
	own_many(8);
	toy_element(0, 10, 1); /* the first six */
	toy_element(6, 14, 1); /* and the other two */
	toy_raise(8);
	for (; vhu_vring_reap(ring, used, 1) == 1; n++)
		assert_ptr_equal(used[0].cookie, cookie(n));
	assert_int_equal(n, 8);
	assert_int_equal(vhu_vring_seen_idx(ring), 8);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_out_of_order(void **state)
{
	(void)state;
	open_ring(16, false, false, true);
	own_many(3);
	toy_return(2, 0); /* the second */
	assert_int_equal(reap(), 1);
	assert_ptr_equal(used[0].cookie, cookie(1));
	expect(VHU_BREACH_OUT_OF_ORDER);
	toy_return(4, 0); /* the first is known to be late */
	assert_int_equal(reap(), 1);
	toy_return(0, 0);
	assert_int_equal(reap(), 1);
	assert_ptr_equal(used[0].cookie, cookie(0));
	expect_none();

	/* Both at once: the skipped slot was written, so this is no batch. */
	own_many(2);
	toy_return(8, 0);
	toy_return(6, 0);
	assert_int_equal(reap(), 2);
	assert_ptr_equal(used[0].cookie, cookie(1));
	expect(VHU_BREACH_OUT_OF_ORDER);
	close_ring();
}

static void test_in_order_batch_wrong(void **state)
{
	(void)state;
	open_ring(16, false, false, true);
	own_many(4);
	toy_element(0, 0, 0); /* names the first, not the last */
	toy_raise(4);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_IN_ORDER_BATCH);
	assert_int_equal(vhu_vring_inflight(ring), 3);
	assert_int_equal(reap(), 0);
	expect_none();
	close_ring();
}

/* --- what is the driver's ------------------------------------------------------------------------- */

static void audit_finds(enum vhu_breach breach, uint64_t gpa)
{
	struct vhu_ring_event e;

	vhu_vring_audit(ring);
	e = expect(breach);
	assert_int_equal(e.gpa, gpa);
	vhu_vring_audit(ring); /* put right, told once */
	expect_none();
}

static void test_audit(void **state)
{
	const struct vhu_ring_layout *l = &layout.ring[0];
	uint16_t head;

	(void)state;
	open_ring(128, false, true, false);
	vhu_vring_audit(ring);
	expect_none();
	toy_return(owned(3), 0);
	assert_int_equal(reap(), 1);
	owned(3);
	vhu_vring_audit(ring);
	expect_none();
	toy.desc[16 * 40 + 3] ^= 1;
	audit_finds(VHU_BREACH_WROTE_DESC, l->desc + 16 * 40);
	toy.avail[0] = 1;
	audit_finds(VHU_BREACH_WROTE_AVAIL, l->avail);
	toy.avail[2] ^= 1;
	audit_finds(VHU_BREACH_WROTE_AVAIL, l->avail + 2);
	toy.avail[4 + 2 * 77] ^= 1;
	audit_finds(VHU_BREACH_WROTE_AVAIL, l->avail + 4 + 2 * 77);
	toy.avail[4 + 2 * 128] ^= 1;
	audit_finds(VHU_BREACH_WROTE_EVENT_WORD, l->avail + 4 + 2 * 128);
	toy.used[4 + 8 * 128] ^= 1;
	audit_finds(VHU_BREACH_WROTE_EVENT_WORD, l->used + 4 + 8 * 128);

	/* Tables of chains in flight, and at their return. */
	assert_int_equal(add_n(4, true, cookie(0), &head), 0);
	vhu_vring_publish(ring);
	uint64_t table = vhu_le_get(toy.desc + 16 * head, 8);
	*(uint8_t *)vhu_mem_at(mem, table + 20, 1) ^= 1;
	audit_finds(VHU_BREACH_WROTE_DESC, table);
	*(uint8_t *)vhu_mem_at(mem, table + 21, 1) ^= 1;
	toy_return(head, 0);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_WROTE_DESC);

	/* Behind a table from the heap. */
	assert_int_equal(add_n(100, true, cookie(0), &head), 0);
	vhu_vring_publish(ring);
	table = vhu_le_get(toy.desc + 16 * head, 8);
	*(uint8_t *)vhu_mem_at(mem, table + 1600, 1) ^= 1;
	toy_return(head, 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(expect(VHU_BREACH_WROTE_OUTSIDE).gpa, table + 1600);
	close_ring();
}

static void test_audit_event_idx(void **state)
{
	const struct vhu_ring_layout *l = &layout.ring[0];

	(void)state;
	open_ring(128, true, false, false);
	put16(toy.used + 4 + 8 * 128, 0x1234); /* its own word now */
	vhu_vring_audit(ring);
	expect_none();
	toy.avail[4 + 2 * 128] ^= 1; /* the driver's */
	audit_finds(VHU_BREACH_WROTE_AVAIL, l->avail + 4 + 2 * 128);
	/* Off again: noise, which has to stay. */
	vhu_vring_features(ring, false, false, false);
	vhu_vring_audit(ring);
	expect_none();
	put16(toy.used + 4 + 8 * 128, 0);
	audit_finds(VHU_BREACH_WROTE_EVENT_WORD, l->used + 4 + 8 * 128);
	close_ring();
}

/* Whatever the used ring holds: no crash, no endless loop, a bounded number of words. */
static void test_garbage(void **state)
{
	uint64_t x = 12345;

	(void)state;
	for (int in_order = 0; in_order < 2; in_order++) {
		open_ring(64, true, true, in_order);
		for (int round = 0; round < 3000; round++) {
			uint16_t head;

			for (int i = 0; i < 5; i++)
				add_n(1 + (size_t)(round + i) % 3, i % 2, cookie(0), &head);
			vhu_vring_publish(ring);
			for (int i = 0; i < 12; i++) {
				x = x * 6364136223846793005u + 1442695040888963407u;
				toy_element((uint16_t)(x >> 20), (uint32_t)(x >> 40) % 70,
					    (uint32_t)(x >> 50) % 64);
			}
			switch (x >> 60) {
			case 0:
				toy_raise((uint16_t)(x >> 33));
				break;
			case 1:
				break;
			default:
				toy_raise((uint16_t)(toy.idx + (x >> 33) % 7));
			}
			n_events = 0;
			vhu_vring_reap(ring, used, 1 + x % 40);
			assert_in_range(n_events, 0, 8);
			vhu_vring_audit(ring);
			assert_in_range(n_events, 0, 16);
			if (round % 100 == 99) {
				while (vhu_vring_forget(ring)) {
				}
				vhu_vring_reset(ring, (uint16_t)(x >> 10));
				toy_attach((uint16_t)(x >> 10));
			}
		}
		vhu_vring_reset(ring, 0);
		toy_attach(0);
		n_events = 0;
		still_works();
		close_ring();
	}
}

static void test_changes_under_the_device(void **state)
{
	unsigned seen[2] = {0};
	struct vhu_err err;
	uint64_t len;

	(void)state;
	open_ring(8, false, false, false);
	owned(1);
	assert_int_equal(vhu_vring_poke(ring, "desc[0].len", 7, &err), 0);
	assert_int_equal(vhu_vring_poke(ring, "desc[0].len", 5, &err), 0);
	assert_int_equal(vhu_vring_flip(ring, "desc[8].len", 5, 7, &err), -ENOENT);
	assert_int_equal(vhu_vring_flip(ring, "desc[0].len", 5, 7, &err), 0);
	while (!seen[0] || !seen[1]) {
		assert_int_equal(vhu_vring_peek(ring, "desc[0].len", &len, &err), 0);
		assert_true(len == 5 || len == 7);
		seen[len == 7]++;
	}
	/* What comes of it is not the device's fault, until the ring is another. */
	toy_return(8, 0);
	assert_int_equal(reap(), 0);
	expect_none();
	vhu_vring_still(ring);
	assert_int_equal(vhu_vring_peek(ring, "desc[0].len", &len, &err), 0);
	assert_int_equal(len, 5);
	vhu_vring_still(ring);
	vhu_vring_reset(ring, 0);
	toy_attach(0);
	toy_return(8, 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ID_RANGE);
	close_ring();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_ids),
		cmocka_unit_test(test_changes_under_the_device),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_len),
		cmocka_unit_test(test_late_element),
		cmocka_unit_test(test_wrong_slot),
		cmocka_unit_test(test_jump),
		cmocka_unit_test(test_jump_in_pieces),
		cmocka_unit_test(test_start_index),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_in_order),
		cmocka_unit_test(test_in_order_pieces),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_in_order_batch_wrong),
		cmocka_unit_test(test_audit),
		cmocka_unit_test(test_audit_event_idx),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
