/* Streams to messages: any cut of the same bytes gives the same messages, and nothing that a stranger sends
 * hurts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/rng.h>
#include <capture/stream.h>
#include <errno.h>

/* What came out, as text: "@offset length/true-length flags [fds] [recvs]". */
struct seen {
	struct vhu_buf text;
	size_t n, bytes;
	int refuse; /* after so many records; 0: never */
};

static int note(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	static const char names[] = "TLPMBFISJ";
	struct seen *seen = ctx;

	if (seen->refuse && --seen->refuse == 0)
		return vhu_err_set(err, -ENOSPC, "full");
	vhu_buf_printf(&seen->text, "%s@%d %zu", seen->n++ ? "; " : "", (int)r->stream_off, r->len);
	if (r->orig_len != r->len)
		vhu_buf_printf(&seen->text, "/%u", r->orig_len);
	if (r->flags)
		vhu_buf_puts(&seen->text, " ");
	for (unsigned bit = 0; bit < sizeof(names) - 1; bit++)
		if (r->flags & 1u << bit)
			vhu_buf_printf(&seen->text, "%c", names[bit]);
	for (size_t i = 0; i < r->n_fds; i++)
		vhu_buf_printf(&seen->text, " fd%u", r->fds[i].number);
	for (size_t i = 0; i < r->n_recvs; i++)
		vhu_buf_printf(&seen->text, "%s%u", i ? "+" : " ", r->recvs[i]);
	assert_true(r->len <= VHU_CAP_RECORD_MAX && r->orig_len >= r->len);
	seen->bytes += r->orig_len;
	return 0;
}

static const struct vhu_stream_id main_fe = {.channel = VHU_CAP_MAIN, .dir = VHU_CAP_DIR_FE, .connection = 1};

struct fixture {
	struct vhu_stream *stream;
	struct seen seen;
};

static void start(struct fixture *f, const struct vhu_stream_id *id)
{
	*f = (struct fixture){0};
	assert_int_equal(vhu_stream_new(id, note, &f->seen, &f->stream, NULL), 0);
}

static void done(struct fixture *f)
{
	vhu_stream_free(f->stream);
	vhu_buf_done(&f->seen.text);
}

static size_t message(uint8_t *out, uint32_t request, uint32_t flags, uint32_t size)
{
	vhu_ne_put(out, 4, request);
	vhu_ne_put(out + 4, 4, flags);
	vhu_ne_put(out + 8, 4, size);
	if (size <= VHU_FRAME_PAYLOAD_MAX)
		memset(out + 12, 0x5a, size);
	return 12 + (size_t)size;
}

/* GET_FEATURES, SET_FEATURES, SET_VRING_KICK: 12 + 20 + 20 bytes. */
static size_t three(uint8_t *out)
{
	size_t n = message(out, VHU_ID_GET_FEATURES, 1, 0);

	n += message(out + n, VHU_ID_SET_FEATURES, 1, 8);
	return n + message(out + n, VHU_ID_SET_VRING_KICK, 1, 8);
}

static void feed(struct fixture *f, int64_t off, const uint8_t *bytes, size_t len, uint64_t read,
		 size_t n_fds)
{
	struct vhu_fd_info fds[VHU_CAP_FDS_MAX];
	struct vhu_piece p = {
		.t_ns = 1, .off = off, .bytes = bytes, .len = len, .read = read, .fds = fds, .n_fds = n_fds};

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = (struct vhu_fd_info){.number = (uint32_t)(i + 1)};
	assert_int_equal(vhu_stream_feed(f->stream, &p, NULL), 0);
}

static void expect(struct fixture *f, const char *text)
{
	assert_string_equal(vhu_buf_text(&f->seen.text), text);
	vhu_buf_reset(&f->seen.text);
	f->seen.n = 0;
}

static void messages_of_one_read_are_joined(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	feed(&f, VHU_STREAM_NEXT, b, three(b), 1, 0);
	expect(&f, "@0 12; @12 20 J; @32 20 J");
	feed(&f, VHU_STREAM_NEXT, b, 12, 2, 0);
	expect(&f, "@52 12");
	assert_int_equal(vhu_stream_messages(f.stream), 4);
	done(&f);
}

static void a_message_of_several_reads_says_so(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	three(b);
	feed(&f, VHU_STREAM_NEXT, b, 5, 1, 0);
	feed(&f, VHU_STREAM_NEXT, b + 5, 17, 2, 0); /* ends the first, and has 10 of the second */
	feed(&f, VHU_STREAM_NEXT, b + 22, 4, 3, 0);
	feed(&f, VHU_STREAM_NEXT, b + 26, 1, 3, 0); /* the same read, in two parts */
	feed(&f, VHU_STREAM_NEXT, b + 27, 5, 0, 0);
	feed(&f, VHU_STREAM_NEXT, b + 32, 12, 0, 0);
	feed(&f, VHU_STREAM_NEXT, b + 44, 8, 0, 0);
	expect(&f, "@0 12 S 5+7; @12 20 SJ 10+5+5; @32 20 S 12+8");
	done(&f);
}

static void descriptors_belong_to_the_message_that_starts_in_the_piece(void **state)
{
	struct fixture f;
	uint8_t b[64];

	three(b);
	start(&f, &main_fe);
	feed(&f, VHU_STREAM_NEXT, b, 12, 0, 1);
	feed(&f, VHU_STREAM_NEXT, b + 12, 5, 0, 1);
	feed(&f, VHU_STREAM_NEXT, b + 17, 10, 0, 1); /* within the second */
	feed(&f, VHU_STREAM_NEXT, b + 27, 10, 0, 2); /* the third starts in it */
	feed(&f, VHU_STREAM_NEXT, b + 37, 15, 0, 1); /* ends the third */
	expect(&f, "@0 12 fd1; @12 20 S fd1 fd1 5+10+5; @32 20 SJ fd1 fd2 fd1 5+15");
	done(&f);
}

static void a_header_without_payload_gets_its_descriptors(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	message(b, VHU_ID_GPU_SET_SOCKET, 1, 0);
	feed(&f, VHU_STREAM_NEXT, b, 7, 0, 0);
	feed(&f, VHU_STREAM_NEXT, b + 7, 5, 0, 1);
	expect(&f, "@0 12 S fd1 7+5");
	done(&f);
}

static void more_descriptors_than_a_record_holds_are_lost(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	three(b);
	feed(&f, VHU_STREAM_NEXT, b + 12, 4, 0, 253);
	feed(&f, VHU_STREAM_NEXT, b + 16, 4, 0, 253);
	feed(&f, VHU_STREAM_NEXT, b + 20, 12, 0, 0);
	assert_non_null(strstr(vhu_buf_text(&f.seen.text), "@0 20 FS fd1 fd2"));
	done(&f);
}

static void an_impossible_size_makes_the_rest_raw(void **state)
{
	static uint8_t b[200000];
	struct fixture f;

	start(&f, &main_fe);
	message(b, VHU_ID_SET_FEATURES, 1, VHU_FRAME_PAYLOAD_MAX + 1);
	feed(&f, VHU_STREAM_NEXT, b, 6, 0, 1);
	feed(&f, VHU_STREAM_NEXT, b + 6, 6, 0, 0);
	expect(&f, "@0 12 MS fd1 6+6");
	feed(&f, VHU_STREAM_NEXT, b, 5, 0, 1);
	feed(&f, VHU_STREAM_NEXT, b, 150000, 0, 0);
	expect(&f, "@12 5 M fd1; @17 65536 M; @65553 65536 MJ; @131089 18928 MJ");
	/* Lost bytes are told, but do not bring the framing back. */
	feed(&f, 150117, b, 12, 0, 0);
	expect(&f, "@150117 12 LM");
	done(&f);
}

static void an_end_inside_a_message_is_partial(void **state)
{
	struct fixture f;
	uint8_t b[64];

	for (size_t cut = 1; cut < 32; cut++) {
		char text[64];

		start(&f, &main_fe);
		three(b);
		feed(&f, VHU_STREAM_NEXT, b, cut, 0, 0);
		vhu_buf_reset(&f.seen.text);
		f.seen.n = 0;
		assert_int_equal(vhu_stream_end(f.stream, 9, NULL, NULL), 0);
		text[0] = '\0';
		if (cut < 12)
			snprintf(text, sizeof(text), "@0 %zu P", cut);
		else if (cut > 12)
			snprintf(text, sizeof(text), "@12 %zu PJ", cut - 12);
		expect(&f, text);
		feed(&f, VHU_STREAM_NEXT, b, 12, 0, 0);
		expect(&f, "");
		done(&f);
	}
}

static void a_gap_inside_a_message_cuts_it(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	three(b);
	feed(&f, 0, b, 26, 0, 0);
	feed(&f, 30, b + 30, 22, 0, 0); /* 4 bytes of the second are missing */
	expect(&f, "@0 12; @12 14/20 TSJ 14+2; @32 20 J");
	assert_int_equal(vhu_stream_skipped(f.stream), 0);
	done(&f);
}

static void a_gap_over_headers_waits_for_the_next_one(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	three(b);
	feed(&f, 0, b, 26, 0, 0);	/* the second has begun */
	feed(&f, 40, b + 40, 12, 0, 0); /* within the third: not believed */
	feed(&f, 52, b, 52, 0, 0);
	expect(&f, "@0 12; @12 14/20 TJ; @52 12 L; @64 20 J; @84 20 J");
	assert_int_equal(vhu_stream_skipped(f.stream), 20);
	feed(&f, 104, b, 7, 0, 0); /* a header whose rest is not there: its size is unknown */
	feed(&f, 118, b, 12, 0, 0);
	expect(&f, "@118 12 L");
	assert_int_equal(vhu_stream_skipped(f.stream), 20 + 14);
	done(&f);
}

static void a_piece_with_an_unseen_tail_goes_on(void **state)
{
	struct fixture f;
	uint8_t b[64];
	struct vhu_piece p = {.off = 0, .bytes = b, .len = 26, .missing = 6};

	start(&f, &main_fe);
	three(b);
	assert_int_equal(vhu_stream_feed(f.stream, &p, NULL), 0);
	feed(&f, 32, b + 32, 20, 0, 0);
	expect(&f, "@0 12; @12 14/20 TJ; @32 20");
	done(&f);
}

static void a_late_start_is_marked(void **state)
{
	struct fixture f;
	uint8_t b[64];

	start(&f, &main_fe);
	three(b);
	vhu_stream_resync(f.stream);
	feed(&f, VHU_STREAM_NEXT, b + 24, 8, 0, 0);
	feed(&f, VHU_STREAM_NEXT, b + 32, 20, 0, 0);
	expect(&f, "@8 20 L");
	done(&f);
}

static void large_frames_are_kept_in_part(void **state)
{
	static const struct vhu_stream_id gpu = {
		.channel = VHU_CAP_GPU, .dir = VHU_CAP_DIR_BE, .connection = 1};
	static uint8_t b[1 << 20];
	struct fixture f;
	char text[64];

	start(&f, &gpu);
	vhu_ne_put(b, 4, VHU_ID_GPU_UPDATE);
	vhu_ne_put(b + 8, 4, 3 << 20);
	for (size_t i = 0; i < 4; i++)
		feed(&f, VHU_STREAM_NEXT, b, i == 3 ? 12 : sizeof(b), 1, 0);
	snprintf(text, sizeof(text), "@0 %d/%d T", VHU_CAP_RECORD_MAX - VHU_CAP_HEADER, 12 + (3 << 20));
	expect(&f, text);
	done(&f);
}

static void starts_are_told_from_other_bytes(void **state)
{
	uint8_t b[64];

	message(b, VHU_ID_GET_FEATURES, 1, 0);
	assert_true(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, b, 12));
	assert_true(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_NONE, b, 12));
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_BE, b, 12));
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, b, 11));
	message(b, VHU_ID_GET_FEATURES, 5, 8);
	assert_true(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_BE, b, 20));
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, b, 20));
	message(b, VHU_ID_GET_FEATURES, 2, 0);
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, b, 12));
	message(b, VHU_ID_GET_FEATURES, 1, 9);
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, b, 21));
	message(b, 200, 1, 0);
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, b, 12));
	message(b, VHU_ID_BACKEND_IOTLB_MSG, 1, 32);
	assert_true(vhu_stream_is_start(VHU_CAP_BACKEND, VHU_CAP_DIR_BE, b, 44));
	assert_false(vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_NONE, b, 44));
}

/* Any bytes in any pieces with any gaps: each byte is in a record, or counted as skipped. */
static void hostile_bytes_are_accounted_for(void **state)
{
	static const uint64_t seeds = 400;

	for (uint64_t seed = 0; seed < seeds; seed++) {
		struct vhu_rng rng;
		struct fixture f;
		uint64_t at = 0;

		vhu_rng_init(&rng, seed);
		start(&f, &main_fe);
		for (int i = 0; i < 100; i++) {
			uint8_t b[600];
			size_t len = (size_t)vhu_rng_below(&rng, 300) + 1;
			struct vhu_fd_info fds[3] = {{0}};
			struct vhu_piece p = {
				.bytes = b, .len = len, .fds = fds, .read = vhu_rng_below(&rng, 4)};

			vhu_rng_fill(&rng, b, len);
			if (seed % 3)
				message(b, (uint32_t)vhu_rng_below(&rng, 60),
					(uint32_t)vhu_rng_below(&rng, 16),
					(uint32_t)vhu_rng_below(&rng, 500));
			p.n_fds = vhu_rng_below(&rng, 4);
			p.missing = vhu_rng_below(&rng, 5) ? 0 : vhu_rng_below(&rng, 50);
			if (!vhu_rng_below(&rng, 5))
				at += vhu_rng_below(&rng, 100);
			p.off = (int64_t)at;
			at += len + p.missing;
			assert_int_equal(vhu_stream_feed(f.stream, &p, NULL), 0);
		}
		assert_int_equal(vhu_stream_end(f.stream, 0, NULL, NULL), 0);
		assert_int_equal(f.seen.bytes + vhu_stream_skipped(f.stream), at);
		done(&f);
	}
}

static void a_full_file_stops_the_stream(void **state)
{
	struct fixture f;
	uint8_t b[64];
	struct vhu_piece p = {.off = VHU_STREAM_NEXT, .bytes = b, .len = three(b)};
	struct vhu_err err = {0};

	start(&f, &main_fe);
	f.seen.refuse = 2;
	assert_int_equal(vhu_stream_feed(f.stream, &p, &err), -ENOSPC);
	assert_string_equal(err.text, "full");
	done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_of_one_read_are_joined),
		cmocka_unit_test(a_message_of_several_reads_says_so),
		cmocka_unit_test(descriptors_belong_to_the_message_that_starts_in_the_piece),
		cmocka_unit_test(a_header_without_payload_gets_its_descriptors),
		cmocka_unit_test(more_descriptors_than_a_record_holds_are_lost),
		cmocka_unit_test(an_impossible_size_makes_the_rest_raw),
		cmocka_unit_test(an_end_inside_a_message_is_partial),
		cmocka_unit_test(a_gap_inside_a_message_cuts_it),
		cmocka_unit_test(a_gap_over_headers_waits_for_the_next_one),
		cmocka_unit_test(a_piece_with_an_unseen_tail_goes_on),
		cmocka_unit_test(a_late_start_is_marked),
		cmocka_unit_test(large_frames_are_kept_in_part),
		cmocka_unit_test(starts_are_told_from_other_bytes),
		cmocka_unit_test(hostile_bytes_are_accounted_for),
		cmocka_unit_test(a_full_file_stops_the_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
