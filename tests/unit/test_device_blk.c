/* Block requests: what is sent, what an answer's status and length say, and how requests end. */
#include "toy_disk.h"

/* --- requests ------------------------------------------------------------------------------------ */

static void test_every_op(void **state)
{
	static const struct {
		struct vhu_io_spec spec;
		uint32_t type, len, descs;
		uint8_t status;
		const char *words;
	} rows[] = {
		{{.op = VHU_IO_WRITE, .sector = 8, .count = 8},
		 1,
		 1,
		 3,
		 0,
		 "write sector 8, 8 sectors, queue 0, head"},
		{{.op = VHU_IO_READ, .sector = 8, .count = 8, .verify = true},
		 0,
		 4097,
		 3,
		 0,
		 "read sector 8, 8 sectors"},
		{{.op = VHU_IO_READ, .sector = 8, .count = 0}, 0, 1, 2, 0, "read sector 8, 0 sectors"},
		{{.op = VHU_IO_FLUSH}, 4, 1, 2, 0, "flush, queue 0"},
		{{.op = VHU_IO_DISCARD, .sector = 99, .count = 3},
		 11,
		 1,
		 3,
		 0,
		 "discard sector 99, 3 sectors"},
		{{.op = VHU_IO_WRITE_ZEROES, .sector = 9, .count = 2}, 13, 1, 3, 0, "write zeroes sector 9"},
		{{.op = VHU_IO_GET_ID}, 8, 21, 3, 0, "get id, queue 0"},
		{{.op = VHU_IO_RAW, .type = 0x7f, .count = 0}, 0x7f, 1, 2, 2, "request of type 127"},
		{{.op = VHU_IO_RAW, .type = 0x7e, .count = 2}, 0x7e, 1, 3, 2, "request of type 126"},
		{{.op = VHU_IO_RAW, .type = 1, .sector = 50, .count = 2}, 1, 1, 3, 0, "request of type 1,"},
		{{.op = VHU_IO_RAW, .type = 0, .sector = 50, .count = 2, .verify = true},
		 0,
		 1025,
		 3,
		 0,
		 "type 0"},
		{{.op = VHU_IO_READ, .sector = SECTORS, .count = 1}, 0, 1, 3, 1, "read"},
	};

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
	static const uint32_t cuts[][4] = {{4096},	{1, 511, 1024, 2560}, {4095, 1},
					   {512, 3584}, {0, 4096, 0},	      {1, 4094, 0, 1}};
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
	assert_int_equal(vhu_driver_submit(driver, 0, &spec, &io, &err), -ENOSPC); /* longer than the ring */
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
	serve(1); /* the second overtakes */
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
	spec = write_spec(0, 64 * 2048); /* 64 MiB */
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
		{.op = VHU_IO_WRITE, .count = 8},
		{.op = VHU_IO_FLUSH},
		{.op = VHU_IO_DISCARD, .count = 1},
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
				expect_none(); /* the status counts or not */
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
	id_with("disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 20); /* without the status */
	id_with("disk", 5, 21);					 /* the string and one NUL only */
	expect_none();
	id_with("disk\0\0\0\0\0\0\0\0junk\0\0\0\0", 20, 21);
	expect(VHU_BREACH_BLK_ID_FORM, "byte 12 is 0x6a, behind the end of the id at 4");
	id_with("another\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 21);
	expect(VHU_BREACH_BLK_ID_FORM, "the id was \"disk\" before and is \"another\" now");
	id_with("", 0, 21);
	expect(VHU_BREACH_BLK_ID_FORM, "was not written");
	vhu_driver_forget_data(driver);
	id_with("twenty characters ok", 20, 21); /* no NUL at all */
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
	struct vhu_chain_part parts[] = {{.bytes = header, .len = 3},
					 {.bytes = header + 3, .len = 13},
					 {.in = true, .len = 7},
					 {.in = true, .len = 14}};
	struct vhu_io_spec spec = {.op = VHU_IO_CHAIN, .parts = parts, .n_parts = 4, .statuses = 1};
	char text[100];

	for (int indirect = 0; indirect < 2; indirect++) {
		struct vhu_io *io;
		size_t len;

		spec.indirect = indirect;
		io = submit(&spec);
		assert_memory_equal(vhu_io_part(io, 1, &len), header + 3, 13);
		assert_int_equal(len, 13);
		assert_null(vhu_io_part(io, 2, &len)); /* not back yet */
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
		assert_non_null(
			strstr(vhu_io_describe(io, text, sizeof(text)), "chain of 4 parts, queue 0, head"));
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
	struct vhu_raw_desc raw = {
		.addr = UINT64_MAX - 4095, .len = 8192, .flags = VHU_C_DESC_F_WRITE | VHU_C_DESC_F_NEXT};
	struct vhu_chain_part parts[] = {{.len = 16}, {.raw = &raw}, {.in = true, .len = 1}};
	struct vhu_io_spec spec = {.op = VHU_IO_CHAIN, .parts = parts, .n_parts = 3};
	struct vhu_io *io = submit(&spec);
	struct request r = take(0);
	struct vhu_err err = {0};
	size_t len;

	assert_int_equal(r.n, 3);
	assert_int_equal(r.d[1].gpa, raw.addr);
	assert_int_equal(r.d[1].len, 8192);
	set_status(&r, 0); /* fails on the raw part if it is not the last byte */
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

/* --- ends -------------------------------------------------------------------------------------------------
 */

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
	disk[0] ^= 1; /* it counted all the same */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_op),
		TEST(test_header),
		TEST(test_patterns),
		TEST(test_segments),
		TEST(test_many_segments),
		TEST(test_queues),
		TEST(test_written_ranges),
		TEST(test_refused),
		TEST(test_ring_full),
		TEST(test_memory_comes_back),
		TEST(test_status),
		TEST(test_read_lengths),
		TEST(test_other_lengths),
		TEST(test_batch),
		TEST(test_id),
		TEST(test_chain),
		TEST(test_chain_patterns),
		TEST(test_raw_parts),
		TEST(test_other_device),
		TEST(test_freed_in_flight),
		TEST(test_abandon),
		TEST(test_free_busy),
		TEST(test_bad_driver),
		TEST(test_no_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
