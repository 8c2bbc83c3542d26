/* One socket with frames, our way out: whole, in pieces, held, and when the socket is full. */
#include "chan_fixture.h"

/* --- sending ------------------------------------------------------------------------------- */

static void a_frame_is_one_message(void **state)
{
	struct ctx *c = *state;
	uint8_t payload[40];
	int fds[2] = {marked_fd(11), marked_fd(12)};
	struct vhu_frame f = borrowed(payload, sizeof(payload), fds, 2);
	struct received r;

	memset(payload, 0xab, sizeof(payload));
	assert_int_equal(vhu_chan_send(c->chan, &f, NULL, 0, 0, NULL), 0);
	assert_false(vhu_chan_sending(c->chan));
	assert_int_equal(peer_receives(c, &r), HEADER + sizeof(payload));
	assert_int_equal(vhu_ne_get(r.bytes, 4), 77);
	assert_int_equal(vhu_ne_get(r.bytes + 8, 4), sizeof(payload));
	assert_memory_equal(r.bytes + HEADER, payload, sizeof(payload));
	assert_int_equal(r.n_fds, 2);
	assert_int_equal(r.marks[0], 11);
	assert_int_equal(r.marks[1], 12);
	/* They stay ours. */
	assert_true(fcntl(fds[0], F_GETFD) >= 0);
	close(fds[0]);
	close(fds[1]);
}

static void raw_bytes(void **state)
{
	struct ctx *c = *state;
	int fd = marked_fd(3);
	struct received r;

	assert_int_equal(vhu_chan_send_bytes(c->chan, "abc", 3, &fd, 1, NULL), 0);
	assert_int_equal(peer_receives(c, &r), 3);
	assert_memory_equal(r.bytes, "abc", 3);
	assert_int_equal(r.n_fds, 1);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "", 0, NULL, 0, NULL), 0);
	assert_int_equal(peer_receives(c, &r), -EAGAIN);
	close(fd);
}

static void as_many_fds_as_the_kernel_takes(void **state)
{
	struct ctx *c = *state;
	struct vhu_err err = {0};
	int fds[VHU_FRAME_FDS_MAX + 1];
	static struct received r;

	for (unsigned i = 0; i <= VHU_FRAME_FDS_MAX; i++)
		fds[i] = marked_fd(i + 1);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, fds, VHU_FRAME_FDS_MAX, NULL), 0);
	assert_int_equal(peer_receives(c, &r), 1);
	assert_int_equal(r.n_fds, VHU_FRAME_FDS_MAX);
	for (unsigned i = 0; i < VHU_FRAME_FDS_MAX; i++)
		assert_int_equal(r.marks[i], i + 1);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, fds, VHU_FRAME_FDS_MAX + 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "254 descriptors"));
	assert_int_equal(vhu_chan_send_bytes(c->chan, NULL, 0, fds, 1, &err), -EINVAL);
	for (unsigned i = 0; i <= VHU_FRAME_FDS_MAX; i++)
		close(fds[i]);
}

static void a_bad_descriptor_is_our_failure(void **state)
{
	struct ctx *c = *state;
	struct vhu_err err = {0};
	int bad = -1;

	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, &bad, 1, &err), -EBADF);
	assert_non_null(strstr(err.text, "channel"));
	/* And the channel goes on. */
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, &err), 0);
}

/* --- pieces -------------------------------------------------------------------------------- */

static bool peer_has_read(struct ctx *c, struct received *r, const uint8_t *expected, size_t len)
{
	ssize_t n = peer_receives(c, r);

	if (n == -EAGAIN)
		return false;
	assert_int_equal(n, len);
	assert_memory_equal(r->bytes, expected, len);
	return true;
}

/* Each piece waits until the one before was read, so that reads see exactly these pieces. */
static void pieces_arrive_one_by_one(void **state)
{
	static const size_t pieces[] = {1, 4, 0, 9, 2}, expected[] = {1, 4, 9, 2, 16};
	struct ctx *c = *state;
	uint8_t payload[20], whole[HEADER + 20];
	int fd = marked_fd(9);
	struct vhu_frame f = borrowed(payload, sizeof(payload), &fd, 1);
	struct received r;
	uint64_t deadline = vhu_now_ns() + patience_ns;

	memset(payload, 0x5a, sizeof(payload));
	put_frame(whole, 77, sizeof(payload), 0x5a);
	vhu_ne_put(whole + 4, 4, 1);
	assert_int_equal(vhu_chan_send(c->chan, &f, pieces, VHU_ARRAY_SIZE(pieces), UINT64_MAX, NULL), 0);
	for (size_t i = 0, at = 0; i < VHU_ARRAY_SIZE(expected); at += expected[i++]) {
		/* While it lies unread, nothing follows. */
		poll_some(c);
		while (!peer_has_read(c, &r, whole + at, expected[i]) && vhu_now_ns() < deadline)
			poll_some(c);
		assert_int_equal(r.n_fds, i == 0);
		assert_int_equal(r.len, expected[i]);
	}
	await_sent(c);
	assert_int_equal(peer_receives(c, &r), -EAGAIN);
	close(fd);
}

static void pieces_do_not_wait_for_ever(void **state)
{
	static const size_t pieces[] = {3, 3};
	struct ctx *c = *state;
	struct vhu_frame f = borrowed(NULL, 0, NULL, 0);
	struct received r;

	/* Nobody reads. Without a wait all go at once; with a short one they go after it. */
	assert_int_equal(vhu_chan_send(c->chan, &f, pieces, 2, 0, NULL), 0);
	assert_false(vhu_chan_sending(c->chan));
	assert_int_equal(vhu_chan_send(c->chan, &f, pieces, 2, 1000000, NULL), 0);
	assert_true(vhu_chan_sending(c->chan));
	await_sent(c);
	assert_int_equal(peer_receives(c, &r), 2 * HEADER);
}

static void what_is_sent_behind_pieces_stays_behind(void **state)
{
	static const size_t pieces[] = {5, 100};
	struct ctx *c = *state;
	struct vhu_frame f = borrowed(NULL, 0, NULL, 0);
	struct received r;

	assert_int_equal(vhu_chan_send(c->chan, &f, pieces, 2, UINT64_MAX, NULL), 0);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "behind", 6, NULL, 0, NULL), 0);
	poll_some(c);
	assert_int_equal(peer_receives(c, &r), 5);
	await_sent(c);
	assert_int_equal(peer_receives(c, &r), 7 + 6);
	assert_memory_equal(r.bytes + 7, "behind", 6);
}

static void pieces_to_a_peer_that_leaves(void **state)
{
	static const size_t pieces[] = {5};
	struct ctx *c = *state;
	struct vhu_frame f = borrowed(NULL, 0, NULL, 0);

	assert_int_equal(vhu_chan_send(c->chan, &f, pieces, 1, UINT64_MAX, NULL), 0);
	vhu_close(&c->peer);
	await_closed(c);
	assert_false(vhu_chan_sending(c->chan));
}

/* --- held frames --------------------------------------------------------------------------- */

static void held_frames_go_together(void **state)
{
	struct ctx *c = *state;
	struct vhu_frame f = borrowed(NULL, 0, NULL, 0);
	struct received r;

	vhu_chan_hold(c->chan);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vhu_chan_send(c->chan, &f, NULL, 0, 0, NULL), 0);
	poll_some(c);
	assert_int_equal(peer_receives(c, &r), -EAGAIN);
	assert_int_equal(vhu_chan_release(c->chan, NULL), 0);
	assert_int_equal(peer_receives(c, &r), 3 * HEADER);
	/* Afterwards as before. */
	assert_int_equal(vhu_chan_send(c->chan, &f, NULL, 0, 0, NULL), 0);
	assert_int_equal(peer_receives(c, &r), HEADER);
	vhu_chan_hold(c->chan);
	assert_int_equal(vhu_chan_release(c->chan, NULL), 0);
	assert_int_equal(peer_receives(c, &r), -EAGAIN);
}

static void held_descriptors_stay_with_their_frame(void **state)
{
	struct ctx *c = *state;
	int fd = marked_fd(21), other = marked_fd(22);
	struct vhu_frame plain = borrowed(NULL, 0, NULL, 0), with = borrowed(NULL, 0, &fd, 1);
	struct received r;

	vhu_chan_hold(c->chan);
	assert_int_equal(vhu_chan_send(c->chan, &plain, NULL, 0, 0, NULL), 0);
	assert_int_equal(vhu_chan_send(c->chan, &with, NULL, 0, 0, NULL), 0);
	assert_int_equal(vhu_chan_send(c->chan, &plain, NULL, 0, 0, NULL), 0);
	with.fds = &other;
	assert_int_equal(vhu_chan_send(c->chan, &with, NULL, 0, 0, NULL), 0);
	/* Lent for the time of the call only. */
	close(fd);
	close(other);
	assert_int_equal(vhu_chan_release(c->chan, NULL), 0);
	/* A read ends with the first message that brings descriptors. */
	assert_int_equal(peer_receives(c, &r), 3 * HEADER);
	assert_int_equal(r.n_fds, 1);
	assert_int_equal(r.marks[0], 21);
	assert_int_equal(peer_receives(c, &r), HEADER);
	assert_int_equal(r.marks[0], 22);
}

static void held_frames_go_with_the_channel(void **state)
{
	struct ctx *c = *state;
	int fd = marked_fd(1);
	struct vhu_frame f = borrowed(NULL, 0, &fd, 1);

	vhu_chan_hold(c->chan);
	assert_int_equal(vhu_chan_send(c->chan, &f, NULL, 0, 0, NULL), 0);
	close(fd);
}

static void held_frames_for_a_peer_that_is_gone(void **state)
{
	struct ctx *c = *state;
	struct vhu_frame f = borrowed(NULL, 0, NULL, 0);

	vhu_chan_hold(c->chan);
	assert_int_equal(vhu_chan_send(c->chan, &f, NULL, 0, 0, NULL), 0);
	vhu_close(&c->peer);
	await_closed(c);
	assert_int_equal(vhu_chan_release(c->chan, NULL), 0);
	assert_false(vhu_chan_sending(c->chan));
}

/* --- a full socket ------------------------------------------------------------------------- */

static void a_full_socket_queues_and_still_receives(void **state)
{
	struct ctx *c = *state;
	uint8_t reply[HEADER + 8];
	int fd = marked_fd(31);
	size_t sent = fill(c, 30000), got = 0;
	static struct received r;
	uint64_t mark = 0, deadline = vhu_now_ns() + patience_ns;

	assert_int_equal(vhu_chan_send_bytes(c->chan, "last", 4, &fd, 1, NULL), 0);
	close(fd);
	peer_sends(c, reply, put_frame(reply, 1, 8, 0xcc), NULL, 0);
	await_frames(c, 1);
	assert_int_equal(c->frames[0].len, 8);
	assert_true(vhu_chan_sending(c->chan));
	while (got < sent + 4 && vhu_now_ns() < deadline) {
		ssize_t n = peer_receives(c, &r);

		if (n > 0) {
			got += (size_t)n;
			mark = r.n_fds ? r.marks[0] : mark;
		} else {
			assert_int_equal(n, -EAGAIN);
			assert_int_equal(vhu_loop_poll(c->loop, NULL), 0);
		}
	}
	assert_int_equal(got, sent + 4);
	assert_int_equal(mark, 31);
	assert_memory_equal(r.bytes + r.len - 4, "last", 4);
	assert_false(vhu_chan_sending(c->chan));
}

static void the_queue_has_an_end(void **state)
{
	struct ctx *c = *state;
	size_t chunk = (size_t)VHU_CHAN_QUEUE_MAX / 4;
	uint8_t *bytes = calloc(1, chunk);
	struct vhu_err err = {0};
	int r = 0;

	assert_non_null(bytes);
	for (unsigned i = 0; i < 8 && r == 0; i++)
		r = vhu_chan_send_bytes(c->chan, bytes, chunk, NULL, 0, &err);
	assert_int_equal(r, -ENOBUFS);
	assert_non_null(strstr(err.text, "does not read"));
	free(bytes);
}

static void a_full_queue_goes_with_its_peer(void **state)
{
	struct ctx *c = *state;

	fill(c, 30000);
	vhu_close(&c->peer);
	await_closed(c);
	assert_false(vhu_chan_sending(c->chan));
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_frame_is_one_message),
		TEST(raw_bytes),
		TEST(as_many_fds_as_the_kernel_takes),
		TEST(a_bad_descriptor_is_our_failure),
		TEST(pieces_arrive_one_by_one),
		TEST(pieces_do_not_wait_for_ever),
		TEST(what_is_sent_behind_pieces_stays_behind),
		TEST(pieces_to_a_peer_that_leaves),
		TEST(held_frames_go_together),
		TEST(held_descriptors_stay_with_their_frame),
		TEST(held_frames_go_with_the_channel),
		TEST(held_frames_for_a_peer_that_is_gone),
		TEST(a_full_socket_queues_and_still_receives),
		TEST(the_queue_has_an_end),
		TEST(a_full_queue_goes_with_its_peer),
	};

	return cmocka_run_group_tests_name("channel_send", tests, NULL, NULL);
}
