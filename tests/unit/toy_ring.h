/* A device's side of a split ring, made of a few loads and stores, and a ring of ours against it. */
#pragma once

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
	uint16_t seen, idx; /* of the available ring; of the used ring */
} toy;

static inline void on_breach(void *ctx, const struct vhu_ring_event *event)
{
	assert_ptr_equal(ctx, &ring);
	assert_true(n_events < VHU_ARRAY_SIZE(events));
	assert_true(strlen(event->text) > 0);
	events[n_events++] = *event;
}

static inline void expect_none(void)
{
	for (size_t i = 0; i < n_events; i++)
		print_error("unexpected: %s: %s\n", vhu_breach_row(events[i].breach)->name, events[i].text);
	assert_int_equal(n_events, 0);
}

/* All `total` chains that ever were in the ring came back, each of the last n once. */
static inline void round_ends(size_t n, size_t total)
{
	bool back[CHAINS] = {false};

	for (size_t i = 0; i < n; i++) {
		size_t c = (size_t)used[i].cookie - 1;

		assert_true(c < n && !back[c]);
		back[c] = true;
	}
	assert_int_equal(vhu_vring_avail_idx(ring), (uint16_t)total);
	assert_int_equal(vhu_vring_seen_idx(ring), (uint16_t)total);
	assert_int_equal(vhu_vring_used_idx(ring), (uint16_t)total);
	assert_false(vhu_vring_pending(ring));
	assert_int_equal(vhu_vring_inflight(ring), 0);
}

/* Exactly one, of that kind. */
static inline struct vhu_ring_event expect(enum vhu_breach breach)
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

static inline void toy_attach(uint16_t base)
{
	const struct vhu_ring_layout *l = &layout.ring[0];

	toy = (struct toy){.size = l->size, .seen = base, .idx = base};
	toy.desc = vhu_mem_at(mem, l->desc, l->desc_len);
	toy.avail = vhu_mem_at(mem, l->avail, l->avail_len);
	toy.used = vhu_mem_at(mem, l->used, l->used_len);
}

static inline void open_format(bool packed, uint16_t size, bool event_idx, bool indirect, bool in_order)
{
	struct vhu_layout_opts lo = {.size = 16 * MIB,
				     .regions = 2,
				     .backing = VHU_BACKING_MEMFD,
				     .rings = 1,
				     .queue_size = size,
				     .packed = packed};
	struct vhu_vring_opts o = {.queue = 5,
				   .layout = &layout.ring[0],
				   .event_idx = event_idx,
				   .indirect_desc = indirect,
				   .in_order = in_order,
				   .breach = on_breach,
				   .ctx = &ring};
	struct vhu_err err = {0};

	assert_int_equal(vhu_layout_make(&lo, &layout, &err), 0);
	assert_int_equal(vhu_mem_new(&layout, &mem, &err), 0);
	o.mem = mem;
	n_events = 0;
	assert_int_equal(vhu_vring_new(&o, &ring, &err), 0);
}

static inline void open_ring(uint16_t size, bool event_idx, bool indirect, bool in_order)
{
	open_format(false, size, event_idx, indirect, in_order);
	toy_attach(0);
}

static inline void close_ring(void)
{
	uint64_t gpa;

	assert_true(vhu_mem_sweep(mem, &gpa));
	vhu_vring_free(ring);
	vhu_mem_free(mem);
	ring = NULL;
	mem = NULL;
}

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)vhu_le_get(p, 2);
}

static inline void put16(uint8_t *p, uint16_t value)
{
	vhu_le_put(p, 2, value);
}

static inline uint32_t toy_waiting(void)
{
	return (uint16_t)(get16(toy.avail + 2) - toy.seen);
}

static inline uint16_t toy_take(void)
{
	assert_true(toy_waiting() > 0);
	return get16(toy.avail + 4 + 2 * (toy.seen++ & (toy.size - 1)));
}

static inline void toy_element(uint16_t at, uint32_t id, uint32_t len)
{
	uint8_t *p = toy.used + 4 + 8 * (size_t)(at & (toy.size - 1));

	vhu_le_put(p, 4, id);
	vhu_le_put(p + 4, 4, len);
}

static inline void toy_raise(uint16_t idx)
{
	toy.idx = idx;
	put16(toy.used + 2, idx);
}

static inline void toy_return(uint32_t id, uint32_t len)
{
	toy_element(toy.idx, id, len);
	toy_raise((uint16_t)(toy.idx + 1));
}

static inline void toy_serve_all(void)
{
	while (toy_waiting() > 0)
		toy_return(toy_take(), 0);
}

static inline void *cookie(size_t i)
{
	return (void *)(i + 1);
}

static inline int add_n(size_t n, bool indirect, void *c, uint16_t *head)
{
	static struct vhu_sg sg[CHAINS];
	struct vhu_err err = {0};

	for (size_t i = 0; i < n; i++)
		sg[i] = (struct vhu_sg){layout.data[1].gpa + i * 64, 16, i > 0};
	return vhu_vring_add(ring, sg, n, indirect, c, head, &err);
}

static inline uint16_t add(size_t n)
{
	uint16_t head = 0;

	assert_int_equal(add_n(n, false, cookie(0), &head), 0);
	return head;
}

/* One chain of that many descriptors, published and taken by the device. */
static inline uint16_t owned(size_t n)
{
	uint16_t head = add(n);

	vhu_vring_publish(ring);
	assert_int_equal(toy_take(), head);
	return head;
}

static inline size_t reap(void)
{
	return vhu_vring_reap(ring, used, CHAINS);
}

static inline uint64_t peek(const char *at)
{
	uint64_t value = 0;

	assert_int_equal(vhu_vring_peek(ring, at, &value, NULL), 0);
	return value;
}

/* The ring still works, and nothing more is told. */
static inline void still_works(void)
{
	toy_return(owned(1), 0);
	assert_int_equal(reap(), 1);
	vhu_vring_audit(ring);
	expect_none();
}
