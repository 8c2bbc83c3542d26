/* Packed rings against a device made of a few loads and stores, honest and hostile. */
#include "toy_ring.h"

enum { AVAIL = 1 << 7, USED = 1 << 15, NEXT = 1, WRITE = 2, INDIRECT = 4 };

/* The device's two places, with their wrap counters. */
static struct {
	uint32_t size;
	uint32_t take, put;
	bool take_wrap, put_wrap;
	uint16_t flags; /* what used descriptors carry besides their marks */
} dev;

static uint8_t *slot(uint32_t at)
{
	return toy.desc + 16 * (size_t)at;
}

static void dev_at(uint32_t at, bool wrap)
{
	dev.size = toy.size;
	dev.take = dev.put = at;
	dev.take_wrap = dev.put_wrap = wrap;
	dev.flags = 0;
}

static void open_packed(uint16_t size, bool event_idx, bool indirect, bool in_order)
{
	open_format(true, size, event_idx, indirect, in_order);
	toy_attach(0);
	dev_at(0, true);
}

static bool waiting(void)
{
	uint16_t flags = get16(slot(dev.take) + 14);

	return !!(flags & AVAIL) == dev.take_wrap && !!(flags & USED) != dev.take_wrap;
}

/* Takes a list; its id, and how many descriptors it had. */
static uint16_t take(uint32_t *ret_n)
{
	uint16_t flags, id;

	*ret_n = 0;
	do {
		assert_true(waiting());
		flags = get16(slot(dev.take) + 14);
		id = get16(slot(dev.take) + 12);
		++*ret_n;
		if (++dev.take == dev.size) {
			dev.take = 0;
			dev.take_wrap = !dev.take_wrap;
		}
	} while (flags & NEXT);
	return id;
}

static void mark(uint32_t at, bool wrap, uint16_t id, uint32_t len, uint16_t flags)
{
	vhu_le_put(slot(at) + 8, 4, len);
	put16(slot(at) + 12, id);
	put16(slot(at) + 14, (uint16_t)(flags | (wrap ? AVAIL | USED : 0)));
}

static void move_on(uint32_t n)
{
	dev.put += n;
	if (dev.put >= dev.size) {
		dev.put -= dev.size;
		dev.put_wrap = !dev.put_wrap;
	}
}

static void give(uint16_t id, uint32_t n, uint32_t len)
{
	mark(dev.put, dev.put_wrap, id, len, len ? WRITE : 0);
	move_on(n);
}

static void serve_all(void)
{
	uint32_t n;

	while (waiting()) {
		uint16_t id = take(&n);

		give(id, n, 0);
	}
}

static uint16_t owned_list(size_t n)
{
	uint32_t got;
	uint16_t id = add(n);

	vhu_vring_publish(ring);
	assert_int_equal(take(&got), id);
	assert_int_equal(got, n);
	return id;
}

static void still_serves(void)
{
	give(owned_list(1), 1, 0);
	assert_int_equal(reap(), 1);
	vhu_vring_audit(ring);
	expect_none();
}

/* --- honest devices --------------------------------------------------------------------------------- */

static void run_rounds(uint16_t size, size_t list, unsigned rounds)
{
	unsigned total = 0;
	size_t lists = size / list;
	uint16_t head;

	open_packed(size, rounds % 2, false, false);
	for (unsigned r = 0; r < rounds; r++) {
		for (size_t i = 0; i < lists; i++)
			assert_int_equal(add_n(list, false, cookie(i), &head), 0);
		assert_int_equal(add_n(size - lists * list + 1, false, cookie(0), &head), -ENOSPC);
		assert_false(waiting()); /* the first head comes last */
		vhu_vring_publish(ring);
		serve_all();
		assert_true(vhu_vring_pending(ring));
		total += (unsigned)lists;
		assert_int_equal(vhu_vring_used_idx(ring), (uint16_t)total);
		assert_int_equal(reap(), lists);
		for (size_t i = 0; i < lists; i++)
			assert_true(used[i].unwritten);
		round_ends(lists, total);
	}
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_sizes(void **state)
{
	(void)state;
	run_rounds(1, 1, 5000);
	run_rounds(3, 2, 5000);
	run_rounds(5, 3, 5001);
	run_rounds(7, 3, 5000);
	run_rounds(100, 7, 500);
	run_rounds(256, 3, 500);
	run_rounds(32767, 3, 4);
	run_rounds(32768, 32768, 3);
}

/* Lists of many lengths, returned in another order than taken: places go by the order of return. */
static void test_out_of_order(void **state)
{
	struct {
		uint16_t id;
		uint32_t n;
	} taken[16];
	uint32_t mix = 1;

	(void)state;
	open_packed(11, false, false, false);
	for (unsigned round = 0; round < 3000; round++) {
		size_t n = 0;
		uint16_t head;

		while (add_n(1 + (mix = mix * 1103515245 + 12345) / 65536 % 4, false, cookie(n), &head) == 0)
			n++;
		vhu_vring_publish(ring);
		for (size_t i = 0; i < n; i++)
			taken[i].id = take(&taken[i].n);
		for (size_t left = n; left > 0; left--) {
			size_t i = (mix = mix * 1103515245 + 12345) / 65536 % left;

			give(taken[i].id, taken[i].n, 0);
			taken[i] = taken[left - 1];
		}
		assert_int_equal(reap(), n);
	}
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_list_layout(void **state)
{
	struct vhu_sg sg[3] = {{0x1234, 16, false}, {0x5678, 4096, true}, {0x9abc, 1, true}};
	uint16_t id;

	(void)state;
	open_packed(5, false, true, false);
	give(owned_list(3), 3, 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(vhu_vring_add(ring, sg, 3, false, sg, &id, NULL), 0);
	vhu_vring_publish(ring);
	assert_int_equal(vhu_le_get(slot(3), 8), 0x1234);
	assert_int_equal(get16(slot(3) + 14), NEXT | AVAIL);
	assert_int_equal(get16(slot(4) + 14), NEXT | WRITE | AVAIL);
	assert_int_equal(get16(slot(0) + 14), WRITE | USED); /* the next lap */
	assert_int_equal(get16(slot(0) + 12), id);
	assert_true(get16(slot(3) + 12) >= 5 && get16(slot(4) + 12) >= 5);
	for (uint32_t n; waiting();)
		assert_int_equal(take(&n), id);
	give(id, 3, 4097);
	assert_int_equal(reap(), 1);
	assert_int_equal(used[0].len, 4097);
	assert_int_equal(used[0].head, id);
	assert_ptr_equal(used[0].cookie, sg);
	assert_int_equal(vhu_vring_add(ring, sg, 3, true, sg, &id, NULL), 0);
	vhu_vring_publish(ring);
	assert_int_equal(get16(slot(1) + 14), INDIRECT | USED);
	assert_int_equal(vhu_le_get(slot(1) + 8, 4), 48);
	for (uint32_t n; waiting();)
		assert_int_equal(take(&n), id);
	give(id, 1, 1);
	assert_int_equal(reap(), 1);
	expect_none();
	close_ring();
}

static void test_bases(void **state)
{
	char text[160];
	uint16_t id;

	(void)state;
	open_packed(7, false, false, false);
	assert_int_equal(vhu_vring_first_base(ring), 0x80008000);
	assert_int_equal(vhu_vring_base(ring), 0x80008000);
	give(owned_list(3), 3, 0);
	reap();
	assert_int_equal(vhu_vring_base(ring), 0x80038003);
	assert_true(vhu_vring_stands_at(ring, 0x80038003));
	assert_true(vhu_vring_stands_at(ring, 0x8003));
	assert_false(vhu_vring_stands_at(ring, 0x3));
	id = owned_list(6);
	assert_int_equal(vhu_vring_base(ring), 0x80030002);
	assert_int_equal(vhu_vring_base_used(ring), 0x80038003);
	assert_true(vhu_vring_base_right(ring, 0x80030002, text, sizeof(text)));
	assert_true(vhu_vring_base_right(ring, 0x80038003, text, sizeof(text)));
	assert_true(vhu_vring_base_right(ring, 0x00008003, text, sizeof(text)));
	assert_false(vhu_vring_base_right(ring, 0x80038002, text, sizeof(text)));
	assert_false(vhu_vring_base_right(ring, 0x80030003, text, sizeof(text)));
	assert_false(vhu_vring_base_right(ring, 0x00028003, text, sizeof(text)));
	assert_false(vhu_vring_base_right(ring, 0x80038007, text, sizeof(text)));
	give(id, 6, 0);
	assert_int_equal(vhu_vring_base_used(ring), 0x00020002);
	assert_false(vhu_vring_base_right(ring, 0x00028003, text, sizeof(text)));
	reap();
	vhu_vring_reset(ring, 0x00060006);
	dev_at(6, false);
	assert_false(waiting());
	for (int i = 0; i < 20; i++)
		still_serves();
	assert_int_equal(vhu_vring_base(ring), 0x80058005); /* 6 + 20 is 3 laps and 5 more */
	close_ring();
}

static void test_events(void **state)
{
	uint32_t n;

	(void)state;
	open_packed(5, true, false, false);
	assert_int_equal(peek("driver.flags"), 2);
	assert_int_equal(peek("driver.offset"), 0x8000);
	vhu_vring_disarm(ring);
	assert_int_equal(peek("driver.flags"), 1);
	for (uint16_t i = 0; i < 12; i++) {
		uint16_t at = (uint16_t)(i % 5 | (i / 5 % 2 ? 0 : 0x8000));

		/* Wanted for this one, for the next, for the one before. */
		vhu_le_put(toy.used, 4, at | 2u << 16);
		add(1);
		assert_true(vhu_vring_publish(ring));
		give(take(&n), 1, 0);
		assert_int_equal(reap(), 1);
		assert_true(vhu_vring_arm(ring));
		at = (uint16_t)((i + 1) % 5 | ((i + 1) / 5 % 2 ? 0 : 0x8000));
		assert_int_equal(peek("driver.offset"), at);
	}
	vhu_le_put(toy.used, 4, 0x0002 | 2u << 16); /* 12 is 2 in the third lap: that of lap 2 was long ago */
	add(1);
	assert_false(vhu_vring_publish(ring));
	vhu_le_put(toy.used, 4, 1u << 16);
	add(1);
	assert_false(vhu_vring_publish(ring));
	vhu_le_put(toy.used, 4, 0);
	add(1);
	assert_true(vhu_vring_publish(ring));
	serve_all();
	assert_false(vhu_vring_arm(ring));
	assert_int_equal(reap(), 3);
	expect_none();
	close_ring();
	open_packed(5, false, false, false);
	assert_int_equal(peek("driver.flags"), 0);
	vhu_vring_disarm(ring);
	assert_int_equal(peek("driver.flags"), 1);
	close_ring();
}

static void test_forget(void **state)
{
	uint16_t head;

	(void)state;
	open_packed(8, false, true, false);
	owned_list(2);
	assert_int_equal(add_n(2, true, cookie(1), &head), 0);
	assert_int_equal(add_n(3, false, cookie(2), &head), 0);
	assert_ptr_equal(vhu_vring_forget(ring), cookie(2));
	assert_ptr_equal(vhu_vring_forget(ring), cookie(1));
	assert_ptr_equal(vhu_vring_forget(ring), cookie(0));
	assert_null(vhu_vring_forget(ring));
	assert_false(waiting());
	dev_at(2, true);
	still_serves();
	still_serves();
	vhu_vring_reset(ring, vhu_vring_first_base(ring));
	dev_at(0, true);
	still_serves();
	close_ring();
}

/* --- in order --------------------------------------------------------------------------------------- */

static void test_batches(void **state)
{
	uint16_t ids[6];
	uint32_t n[6], sum;

	(void)state;
	open_packed(13, false, false, true);
	for (unsigned round = 0; round < 500; round++) {
		unsigned first = round % 6;

		for (size_t i = 0; i < 6; i++)
			add(1 + i % 3);
		vhu_vring_publish(ring);
		sum = 0;
		for (size_t i = 0; i < 6; i++) {
			ids[i] = take(&n[i]);
			sum += n[i];
		}
		/* One used descriptor for the first of them, one for the rest. */
		mark(dev.put, dev.put_wrap, ids[first], 0, 0);
		for (size_t i = 0; i <= first; i++) {
			move_on(n[i]);
			sum -= n[i];
		}
		if (first < 5)
			give(ids[5], sum, 0);
		assert_int_equal(vhu_vring_used_idx(ring), (uint16_t)(6 * (round + 1)));
		/* Also when there is no room for all at once. */
		assert_int_equal(vhu_vring_reap(ring, used, 2), 2);
		assert_int_equal(reap(), 4);
	}
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_overtaking(void **state)
{
	uint16_t a, b;
	uint32_t n;

	(void)state;
	open_packed(8, false, false, true);
	add(2);
	add(2);
	vhu_vring_publish(ring);
	a = take(&n);
	b = take(&n);
	give(b, 2, 0);
	give(a, 2, 0);
	assert_int_equal(reap(), 2);
	assert_int_equal(expect(VHU_BREACH_OUT_OF_ORDER).id, b);
	/* Seen one by one: the first looked like a batch. */
	add(2);
	add(2);
	vhu_vring_publish(ring);
	a = take(&n);
	b = take(&n);
	give(b, 2, 0);
	assert_int_equal(reap(), 2);
	give(a, 2, 0);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_OUT_OF_ORDER);
	close_ring();
}

/* --- hostile devices -------------------------------------------------------------------------------- */

static void test_bad_ids(void **state)
{
	uint16_t id;

	(void)state;
	open_packed(8, false, false, false);
	id = owned_list(1);
	give(9, 1, 0);
	assert_int_equal(reap(), 0);
	assert_int_equal(expect(VHU_BREACH_USED_ID_RANGE).id, 9);
	assert_int_equal(reap(), 0);
	expect_none();
	give(owned_list(1), 1, 0);
	assert_int_equal(reap(), 1);
	give(owned_list(1) == id ? 0 : (uint16_t)((id + 3) % 8), 1, 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ID_IDLE);
	close_ring();
	open_packed(8, false, false, false);
	id = owned_list(1);
	owned_list(1);
	give(id, 1, 0);
	give(id, 1, 0);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_USED_TWICE);
	close_ring();
}

static void test_bad_marks(void **state)
{
	uint16_t id;

	(void)state;
	open_packed(8, false, false, false);
	id = owned_list(1);
	mark(0, false, id, 0, 0);
	assert_true(vhu_vring_pending(ring));
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_PACKED_WRAP);
	move_on(1);
	id = owned_list(1);
	put16(slot(1) + 14, USED);
	assert_int_equal(reap(), 0);
	assert_int_equal(expect(VHU_BREACH_PACKED_WRAP).gpa, layout.ring[0].desc + 16);
	assert_int_equal(reap(), 0);
	expect_none();
	give(id, 1, 0);
	assert_int_equal(reap(), 1);
	/* A list by its own id of no buffer. */
	owned_list(3);
	give(get16(slot(2) + 12), 3, 0);
	assert_int_equal(reap(), 0);
	expect(VHU_BREACH_USED_ID_RANGE);
	close_ring();
}

static void test_slots(void **state)
{
	uint16_t id;

	(void)state;
	open_packed(8, false, false, false);
	id = owned_list(3);
	put16(slot(1) + 12, 4);
	give(id, 3, 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(expect(VHU_BREACH_PACKED_SKIPPED).gpa, layout.ring[0].desc + 16);
	vhu_le_put(slot(0), 8, 5);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_PACKED_CHANGED);
	vhu_le_put(slot(7), 8, 5);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_WROTE_DESC);
	vhu_vring_audit(ring);
	expect_none();
	id = owned_list(1);
	owned_list(1);
	mark(4, true, id, 0, 0);
	assert_int_equal(reap(), 0);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_PACKED_HOLE);
	close_ring();
}

static void test_lengths(void **state)
{
	uint16_t id;

	(void)state;
	open_packed(8, false, true, false);
	give(owned_list(3), 3, 33);
	assert_int_equal(reap(), 1);
	assert_int_equal(expect(VHU_BREACH_USED_LEN_LONG).len, 33);
	mark(dev.put, dev.put_wrap, owned_list(1), 5, WRITE);
	move_on(1);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_PACKED_WRITE_FLAG);
	mark(dev.put, dev.put_wrap, owned_list(1), 5, 0); /* without WRITE the length is nothing */
	move_on(1);
	assert_int_equal(reap(), 1);
	assert_int_equal(used[0].len, 0);
	expect_none();
	assert_int_equal(add_n(3, true, cookie(0), &id), 0);
	vhu_vring_publish(ring);
	vhu_le_put(vhu_mem_at(mem, vhu_le_get(slot(5), 8), 8), 8, 1);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_WROTE_DESC);
	close_ring();
}

static void test_event_areas(void **state)
{
	(void)state;
	open_packed(8, false, false, false);
	vhu_le_put(toy.used, 4, 2u << 16);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_PACKED_DEVICE_EVENT);
	vhu_vring_features(ring, true, false, false);
	vhu_vring_audit(ring);
	expect_none();
	static const uint32_t bad[] = {8 | 2u << 16, 3u << 16, 4u << 16};
	for (size_t i = 0; i < VHU_ARRAY_SIZE(bad); i++) {
		vhu_le_put(toy.used, 4, bad[i]);
		vhu_vring_audit(ring);
		expect(VHU_BREACH_PACKED_DEVICE_EVENT);
	}
	vhu_le_put(toy.used, 4, 0);
	vhu_le_put(toy.avail, 4, 1);
	vhu_vring_audit(ring);
	expect(VHU_BREACH_PACKED_DRIVER_EVENT);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_poke(void **state)
{
	struct vhu_err err = {0};

	(void)state;
	open_packed(8, false, false, false);
	assert_int_equal(vhu_vring_poke(ring, "avail.idx", 1, &err), -ENOENT);
	assert_int_equal(vhu_vring_poke(ring, "desc[8].id", 1, &err), -ENOENT);
	assert_int_equal(vhu_vring_poke(ring, "desc[7].id", 0x10000, &err), -EINVAL);
	assert_int_equal(vhu_vring_poke(ring, "desc[7].addr", UINT64_MAX, &err), 0);
	assert_int_equal(vhu_vring_poke(ring, "device.flags", 1, &err), 0);
	assert_int_equal(vhu_vring_poke(ring, "device.offset", 3, &err), 0);
	assert_int_equal(vhu_vring_poke(ring, "driver.flags", 1, &err), 0);
	assert_int_equal(peek("desc[7].addr"), UINT64_MAX);
	vhu_vring_arm(ring);
	assert_int_equal(peek("driver.flags"), 1);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

/* Whatever it writes, nothing breaks and the ring serves after a reset. */
static void test_garbage(void **state)
{
	uint64_t x = 88172645463325252;

	(void)state;
	for (int in_order = 0; in_order < 2; in_order++) {
		open_packed(9, true, false, in_order);
		for (unsigned round = 0; round < 20000; round++) {
			uint16_t head;

			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			add_n(1 + x % 4, false, cookie(0), &head);
			vhu_vring_publish(ring);
			mark(x >> 8 & 7, x >> 11 & 1, x >> 12 & 15, (uint32_t)(x >> 16), x >> 32 & 0xffff);
			if (x >> 40 & 1)
				vhu_le_put(toy.used, 4, x >> 24 & UINT32_MAX);
			reap();
			(void)vhu_vring_used_idx(ring);
			(void)vhu_vring_base_used(ring);
			n_events = 0;
			if (x >> 50 % 7 == 0) {
				vhu_vring_reset(ring, (uint32_t)x);
				n_events = 0;
			}
			if (round % 100 == 0) {
				vhu_vring_audit(ring);
				n_events = 0;
			}
		}
		vhu_vring_reset(ring, vhu_vring_first_base(ring));
		n_events = 0;
		dev_at(0, true);
		still_serves();
		close_ring();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	      cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_list_layout),   cmocka_unit_test(test_bases),
		cmocka_unit_test(test_events),	      cmocka_unit_test(test_forget),
		cmocka_unit_test(test_batches),	      cmocka_unit_test(test_overtaking),
		cmocka_unit_test(test_bad_ids),	      cmocka_unit_test(test_bad_marks),
		cmocka_unit_test(test_slots),	      cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_event_areas),   cmocka_unit_test(test_poke),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
