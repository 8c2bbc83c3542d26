/* One socket with frames, the way in: split, coalesced, with descriptors, cut off, paused, freed. */
#include "chan_fixture.h"

/* --- receiving ----------------------------------------------------------------------------- */

static void a_frame_arrives(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 24];
	int fds[2] = {marked_fd(41), marked_fd(42)};

	peer_sends(c, bytes, put_frame(bytes, 31, 24, 0x77), fds, 2);
	close(fds[0]);
	close(fds[1]);
	await_frames(c, 1);
	assert_int_equal(c->frames[0].request, 31);
	assert_int_equal(c->frames[0].flags, 5);
	assert_int_equal(c->frames[0].dir, VHU_DIR_BE);
	assert_int_equal(c->frames[0].len, 24);
	assert_memory_equal(c->frames[0].payload, bytes + HEADER, 24);
	assert_int_equal(c->frames[0].n_fds, 2);
	assert_int_equal(c->frames[0].defects, 0);
	assert_int_equal(mark_of(&c->frames[0], 0), 41);
	assert_int_equal(mark_of(&c->frames[0], 1), 42);
	assert_int_equal(c->n_frames, 1);
}

/* Two frames, the first with a descriptor, cut at every byte into two messages. */
static void split_at_every_byte(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[2 * HEADER + 8 + 30];
	size_t len = put_frame(bytes, 1, 8, 0x11);

	len += put_frame(bytes + len, 2, 30, 0x22);
	for (size_t cut = 1; cut < len; cut++) {
		int fd = marked_fd((unsigned)cut);

		peer_sends(c, bytes, cut, &fd, 1);
		close(fd);
		poll_some(c);
		peer_sends(c, bytes + cut, len - cut, NULL, 0);
		await_frames(c, 2);
		assert_int_equal(c->n_frames, 2);
		assert_int_equal(c->frames[0].request, 1);
		assert_int_equal(c->frames[0].len, 8);
		assert_int_equal(c->frames[0].n_fds, 1);
		assert_int_equal(mark_of(&c->frames[0], 0), cut);
		assert_int_equal(c->frames[1].request, 2);
		assert_int_equal(c->frames[1].len, 30);
		assert_int_equal(c->frames[1].n_fds, 0);
		assert_memory_equal(c->frames[1].payload, bytes + HEADER + 8 + HEADER, 30);
		forget_frames(c);
	}
}

static void byte_by_byte(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 9];
	size_t len = put_frame(bytes, 5, 9, 0x33);

	for (size_t i = 0; i < len; i++) {
		assert_int_equal(c->n_frames, 0);
		peer_sends(c, bytes + i, 1, NULL, 0);
		poll_some(c);
	}
	assert_int_equal(c->n_frames, 1);
	assert_int_equal(c->frames[0].len, 9);
}

static void coalesced_frames(void **state)
{
	enum { MANY = 40 };
	struct ctx *c = *state;
	uint8_t bytes[MANY * (HEADER + MANY)];
	size_t len = 0;

	for (uint32_t i = 0; i < MANY; i++)
		len += put_frame(bytes + len, i, i, (uint8_t)i);
	peer_sends(c, bytes, len, NULL, 0);
	await_frames(c, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(c->frames[i].request, i);
		assert_int_equal(c->frames[i].len, i);
	}
	assert_true(vhu_chan_open(c->chan));
}

/* Frames that lie in the socket together, whose descriptors must not change hands. */
static void descriptors_stay_with_their_frame(void **state)
{
	static const uint32_t sizes[] = {8, 40, 0, 8, 0, 0, 12, 4, 8};
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 64];

	for (unsigned with = 0; with < 1u << VHU_ARRAY_SIZE(sizes); with++) {
		for (uint32_t i = 0; i < VHU_ARRAY_SIZE(sizes); i++) {
			int fd = marked_fd(i + 1);

			peer_sends(c, bytes, put_frame(bytes, i, sizes[i], 0), &fd, with >> i & 1);
			close(fd);
		}
		await_frames(c, VHU_ARRAY_SIZE(sizes));
		for (uint32_t i = 0; i < VHU_ARRAY_SIZE(sizes); i++) {
			assert_int_equal(c->frames[i].request, i);
			assert_int_equal(c->frames[i].n_fds, with >> i & 1);
			if (with >> i & 1)
				assert_int_equal(mark_of(&c->frames[i], 0), i + 1);
		}
		forget_frames(c);
	}
}

static void header_and_payload_in_two_messages(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 24];
	size_t len = put_frame(bytes, 9, 24, 0x44);

	for (uint32_t i = 1; i <= 3; i++) {
		int fd = marked_fd(i);

		peer_sends(c, bytes, HEADER, &fd, 1);
		peer_sends(c, bytes + HEADER, len - HEADER, NULL, 0);
		close(fd);
	}
	await_frames(c, 3);
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(c->frames[i - 1].n_fds, 1);
		assert_int_equal(mark_of(&c->frames[i - 1], 0), i);
	}
}

static void as_many_fds_as_can_arrive(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	int fds[VHU_FRAME_FDS_MAX];

	for (unsigned i = 0; i < VHU_FRAME_FDS_MAX; i++)
		fds[i] = marked_fd(i);
	peer_sends(c, bytes, put_frame(bytes, 1, 8, 0), fds, VHU_FRAME_FDS_MAX);
	for (unsigned i = 0; i < VHU_FRAME_FDS_MAX; i++)
		close(fds[i]);
	await_frames(c, 1);
	assert_int_equal(c->frames[0].n_fds, VHU_FRAME_FDS_MAX);
	assert_int_equal(c->frames[0].defects, 0);
}

/* With no room in our table the kernel drops them, and says so. */
static void dropped_descriptors_are_a_defect(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	struct rlimit before, tight;
	int fds[3], next;

	/* It has limits of its own, which recvmsg does not know. */
	if (strstr(getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "", "valgrind"))
		skip();
	for (unsigned i = 0; i < 3; i++)
		fds[i] = marked_fd(i);
	peer_sends(c, bytes, put_frame(bytes, 1, 8, 0), fds, 3);
	next = dup(fds[0]);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t)next + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	await_frames(c, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(c->frames[0].n_fds, 0);
	assert_true(c->frames[0].defects & VHU_DEFECT_FDS_LOST);
	close(next);
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
}

static void frames_larger_than_a_read(void **state)
{
	static uint8_t bytes[HEADER + VHU_FRAME_PAYLOAD_MAX];
	struct ctx *c = *state;
	size_t len = put_frame(bytes, 3, VHU_FRAME_PAYLOAD_MAX, 0x66), at = 0;

	while (at < len) {
		ssize_t n = send(c->peer, bytes + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);

		at += n > 0 ? (size_t)n : 0;
		poll_some(c);
	}
	await_frames(c, 1);
	assert_int_equal(c->frames[0].len, VHU_FRAME_PAYLOAD_MAX);
	assert_memory_equal(c->frames[0].payload, bytes + HEADER, VHU_FRAME_PAYLOAD_MAX);
}

static void behind_an_oversized_header_all_is_lost(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	int fd = marked_fd(1);

	put_frame(bytes, 3, 8, 0);
	vhu_ne_put(bytes + 8, 4, UINT32_MAX);
	peer_sends(c, bytes, sizeof(bytes), NULL, 0);
	for (unsigned i = 0; i < 5; i++)
		peer_sends(c, bytes, put_frame(bytes, 1, 8, 0), &fd, 1);
	close(fd);
	vhu_close(&c->peer);
	await_closed(c);
	assert_int_equal(c->n_frames, 1);
	assert_int_equal(c->frames[0].defects, VHU_DEFECT_OVERSIZED);
	assert_int_equal(c->frames[0].size, UINT32_MAX);
}

/* --- the end ------------------------------------------------------------------------------- */

static void the_end(void **state)
{
	struct ctx *c = *state;

	assert_true(vhu_chan_open(c->chan));
	vhu_close(&c->peer);
	await_closed(c);
	assert_int_equal(c->closed_errno, 0);
	assert_int_equal(c->n_frames, 0);
	assert_false(vhu_chan_open(c->chan));
	poll_some(c);
	assert_int_equal(c->closed, 1);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, NULL), 0);
	assert_false(vhu_chan_sending(c->chan));
}

static void the_end_within_a_frame(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[2 * HEADER + 8 + 30];
	size_t len = put_frame(bytes, 1, 8, 0x11);

	len += put_frame(bytes + len, 2, 30, 0x22);
	peer_sends(c, bytes, len - 10, NULL, 0);
	vhu_close(&c->peer);
	await_closed(c);
	assert_int_equal(c->n_frames, 2);
	assert_int_equal(c->frames[0].defects, 0);
	assert_int_equal(c->frames[1].defects, VHU_DEFECT_TRUNCATED);
	assert_int_equal(c->frames[1].request, 2);
	assert_int_equal(c->frames[1].size, 30);
	assert_int_equal(c->frames[1].len, 20);
}

/* A peer that closes with our bytes unread resets the connection; what it said before still counts. */
static void what_came_before_a_reset_is_delivered(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	int fd = marked_fd(1);

	assert_int_equal(vhu_chan_send_bytes(c->chan, "unread", 6, NULL, 0, NULL), 0);
	for (unsigned i = 0; i < 5; i++)
		peer_sends(c, bytes, put_frame(bytes, i, 8, 0), &fd, 1);
	close(fd);
	vhu_close(&c->peer);
	await_closed(c);
	assert_int_equal(c->closed_errno, ECONNRESET);
	assert_int_equal(c->n_frames, 5);
	assert_int_equal(c->frames[4].n_fds, 1);
}

static void sending_finds_out_first(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];

	peer_sends(c, bytes, put_frame(bytes, 4, 8, 0), NULL, 0);
	vhu_close(&c->peer);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, NULL), 0);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "y", 1, NULL, 0, NULL), 0);
	assert_true(vhu_chan_open(c->chan));
	await_closed(c);
	assert_int_equal(c->n_frames, 1);
	assert_int_equal(c->closed_errno, EPIPE);
}

static void a_peer_that_ends_its_side_only(void **state)
{
	struct ctx *c = *state;

	assert_int_equal(shutdown(c->peer, SHUT_WR), 0);
	await_closed(c);
	assert_int_equal(c->closed_errno, 0);
}

static void our_side_ends(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	struct vhu_err err = {0};
	struct received r;

	vhu_chan_half_close(c->chan);
	vhu_chan_half_close(c->chan);
	assert_int_equal(peer_receives(c, &r), 0);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, &err), -ESHUTDOWN);
	peer_sends(c, bytes, put_frame(bytes, 4, 8, 0), NULL, 0);
	await_frames(c, 1);
	assert_true(vhu_chan_open(c->chan));
	vhu_close(&c->peer);
	await_closed(c);
	assert_int_equal(c->closed_errno, 0);
}

static void our_side_ends_behind_the_queue(void **state)
{
	struct ctx *c = *state;
	size_t sent = fill(c, 30000), got = 0;
	static struct received r;
	uint64_t deadline = vhu_now_ns() + patience_ns;
	ssize_t n;

	vhu_chan_half_close(c->chan);
	while ((n = peer_receives(c, &r)) != 0 && vhu_now_ns() < deadline) {
		got += n > 0 ? (size_t)n : 0;
		if (n < 0)
			assert_int_equal(vhu_loop_poll(c->loop, NULL), 0);
	}
	assert_int_equal(got, sent);
}

/* --- pausing ------------------------------------------------------------------------------- */

static void a_paused_channel_reads_nothing(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];

	assert_int_equal(vhu_chan_pause(c->chan, true, NULL), 0);
	peer_sends(c, bytes, put_frame(bytes, 4, 8, 0), NULL, 0);
	poll_some(c);
	assert_int_equal(c->n_frames, 0);
	assert_int_equal(vhu_chan_pause(c->chan, false, NULL), 0);
	await_frames(c, 1);
	/* From inside a callback: the frames behind wait. */
	c->pause_in_frame = true;
	peer_sends(c, bytes, sizeof(bytes), NULL, 0);
	peer_sends(c, bytes, sizeof(bytes), NULL, 0);
	await_frames(c, 2);
	poll_some(c);
	assert_int_equal(c->n_frames, 2);
	assert_int_equal(vhu_chan_pause(c->chan, false, NULL), 0);
	await_frames(c, 3);
}

static bool count_rounds(void *ctx)
{
	++*(unsigned *)ctx;
	return false;
}

/* A hang-up cannot be masked: a paused channel that kept its place in the loop would spin. */
static void a_paused_channel_sleeps_though_the_peer_left(void **state)
{
	struct ctx *c = *state;
	unsigned rounds = 0;

	assert_int_equal(vhu_chan_pause(c->chan, true, NULL), 0);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, NULL), 0);
	vhu_close(&c->peer);
	assert_int_equal(
		vhu_loop_run_until(c->loop, count_rounds, &rounds, vhu_now_ns() + 5000000, false, NULL),
		-ETIME);
	assert_in_range(rounds, 1, 10);
	assert_int_equal(c->closed, 0);
	assert_int_equal(vhu_chan_pause(c->chan, false, NULL), 0);
	await_closed(c);
}

static void a_paused_channel_sends(void **state)
{
	struct ctx *c = *state;
	size_t sent, got = 0;
	static struct received r;
	uint64_t deadline = vhu_now_ns() + patience_ns;

	assert_int_equal(vhu_chan_pause(c->chan, true, NULL), 0);
	sent = fill(c, 30000);
	while (got < sent && vhu_now_ns() < deadline) {
		ssize_t n = peer_receives(c, &r);

		got += n > 0 ? (size_t)n : 0;
		assert_int_equal(vhu_loop_poll(c->loop, NULL), 0);
	}
	assert_int_equal(got, sent);
	assert_false(vhu_chan_sending(c->chan));
}

/* --- callbacks ----------------------------------------------------------------------------- */

static void a_callback_may_send(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	struct received r;

	c->answer = true;
	peer_sends(c, bytes, put_frame(bytes, 4, 8, 0), NULL, 0);
	await_frames(c, 1);
	assert_int_equal(peer_receives(c, &r), 6);
	assert_memory_equal(r.bytes, "answer", 6);
}

static void a_callback_may_free_the_channel(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 8];
	int fd = marked_fd(1);

	c->free_in_frame = true;
	for (unsigned i = 0; i < 3; i++)
		peer_sends(c, bytes, put_frame(bytes, 4, 8, 0), &fd, 1);
	close(fd);
	await_frames(c, 1);
	poll_some(c);
	assert_int_equal(c->n_frames, 1);
	assert_null(c->chan);
	assert_int_equal(send(c->peer, "x", 1, MSG_NOSIGNAL), -1);
}

static void a_callback_may_free_it_at_the_end(void **state)
{
	struct ctx *c = *state;

	c->free_in_closed = true;
	vhu_close(&c->peer);
	await_closed(c);
	assert_null(c->chan);
}

static void a_callback_may_free_it_with_the_last_frame(void **state)
{
	struct ctx *c = *state;

	c->free_in_frame = true;
	peer_sends(c, "half", 4, NULL, 0);
	vhu_close(&c->peer);
	await_frames(c, 1);
	assert_true(c->frames[0].defects & VHU_DEFECT_TRUNCATED);
	assert_null(c->chan);
	assert_int_equal(c->closed, 0);
}

/* --- creation ------------------------------------------------------------------------------ */

static void a_descriptor_that_is_none(void **state)
{
	struct ctx *c = *state;
	struct vhu_chan *chan = NULL;
	struct vhu_err err = {0};
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_true(vhu_chan_new(c->loop, file, VHU_CHAN_MAIN, VHU_DIR_BE, &events, c, &chan, &err) < 0);
	assert_null(chan);
	assert_true(err.text[0]);
	/* It was taken all the same. */
	assert_int_equal(fcntl(file, F_GETFD), -1);
	vhu_chan_free(NULL);
	assert_true(vhu_chan_fd(c->chan) >= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_frame_arrives),
		TEST_BACKEND(a_frame_arrives),
		TEST(split_at_every_byte),
		TEST_BACKEND(split_at_every_byte),
		TEST(byte_by_byte),
		TEST_BACKEND(byte_by_byte),
		TEST(coalesced_frames),
		TEST_BACKEND(coalesced_frames),
		TEST(descriptors_stay_with_their_frame),
		TEST_BACKEND(descriptors_stay_with_their_frame),
		TEST(header_and_payload_in_two_messages),
		TEST_BACKEND(header_and_payload_in_two_messages),
		TEST(as_many_fds_as_can_arrive),
		TEST(dropped_descriptors_are_a_defect),
		TEST(frames_larger_than_a_read),
		TEST(behind_an_oversized_header_all_is_lost),
		TEST(the_end),
		TEST(the_end_within_a_frame),
		TEST(what_came_before_a_reset_is_delivered),
		TEST(sending_finds_out_first),
		TEST(a_peer_that_ends_its_side_only),
		TEST(our_side_ends),
		TEST(our_side_ends_behind_the_queue),
		TEST(a_paused_channel_reads_nothing),
		TEST(a_paused_channel_sleeps_though_the_peer_left),
		TEST(a_paused_channel_sends),
		TEST(a_callback_may_send),
		TEST(a_callback_may_free_the_channel),
		TEST(a_callback_may_free_it_at_the_end),
		TEST(a_callback_may_free_it_with_the_last_frame),
		TEST(a_descriptor_that_is_none),
	};

	return cmocka_run_group_tests_name("channel_chan", tests, NULL, NULL);
}
