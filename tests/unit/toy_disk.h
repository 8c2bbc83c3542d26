/* A disk of a few lines behind split rings, and a driver of ours before it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <device/driver.h>
#include <mem/mem.h>
#include <vring/vring.h>

#define MIB UINT64_C(0x100000)

enum { SECTORS = 4096, SEC = 512, QUEUES = 2, SIZE = 128, DESCS_MAX = 1200, QUIET = -1 };

static struct vhu_layout layout;
static struct vhu_driver *driver;
static struct vhu_mem *mem;
static struct vhu_ring_event events[64];
static size_t n_events;

/* --- the device -------------------------------------------------------------------------------- */

static uint8_t disk[SECTORS * SEC];
static uint16_t seen[QUEUES], returned[QUEUES];

struct request {
	unsigned queue;
	uint16_t head;
	struct {
		uint64_t gpa;
		uint32_t len;
		bool in;
	} d[DESCS_MAX];
	size_t n;
	uint32_t type;
	uint64_t sector;
	uint64_t in_len, out_len;
};

static inline void add_descs(struct request *r, uint64_t table, size_t n, size_t i)
{
	for (;;) {
		const uint8_t *p = vhu_mem_at(mem, table + i * 16, 16);
		uint16_t flags;

		assert_non_null(p);
		assert_true(i < n && r->n < DESCS_MAX);
		flags = (uint16_t)vhu_le_get(p + 12, 2);
		if (flags & VHU_C_DESC_F_INDIRECT) {
			add_descs(r, vhu_le_get(p, 8), vhu_le_get(p + 8, 4) / 16, 0);
			return;
		}
		r->d[r->n].gpa = vhu_le_get(p, 8);
		r->d[r->n].len = (uint32_t)vhu_le_get(p + 8, 4);
		r->d[r->n].in = flags & VHU_C_DESC_F_WRITE;
		*(r->d[r->n].in ? &r->in_len : &r->out_len) += r->d[r->n].len;
		r->n++;
		if (!(flags & VHU_C_DESC_F_NEXT))
			return;
		i = vhu_le_get(p + 14, 2);
	}
}

/* Moves bytes between buf and the chain's readable or writable bytes from `at` on. */
static inline void move(const struct request *r, bool in, uint64_t at, uint8_t *buf, uint64_t len)
{
	for (size_t i = 0; i < r->n && len > 0; i++) {
		uint64_t n;
		uint8_t *p;

		if (r->d[i].in != in)
			continue;
		if (at >= r->d[i].len) {
			at -= r->d[i].len;
			continue;
		}
		n = VHU_MIN(len, r->d[i].len - at);
		p = vhu_mem_at(mem, r->d[i].gpa + at, n);
		assert_non_null(p);
		if (in)
			memcpy(p, buf, n);
		else
			memcpy(buf, p, n);
		buf += n;
		len -= n;
		at = 0;
	}
	assert_int_equal(len, 0);
}

static inline struct request take(unsigned queue)
{
	const struct vhu_ring_layout *l = &layout.ring[queue];
	const uint8_t *avail = vhu_mem_at(mem, l->avail, l->avail_len);
	static struct request r;
	uint8_t header[16] = {0};

	assert_int_not_equal(vhu_le_get(avail + 2, 2), seen[queue]);
	r = (struct request){.queue = queue,
			     .head = (uint16_t)vhu_le_get(avail + 4 + 2 * (seen[queue]++ % SIZE), 2)};
	add_descs(&r, l->desc, SIZE, r.head);
	if (r.out_len >= 16) {
		move(&r, false, 0, header, 16);
		r.type = (uint32_t)vhu_le_get(header, 4);
		r.sector = vhu_le_get(header + 8, 8);
	}
	return r;
}

static inline void set_status(const struct request *r, uint8_t status)
{
	move(r, true, r->in_len - 1, &status, 1);
}

static inline void give_back(const struct request *r, uint32_t len)
{
	const struct vhu_ring_layout *l = &layout.ring[r->queue];
	uint8_t *used = vhu_mem_at(mem, l->used, l->used_len);
	uint8_t *e = used + 4 + 8 * (returned[r->queue] % SIZE);

	vhu_le_put(e, 4, r->head);
	vhu_le_put(e + 4, 4, len);
	vhu_le_put(used + 2, 2, ++returned[r->queue]);
}

/* Does what is asked. Returns the number of data bytes it has written. */
static inline uint32_t perform(const struct request *r, uint8_t *status)
{
	uint64_t out = r->out_len - 16, in = r->in_len - 1, at = r->sector * SEC, n;
	uint8_t range[16];

	*status = VHU_C_BLK_S_OK;
	switch (r->type) {
	case VHU_C_BLK_T_IN:
	case VHU_C_BLK_T_OUT:
		n = r->type == VHU_C_BLK_T_IN ? in : out;
		if (r->sector > SECTORS || n > sizeof(disk) - at || n % SEC) {
			*status = VHU_C_BLK_S_IOERR;
			return 0;
		}
		move(r, r->type == VHU_C_BLK_T_IN, r->type == VHU_C_BLK_T_IN ? 0 : 16, disk + at, n);
		return r->type == VHU_C_BLK_T_IN ? (uint32_t)n : 0;
	case VHU_C_BLK_T_FLUSH:
		return 0;
	case VHU_C_BLK_T_DISCARD:
	case VHU_C_BLK_T_WRITE_ZEROES:
		move(r, false, 16, range, 16);
		at = vhu_le_get(range, 8) * SEC;
		n = vhu_le_get(range + 8, 4) * SEC;
		assert_true(at + n <= sizeof(disk));
		memset(disk + at, r->type == VHU_C_BLK_T_DISCARD ? 0xdd : 0, n);
		return 0;
	case VHU_C_BLK_T_GET_ID:
		move(r, true, 0, (uint8_t *)"a disk\0\0\0\0\0\0\0\0\0\0\0\0\0", VHU_MIN(in, 20u));
		return (uint32_t)VHU_MIN(in, 20u);
	}
	*status = VHU_C_BLK_S_UNSUPP;
	return 0;
}

static inline void finish(const struct request *r)
{
	uint8_t status;
	uint32_t n = perform(r, &status);

	set_status(r, status);
	give_back(r, n + 1);
}

static inline void serve(unsigned queue)
{
	struct request r = take(queue);

	finish(&r);
}

/* --- the tests' side ---------------------------------------------------------------------------- */

static inline void on_breach(void *ctx, const struct vhu_ring_event *event)
{
	assert_ptr_equal(ctx, disk);
	assert_true(n_events < VHU_ARRAY_SIZE(events));
	events[n_events++] = *event;
}

static inline void show(void)
{
	for (size_t i = 0; i < n_events; i++)
		print_error("got: %s: %s\n", vhu_breach_row(events[i].breach)->name, events[i].text);
}

static inline void expect_none(void)
{
	show();
	assert_int_equal(n_events, 0);
}

/* Exactly one, of that kind, with that in its text. */
static inline struct vhu_ring_event expect(enum vhu_breach breach, const char *text)
{
	struct vhu_ring_event e = events[0];

	if (n_events != 1 || e.breach != breach || !strstr(e.text, text))
		show();
	assert_int_equal(n_events, 1);
	assert_int_equal(e.breach, breach);
	assert_non_null(strstr(e.text, text));
	n_events = 0;
	return e;
}

static inline void start(enum vhu_device device, uint64_t features, uint64_t seed)
{
	struct vhu_layout_opts lo = {.size = 16 * MIB,
				     .regions = 2,
				     .backing = VHU_BACKING_MEMFD,
				     .rings = QUEUES,
				     .queue_size = SIZE};
	struct vhu_driver_opts o = {.device = device,
				    .layout = &layout,
				    .features = features,
				    .capacity = SECTORS,
				    .seed = seed,
				    .breach = on_breach,
				    .ctx = disk};
	struct vhu_err err = {0};

	assert_int_equal(vhu_layout_make(&lo, &layout, &err), 0);
	assert_int_equal(vhu_driver_new(&o, &driver, &err), 0);
	mem = vhu_driver_mem(driver);
	memset(seen, 0, sizeof(seen));
	memset(returned, 0, sizeof(returned));
	n_events = 0;
}

static inline int setup(void **state)
{
	start(VHU_DEV_BLK, VHU_V(VIRTIO_RING_F_INDIRECT_DESC), 7);
	memset(disk, 0xee, sizeof(disk));
	return 0;
}

static inline int teardown(void **state)
{
	vhu_driver_free(driver);
	driver = NULL;
	return 0;
}

static inline struct vhu_io *submit_to(unsigned queue, const struct vhu_io_spec *spec)
{
	struct vhu_err err = {0};
	struct vhu_io *io = NULL;
	int r = vhu_driver_submit(driver, queue, spec, &io, &err);

	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	assert_false(vhu_io_done(io));
	assert_int_equal(vhu_io_queue(io), queue);
	vhu_vring_publish(vhu_driver_ring(driver, queue));
	return io;
}

static inline struct vhu_io *submit(const struct vhu_io_spec *spec)
{
	return submit_to(0, spec);
}

static inline struct vhu_io_spec read_spec(uint64_t sector, uint32_t count)
{
	return (struct vhu_io_spec){
		.op = VHU_IO_READ, .sector = sector, .count = count, .verify = true, .statuses = 1};
}

static inline struct vhu_io_spec write_spec(uint64_t sector, uint32_t count)
{
	return (struct vhu_io_spec){.op = VHU_IO_WRITE, .sector = sector, .count = count, .statuses = 1};
}

static inline void poll_one(struct vhu_io *io)
{
	assert_int_equal(vhu_driver_poll(driver), 1);
	assert_true(vhu_io_done(io));
}

/* One request from end to end; returns its status. */
static inline uint8_t run(const struct vhu_io_spec *spec)
{
	struct vhu_io *io = submit(spec);
	uint8_t status;

	serve(0);
	poll_one(io);
	status = vhu_io_status(io);
	vhu_io_free(io);
	return status;
}

static inline void write_at(uint64_t sector, uint32_t count)
{
	struct vhu_io_spec spec = write_spec(sector, count);

	assert_int_equal(run(&spec), 0);
}

static inline void read_at(uint64_t sector, uint32_t count)
{
	struct vhu_io_spec spec = read_spec(sector, count);

	assert_int_equal(run(&spec), 0);
}

static inline void audit_clean(void)
{
	vhu_driver_audit(driver);
	expect_none();
}

/* Requests that came back in another way than well. */
static inline void answer(const struct vhu_io_spec *spec, uint8_t status, bool performed)
{
	struct vhu_io *io = submit(spec);
	struct request r = take(0);
	uint8_t ignored;

	if (performed)
		perform(&r, &ignored);
	set_status(&r, status);
	give_back(&r, 1);
	poll_one(io);
	assert_int_equal(vhu_io_status(io), status);
	assert_false(vhu_io_accepted(io) && spec->statuses == 1);
	vhu_io_free(io);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
