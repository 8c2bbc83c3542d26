/* Block requests: data is compared with what was written, and memory with what may be. */
#include "toy_disk.h"

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

static void make_stale(uint8_t *p)
{
	memcpy(p, older, SEC);
}
static void make_foreign(uint8_t *p)
{
	memcpy(p, foreign, SEC);
}
static void make_other_run(uint8_t *p)
{
	memcpy(p, other_run, SEC);
}
static void make_torn(uint8_t *p)
{
	memcpy(p + 256, older + 256, 256);
}
static void make_torn_front(uint8_t *p)
{
	memset(p, 0, 100);
}
static void make_flip(uint8_t *p)
{
	p[200] ^= 0x10;
}
static void make_zero(uint8_t *p)
{
	memset(p, 0, SEC);
}
static void make_garbage(uint8_t *p)
{
	memset(p, 0x5c, SEC);
}

static void test_mismatches(void **state)
{
	vhu_driver_free(driver);
	start(VHU_DEV_BLK, 0, 1234); /* an earlier run on the same disk */
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
	damage(make_stale, 102, VHU_BREACH_BLK_WRITE_LOST,
	       "sector 102: stale: generation 1; expected generation 2");
	damage(make_foreign, 102, VHU_BREACH_BLK_READ_WRONG,
	       "the data of sector 105, generation 1; expected generation 2");
	damage(make_other_run, 102, VHU_BREACH_BLK_WRITE_LOST, "a stamp of an earlier run");
	damage(make_torn, 102, VHU_BREACH_BLK_WRITE_LOST, "torn: generation 2 at its start, 1 at its end");
	damage(make_torn_front, 102, VHU_BREACH_BLK_WRITE_LOST,
	       "torn: it ends with sector 102, generation 2");
	damage(make_flip, 102, VHU_BREACH_BLK_WRITE_LOST, "generation 2 up to byte 200");
	damage(make_zero, 102, VHU_BREACH_BLK_WRITE_LOST, "zeroes; expected generation 2");
	damage(make_garbage, 102, VHU_BREACH_BLK_READ_WRONG, "garbage: 5c 5c");

	/* One breach a request. */
	memset(disk + 100 * SEC, 9, 8 * SEC);
	read_at(100, 8);
	expect(VHU_BREACH_BLK_READ_WRONG,
	       "sector 100: garbage: 09 09 09 09 09 09 09 09; expected generation 2 (and 7 more)");
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

static void test_failed_writes(void **state)
{
	struct vhu_io_spec spec = write_spec(8, 4),
			   zero = {.op = VHU_IO_WRITE_ZEROES, .sector = 8, .count = 2};

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
	spec.sector = UINT64_MAX - 5; /* runs over the end of numbers */
	answer(&spec, 1, false);
	disk[10 * SEC] = 1;
	expect_none();
	read_at(10, 1);
	expect_none(); /* sector 10 is in it */
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
	move(&rr, true, 0, second, SEC); /* replaced before this one was sent */
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
	for (int i = 0; i < 200; i++) /* looked at when the buffer is taken back */
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
	assert_int_equal(expect(VHU_BREACH_WROTE_OUTSIDE, "10 bytes behind the used ring of queue 0").gpa,
			 gpa);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mismatches),	      TEST(test_never_written),	  TEST(test_zeroes),
		TEST(test_failed_writes),     TEST(test_discard),	  TEST(test_huge_ranges),
		TEST(test_concurrent_writes), TEST(test_many_concurrent), TEST(test_canaries),
		TEST(test_readable),	      TEST(test_after_used),	  TEST(test_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
