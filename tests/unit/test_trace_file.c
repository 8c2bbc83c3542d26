/* Captures: records to bytes and back, files through libpcap, and what hostile files come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/arena.h>
#include <base/rng.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <trace/trace.h>

/* The example of docs/capture-format.md: META, SET_VRING_CALL with an eventfd, its acknowledgement, END. */
static const char example_hex[] = "4d3cb2a1020004000000000000000000"
				  "000004009300000000f1536580b2e60e"
				  "66000000660000000100380000030000"
				  "000000002e0000000000000000000000"
				  "00000000000000000000010000000000"
				  "00000000000000000000000000000000"
				  "7b22666f726d6174223a227668752d63"
				  "617074757265222c2276657273696f6e"
				  "223a312c226c6576656c223a307d00f1"
				  "5365b9e2e60e84000000840000000101"
				  "70000103000001000000140000004804"
				  "00000000000092100000921000000100"
				  "000001000000419c000000000000429c"
				  "00000000000001002000050200001f00"
				  "000000000000000000000e0000000000"
				  "00002c3a00000000000002000f007165"
				  "6d752d73797374656d2d783836000d00"
				  "00000900000008000000010000000000"
				  "000000f15365f212e70e4c0000004c00"
				  "00000102380001030000010000001400"
				  "00008400000000000000cc100000ce10"
				  "00000000000002000000429c00000000"
				  "0000419c0000000000000d0000000500"
				  "000008000000000000000000000000f1"
				  "53652b43e70e4e0000004e0000000100"
				  "38000003000000000000160000000000"
				  "00000000000000000000000000000000"
				  "02000300000000000000000000000000"
				  "0000000000007b227265636f72647322"
				  "3a342c226c6f7374223a307d";

static size_t example(uint8_t *bytes, size_t cap)
{
	long n = vhu_hex_parse(example_hex, bytes, cap);

	assert_true(n > 0);
	return (size_t)n;
}

static void the_documented_example_reads(void **state)
{
	uint8_t bytes[512];
	size_t len = example(bytes, sizeof(bytes));
	struct vhu_trace *t;
	struct vhu_err err = {0};
	struct vhu_frame f;
	struct vhu_buf text = {0};

	assert_int_equal(len, 476);
	if (vhu_trace_load_mem(bytes, len, &t, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(t->notes, "");
	assert_int_equal(t->n_records, 4);
	assert_true(t->complete);
	assert_int_equal(t->n_sessions, 1);
	assert_int_equal(t->sessions[0].messages, 2);
	assert_true(t->sessions[0].partial); /* its first byte is not the stream's first */
	assert_int_equal(t->records[1]->t_ns, UINT64_C(1700000000250012345));
	assert_int_equal(t->records[1]->fds[0].kind, VHU_FDK_EVENTFD);
	assert_int_equal(t->records[1]->fds[0].number, 31);
	assert_int_equal(t->records[1]->fds[0].inode, 14892);
	assert_string_equal(t->records[1]->comm, "qemu-system-x86");
	assert_int_equal(vhu_record_frame(t->records[1], &f, &err), 0);
	vhu_frame_describe(&f, VHU_DEV_BLK, &text);
	assert_string_equal(vhu_buf_text(&text), "> SET_VRING_CALL index=1 [need_reply] fds=eventfd");
	vhu_frame_done(&f);
	vhu_buf_done(&text);
	vhu_trace_free(t);
}

/* A record with everything that one can have. */
static void fill(struct vhu_record *r, struct vhu_fd_info *fds, size_t n_fds)
{
	static const struct vhu_record_finding findings[] = {{"HDR-01", "fail", "wrong"},
							     {"HDR-02", "warn", "odd"}};
	static const uint32_t recvs[] = {5, 7};
	static const uint8_t payload[12] = {1};

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = (struct vhu_fd_info){.kind = VHU_FDK_MEMFD,
					      .size_valid = true,
					      .inode_valid = true,
					      .size = i << 32,
					      .dev = 3,
					      .inode = i,
					      .stand_in = i & 1,
					      .number = (uint32_t)i};
	*r = (struct vhu_record){.t_ns = UINT64_C(1700000000123456789),
				 .channel = VHU_CAP_MAIN,
				 .dir = VHU_CAP_DIR_FE,
				 .tap = VHU_CAP_TAP_SELF,
				 .flags = VHU_CAP_SPLIT,
				 .connection = 7,
				 .stream_off = 99,
				 .tgid = 4,
				 .tid = 5,
				 .snd_ino = 6,
				 .rcv_ino = 8,
				 .payload = payload,
				 .len = sizeof(payload),
				 .fds = fds,
				 .n_fds = n_fds,
				 .comm = "a-name-that-is-longer-than-sixteen",
				 .peer_comm = "peer",
				 .path = "/run/x",
				 .step = "a/b\t/steps/0",
				 .text = "remark",
				 .findings = findings,
				 .n_findings = 2,
				 .recvs = recvs,
				 .n_recvs = 2,
				 .has_errno = true,
				 .errno_value = -5,
				 .has_region = true,
				 .region = {1, 2, 3, 4, 5, 6}};
}

/* By its members: what stands between them is nobody's. */
static bool same_fd(const struct vhu_fd_info *a, const struct vhu_fd_info *b)
{
	return a->kind == b->kind && a->size_valid == b->size_valid && a->inode_valid == b->inode_valid &&
	       a->seals_valid == b->seals_valid && a->bad == b->bad && a->stand_in == b->stand_in &&
	       a->seals == b->seals && a->number == b->number && a->size == b->size && a->dev == b->dev &&
	       a->inode == b->inode;
}

static void records_come_back(void **state)
{
	static const size_t counts[] = {0, 1, 110, VHU_CAP_FDS_MAX};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(counts); i++) {
		struct vhu_fd_info fds[VHU_CAP_FDS_MAX];
		struct vhu_arena *arena = vhu_arena_new();
		struct vhu_buf packet = {0};
		struct vhu_record r, back;
		enum vhu_record_fault fault;

		fill(&r, fds, counts[i]);
		assert_int_equal(vhu_record_encode(&r, 42, &packet, NULL), 0);
		assert_int_equal(
			vhu_record_decode((uint8_t *)packet.data, packet.len, 1, arena, &back, &fault, NULL),
			0);
		assert_int_equal(fault, VHU_RECORD_OK);
		assert_int_equal(back.seq, 42);
		assert_int_equal(back.n_fds, counts[i]);
		for (size_t k = 0; k < counts[i]; k++)
			assert_true(same_fd(&back.fds[k], &fds[k]));
		assert_int_equal(back.len, r.len);
		assert_int_equal(back.orig_len, r.len);
		assert_int_equal(back.stream_off, 99);
		assert_int_equal(back.errno_value, -5);
		assert_memory_equal(back.region, r.region, sizeof(r.region));
		/* The header of the last has no room for texts; descriptors are never cut. */
		if (counts[i] <= 1) {
			assert_string_equal(back.comm, "a-name-that-is-l");
			assert_string_equal(back.step, r.step);
			assert_int_equal(back.n_findings, 2);
			assert_string_equal(back.findings[1].summary, "odd");
			assert_int_equal(back.recvs[1], 7);
		}
		vhu_buf_done(&packet);
		vhu_arena_free(arena);
	}
}

static void a_frame_too_large_is_cut(void **state)
{
	size_t len = VHU_CAP_RECORD_MAX + 1000;
	uint8_t *big = calloc(1, len);
	struct vhu_record r = {.channel = VHU_CAP_GPU,
			       .dir = VHU_CAP_DIR_BE,
			       .connection = 1,
			       .payload = big,
			       .len = len},
			  back;
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_buf packet = {0};
	enum vhu_record_fault fault;

	assert_int_equal(vhu_record_encode(&r, 0, &packet, NULL), 0);
	assert_int_equal(packet.len, VHU_CAP_RECORD_MAX);
	assert_int_equal(vhu_record_decode((uint8_t *)packet.data, packet.len, 1, arena, &back, &fault, NULL),
			 0);
	assert_int_equal(fault, VHU_RECORD_OK);
	assert_true(back.flags & VHU_CAP_TRUNCATED);
	assert_int_equal(back.orig_len, len);
	vhu_buf_done(&packet);
	vhu_arena_free(arena);
	free(big);
}

static void descriptors_are_described(void **state)
{
	struct vhu_fd_info info;
	int event = eventfd(0, EFD_CLOEXEC), mem = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(mem, 4096), 0);
	vhu_fd_info_read(event, &info);
	assert_int_equal(info.kind, VHU_FDK_EVENTFD);
	assert_int_equal(info.number, event);
	assert_false(info.size_valid);
	vhu_fd_info_read(mem, &info);
	assert_int_equal(info.kind, VHU_FDK_MEMFD);
	assert_true(info.size_valid && info.inode_valid && info.seals_valid);
	assert_int_equal(info.size, 4096);
	vhu_fd_info_read(vhu_fd_ghost(VHU_FDK_DEVICE), &info);
	assert_int_equal(info.kind, VHU_FDK_DEVICE);
	close(event);
	close(mem);
}

static void a_written_file_reads(void **state)
{
	char path[] = "/tmp/vhu-trace-XXXXXX";
	static const char *const mask[] = {"GET_VRING_BASE.num"};
	struct vhu_trace_meta meta = {
		.tool = "test", .mask = mask, .n_mask = 1, .target = "{\"device\":\"blk\"}"};
	struct vhu_trace_writer *w;
	struct vhu_fd_info fds[1];
	struct vhu_trace *t;
	struct vhu_record r;
	struct vhu_err err = {0};

	close(mkstemp(path));
	assert_int_equal(vhu_trace_writer_new(path, &meta, &w, &err), 0);
	fill(&r, fds, 1);
	assert_int_equal(vhu_trace_writer_put(w, &r, &err), 0);
	/* Who dies now leaves what there was. */
	assert_int_equal(vhu_trace_writer_flush(w, &err), 0);
	assert_int_equal(vhu_trace_load(path, &t, &err), 0);
	assert_int_equal(t->n_records, 2);
	assert_false(t->complete);
	vhu_trace_free(t);
	r.connection = 3;
	r.stream_off = 0;
	assert_int_equal(vhu_trace_writer_put(w, &r, &err), 0);
	r.connection = VHU_CAP_CONNECTIONS_MAX + 1;
	assert_int_equal(vhu_trace_writer_put(w, &r, &err), -E2BIG);
	vhu_trace_writer_lost(w, 3, 11);
	assert_int_equal(vhu_trace_writer_close(w, &err), 0);
	assert_int_equal(vhu_trace_load(path, &t, &err), 0);
	assert_string_equal(t->notes, "");
	assert_int_equal(t->n_sessions, 2);
	assert_int_equal(t->sessions[0].connection, 3);
	assert_false(t->sessions[0].partial);
	assert_ptr_equal(vhu_trace_session(t, 7), &t->sessions[1]);
	assert_int_equal(t->lost, 11);
	assert_int_equal(t->n_mask, 1);
	assert_string_equal(t->mask[0], "GET_VRING_BASE.num");
	assert_int_equal(t->records[1]->t_ns, UINT64_C(1700000000123456789));
	vhu_trace_free(t);
	unlink(path);
}

static void writing_to_a_full_disk_is_an_error(void **state)
{
	struct vhu_trace_meta meta = {0};
	struct vhu_trace_writer *w;
	struct vhu_err err = {0};

	assert_int_equal(vhu_trace_writer_new("/nowhere/x.pcap", &meta, &w, &err), -ENOENT);
	assert_int_equal(vhu_trace_writer_new("/dev/full", &meta, &w, &err), -ENOSPC);
}

static void a_cut_file_reads_as_far_as_it_goes(void **state)
{
	uint8_t bytes[512];
	size_t len = example(bytes, sizeof(bytes));

	for (size_t cut = 0; cut < len; cut++) {
		struct vhu_trace *t;
		struct vhu_err err = {0};

		if (vhu_trace_load_mem(bytes, cut, &t, &err) < 0) {
			assert_true(cut < 24 + 16 + 102);
			assert_int_equal(err.code, -EINVAL);
			assert_true(cut <= 24 || strstr(err.text, "ends inside record 0 at offset 24:"));
			continue;
		}
		assert_true(cut >= 24 + 16 + 102);
		assert_false(t->complete);
		/* An end between two records shows by nothing but the missing closing record. */
		if (cut != 142 && cut != 290 && cut != 382)
			assert_non_null(strstr(t->notes, cut < 290   ? "inside record 1 at offset 142:"
							 : cut < 382 ? "inside record 2 at offset 290:"
								     : "inside record 3 at offset 382:"));
		vhu_trace_free(t);
	}
}

/* The same file as pcapng: a block for the section, one for the link, one for each record. */
static size_t example_as_pcapng(const uint8_t *classic, size_t len, uint8_t *ret)
{
	size_t n = 28 + 20;

	memset(ret, 0, n);
	vhu_ne_put(ret, 4, 0x0a0d0d0a);
	vhu_ne_put(ret + 4, 4, 28);
	vhu_ne_put(ret + 8, 4, 0x1a2b3c4d);
	vhu_ne_put(ret + 12, 2, 1);
	vhu_ne_put(ret + 24, 4, 28);
	vhu_ne_put(ret + 28, 4, 1);
	vhu_ne_put(ret + 32, 4, 20);
	vhu_ne_put(ret + 36, 2, VHU_CAP_LINKTYPE);
	vhu_ne_put(ret + 44, 4, 20);
	for (size_t at = 24; at + 16 <= len;) {
		size_t caplen = (size_t)vhu_le_get(classic + at + 8, 4), block = 32 + caplen + (-caplen & 3);

		memset(ret + n, 0, block);
		vhu_ne_put(ret + n, 4, 6);
		vhu_ne_put(ret + n + 4, 4, block);
		vhu_ne_put(ret + n + 20, 4, caplen);
		vhu_ne_put(ret + n + 24, 4, caplen);
		memcpy(ret + n + 28, classic + at + 16, caplen);
		vhu_ne_put(ret + n + block - 4, 4, block);
		n += block;
		at += 16 + caplen;
	}
	return n;
}

static void a_pcapng_file_reads_and_is_told_of_where_its_blocks_are(void **state)
{
	uint8_t bytes[512], ng[1024];
	size_t len = example_as_pcapng(bytes, example(bytes, sizeof(bytes)), ng);
	struct vhu_trace *t;
	struct vhu_err err = {0};

	if (vhu_trace_load_mem(ng, len, &t, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(t->n_records, 4);
	assert_string_equal(t->notes, "");
	vhu_trace_free(t);
	/* The first block of a record ends at 184: 32 bytes and 102, and two to the next multiple of 4. */
	ng[184 + 28] = 9;
	assert_int_equal(vhu_trace_load_mem(ng, len - 3, &t, &err), 0);
	assert_non_null(strstr(t->notes, "record 1 at offset 184 is passed over"));
	assert_non_null(strstr(t->notes, "inside record 3 at offset 456:"));
	vhu_trace_free(t);
}

static void expect_refused(const uint8_t *bytes, size_t len, const char *why)
{
	struct vhu_trace *t;
	struct vhu_err err = {0};

	assert_int_equal(vhu_trace_load_mem(bytes, len, &t, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
}

static void files_of_others_are_refused(void **state)
{
	uint8_t bytes[512];
	size_t len = example(bytes, sizeof(bytes));

	bytes[20] = 1;
	expect_refused(bytes, len, "link type");
	example(bytes, sizeof(bytes));
	bytes[40] = 2;
	expect_refused(bytes, len, "version is not known");
	example(bytes, sizeof(bytes));
	bytes[44] = VHU_CAP_LIFE;
	expect_refused(bytes, len, "does not describe a capture");
	example(bytes, sizeof(bytes));
	bytes[40 + 56] = 'x';
	expect_refused(bytes, len, "no JSON");
	expect_refused(bytes, 3, "no pcap file");
}

static void a_bad_record_is_passed_over(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		const char *why;
	} rows[] = {
		{0, 9, "version is not known"}, {1, 3, "out of range"},
		{2, 0x38, "out of range"},	{2, 1, "out of range"},
		{3, 0xff, "reaches beyond"},	{4, 99, "channel is not known"},
		{32, 200, "out of range"},	{32, 0, "out of range"},
		{56, 77, "out of range"},	{57, 0x80, "must be understood"},
		{58, 0xff, "reaches beyond"},	{12, 1, "out of range"},
		{10, 1, "one more than"},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		uint8_t bytes[512];
		size_t len = example(bytes, sizeof(bytes));
		struct vhu_trace *t;
		struct vhu_err err = {0};

		bytes[24 + 16 + 102 + 16 + rows[i].at] = rows[i].value;
		if (vhu_trace_load_mem(bytes, len, &t, &err) < 0)
			fail_msg("row %zu: %s", i, err.text);
		if (!strstr(t->notes, rows[i].why))
			fail_msg("row %zu: '%s' does not say '%s'", i, t->notes, rows[i].why);
		assert_non_null(strstr(t->notes, "record 1 at offset 142"));
		assert_int_equal(t->n_records, 3);
		vhu_trace_free(t);
	}
}

static void any_bytes_are_survived(void **state)
{
	struct vhu_rng rng;

	vhu_rng_init(&rng, 1);
	for (int i = 0; i < 20000; i++) {
		uint8_t bytes[512];
		size_t len = example(bytes, sizeof(bytes));
		struct vhu_trace *t;
		struct vhu_err err = {0};
		struct vhu_buf text = {0};

		for (uint64_t k = vhu_rng_below(&rng, 4); k < 6; k++)
			bytes[vhu_rng_below(&rng, len)] = (uint8_t)vhu_rng_u64(&rng);
		if (vhu_trace_load_mem(bytes, len - vhu_rng_below(&rng, 40), &t, &err) < 0) {
			assert_true(err.text[0]);
			continue;
		}
		for (size_t k = 0; k < t->n_records; k++)
			vhu_record_describe(t->records[k], VHU_DEV_ANY, &text);
		vhu_buf_done(&text);
		vhu_trace_free(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_documented_example_reads),
		cmocka_unit_test(records_come_back),
		cmocka_unit_test(a_frame_too_large_is_cut),
		cmocka_unit_test(descriptors_are_described),
		cmocka_unit_test(a_written_file_reads),
		cmocka_unit_test(writing_to_a_full_disk_is_an_error),
		cmocka_unit_test(a_cut_file_reads_as_far_as_it_goes),
		cmocka_unit_test(a_pcapng_file_reads_and_is_told_of_where_its_blocks_are),
		cmocka_unit_test(files_of_others_are_refused),
		cmocka_unit_test(a_bad_record_is_passed_over),
		cmocka_unit_test(any_bytes_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
