/* Split rings: chains, notifications, descriptors and life. */
#include "toy_ring.h"

/* --- chains ------------------------------------------------------------------------------------ */

/* The ring filled and emptied, `rounds` times: every chain comes back once, with its cookie. */
static void run_rounds(uint16_t size, bool event_idx, unsigned rounds)
{
	uint32_t total = 0;
	uint16_t head;

	open_ring(size, event_idx, false, false);
	for (unsigned r = 0; r < rounds; r++) {
		for (size_t i = 0; i < size; i++)
			assert_int_equal(add_n(1, false, cookie(i), &head), 0);
		assert_int_equal(add_n(1, false, cookie(0), &head), -ENOSPC);
		assert_int_equal(vhu_vring_inflight(ring), size);
		assert_int_equal(toy_waiting(), 0); /* not visible yet */
		vhu_vring_publish(ring);
		assert_int_equal(toy_waiting(), size);
		toy_serve_all();
		assert_true(vhu_vring_pending(ring));
		assert_int_equal(reap(), size);
		total += size;
		round_ends(size, total);
	}
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_sizes(void **state)
{
	(void)state;
	run_rounds(1, false, 70000);
	run_rounds(2, true, 33000);
	run_rounds(128, false, 600);
	run_rounds(32768, true, 5);
}

static void test_bad_rings(void **state)
{
	static struct vhu_ring_layout l;
	struct vhu_vring_opts o = {.queue = 5, .layout = &l};
	struct vhu_vring *v = (void *)1;
	struct vhu_err err = {0};

	(void)state;
	open_ring(128, false, false, false);
	o.mem = mem;
	static const uint16_t sizes[] = {0, 3, 127, 32769, 65535};
	for (size_t i = 0; i < VHU_ARRAY_SIZE(sizes); i++) {
		l = layout.ring[0];
		l.size = sizes[i];
		assert_int_equal(vhu_vring_new(&o, &v, &err), -EINVAL);
	}
	l = layout.ring[0];
	l.desc += 8;
	assert_int_equal(vhu_vring_new(&o, &v, &err), -EINVAL);
	l = layout.ring[0];
	l.avail += 1;
	assert_int_equal(vhu_vring_new(&o, &v, &err), -EINVAL);
	l = layout.ring[0];
	l.used += 2;
	assert_int_equal(vhu_vring_new(&o, &v, &err), -EINVAL);
	l = layout.ring[0];
	l.used = layout.region[0].gpa + layout.region[0].size - 512;
	assert_int_equal(vhu_vring_new(&o, &v, &err), -EINVAL);
	assert_ptr_equal(v, (void *)1);
	vhu_vring_free(NULL);
	close_ring();
}

static void check_desc(uint16_t i, uint64_t addr, uint32_t len, uint16_t flags)
{
	const uint8_t *p = toy.desc + 16 * (size_t)i;

	assert_int_equal(vhu_le_get(p, 8), addr);
	assert_int_equal(vhu_le_get(p + 8, 4), len);
	assert_int_equal(get16(p + 12), flags);
}

static void test_direct(void **state)
{
	struct vhu_sg sg[3] = {{0x1234, 16, false}, {0x5678, 4096, true}, {0x9abc, 1, true}};
	uint16_t head, a, b;
	bool descending = true;

	(void)state;
	open_ring(128, false, false, false);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(vhu_vring_add(ring, sg, 3, false, sg, &head, NULL), 0);
		vhu_vring_publish(ring);
		assert_int_equal(toy_take(), head);
		check_desc(head, 0x1234, 16, 1);
		a = get16(toy.desc + 16 * head + 14);
		check_desc(a, 0x5678, 4096, 3);
		b = get16(toy.desc + 16 * a + 14);
		check_desc(b, 0x9abc, 1, 2);
		descending = a < head && b < a;
		toy_return(head, 4097);
		assert_int_equal(reap(), 1);
		assert_int_equal(used[0].head, head);
		assert_int_equal(used[0].len, 4097);
		assert_ptr_equal(used[0].cookie, sg);
		assert_false(used[0].batch);
	}
	assert_true(descending); /* links in no order that a device could guess */
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_add_refused(void **state)
{
	struct vhu_sg big[2] = {{0, UINT32_MAX, true}, {0, UINT32_MAX, true}};
	uint16_t head = 77;
	struct vhu_err err = {0};

	(void)state;
	open_ring(8, false, false, false);
	assert_int_equal(vhu_vring_add(ring, NULL, 0, false, NULL, &head, &err), -EINVAL);
	assert_int_equal(vhu_vring_add(ring, big, 2, false, NULL, &head, &err), -EINVAL);
	assert_int_equal(add_n(9, false, NULL, &head), -ENOSPC);
	assert_int_equal(add_n(2, true, NULL, &head), -EINVAL); /* indirect was not negotiated */
	assert_int_equal(head, 77);
	add(5);
	assert_int_equal(add_n(4, false, NULL, &head), -ENOSPC);
	add(3);
	assert_int_equal(vhu_vring_inflight(ring), 2);
	close_ring();
}

static void check_table(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++, p += 16) {
		assert_int_equal(vhu_le_get(p, 8), layout.data[1].gpa + i * 64);
		assert_int_equal(vhu_le_get(p + 8, 4), 16);
		assert_int_equal(get16(p + 12), (i + 1 < n ? 1 : 0) | (i > 0 ? 2 : 0));
		assert_int_equal(get16(p + 14), i + 1 < n ? i + 1 : 0);
	}
}

static void test_indirect(void **state)
{
	const struct vhu_ring_layout *l = &layout.ring[0];
	uint16_t head;
	uint64_t gpa;

	(void)state;
	open_ring(256, false, true, false);
	for (size_t n = 1; n <= 256; n += 51) {
		assert_int_equal(add_n(n, true, cookie(n), &head), 0);
		vhu_vring_publish(ring);
		assert_int_equal(toy_take(), head);
		gpa = vhu_le_get(toy.desc + 16 * head, 8);
		check_desc(head, gpa, (uint32_t)n * 16, 4);
		/* The head's own table in the layout, or a buffer where that is too short. */
		if (n <= l->indirect_entries)
			assert_int_equal(gpa, l->indirect + head * l->indirect_entries * UINT64_C(16));
		else
			assert_true(gpa >= layout.data[0].gpa);
		check_table(vhu_mem_at(mem, gpa, n * 16), n);
		toy_return(head, (uint32_t)(n - 1) * 16);
		assert_int_equal(reap(), 1);
		assert_ptr_equal(used[0].cookie, cookie(n));
	}
	assert_int_equal(add_n(257, true, NULL, &head), -ENOSPC); /* no chain is longer than its ring */
	/* Every descriptor can be the head of one. */
	for (size_t i = 0; i < 256; i++)
		assert_int_equal(add_n(3, true, cookie(i), &head), 0);
	assert_int_equal(add_n(1, true, NULL, &head), -ENOSPC);
	vhu_vring_publish(ring);
	toy_serve_all();
	assert_int_equal(reap(), 256);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_indirect_without_memory(void **state)
{
	uint64_t a, b, gpa;
	uint16_t head;

	(void)state;
	open_ring(256, false, true, false);
	assert_int_equal(vhu_mem_alloc(mem, layout.data[1].len, 1, &b, NULL), 0);
	assert_int_equal(vhu_mem_alloc(mem, layout.data[0].len, 1, &a, NULL), 0);
	assert_int_equal(add_n(200, true, NULL, &head), -ENOSPC);
	assert_int_equal(vhu_vring_inflight(ring), 0);
	assert_int_equal(add_n(256, false, cookie(0), &head), 0); /* nothing was lost */
	assert_ptr_equal(vhu_vring_forget(ring), cookie(0));
	assert_true(vhu_mem_release(mem, a, &gpa));
	assert_int_equal(add_n(200, true, cookie(1), &head), 0);
	/* Freed with its table out: that is given back. */
	vhu_vring_free(ring);
	ring = NULL;
	assert_int_equal(vhu_mem_alloc(mem, layout.data[0].len, 1, &a, NULL), 0);
	close_ring();
}

static void test_in_order_descriptors(void **state)
{
	static const size_t len[] = {3, 2, 3, 1, 5, 4};
	uint16_t next = 0;

	(void)state;
	open_ring(8, false, false, true);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(len); i++) {
		uint16_t head = owned(len[i]);

		assert_int_equal(head, next);
		for (size_t k = 0; k < len[i]; k++) {
			assert_int_equal(get16(toy.desc + 16 * (size_t)((head + k) % 8) + 14),
					 (head + k + 1) % 8);
			next = (next + 1) % 8;
		}
		toy_return(head, 0);
		assert_int_equal(reap(), 1);
	}
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void test_raw(void **state)
{
	struct vhu_raw_desc desc[3] = {
		{.addr = 0x1111, .len = 5, .flags = 0xfff1},
		{.addr = UINT64_MAX, .len = UINT32_MAX, .flags = 3, .next = 0xffff, .next_set = true},
		{.addr = 0, .len = 0, .flags = 4},
	};
	struct vhu_raw_desc plain[2] = {{.addr = 1, .len = 5, .flags = 1}, {.addr = 2, .len = 7, .flags = 2}};
	uint16_t head, a;

	(void)state;
	open_ring(8, false, false, false);
	assert_int_equal(vhu_vring_add_raw(ring, desc, 0, NULL, &head, NULL), -EINVAL);
	assert_int_equal(vhu_vring_add_raw(ring, desc, 9, NULL, &head, NULL), -ENOSPC);
	assert_int_equal(vhu_vring_add_raw(ring, desc, 3, cookie(1), &head, NULL), 0);
	vhu_vring_publish(ring);
	assert_int_equal(toy_take(), head);
	check_desc(head, 0x1111, 5, 0xfff1);
	a = get16(toy.desc + 16 * head + 14);
	check_desc(a, UINT64_MAX, UINT32_MAX, 3);
	assert_int_equal(get16(toy.desc + 16 * a + 14), 0xffff);
	toy_return(head, UINT32_MAX); /* what it may write is not known */
	assert_int_equal(reap(), 1);
	expect_none();
	/* Of a plain one it is. */
	assert_int_equal(vhu_vring_add_raw(ring, plain, 2, cookie(1), &head, NULL), 0);
	vhu_vring_publish(ring);
	toy_return(toy_take(), 8);
	assert_int_equal(reap(), 1);
	expect(VHU_BREACH_USED_LEN_LONG);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

/* --- notifications ------------------------------------------------------------------------------- */

static void test_kick_flags(void **state)
{
	(void)state;
	open_ring(128, false, false, false);
	assert_false(vhu_vring_publish(ring)); /* nothing new */
	add(1);
	assert_true(vhu_vring_publish(ring));
	put16(toy.used, 1);
	add(1);
	assert_false(vhu_vring_publish(ring));
	put16(toy.used, 0);
	/* avail_event is not looked at. */
	add(1);
	assert_true(vhu_vring_publish(ring));
	expect_none();
	close_ring();
}

static void test_kick_event(void **state)
{
	static const struct {
		uint16_t base, n, event;
		bool kick;
	} rows[] = {
		{0, 1, 0, true},	   {0, 1, 1, false},
		{0, 1, 0xffff, false},	   {0, 4, 3, true},
		{0, 4, 4, false},	   {10, 4, 9, false},
		{10, 4, 10, true},	   {10, 4, 13, true},
		{10, 4, 14, false},	   {0xfffe, 4, 0xfffd, false},
		{0xfffe, 4, 0xfffe, true}, {0xfffe, 4, 0xffff, true},
		{0xfffe, 4, 0, true},	   {0xfffe, 4, 1, true},
		{0xfffe, 4, 2, false},	   {0x8000, 1, 0, false},
		{0xffff, 1, 0xffff, true}, {0xffff, 1, 0, false},
	};

	(void)state;
	open_ring(128, true, false, false);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		vhu_vring_reset(ring, rows[i].base);
		put16(toy.used + 4 + 8 * 128, rows[i].event);
		for (uint16_t k = 0; k < rows[i].n; k++)
			add(1);
		if (vhu_vring_publish(ring) != rows[i].kick)
			fail_msg("base %u, %u chains, event %u", rows[i].base, rows[i].n, rows[i].event);
	}
	expect_none();
	close_ring();
}

/* The first chain after a reset is always kicked for, at any base. */
static void test_kick_after_reset(void **state)
{
	(void)state;
	open_ring(128, true, false, false);
	for (unsigned base = 0; base < 65536; base += 4369) {
		vhu_vring_reset(ring, (uint16_t)base);
		add(1);
		assert_true(vhu_vring_publish(ring));
	}
	close_ring();
}

static void test_arm(void **state)
{
	(void)state;
	open_ring(128, false, false, false);
	assert_int_equal(peek("avail.flags"), 0);
	vhu_vring_disarm(ring);
	assert_int_equal(peek("avail.flags"), 1);
	assert_true(vhu_vring_arm(ring));
	assert_int_equal(peek("avail.flags"), 0);
	toy_return(owned(1), 0);
	assert_false(vhu_vring_arm(ring)); /* something is there: do not sleep */
	assert_int_equal(reap(), 1);
	assert_true(vhu_vring_arm(ring));
	close_ring();

	open_ring(128, true, false, false);
	assert_int_equal(peek("avail.used_event"), 0);
	toy_return(owned(1), 0);
	assert_false(vhu_vring_arm(ring));
	assert_int_equal(reap(), 1);
	assert_true(vhu_vring_arm(ring));
	assert_int_equal(peek("avail.used_event"), 1);
	vhu_vring_disarm(ring);
	assert_int_equal(peek("avail.used_event"), 0);
	toy_return(owned(1), 0);
	assert_int_equal(reap(), 1);
	assert_int_equal(peek("avail.used_event"), 1); /* keeps behind */
	assert_int_equal(peek("avail.flags"), 0);      /* as EVENT_IDX asks */
	vhu_vring_reset(ring, 0x8000);
	assert_int_equal(peek("avail.used_event"), 0x8000);
	vhu_vring_audit(ring);
	expect_none();
	close_ring();
}

static void write_count(int fd, uint64_t count)
{
	assert_int_equal(write(fd, &count, 8), 8);
}

static uint64_t read_count(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, 8) == 8 ? count : 0;
}

static void test_fds(void **state)
{
	int kick, call, later;

	(void)state;
	open_ring(128, false, false, false);
	for (int i = 0; i < VHU_VRING_FD_MAX; i++) {
		int fd = vhu_vring_fd(ring, (enum vhu_vring_fd)i);

		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_int_equal(read_count(fd), 0);
	}
	kick = dup(vhu_vring_fd(ring, VHU_VRING_KICK));
	call = dup(vhu_vring_fd(ring, VHU_VRING_CALL));
	vhu_vring_kick(ring);
	vhu_vring_kick(ring);
	assert_int_equal(read_count(kick), 2);
	/* A full counter is a kick as well. */
	write_count(kick, UINT64_MAX - 1);
	vhu_vring_kick(ring);
	assert_int_equal(read_count(kick), UINT64_MAX - 1);

	write_count(call, 3);
	assert_int_equal(vhu_vring_take_calls(ring), 3);
	assert_int_equal(vhu_vring_take_calls(ring), 0);
	write_count(vhu_vring_fd(ring, VHU_VRING_ERR), 1);
	assert_int_equal(vhu_vring_take_errors(ring), 1);
	assert_int_equal(vhu_vring_take_errors(ring), 0);
	/* A target that makes them blocking blocks nobody. */
	assert_int_equal(fcntl(call, F_SETFL, 0), 0);
	assert_int_equal(vhu_vring_take_calls(ring), 0);
	assert_int_equal(fcntl(kick, F_SETFL, 0), 0);
	write_count(kick, UINT64_MAX - 1);
	vhu_vring_kick(ring);

	/* Replaced: what comes on the old one is stale. */
	write_count(call, 1);
	assert_int_equal(vhu_vring_renew_fd(ring, VHU_VRING_CALL, NULL), 0);
	assert_int_equal(vhu_vring_take_stale(ring), 0);
	write_count(call, 2);
	assert_int_equal(vhu_vring_take_calls(ring), 0);
	assert_int_equal(vhu_vring_take_stale(ring), 2);
	later = dup(vhu_vring_fd(ring, VHU_VRING_CALL));
	for (int i = 0; i < 100; i++)
		assert_int_equal(vhu_vring_renew_fd(ring, VHU_VRING_CALL, NULL), 0);
	write_count(vhu_vring_fd(ring, VHU_VRING_CALL), 5);
	assert_int_equal(vhu_vring_take_calls(ring), 5);
	vhu_vring_drop_fd(ring, VHU_VRING_CALL);
	assert_int_equal(vhu_vring_fd(ring, VHU_VRING_CALL), -1);
	assert_int_equal(vhu_vring_take_calls(ring), 0);
	vhu_vring_drop_fd(ring, VHU_VRING_KICK);
	vhu_vring_kick(ring);
	assert_int_equal(vhu_vring_renew_fd(ring, VHU_VRING_KICK, NULL), 0);
	vhu_vring_kick(ring);
	assert_int_equal(read_count(vhu_vring_fd(ring, VHU_VRING_KICK)), 1);
	close(kick);
	close(call);
	close(later);
	close_ring();
}

/* --- life ------------------------------------------------------------------------------------------ */

static void test_forget(void **state)
{
	uint16_t head;
	uint32_t seen = 0;
	void *c;

	(void)state;
	open_ring(8, false, false, false);
	assert_null(vhu_vring_forget(ring));
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(add_n(1, false, cookie(i), &head), 0);
		if (i == 2)
			vhu_vring_publish(ring);
	}
	assert_int_equal(vhu_vring_inflight(ring), 5);
	/* Two were never published: without them the ring is in step. */
	assert_ptr_equal(vhu_vring_forget(ring), cookie(4));
	assert_ptr_equal(vhu_vring_forget(ring), cookie(3));
	vhu_vring_publish(ring);
	assert_int_equal(toy_waiting(), 3);
	while ((c = vhu_vring_forget(ring)))
		seen |= 1u << (size_t)c;
	assert_int_equal(seen, 0xe);
	assert_int_equal(vhu_vring_inflight(ring), 0);
	vhu_vring_audit(ring);
	expect_none();
	for (size_t i = 0; i < 8; i++)
		add(1);
	vhu_vring_reset(ring, 0);
	assert_int_equal(vhu_vring_inflight(ring), 0);
	toy_attach(0);
	still_works();
	close_ring();
}

static void test_poke(void **state)
{
	static const char *const places[] = {
		"desc[0].addr", "desc[7].len",	   "desc[3].flags",    "desc[3].next",
		"avail.flags",	"avail.idx",	   "avail.ring[7]",    "avail.used_event",
		"used.flags",	"used.ring[7].id", "used.ring[0].len", "used.avail_event",
	};
	static const char *const none[] = {
		"",
		"desc",
		"desc[0]",
		"desc[0].addrx",
		"desc[].addr",
		"desc[8].addr",
		"desc[-1].addr",
		"desc[0x1].addr",
		"desc[99999999999999999999].addr",
		"avail.ring[8]",
		"used.ring[0]",
		"used.ring[0].",
		"avail.idx ",
		"driver.flags",
	};
	struct vhu_err err = {0};
	uint64_t value;

	(void)state;
	open_ring(8, false, false, false);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(places); i++) {
		assert_int_equal(vhu_vring_poke(ring, places[i], 1, &err), 0);
		assert_int_equal(peek(places[i]), 1);
		assert_int_equal(vhu_vring_poke(ring, places[i], 0, &err), 0);
		assert_int_equal(peek(places[i]), 0);
	}
	for (size_t i = 0; i < VHU_ARRAY_SIZE(none); i++) {
		value = 99;
		assert_int_equal(vhu_vring_poke(ring, none[i], 1, &err), -ENOENT);
		assert_int_equal(vhu_vring_peek(ring, none[i], &value, &err), -ENOENT);
		assert_int_equal(value, 99);
	}
	assert_int_equal(vhu_vring_poke(ring, "desc[1].addr", UINT64_MAX, &err), 0);
	assert_int_equal(vhu_le_get(toy.desc + 16, 8), UINT64_MAX);
	assert_int_equal(vhu_vring_poke(ring, "desc[1].len", UINT64_C(1) << 32, &err), -EINVAL);
	assert_int_equal(vhu_vring_poke(ring, "avail.idx", 65536, &err), -EINVAL);
	assert_int_equal(vhu_vring_poke(ring, "avail.ring[2]", 0xffff, NULL), 0);
	assert_int_equal(get16(toy.avail + 8), 0xffff);
	/* None of this was the device. */
	vhu_vring_audit(ring);
	expect_none();
	assert_int_equal(vhu_vring_poke(ring, "used.flags", 6, &err), 0);
	assert_int_equal(vhu_vring_poke(ring, "used.idx", 3, &err), 0);
	assert_int_equal(reap(), 0);
	expect_none();
	/* What a case says about calls stays, until it gives the word back. */
	assert_int_equal(vhu_vring_poke(ring, "avail.flags", 1, &err), 0);
	vhu_vring_arm(ring);
	assert_int_equal(peek("avail.flags"), 1);
	assert_int_equal(vhu_vring_poke(ring, "avail.flags", 0, &err), 0);
	vhu_vring_disarm(ring);
	assert_int_equal(peek("avail.flags"), 1);
	vhu_vring_arm(ring);
	assert_int_equal(peek("avail.flags"), 0);
	close_ring();
	open_ring(8, true, false, false);
	assert_int_equal(vhu_vring_poke(ring, "avail.used_event", 77, &err), 0);
	vhu_vring_arm(ring);
	assert_int_equal(peek("avail.used_event"), 77);
	vhu_vring_reset(ring, 5);
	vhu_vring_arm(ring);
	assert_int_equal(peek("avail.used_event"), 5);
	close_ring();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_add_refused),
		cmocka_unit_test(test_indirect),
		cmocka_unit_test(test_indirect_without_memory),
		cmocka_unit_test(test_in_order_descriptors),
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_kick_flags),
		cmocka_unit_test(test_kick_event),
		cmocka_unit_test(test_kick_after_reset),
		cmocka_unit_test(test_arm),
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_poke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
