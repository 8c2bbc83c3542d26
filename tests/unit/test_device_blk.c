/* Block requests against a disk of a few lines, which does right or one thing wrong. */
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
	struct { uint64_t gpa; uint32_t len; bool in; } d[DESCS_MAX];
	size_t n;
	uint32_t type;
	uint64_t sector;
	uint64_t in_len, out_len;
};

static void add_descs(struct request *r, uint64_t table, size_t n, size_t i)
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
static void move(const struct request *r, bool in, uint64_t at, uint8_t *buf, uint64_t len)
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

static struct request take(unsigned queue)
{
	const struct vhu_ring_layout *l = &layout.ring[queue];
	const uint8_t *avail = vhu_mem_at(mem, l->avail, l->avail_len);
	static struct request r;
	uint8_t header[16] = {0};

	assert_int_not_equal(vhu_le_get(avail + 2, 2), seen[queue]);
	r = (struct request){.queue = queue, .head = (uint16_t)vhu_le_get(avail + 4 + 2 * (seen[queue]++ % SIZE), 2)};
	add_descs(&r, l->desc, SIZE, r.head);
	if (r.out_len >= 16) {
		move(&r, false, 0, header, 16);
		r.type = (uint32_t)vhu_le_get(header, 4);
		r.sector = vhu_le_get(header + 8, 8);
	}
	return r;
}

static void set_status(const struct request *r, uint8_t status)
{
	move(r, true, r->in_len - 1, &status, 1);
}

static void give_back(const struct request *r, uint32_t len)
{
	const struct vhu_ring_layout *l = &layout.ring[r->queue];
	uint8_t *used = vhu_mem_at(mem, l->used, l->used_len);
	uint8_t *e = used + 4 + 8 * (returned[r->queue] % SIZE);

	vhu_le_put(e, 4, r->head);
	vhu_le_put(e + 4, 4, len);
	vhu_le_put(used + 2, 2, ++returned[r->queue]);
}

/* Does what is asked. Returns the number of data bytes it has written. */
static uint32_t perform(const struct request *r, uint8_t *status)
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

static void finish(const struct request *r)
{
	uint8_t status;
	uint32_t n = perform(r, &status);

	set_status(r, status);
	give_back(r, n + 1);
}

static void serve(unsigned queue)
{
	struct request r = take(queue);

	finish(&r);
}

/* --- the tests' side ---------------------------------------------------------------------------- */

static void on_breach(void *ctx, const struct vhu_ring_event *event)
{
	assert_ptr_equal(ctx, disk);
	assert_true(n_events < VHU_ARRAY_SIZE(events));
	events[n_events++] = *event;
}

static void show(void)
{
	for (size_t i = 0; i < n_events; i++)
		print_error("got: %s: %s\n", vhu_breach_row(events[i].breach)->name, events[i].text);
}

static void expect_none(void)
{
	show();
	assert_int_equal(n_events, 0);
}

/* Exactly one, of that kind, with that in its text. */
static struct vhu_ring_event expect(enum vhu_breach breach, const char *text)
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

static void start(enum vhu_device device, uint64_t features, uint64_t seed)
{
	struct vhu_layout_opts lo = {.size = 16 * MIB, .regions = 2, .backing = VHU_BACKING_MEMFD, .rings = QUEUES,
				     .queue_size = SIZE};
	struct vhu_driver_opts o = {.device = device, .layout = &layout, .features = features, .capacity = SECTORS,
				    .seed = seed, .breach = on_breach, .ctx = disk};
	struct vhu_err err = {0};

	assert_int_equal(vhu_layout_make(&lo, &layout, &err), 0);
	assert_int_equal(vhu_driver_new(&o, &driver, &err), 0);
	mem = vhu_driver_mem(driver);
	memset(seen, 0, sizeof(seen));
	memset(returned, 0, sizeof(returned));
	n_events = 0;
}

static int setup(void **state)
{
	start(VHU_DEV_BLK, VHU_V(VIRTIO_RING_F_INDIRECT_DESC), 7);
	memset(disk, 0xee, sizeof(disk));
	return 0;
}

static int teardown(void **state)
{
	vhu_driver_free(driver);
	driver = NULL;
	return 0;
}

static struct vhu_io *submit_to(unsigned queue, const struct vhu_io_spec *spec)
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

static struct vhu_io *submit(const struct vhu_io_spec *spec)
{
	return submit_to(0, spec);
}

static struct vhu_io_spec read_spec(uint64_t sector, uint32_t count)
{
	return (struct vhu_io_spec){.op = VHU_IO_READ, .sector = sector, .count = count, .verify = true, .statuses = 1};
}

static struct vhu_io_spec write_spec(uint64_t sector, uint32_t count)
{
	return (struct vhu_io_spec){.op = VHU_IO_WRITE, .sector = sector, .count = count, .statuses = 1};
}

static void poll_one(struct vhu_io *io)
{
	assert_int_equal(vhu_driver_poll(driver), 1);
	assert_true(vhu_io_done(io));
}

/* One request from end to end; returns its status. */
static uint8_t run(const struct vhu_io_spec *spec)
{
	struct vhu_io *io = submit(spec);
	uint8_t status;

	serve(0);
	poll_one(io);
	status = vhu_io_status(io);
	vhu_io_free(io);
	return status;
}

static void write_at(uint64_t sector, uint32_t count)
{
	struct vhu_io_spec spec = write_spec(sector, count);

	assert_int_equal(run(&spec), 0);
}

static void read_at(uint64_t sector, uint32_t count)
{
	struct vhu_io_spec spec = read_spec(sector, count);

	assert_int_equal(run(&spec), 0);
}

static void audit_clean(void)
{
	vhu_driver_audit(driver);
	expect_none();
}

/* --- requests ------------------------------------------------------------------------------------ */

static void test_every_op(void **state)
{
	static const struct {
		struct vhu_io_spec spec;
		uint32_t type, len, descs;
		uint8_t status;
		const char *words;
	} rows[] = {
		{{.op = VHU_IO_WRITE, .sector = 8, .count = 8}, 1, 1, 3, 0, "write sector 8, 8 sectors, queue 0, head"},
		{{.op = VHU_IO_READ, .sector = 8, .count = 8, .verify = true}, 0, 4097, 3, 0, "read sector 8, 8 sectors"},
		{{.op = VHU_IO_READ, .sector = 8, .count = 0}, 0, 1, 2, 0, "read sector 8, 0 sectors"},
		{{.op = VHU_IO_FLUSH}, 4, 1, 2, 0, "flush, queue 0"},
		{{.op = VHU_IO_DISCARD, .sector = 99, .count = 3}, 11, 1, 3, 0, "discard sector 99, 3 sectors"},
		{{.op = VHU_IO_WRITE_ZEROES, .sector = 9, .count = 2}, 13, 1, 3, 0, "write zeroes sector 9"},
		{{.op = VHU_IO_GET_ID}, 8, 21, 3, 0, "get id, queue 0"},
		{{.op = VHU_IO_RAW, .type = 0x7f, .count = 0}, 0x7f, 1, 2, 2, "request of type 127"},
		{{.op = VHU_IO_RAW, .type = 0x7e, .count = 2}, 0x7e, 1, 3, 2, "request of type 126"},
		{{.op = VHU_IO_RAW, .type = 1, .sector = 50, .count = 2}, 1, 1, 3, 0, "request of type 1,"},
		{{.op = VHU_IO_RAW, .type = 0, .sector = 50, .count = 2, .verify = true}, 0, 1025, 3, 0, "type 0"},
		{{.op = VHU_IO_READ, .sector = SECTORS, .count = 1}, 0, 1, 3, 1, "read"},
	};
	struct vhu_err err = {0};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_io_spec spec = rows[i].spec;
		struct vhu_io *io;
		struct request r;
		char text[200];

		spec.statuses = 1u << rows[i].status;
		io = submit(&spec);
		assert_int_equal(vhu_io_status(io), 0xff);
		assert_false(vhu_io_accepted(io));
		r = take(0);
		assert_int_equal(r.type, rows[i].type);
		assert_int_equal(r.n, rows[i].descs);
		assert_int_equal(r.d[0].len, 16);
		assert_int_equal(r.d[r.n - 1].len, 1);
		assert_int_equal(vhu_io_writable(io), r.in_len);
		finish(&r);
		poll_one(io);
		assert_int_equal(vhu_io_seq(io), i + 1);
		assert_int_equal(vhu_io_done_seq(io), i + 1);
		assert_int_equal(vhu_io_status(io), rows[i].status);
		assert_true(vhu_io_accepted(io));
		assert_int_equal(vhu_io_used_len(io), rows[i].len);
		assert_int_equal(vhu_io_expected_len(io), rows[i].len);
		assert_non_null(strstr(vhu_io_describe(io, text, sizeof(text)), rows[i].words));
		assert_int_equal(strlen(vhu_io_describe(io, text, 6)), 5);
		vhu_io_free(io);
		expect_none();
	}
	(void)err;
	audit_clean();
}

static void test_header(void **state)
{
	struct vhu_io_spec spec = {.op = VHU_IO_WRITE_ZEROES, .sector = 0x123, .count = 0x45};
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	uint8_t out[32];

	/* The range says where, and the header's sector is 0. */
	move(&r, false, 0, out, 32);
	assert_int_equal(vhu_le_get(out, 4), 13);
	assert_int_equal(vhu_le_get(out + 4, 8), 0);
	assert_int_equal(vhu_le_get(out + 8, 8), 0);
	assert_int_equal(vhu_le_get(out + 16, 8), 0x123);
	assert_int_equal(vhu_le_get(out + 24, 4), 0x45);
	assert_int_equal(vhu_le_get(out + 28, 4), 0);
	finish(&r);
	poll_one(io);
	audit_clean();
}

static void test_patterns(void **state)
{
	struct vhu_io_spec spec = write_spec(10, 2);

	assert_int_equal(run(&spec), 0);
	assert_memory_not_equal(disk + 10 * SEC, disk + 11 * SEC, SEC);
	spec.pattern = VHU_PATTERN_FILL;
	spec.pattern_arg = 0xab;
	spec.sector = 20;
	assert_int_equal(run(&spec), 0);
	for (size_t i = 0; i < 2 * SEC; i++)
		assert_int_equal(disk[20 * SEC + i], 0xab);
	spec.pattern = VHU_PATTERN_SEED;
	spec.pattern_arg = 5;
	spec.sector = 30;
	assert_int_equal(run(&spec), 0);
	assert_memory_not_equal(disk + 30 * SEC, disk + 31 * SEC, SEC);
	spec.pattern = VHU_PATTERN_ZERO;
	spec.sector = 40;
	assert_int_equal(run(&spec), 0);
	assert_int_equal(disk[40 * SEC + 77], 0);
	for (uint64_t s = 10; s < 50; s += 10)
		read_at(s, 2);
	read_at(0, 64);
	expect_none();
	/* Each is known by content: one bit is seen. */
	for (uint64_t s = 10; s < 50; s += 10) {
		disk[s * SEC + 300] ^= 1;
		read_at(s, 2);
		assert_int_equal(n_events, 1);
		n_events = 0;
		disk[s * SEC + 300] ^= 1;
	}
	audit_clean();
}

/* The same data however it is cut. */
static void test_segments(void **state)
{
	static const uint32_t cuts[][4] = {{4096}, {1, 511, 1024, 2560}, {4095, 1}, {512, 3584}, {0, 4096, 0}, {1, 4094, 0, 1}};
	static const size_t n[] = {1, 4, 2, 2, 3, 4};
	uint64_t sector = 0;

	for (int indirect = 0; indirect < 2; indirect++) {
		for (size_t i = 0; i < VHU_ARRAY_SIZE(n); i++, sector += 8) {
			struct vhu_io_spec spec = write_spec(sector, 8);
			struct vhu_io *io;
			struct request r;

			spec.segments = cuts[i];
			spec.n_segments = n[i];
			spec.indirect = indirect;
			assert_int_equal(run(&spec), 0);
			read_at(sector, 8);
			spec.op = VHU_IO_READ;
			spec.verify = true;
			io = submit(&spec);
			r = take(0);
			assert_int_equal(r.n, n[i] + 2);
			for (size_t k = 0; k < n[i]; k++)
				assert_int_equal(r.d[k + 1].len, cuts[i][k]);
			finish(&r);
			poll_one(io);
			assert_int_equal(vhu_io_status(io), 0);
			vhu_io_free(io);
		}
	}
	audit_clean();
}

static void test_many_segments(void **state)
{
	static uint32_t cuts[VHU_IO_SEGMENTS_MAX + 1];
	struct vhu_io_spec spec = write_spec(0, 32);
	struct vhu_err err = {0};
	struct vhu_io *io;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(cuts); i++)
		cuts[i] = 16;
	spec.segments = cuts;
	spec.n_segments = VHU_IO_SEGMENTS_MAX + 1;
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	spec.n_segments = VHU_IO_SEGMENTS_MAX;
	spec.indirect = true;
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -ENOSPC);	/* longer than the ring */
	for (size_t i = 0; i < 126; i++)
		cuts[i] = 32 * SEC / 126 + (i < 32 * SEC % 126);
	spec.n_segments = 126;
	assert_int_equal(run(&spec), 0);
	spec.indirect = false;
	assert_int_equal(run(&spec), 0);
	read_at(0, 32);
	audit_clean();
}

static void test_queues(void **state)
{
	struct vhu_io_spec w = write_spec(0, 8), r = read_spec(0, 8);
	struct vhu_io *a = submit_to(0, &w), *b, *c;

	serve(0);
	poll_one(a);
	b = submit_to(1, &r);
	c = submit_to(1, &r);
	struct request first = take(1);
	serve(1);	/* the second overtakes */
	finish(&first);
	assert_int_equal(vhu_driver_poll(driver), 2);
	assert_true(vhu_io_seq(a) < vhu_io_seq(b) && vhu_io_seq(b) < vhu_io_seq(c));
	assert_true(vhu_io_done_seq(c) < vhu_io_done_seq(b));
	assert_int_equal(vhu_driver_rings(driver), QUEUES);
	assert_null(vhu_driver_ring(driver, QUEUES));
	audit_clean();
}

static void test_written_ranges(void **state)
{
	static const uint32_t cuts[] = {1, 511};
	struct vhu_io_spec spec = {.op = VHU_IO_READ, .count = 1, .segments = cuts, .n_segments = 2};
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	uint64_t gpa;
	uint32_t len;

	for (size_t i = 0; i < 3; i++) {
		assert_true(vhu_io_written(io, i, &gpa, &len));
		assert_int_equal(gpa, r.d[i + 1].gpa);
		assert_int_equal(len, r.d[i + 1].len);
	}
	assert_false(vhu_io_written(io, 3, &gpa, &len));
	finish(&r);
	poll_one(io);
	audit_clean();
}

/* --- what cannot be submitted --------------------------------------------------------------------- */

static void test_refused(void **state)
{
	static const uint32_t eight[] = {8};
	struct vhu_io_spec spec = read_spec(0, 8);
	struct vhu_err err = {0};
	struct vhu_io *io = (void *)1;

	assert_int_equal(vhu_driver_submit(driver, QUEUES, &spec, &io, &err), -EINVAL);
	spec.op = VHU_IO_OP_MAX;
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	spec = (struct vhu_io_spec){.op = VHU_IO_DISCARD, .count = 1, .segments = eight, .n_segments = 1};
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	spec.op = VHU_IO_FLUSH;
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	spec = read_spec(0, UINT32_MAX);
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	spec = write_spec(0, 64 * 2048);	/* 64 MiB */
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -ENOSPC);
	spec = (struct vhu_io_spec){.op = VHU_IO_CHAIN};
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	vhu_driver_features(driver, 0);
	spec = read_spec(0, 8);
	spec.indirect = true;
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	assert_ptr_equal(io, (void *)1);
	audit_clean();
}

/* A full ring refuses, and what was refused is nowhere booked. */
static void test_ring_full(void **state)
{
	struct vhu_io_spec spec = write_spec(0, 1);
	struct vhu_io *io[SIZE];
	size_t n = 0;

	while (vhu_driver_submit(driver, 0, &spec, &io[n], NULL) == 0)
		n++;
	assert_int_equal(n, SIZE / 3);
	vhu_vring_publish(vhu_driver_ring(driver, 0));
	for (size_t i = 0; i < n; i++)
		serve(0);
	assert_int_equal(vhu_driver_poll(driver), n);
	for (size_t i = 0; i < n; i++)
		vhu_io_free(io[i]);
	write_at(0, 1);
	read_at(0, 1);
	memset(disk, 1, SEC);
	read_at(0, 1);
	expect(VHU_BREACH_BLK_READ_WRONG, "sector 0");
	audit_clean();
}

/* Buffers are only held back as long as there is room for others. */
static void test_memory_comes_back(void **state)
{
	for (int i = 0; i < 200; i++) {
		struct vhu_io_spec spec = write_spec((uint64_t)i % 4 * 1024, (i % 3 + 1) * 1024 / 3);

		if (i % 10 == 9)
			spec = (struct vhu_io_spec){.op = VHU_IO_READ, .count = 4096};
		assert_int_equal(run(&spec), 0);
	}
	audit_clean();
}

/* --- what is verified ------------------------------------------------------------------------------ */

static void damage(void (*f)(uint8_t *sector), uint64_t sector, enum vhu_breach breach, const char *text)
{
	uint8_t old[SEC];

	memcpy(old, disk + sector * SEC, SEC);
	f(disk + sector * SEC);
	read_at(sector - 2, 8);
	expect(breach, text);
	memcpy(disk + sector * SEC, old, SEC);
	read_at(sector - 2, 8);
	expect_none();
}

static uint8_t older[SEC], foreign[SEC], other_run[SEC];

static void make_stale(uint8_t *p) { memcpy(p, older, SEC); }
static void make_foreign(uint8_t *p) { memcpy(p, foreign, SEC); }
static void make_other_run(uint8_t *p) { memcpy(p, other_run, SEC); }
static void make_torn(uint8_t *p) { memcpy(p + 256, older + 256, 256); }
static void make_torn_front(uint8_t *p) { memset(p, 0, 100); }
static void make_flip(uint8_t *p) { p[200] ^= 0x10; }
static void make_zero(uint8_t *p) { memset(p, 0, SEC); }
static void make_garbage(uint8_t *p) { memset(p, 0x5c, SEC); }

static void test_mismatches(void **state)
{
	vhu_driver_free(driver);
	start(VHU_DEV_BLK, 0, 1234);	/* an earlier run on the same disk */
	write_at(102, 1);
	memcpy(other_run, disk + 102 * SEC, SEC);
	vhu_driver_free(driver);
	start(VHU_DEV_BLK, 0, 7);

	write_at(100, 8);
	memcpy(older, disk + 102 * SEC, SEC);
	memcpy(foreign, disk + 105 * SEC, SEC);
	write_at(100, 8);
	read_at(100, 8);
	expect_none();
	damage(make_stale, 102, VHU_BREACH_BLK_WRITE_LOST, "sector 102: stale: generation 1; expected generation 2");
	damage(make_foreign, 102, VHU_BREACH_BLK_READ_WRONG, "the data of sector 105, generation 1; expected generation 2");
	damage(make_other_run, 102, VHU_BREACH_BLK_WRITE_LOST, "a stamp of an earlier run");
	damage(make_torn, 102, VHU_BREACH_BLK_WRITE_LOST, "torn: generation 2 at its start, 1 at its end");
	damage(make_torn_front, 102, VHU_BREACH_BLK_WRITE_LOST, "torn: it ends with sector 102, generation 2");
	damage(make_flip, 102, VHU_BREACH_BLK_WRITE_LOST, "generation 2 up to byte 200");
	damage(make_zero, 102, VHU_BREACH_BLK_WRITE_LOST, "zeroes; expected generation 2");
	damage(make_garbage, 102, VHU_BREACH_BLK_READ_WRONG, "garbage: 5c 5c");

	/* One breach a request. */
	memset(disk + 100 * SEC, 9, 8 * SEC);
	read_at(100, 8);
	expect(VHU_BREACH_BLK_READ_WRONG, "sector 100: garbage: 09 09 09 09 09 09 09 09; expected generation 2 (and 7 more)");
	/* Nobody asked. */
	struct vhu_io_spec spec = read_spec(100, 8);
	spec.verify = false;
	assert_int_equal(run(&spec), 0);
	audit_clean();
}

static void test_never_written(void **state)
{
	write_at(100, 1);
	memset(disk, 0x77, sizeof(disk));
	read_at(0, 100);
	read_at(101, 100);
	expect_none();
	read_at(90, 20);
	expect(VHU_BREACH_BLK_READ_WRONG, "sector 100");
	/* Another medium. */
	vhu_driver_forget_data(driver);
	read_at(90, 20);
	audit_clean();
}

static void test_zeroes(void **state)
{
	struct vhu_io_spec spec = {.op = VHU_IO_WRITE_ZEROES, .sector = 10, .count = 4};

	write_at(8, 8);
	assert_int_equal(run(&spec), 0);
	read_at(8, 8);
	expect_none();
	disk[12 * SEC] = 1;
	read_at(8, 8);
	expect(VHU_BREACH_BLK_ZEROES_WRONG, "sector 12: garbage");
	write_at(12, 1);
	read_at(8, 8);
	/* Zeroes that a write has written are data. */
	spec = write_spec(20, 1);
	spec.pattern = VHU_PATTERN_ZERO;
	assert_int_equal(run(&spec), 0);
	disk[20 * SEC] = 1;
	expect_none();
	read_at(20, 1);
	expect(VHU_BREACH_BLK_READ_WRONG, "expected zeroes");
	audit_clean();
}

/* Requests that came back in another way than well. */
static void answer(const struct vhu_io_spec *spec, uint8_t status, bool performed)
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

static void test_failed_writes(void **state)
{
	struct vhu_io_spec spec = write_spec(8, 4), zero = {.op = VHU_IO_WRITE_ZEROES, .sector = 8, .count = 2};

	/* Done or not, in part or whole: either is right, until the next one. */
	write_at(8, 4);
	answer(&spec, 1, false);
	read_at(8, 4);
	answer(&spec, 1, true);
	read_at(8, 4);
	disk[8 * SEC] ^= 1;
	read_at(8, 4);
	expect_none();
	write_at(8, 4);
	disk[8 * SEC] ^= 1;
	read_at(8, 4);
	assert_int_equal(n_events, 1);
	n_events = 0;
	disk[8 * SEC] ^= 1;

	/* Not supported: not done. */
	answer(&zero, 2, false);
	read_at(8, 4);
	expect_none();
	answer(&zero, 2, true);
	read_at(8, 4);
	expect(VHU_BREACH_BLK_WRITE_LOST, "zeroes; expected generation");
	write_at(8, 4);

	/* A read-only device does nothing either. */
	vhu_driver_features(driver, VHU_V(VIRTIO_BLK_F_RO));
	answer(&spec, 1, false);
	read_at(8, 4);
	expect_none();
	answer(&spec, 1, true);
	read_at(8, 4);
	expect(VHU_BREACH_BLK_WRITE_LOST, "generation");
	audit_clean();
}

static void test_discard(void **state)
{
	struct vhu_io_spec spec = {.op = VHU_IO_DISCARD, .sector = 10, .count = 2};

	write_at(8, 8);
	assert_int_equal(run(&spec), 0);
	read_at(8, 8);
	expect_none();
	write_at(10, 1);
	memset(disk + 10 * SEC, 0, 2 * SEC);
	read_at(8, 8);
	expect(VHU_BREACH_BLK_WRITE_LOST, "sector 10: zeroes");
	audit_clean();
}

/* Ranges as large as the field holds cost nothing much and judge what is known. */
static void test_huge_ranges(void **state)
{
	struct vhu_io_spec spec = {.op = VHU_IO_WRITE_ZEROES, .sector = 1, .count = UINT32_MAX};
	struct vhu_io_spec far = write_spec(SECTORS - 1, 1);
	struct vhu_io *io, *w;
	struct request r;

	assert_int_equal(run(&far), 0);
	io = submit(&spec);
	r = take(0);
	/* A sector that gets known while it is in flight may be zeroed as well. */
	w = submit_to(1, &(struct vhu_io_spec){.op = VHU_IO_WRITE, .sector = 3000, .count = 1});
	serve(1);
	poll_one(w);
	memset(disk + SEC, 0, sizeof(disk) - SEC);
	set_status(&r, 0);
	give_back(&r, 1);
	poll_one(io);
	read_at(0, 64);
	read_at(3000, 1);
	read_at(SECTORS - 1, 1);
	expect_none();
	disk[sizeof(disk) - 1] = 1;
	read_at(SECTORS - 1, 1);
	expect(VHU_BREACH_BLK_ZEROES_WRONG, "sector 4095");
	spec.op = VHU_IO_DISCARD;
	spec.sector = UINT64_MAX - 5;	/* runs over the end of numbers */
	answer(&spec, 1, false);
	disk[10 * SEC] = 1;
	expect_none();
	read_at(10, 1);
	expect_none();	/* sector 10 is in it */
	audit_clean();
}

static void test_concurrent_writes(void **state)
{
	struct vhu_io_spec spec = write_spec(8, 1);
	uint8_t first[SEC], second[SEC];
	struct vhu_io *a, *b, *rd;
	struct vhu_io_spec rs = read_spec(8, 1);
	struct request ra, rb, rr;

	write_at(8, 1);
	memcpy(older, disk + 8 * SEC, SEC);
	a = submit(&spec);
	ra = take(0);
	b = submit(&spec);
	rb = take(0);
	/* In flight: neither, one, or the other. */
	read_at(8, 1);
	finish(&ra);
	memcpy(first, disk + 8 * SEC, SEC);
	poll_one(a);
	read_at(8, 1);
	finish(&rb);
	memcpy(second, disk + 8 * SEC, SEC);
	poll_one(b);
	read_at(8, 1);
	expect_none();
	/* Which of them came last is the device's to choose. */
	memcpy(disk + 8 * SEC, first, SEC);
	read_at(8, 1);
	expect_none();
	/* What was there before both is gone. */
	memcpy(disk + 8 * SEC, older, SEC);
	read_at(8, 1);
	expect(VHU_BREACH_BLK_WRITE_LOST, "stale: generation 1; expected generation 3");

	/* A later one ends the doubt. */
	write_at(8, 1);
	memcpy(disk + 8 * SEC, second, SEC);
	read_at(8, 1);
	expect(VHU_BREACH_BLK_WRITE_LOST, "stale: generation 3; expected generation 4");

	/* A read that was sent before a write ended may see the old data, and the new. */
	write_at(8, 1);
	memcpy(first, disk + 8 * SEC, SEC);
	rd = submit(&rs);
	rr = take(0);
	write_at(8, 1);
	memcpy(second, disk + 8 * SEC, SEC);
	write_at(8, 1);
	move(&rr, true, 0, first, SEC);
	set_status(&rr, 0);
	give_back(&rr, 513);
	poll_one(rd);
	expect_none();
	rd = submit(&rs);
	rr = take(0);
	move(&rr, true, 0, second, SEC);	/* replaced before this one was sent */
	set_status(&rr, 0);
	give_back(&rr, 513);
	poll_one(rd);
	expect(VHU_BREACH_BLK_WRITE_LOST, "stale: generation 6; expected generation 7");
	audit_clean();
}

/* More writes to one sector than anyone keeps apart. */
static void test_many_concurrent(void **state)
{
	struct vhu_io_spec spec = write_spec(0, 1);

	vhu_driver_features(driver, VHU_V(VIRTIO_RING_F_INDIRECT_DESC));
	for (int round = 0; round < 6; round++) {
		spec.indirect = true;
		for (int i = 0; i < SIZE; i++)
			submit_to(round % QUEUES, &spec);
		if (round < 4)
			vhu_driver_abandon(driver, (unsigned)round % QUEUES);
		else
			for (int i = 0; i < SIZE; i++)
				serve((unsigned)round % QUEUES);
		if (round < 4) {
			vhu_vring_reset(vhu_driver_ring(driver, (unsigned)round % QUEUES), 0);
			seen[round % QUEUES] = returned[round % QUEUES] = 0;
		} else {
			assert_int_equal(vhu_driver_poll(driver), SIZE);
		}
	}
	read_at(0, 1);
	audit_clean();
}

/* --- status and length ----------------------------------------------------------------------------- */

static void test_status(void **state)
{
	struct vhu_io_spec spec = read_spec(0, 1);
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);

	move(&r, true, 0, disk, SEC);
	give_back(&r, 513);
	poll_one(io);
	expect(VHU_BREACH_BLK_STATUS_MISSING, "read sector 0, 1 sectors, queue 0, head");
	assert_int_equal(vhu_io_status(io), 0xff);
	assert_false(vhu_io_accepted(io));
	answer(&spec, 3, true);
	expect(VHU_BREACH_BLK_STATUS_UNKNOWN, "status 3, must be 0 to 2");
	vhu_driver_features(driver, VHU_V(VIRTIO_BLK_F_ZONED));
	answer(&spec, 6, false);
	expect_none();
	answer(&spec, 7, false);
	expect(VHU_BREACH_BLK_STATUS_UNKNOWN, "status 7");
	/* After such an answer nobody knows what was written. */
	write_at(5, 1);
	spec = write_spec(5, 1);
	answer(&spec, 200, false);
	n_events = 0;
	disk[5 * SEC] ^= 1;
	read_at(5, 1);
	audit_clean();
}

/* A read of 8 sectors answered with that status, used length and number of bytes filled. */
static void read_with(uint8_t status, uint32_t len, size_t filled)
{
	struct vhu_io_spec spec = {.op = VHU_IO_READ, .sector = 64, .count = 8, .verify = true};
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);

	move(&r, true, 0, disk + 64 * SEC, filled);
	set_status(&r, status);
	give_back(&r, len);
	poll_one(io);
	vhu_io_free(io);
}

static void test_read_lengths(void **state)
{
	write_at(64, 8);
	/* Data and status, or data alone. */
	read_with(0, 4097, 4096);
	read_with(0, 4096, 4096);
	expect_none();
	read_with(0, 4095, 4096);
	expect(VHU_BREACH_USED_LEN_SHORT, "used length 4095, 4096 bytes of data were written");
	read_with(0, 0, 4096);
	expect(VHU_BREACH_USED_LEN_SHORT, "used length 0");
	read_with(0, 513, 4096);
	expect(VHU_BREACH_USED_LEN_SHORT, "used length 513");
	read_with(0, 4098, 4096);
	expect(VHU_BREACH_USED_LEN_LONG, "4097 bytes are writable");
	/* Claimed and not there. */
	read_with(0, 4097, 2048);
	expect(VHU_BREACH_CLAIMED_UNWRITTEN, "byte 2048 of the data was not written");
	read_with(0, 4097, 0);
	expect(VHU_BREACH_CLAIMED_UNWRITTEN, "byte 0 ");
	/* Not there, nor claimed: then OK is wrong. */
	read_with(0, 2048, 2048);
	expect(VHU_BREACH_BLK_READ_WRONG, "status OK, but byte 2048 of the data was not written");
	/* Failed: the status alone, nothing, or what was filled. */
	read_with(1, 1, 0);
	read_with(1, 0, 0);
	read_with(1, 1024, 1024);
	read_with(2, 1, 0);
	expect_none();
	read_with(1, 4097, 0);
	expect(VHU_BREACH_BLK_FAILED_LEN, "status 1 and used length 4097, but byte 0 was not written");
	read_with(2, 1032, 1024);
	expect(VHU_BREACH_BLK_FAILED_LEN, "byte 1024");
	/* A few bytes prove nothing. */
	read_with(1, 4, 0);
	audit_clean();
}

static void test_other_lengths(void **state)
{
	static const struct vhu_io_spec specs[] = {
		{.op = VHU_IO_WRITE, .count = 8}, {.op = VHU_IO_FLUSH}, {.op = VHU_IO_DISCARD, .count = 1},
		{.op = VHU_IO_RAW, .type = 99},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(specs); i++) {
		for (uint32_t len = 0; len < 3; len++) {
			struct vhu_io *io = submit(&specs[i]);
			struct request r = take(0);

			set_status(&r, 0);
			give_back(&r, len);
			poll_one(io);
			if (len < 2)
				expect_none();	/* the status counts or not */
			else
				expect(VHU_BREACH_USED_LEN_LONG, "");
			vhu_io_free(io);
		}
	}
	audit_clean();
}

/* IN_ORDER: one element for several; its length says nothing about the others. */
static void test_batch(void **state)
{
	struct vhu_io_spec spec = read_spec(64, 8);
	struct vhu_io *io[4];
	struct request r;
	uint8_t status;

	vhu_driver_free(driver);
	start(VHU_DEV_BLK, VHU_V(VIRTIO_F_IN_ORDER), 7);
	write_at(64, 8);
	for (int i = 0; i < 4; i++)
		io[i] = submit(&spec);
	for (int i = 0; i < 4; i++) {
		r = take(0);
		perform(&r, &status);
		set_status(&r, i == 1 ? 1 : 0);
	}
	uint8_t *used = vhu_mem_at(mem, layout.ring[0].used, 64);
	vhu_le_put(used + 4 + 8, 4, r.head);
	vhu_le_put(used + 4 + 12, 4, 4097);
	vhu_le_put(used + 2, 2, 5);
	assert_int_equal(vhu_driver_poll(driver), 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(vhu_io_status(io[i]), i == 1);
	audit_clean();
}

/* --- memory ------------------------------------------------------------------------------------------ */

static struct vhu_ring_event stray(size_t desc, int64_t at, enum vhu_breach breach, const char *text)
{
	struct vhu_io_spec spec = read_spec(0, 1);
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	uint64_t gpa = r.d[desc].gpa + (at < 0 ? (uint64_t)at : r.d[desc].len + (uint64_t)at);
	struct vhu_ring_event e;

	*(uint8_t *)vhu_mem_at(mem, gpa, 1) ^= 0x11;
	finish(&r);
	poll_one(io);
	e = expect(breach, text);
	assert_int_equal(e.gpa, gpa);
	vhu_io_free(io);
	return e;
}

static void test_canaries(void **state)
{
	stray(1, 0, VHU_BREACH_WROTE_OUTSIDE, "0 bytes behind its data");
	stray(1, 63, VHU_BREACH_WROTE_OUTSIDE, "63 bytes behind its data");
	stray(1, -1, VHU_BREACH_WROTE_OUTSIDE, "1 bytes in front of its data");
	stray(2, 0, VHU_BREACH_WROTE_OUTSIDE, "behind its status");
	stray(2, -64, VHU_BREACH_WROTE_OUTSIDE, "64 bytes in front of its status");
	stray(0, 10, VHU_BREACH_WROTE_OUTSIDE, "10 bytes behind its header");
	audit_clean();
}

static void test_readable(void **state)
{
	struct vhu_io_spec spec = write_spec(0, 2);
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	uint8_t *p = vhu_mem_at(mem, r.d[1].gpa, 1024);

	p[1000] ^= 0xff;
	finish(&r);
	poll_one(io);
	assert_int_equal(expect(VHU_BREACH_WROTE_READABLE, "byte 1000 of its data").gpa, r.d[1].gpa + 1000);
	/* While it is in flight the audit looks. */
	io = submit(&spec);
	r = take(0);
	p = vhu_mem_at(mem, r.d[0].gpa, 16);
	p[4] = 0x77;
	vhu_driver_audit(driver);
	expect(VHU_BREACH_WROTE_READABLE, "byte 4 of its header is 0x77, was 0x00");
	finish(&r);
	poll_one(io);
	audit_clean();
}

static void test_after_used(void **state)
{
	struct vhu_io_spec spec = read_spec(0, 8);
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);

	finish(&r);
	poll_one(io);
	audit_clean();
	/* The same data once more, before and after its owner has let go. */
	move(&r, true, 0, disk, 4096);
	vhu_driver_audit(driver);
	assert_int_equal(expect(VHU_BREACH_WROTE_AFTER_USED, "of its data").gpa, r.d[1].gpa);
	vhu_io_free(io);
	set_status(&r, 0);
	vhu_driver_audit(driver);
	expect(VHU_BREACH_WROTE_AFTER_USED, "byte 0 of its status");
	*(uint8_t *)vhu_mem_at(mem, r.d[0].gpa + 3, 1) ^= 1;
	for (int i = 0; i < 200; i++)	/* looked at when the buffer is taken back */
		read_at(0, 1);
	expect(VHU_BREACH_WROTE_AFTER_USED, "byte 3 of its header");
	audit_clean();
}

static void test_outside(void **state)
{
	uint64_t gpa = layout.region[1].gpa + layout.region[1].size - 3;

	read_at(0, 8);
	*(uint8_t *)vhu_mem_at(mem, gpa, 1) = 1;
	vhu_driver_audit(driver);
	assert_int_equal(expect(VHU_BREACH_WROTE_OUTSIDE, "was written").gpa, gpa);
	audit_clean();
	/* Between the parts of the rings. */
	gpa = layout.ring[0].used + layout.ring[0].used_len + 10;
	*(uint8_t *)vhu_mem_at(mem, gpa, 1) = 1;
	vhu_driver_audit(driver);
	assert_int_equal(expect(VHU_BREACH_WROTE_OUTSIDE, "10 bytes behind the used ring of queue 0").gpa, gpa);
	*(uint8_t *)vhu_mem_at(mem, gpa, 1) = 0;
	gpa = layout.ring[1].desc + layout.ring[1].desc_len;
	if (gpa < layout.ring[1].avail) {
		*(uint8_t *)vhu_mem_at(mem, gpa, 1) = 1;
		vhu_driver_audit(driver);
		expect(VHU_BREACH_WROTE_OUTSIDE, "0 bytes behind the descriptor table of queue 1");
		*(uint8_t *)vhu_mem_at(mem, gpa, 1) = 0;
	}
	/* The rings' own findings come through the same call. */
	*(uint8_t *)vhu_mem_at(mem, layout.ring[1].desc, 1) = 1;
	vhu_driver_audit(driver);
	assert_int_equal(expect(VHU_BREACH_WROTE_DESC, "").queue, 1);
	audit_clean();
}

/* --- the id ------------------------------------------------------------------------------------------- */

static void id_with(const char *bytes, size_t n, uint32_t len)
{
	struct vhu_io_spec spec = {.op = VHU_IO_GET_ID};
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);

	move(&r, true, 0, (uint8_t *)(uintptr_t)bytes, n);
	set_status(&r, 0);
	give_back(&r, len);
	poll_one(io);
	vhu_io_free(io);
}

static void test_id(void **state)
{
	static const uint32_t odd[] = {1, 19, 512};

	id_with("disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 21);
	id_with("disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 20);	/* without the status */
	id_with("disk", 5, 21);	/* the string and one NUL only */
	expect_none();
	id_with("disk\0\0\0\0\0\0\0\0junk\0\0\0\0", 20, 21);
	expect(VHU_BREACH_BLK_ID_FORM, "byte 12 is 0x6a, behind the end of the id at 4");
	id_with("another\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 21);
	expect(VHU_BREACH_BLK_ID_FORM, "the id was \"disk\" before and is \"another\" now");
	id_with("", 0, 21);
	expect(VHU_BREACH_BLK_ID_FORM, "was not written");
	vhu_driver_forget_data(driver);
	id_with("twenty characters ok", 20, 21);	/* no NUL at all */
	expect_none();
	id_with("twenty characters ok", 20, 1);
	expect(VHU_BREACH_USED_LEN_SHORT, "used length 1, 20 bytes");
	/* Buffers of other sizes are a case's own business. */
	for (size_t i = 0; i < VHU_ARRAY_SIZE(odd); i++) {
		struct vhu_io_spec spec = {.op = VHU_IO_GET_ID, .segments = &odd[i], .n_segments = 1};

		assert_int_equal(run(&spec), 0);
	}
	audit_clean();
}

/* --- free chains ---------------------------------------------------------------------------------------- */

static void test_chain(void **state)
{
	static const uint8_t header[16] = {VHU_C_BLK_T_GET_ID};
	struct vhu_chain_part parts[] = {
		{.bytes = header, .len = 3}, {.bytes = header + 3, .len = 13}, {.in = true, .len = 7}, {.in = true, .len = 14}};
	struct vhu_io_spec spec = {.op = VHU_IO_CHAIN, .parts = parts, .n_parts = 4, .statuses = 1};
	char text[100];

	for (int indirect = 0; indirect < 2; indirect++) {
		struct vhu_io *io;
		size_t len;

		spec.indirect = indirect;
		io = submit(&spec);
		assert_memory_equal(vhu_io_part(io, 1, &len), header + 3, 13);
		assert_int_equal(len, 13);
		assert_null(vhu_io_part(io, 2, &len));	/* not back yet */
		assert_int_equal(len, 0);
		assert_int_equal(vhu_io_writable(io), 21);
		serve(0);
		poll_one(io);
		assert_memory_equal(vhu_io_part(io, 2, &len), "a disk\0", 7);
		assert_int_equal(len, 7);
		assert_int_equal(vhu_io_part(io, 3, &len)[13], 0);
		assert_int_equal(len, 14);
		assert_null(vhu_io_part(io, 4, &len));
		assert_int_equal(vhu_io_status(io), 0);
		assert_true(vhu_io_accepted(io));
		assert_non_null(strstr(vhu_io_describe(io, text, sizeof(text)), "chain of 4 parts, queue 0, head"));
		vhu_io_free(io);
	}
	/* No status, no claim: a chain of a case's own is the case's to judge. */
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	give_back(&r, 21);
	poll_one(io);
	assert_int_equal(vhu_io_status(io), 0xff);
	audit_clean();
}

static void test_chain_patterns(void **state)
{
	struct vhu_chain_part part = {.len = 700};
	struct vhu_io_spec spec = {.op = VHU_IO_CHAIN, .parts = &part, .n_parts = 1};
	uint8_t a[700], b[700];

	for (int p = VHU_PATTERN_STAMP; p <= VHU_PATTERN_ZERO; p++) {
		struct request r;

		spec.pattern = (enum vhu_pattern)p;
		spec.pattern_arg = 0x33;
		submit(&spec);
		r = take(0);
		move(&r, false, 0, a, 700);
		give_back(&r, 0);
		submit(&spec);
		r = take(0);
		move(&r, false, 0, b, 700);
		give_back(&r, 0);
		/* What is named by a number is the same each time. */
		if (p == VHU_PATTERN_STAMP)
			assert_memory_not_equal(a, b, 700);
		else
			assert_memory_equal(a, b, 700);
		if (p == VHU_PATTERN_FILL || p == VHU_PATTERN_ZERO)
			assert_int_equal(a[699], p == VHU_PATTERN_FILL ? 0x33 : 0);
	}
	assert_int_equal(vhu_driver_poll(driver), 8);
	audit_clean();
}

static void test_raw_parts(void **state)
{
	struct vhu_raw_desc raw = {.addr = UINT64_MAX - 4095, .len = 8192, .flags = VHU_C_DESC_F_WRITE | VHU_C_DESC_F_NEXT};
	struct vhu_chain_part parts[] = {{.len = 16}, {.raw = &raw}, {.in = true, .len = 1}};
	struct vhu_io_spec spec = {.op = VHU_IO_CHAIN, .parts = parts, .n_parts = 3};
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	struct vhu_err err = {0};
	size_t len;

	assert_int_equal(r.n, 3);
	assert_int_equal(r.d[1].gpa, raw.addr);
	assert_int_equal(r.d[1].len, 8192);
	set_status(&r, 0);	/* fails on the raw part if it is not the last byte */
	give_back(&r, 0);
	poll_one(io);
	assert_null(vhu_io_part(io, 1, &len));
	spec.indirect = true;
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -EINVAL);
	audit_clean();
}

/* Devices without a driver of their own. */
static void test_other_device(void **state)
{
	struct vhu_chain_part parts[] = {{.len = 16}, {.in = true, .len = 100}};
	struct vhu_io_spec spec = {.op = VHU_IO_CHAIN, .parts = parts, .n_parts = 2}, rs = read_spec(0, 1);
	struct vhu_err err = {0};
	struct vhu_io *io;
	struct request r;

	vhu_driver_free(driver);
	start(VHU_DEV_NET, 0, 7);
	assert_int_equal(vhu_driver_submit(driver, 0, &rs, &io, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "net"));
	io = submit(&spec);
	r = take(0);
	move(&r, true, 0, disk, 50);
	give_back(&r, 50);
	poll_one(io);
	assert_int_equal(vhu_io_status(io), 0xff);
	assert_true(vhu_io_accepted(io));
	assert_int_equal(vhu_io_expected_len(io), 100);
	expect_none();
	io = submit(&spec);
	r = take(0);
	move(&r, true, 0, disk, 50);
	give_back(&r, 64);
	poll_one(io);
	expect(VHU_BREACH_CLAIMED_UNWRITTEN, "used length 64, but byte 56 was not written");
	audit_clean();
}

/* --- ends ------------------------------------------------------------------------------------------------- */

static void test_freed_in_flight(void **state)
{
	struct vhu_io_spec w = write_spec(0, 8);
	struct vhu_io *io = submit(&w);
	struct request r = take(0);

	vhu_io_free(io);
	finish(&r);
	assert_int_equal(vhu_driver_poll(driver), 1);
	read_at(0, 8);
	expect_none();
	disk[0] ^= 1;	/* it counted all the same */
	read_at(0, 8);
	assert_int_equal(n_events, 1);
	n_events = 0;
	vhu_io_free(NULL);
	audit_clean();
}

static void test_abandon(void **state)
{
	struct vhu_io_spec w = write_spec(0, 1), rs = read_spec(0, 1);
	struct vhu_io *a, *b, *c;
	struct request ra;
	uint8_t late[SEC];

	write_at(0, 1);
	a = submit(&w);
	ra = take(0);
	move(&ra, false, 16, late, SEC);
	b = submit(&rs);
	c = submit(&w);
	vhu_io_free(c);
	vhu_driver_abandon(driver, 0);
	vhu_driver_abandon(driver, QUEUES);
	assert_true(vhu_io_abandoned(a) && vhu_io_abandoned(b));
	assert_false(vhu_io_done(a) || vhu_io_done(b));
	assert_int_equal(vhu_vring_inflight(vhu_driver_ring(driver, 0)), 0);
	vhu_vring_reset(vhu_driver_ring(driver, 0), 0);
	seen[0] = returned[0] = 0;
	/* It may still happen, at any time. */
	read_at(0, 1);
	memcpy(disk, late, SEC);
	read_at(0, 1);
	write_at(0, 1);
	read_at(0, 1);
	memcpy(disk, late, SEC);
	read_at(0, 1);
	expect_none();
	memset(disk, 0, SEC);
	read_at(0, 1);
	expect(VHU_BREACH_BLK_WRITE_LOST, "sector 0: zeroes");
	/* Its buffers are the device's for as long as there are others. */
	*(uint8_t *)vhu_mem_at(mem, ra.d[1].gpa, 1) ^= 1;
	vhu_io_free(a);
	vhu_io_free(b);
	audit_clean();
}

/* Nothing of what is in flight leaks (the sanitizer looks). */
static void test_free_busy(void **state)
{
	struct vhu_io_spec w = write_spec(0, 64), rs = read_spec(0, 8);

	w.indirect = true;
	for (int i = 0; i < 10; i++) {
		submit_to(0, &w);
		submit_to(1, &rs);
	}
	serve(1);
	assert_int_equal(vhu_driver_poll(driver), 1);
	expect_none();
	vhu_driver_free(NULL);
}

static void test_bad_driver(void **state)
{
	static struct vhu_layout bad;
	struct vhu_driver_opts o = {.device = VHU_DEV_BLK, .layout = &bad};
	struct vhu_driver *d = (void *)1;
	struct vhu_err err = {0};

	assert_int_equal(vhu_driver_new(&o, &d, &err), -EINVAL);
	bad = layout;
	bad.ring[1].packed = true;
	assert_int_equal(vhu_driver_new(&o, &d, &err), -ENOTSUP);
	bad = layout;
	bad.ring[1].desc += 1;
	assert_int_equal(vhu_driver_new(&o, &d, &err), -EINVAL);
	assert_ptr_equal(d, (void *)1);
}

/* Breaches without anyone to tell do no harm. */
static void test_no_callback(void **state)
{
	struct vhu_driver_opts o = {.device = VHU_DEV_BLK, .layout = &layout};
	struct vhu_driver *d;

	assert_int_equal(vhu_driver_new(&o, &d, NULL), 0);
	*(uint8_t *)vhu_mem_at(vhu_driver_mem(d), layout.ring[0].desc, 1) = 1;
	*(uint8_t *)vhu_mem_at(vhu_driver_mem(d), layout.region[1].gpa, 1) = 1;
	vhu_driver_audit(d);
	vhu_driver_free(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_op), TEST(test_header), TEST(test_patterns), TEST(test_segments), TEST(test_many_segments),
		TEST(test_queues), TEST(test_written_ranges), TEST(test_refused), TEST(test_ring_full),
		TEST(test_memory_comes_back), TEST(test_mismatches), TEST(test_never_written), TEST(test_zeroes),
		TEST(test_failed_writes), TEST(test_discard), TEST(test_huge_ranges), TEST(test_concurrent_writes),
		TEST(test_many_concurrent), TEST(test_status), TEST(test_read_lengths), TEST(test_other_lengths),
		TEST(test_batch), TEST(test_canaries), TEST(test_readable), TEST(test_after_used), TEST(test_outside),
		TEST(test_id), TEST(test_chain), TEST(test_chain_patterns), TEST(test_raw_parts), TEST(test_other_device),
		TEST(test_freed_in_flight), TEST(test_abandon), TEST(test_free_busy), TEST(test_bad_driver),
		TEST(test_no_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
