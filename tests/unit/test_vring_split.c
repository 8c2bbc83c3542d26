/* The driver's side of a split ring, against a device made of a few loads and stores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>

#include <mem/mem.h>
#include <vring/vring.h>

#define MIB UINT64_C(0x100000)

enum { CHAINS = 32768 };

static struct vhu_layout layout;
static struct vhu_mem *mem;
static struct vhu_vring *ring;
static struct vhu_ring_event events[256];
static size_t n_events;
static struct vhu_used used[CHAINS];

/* The device: it looks at shared memory only. */
static struct toy {
	uint8_t *desc, *avail, *used;
	uint32_t size;
	uint16_t seen, idx;	/* of the available ring; of the used ring */
} toy;

static void on_breach(void *ctx, const struct vhu_ring_event *event)
{
	assert_ptr_equal(ctx, &ring);
	assert_true(n_events < VHU_ARRAY_SIZE(events));
	assert_true(strlen(event->text) > 0);
	events[n_events++] = *event;
}

static void expect_none(void)
{
	for (size_t i = 0; i < n_events; i++)
		print_error("unexpected: %s: %s\n", vhu_breach_row(events[i].breach)->name, events[i].text);
	assert_int_equal(n_events, 0);
}

/* Exactly one, of that kind. */
static struct vhu_ring_event expect(enum vhu_breach breach)
{
	struct vhu_ring_event e = events[0];

	for (size_t i = 0; i < n_events && (n_events != 1 || e.breach != breach); i++)
		print_error("got: %s: %s\n", vhu_breach_row(events[i].breach)->name, events[i].text);
	assert_int_equal(n_events, 1);
	assert_int_equal(e.breach, breach);
	assert_int_equal(e.queue, 5);
	n_events = 0;
	return e;
}

static void toy_attach(uint16_t base)
{
	const struct vhu_ring_layout *l = &layout.ring[0];

	toy = (struct toy){.size = l->size, .seen = base, .idx = base};
	toy.desc = vhu_mem_at(mem, l->desc, l->desc_len);
	toy.avail = vhu_mem_at(mem, l->avail, l->avail_len);
	toy.used = vhu_mem_at(mem, l->used, l->used_len);
}

static void open_ring(uint16_t size, bool event_idx, bool indirect, bool in_order)
{
	struct vhu_layout_opts lo = {
		.size = 16 * MIB, .regions = 2, .backing = VHU_BACKING_MEMFD, .rings = 1, .queue_size = size};
	struct vhu_vring_opts o = {.queue = 5, .layout = &layout.ring[0], .event_idx = event_idx,
				   .indirect_desc = indirect, .in_order = in_order, .breach = on_breach, .ctx = &ring};
	struct vhu_err err = {0};

	assert_int_equal(vhu_layout_make(&lo, &layout, &err), 0);
	assert_int_equal(vhu_mem_new(&layout, &mem, &err), 0);
	o.mem = mem;
	n_events = 0;
	assert_int_equal(vhu_vring_new(&o, &ring, &err), 0);
	toy_attach(0);
}

static void close_ring(void)
{
	uint64_t gpa;

	assert_true(vhu_mem_sweep(mem, &gpa));
	vhu_vring_free(ring);
	vhu_mem_free(mem);
	ring = NULL;
	mem = NULL;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)vhu_le_get(p, 2);
}

static void put16(uint8_t *p, uint16_t value)
{
	vhu_le_put(p, 2, value);
}

static uint32_t toy_waiting(void)
{
	return (uint16_t)(get16(toy.avail + 2) - toy.seen);
}

static uint16_t toy_take(void)
{
	assert_true(toy_waiting() > 0);
	return get16(toy.avail + 4 + 2 * (toy.seen++ & (toy.size - 1)));
}

static void toy_element(uint16_t at, uint32_t id, uint32_t len)
{
	uint8_t *p = toy.used + 4 + 8 * (size_t)(at & (toy.size - 1));

	vhu_le_put(p, 4, id);
	vhu_le_put(p + 4, 4, len);
}

static void toy_raise(uint16_t idx)
{
	toy.idx = idx;
	put16(toy.used + 2, idx);
}

static void toy_return(uint32_t id, uint32_t len)
{
	toy_element(toy.idx, id, len);
	toy_raise((uint16_t)(toy.idx + 1));
}

static void toy_serve_all(void)
{
	while (toy_waiting() > 0)
		toy_return(toy_take(), 0);
}

static void *cookie(size_t i)
{
	return (void *)(i + 1);
}

static int add_n(size_t n, bool indirect, void *c, uint16_t *head)
{
	static struct vhu_sg sg[CHAINS];
	struct vhu_err err = {0};

	for (size_t i = 0; i < n; i++)
		sg[i] = (struct vhu_sg){layout.data[1].gpa + i * 64, 16, i > 0};
	return vhu_vring_add(ring, sg, n, indirect, c, head, &err);
}

static uint16_t add(size_t n)
{
	uint16_t head = 0;

	assert_int_equal(add_n(n, false, cookie(0), &head), 0);
	return head;
}

/* One chain of that many descriptors, published and taken by the device. */
static uint16_t owned(size_t n)
{
	uint16_t head = add(n);

	vhu_vring_publish(ring);
	assert_int_equal(toy_take(), head);
	return head;
}

static size_t reap(void)
{
	return vhu_vring_reap(ring, used, CHAINS);
}

static uint64_t peek(const char *at)
{
	uint64_t value = 0;

	assert_int_equal(vhu_vring_peek(ring, at, &value, NULL), 0);
	return value;
}

/* --- chains ------------------------------------------------------------------------------------ */

/* The ring filled and emptied, `rounds` times: every chain comes back once, with its cookie. */
static void run_rounds(uint16_t size, bool event_idx, unsigned rounds)
{
	static bool back[CHAINS];
	uint32_t total = 0;
	uint16_t head;

	open_ring(size, event_idx, false, false);
	for (unsigned r = 0; r < rounds; r++) {
		memset(back, 0, sizeof(back));
		for (size_t i = 0; i < size; i++)
			assert_int_equal(add_n(1, false, cookie(i), &head), 0);
		assert_int_equal(add_n(1, false, cookie(0), &head), -ENOSPC);
		assert_int_equal(vhu_vring_inflight(ring), size);
		assert_int_equal(toy_waiting(), 0);	/* not visible yet */
		vhu_vring_publish(ring);
		assert_int_equal(toy_waiting(), size);
		toy_serve_all();
		assert_true(vhu_vring_pending(ring));
		assert_int_equal(reap(), size);
		for (size_t i = 0; i < size; i++) {
			size_t c = (size_t)used[i].cookie - 1;

			assert_true(c < size && !back[c]);
			back[c] = true;
		}
		total += size;
		assert_int_equal(vhu_vring_avail_idx(ring), (uint16_t)total);
		assert_int_equal(vhu_vring_seen_idx(ring), (uint16_t)total);
		assert_int_equal(vhu_vring_used_idx(ring), (uint16_t)total);
		assert_false(vhu_vring_pending(ring));
		assert_int_equal(vhu_vring_inflight(ring), 0);
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
	l.packed = true;
	assert_int_equal(vhu_vring_new(&o, &v, &err), -ENOTSUP);
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
	assert_true(descending);	/* links in no order that a device could guess */
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
	assert_int_equal(add_n(2, true, NULL, &head), -EINVAL);	/* indirect was not negotiated */
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
	assert_int_equal(add_n(257, true, NULL, &head), -ENOSPC);	/* no chain is longer than its ring */
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
	assert_int_equal(add_n(256, false, cookie(0), &head), 0);	/* nothing was lost */
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
			assert_int_equal(get16(toy.desc + 16 * (size_t)((head + k) % 8) + 14), (head + k + 1) % 8);
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
	toy_return(head, UINT32_MAX);	/* what it may write is not known */
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
	assert_false(vhu_vring_publish(ring));	/* nothing new */
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
		{0, 1, 0, true},	  {0, 1, 1, false},	 {0, 1, 0xffff, false},	  {0, 4, 3, true},
		{0, 4, 4, false},	  {10, 4, 9, false},	 {10, 4, 10, true},	  {10, 4, 13, true},
		{10, 4, 14, false},	  {0xfffe, 4, 0xfffd, false}, {0xfffe, 4, 0xfffe, true}, {0xfffe, 4, 0xffff, true},
		{0xfffe, 4, 0, true},	  {0xfffe, 4, 1, true},	 {0xfffe, 4, 2, false},	  {0x8000, 1, 0, false},
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
	assert_false(vhu_vring_arm(ring));	/* something is there: do not sleep */
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
	assert_int_equal(peek("avail.used_event"), 1);	/* keeps behind */
	assert_int_equal(peek("avail.flags"), 0);	/* as EVENT_IDX asks */
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

/* --- breaches of the used ring ------------------------------------------------------------------- */

/* The ring still works, and nothing more is told. */
static void still_works(void)
{
	toy_return(owned(1), 0);
	assert_int_equal(reap(), 1);
	vhu_vring_audit(ring);
	expect_none();
}

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
	assert_int_equal(reap(), 1);	/* it is back all the same */
	assert_int_equal(used[0].len, 33);
	e = expect(VHU_BREACH_USED_LEN_LONG);
	assert_int_equal(e.head, head);
	assert_int_equal(e.len, 33);
	head = owned(1);	/* nothing writable */
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
	assert_int_equal(reap(), 1);	/* it came, and the chain is not lost */
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
	toy_element(0, 10, 1);	/* the first six */
	toy_element(6, 14, 1);	/* and the other two */
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
	toy_return(2, 0);	/* the second */
	assert_int_equal(reap(), 1);
	assert_ptr_equal(used[0].cookie, cookie(1));
	expect(VHU_BREACH_OUT_OF_ORDER);
	toy_return(4, 0);	/* the first is known to be late */
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
	toy_element(0, 0, 0);	/* names the first, not the last */
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
	vhu_vring_audit(ring);	/* put right, told once */
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
	put16(toy.used + 4 + 8 * 128, 0x1234);	/* its own word now */
	vhu_vring_audit(ring);
	expect_none();
	toy.avail[4 + 2 * 128] ^= 1;	/* the driver's */
	audit_finds(VHU_BREACH_WROTE_AVAIL, l->avail + 4 + 2 * 128);
	/* Off again: noise, which has to stay. */
	vhu_vring_features(ring, false, false, false);
	vhu_vring_audit(ring);
	expect_none();
	put16(toy.used + 4 + 8 * 128, 0);
	audit_finds(VHU_BREACH_WROTE_EVENT_WORD, l->used + 4 + 8 * 128);
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
		"desc[0].addr", "desc[7].len", "desc[3].flags", "desc[3].next", "avail.flags", "avail.idx", "avail.ring[7]",
		"avail.used_event", "used.flags", "used.ring[7].id", "used.ring[0].len", "used.avail_event",
	};
	static const char *const none[] = {
		"", "desc", "desc[0]", "desc[0].addrx", "desc[].addr", "desc[8].addr", "desc[-1].addr", "desc[0x1].addr",
		"desc[99999999999999999999].addr", "avail.ring[8]", "used.ring[0]", "used.ring[0].", "avail.idx ", "driver.flags",
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
				toy_element((uint16_t)(x >> 20), (uint32_t)(x >> 40) % 70, (uint32_t)(x >> 50) % 64);
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
		cmocka_unit_test(test_bad_ids),
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
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_poke),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
