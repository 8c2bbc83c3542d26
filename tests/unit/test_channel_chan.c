/* One socket with frames: both ways, in pieces, coalesced, full, cut off, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <channel/chan.h>
#include <dirent.h>
#include <errno.h>
#include <event/loop.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <wire/frame.h>

/* Long enough that a test which gets there has failed. */
static const uint64_t patience_ns = UINT64_C(20000000000);

enum { HEADER = 12, KEPT_MAX = 64 };

/* --- a channel whose other end is a plain socket -------------------------------------------------- */

struct ctx {
	struct vhu_loop *loop;
	struct vhu_chan *chan;
	int peer;
	struct vhu_frame frames[KEPT_MAX];
	size_t n_frames, want;
	unsigned closed;
	int closed_errno;
	bool free_in_frame, free_in_closed, answer, pause_in_frame;
};

static void on_frame(void *ctx, struct vhu_frame *f)
{
	struct ctx *c = ctx;

	assert_true(c->n_frames < KEPT_MAX);
	assert_int_equal(c->closed, 0);
	c->frames[c->n_frames++] = *f;
	if (c->answer)
		assert_int_equal(vhu_chan_send_bytes(c->chan, "answer", 6, NULL, 0, NULL), 0);
	if (c->pause_in_frame)
		assert_int_equal(vhu_chan_pause(c->chan, true, NULL), 0);
	if (c->free_in_frame) {
		vhu_chan_free(c->chan);
		c->chan = NULL;
	}
}

static void on_closed(void *ctx, int errno_value)
{
	struct ctx *c = ctx;

	c->closed++;
	c->closed_errno = errno_value;
	assert_false(vhu_chan_open(c->chan));
	if (c->free_in_closed) {
		vhu_chan_free(c->chan);
		c->chan = NULL;
	}
}

static const struct vhu_chan_events events = { .frame = on_frame, .closed = on_closed };

static int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int fds_at_start;

static int setup_channel(void **state, enum vhu_channel channel)
{
	static struct ctx c;
	int pair[2];

	fds_at_start = fds_open();
	c = (struct ctx){ 0 };
	assert_int_equal(vhu_loop_new(&c.loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vhu_chan_new(c.loop, pair[0], channel, VHU_DIR_BE, &events, &c, &c.chan, NULL), 0);
	c.peer = pair[1];
	*state = &c;
	return 0;
}

static int setup(void **state)
{
	return setup_channel(state, VHU_CHAN_MAIN);
}

static int setup_backend(void **state)
{
	return setup_channel(state, VHU_CHAN_BACKEND);
}

static void forget_frames(struct ctx *c)
{
	for (size_t i = 0; i < c->n_frames; i++)
		vhu_frame_done(&c->frames[i]);
	c->n_frames = 0;
}

/* Each test ends with the descriptors that it began with. */
static int teardown(void **state)
{
	struct ctx *c = *state;

	forget_frames(c);
	vhu_chan_free(c->chan);
	vhu_close(&c->peer);
	vhu_loop_free(c->loop);
	assert_int_equal(fds_open(), fds_at_start);
	return 0;
}

static bool enough_frames(void *ctx)
{
	struct ctx *c = ctx;

	return c->n_frames >= c->want || c->closed;
}

static void await_frames(struct ctx *c, size_t n)
{
	c->want = n;
	assert_int_equal(vhu_loop_run_until(c->loop, enough_frames, c, vhu_now_ns() + patience_ns, false, NULL), 0);
	assert_true(c->n_frames >= n);
}

static bool was_closed(void *ctx)
{
	return ((struct ctx *)ctx)->closed;
}

static void await_closed(struct ctx *c)
{
	assert_int_equal(vhu_loop_run_until(c->loop, was_closed, c, vhu_now_ns() + patience_ns, false, NULL), 0);
	assert_int_equal(c->closed, 1);
}

static bool is_sent(void *ctx)
{
	return !vhu_chan_sending(((struct ctx *)ctx)->chan);
}

static void await_sent(struct ctx *c)
{
	assert_int_equal(vhu_loop_run_until(c->loop, is_sent, c, vhu_now_ns() + patience_ns, false, NULL), 0);
}

/* Everything that is ready, and a little more than once. */
static void poll_some(struct ctx *c)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(vhu_loop_poll(c->loop, NULL), 0);
}

/* --- the other end -------------------------------------------------------------------------------- */

static size_t put_frame(uint8_t *out, uint32_t request, uint32_t size, uint8_t fill)
{
	vhu_ne_put(out, 4, request);
	vhu_ne_put(out + 4, 4, 5);
	vhu_ne_put(out + 8, 4, size);
	memset(out + HEADER, fill, size);
	return HEADER + size;
}

static void peer_sends(struct ctx *c, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * VHU_FRAME_FDS_MAX)] = { 0 };
	struct iovec iov = { (void *)bytes, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *cmsg = (struct cmsghdr *)control;

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(c->peer, &msg, MSG_NOSIGNAL), len);
}

/* What one recvmsg gives; descriptors are closed, their marks kept. */
struct received {
	uint8_t bytes[4096];
	ssize_t len;
	size_t n_fds;
	uint64_t marks[VHU_FRAME_FDS_MAX];
};

static ssize_t peer_receives(struct ctx *c, struct received *r)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * VHU_FRAME_FDS_MAX)];
	struct iovec iov = { r->bytes, sizeof(r->bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	int fds[VHU_FRAME_FDS_MAX];

	msg.msg_controllen = sizeof(control);
	r->n_fds = 0;
	r->len = recvmsg(c->peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (r->len < 0)
		return -errno;
	assert_false(msg.msg_flags & MSG_CTRUNC);
	if (CMSG_FIRSTHDR(&msg)) {
		r->n_fds = (CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), r->n_fds * sizeof(int));
	}
	for (size_t i = 0; i < r->n_fds; i++) {
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		assert_int_equal(read(fds[i], &r->marks[i], sizeof(uint64_t)), sizeof(uint64_t));
		close(fds[i]);
	}
	return r->len;
}

/* A descriptor that can be told from others by its counter. */
static int marked_fd(unsigned mark)
{
	int fd = eventfd(mark, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static unsigned mark_of(struct vhu_frame *f, size_t i)
{
	int fd = vhu_frame_take_fd(f, i);
	uint64_t mark = 0;

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(read(fd, &mark, sizeof(mark)), sizeof(mark));
	close(fd);
	return (unsigned)mark;
}

/* A frame of ours that borrows everything. */
static struct vhu_frame borrowed(uint8_t *payload, size_t len, int *fds, size_t n_fds)
{
	return (struct vhu_frame){ .request = 77,
				   .flags = 1,
				   .size = (uint32_t)len,
				   .payload = payload,
				   .len = len,
				   .fds = fds,
				   .n_fds = n_fds };
}

/* --- sending -------------------------------------------------------------------------------------- */

static void a_frame_is_one_message(void **state)
{
	struct ctx *c = *state;
	uint8_t payload[40];
	int fds[2] = { marked_fd(11), marked_fd(12) };
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
	struct vhu_err err = { 0 };
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
	struct vhu_err err = { 0 };
	int bad = -1;

	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, &bad, 1, &err), -EBADF);
	assert_non_null(strstr(err.text, "channel"));
	/* And the channel goes on. */
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, &err), 0);
}

/* --- pieces --------------------------------------------------------------------------------------- */

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
	static const size_t pieces[] = { 1, 4, 0, 9, 2 }, expected[] = { 1, 4, 9, 2, 16 };
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
	static const size_t pieces[] = { 3, 3 };
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
	static const size_t pieces[] = { 5, 100 };
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
	static const size_t pieces[] = { 5 };
	struct ctx *c = *state;
	struct vhu_frame f = borrowed(NULL, 0, NULL, 0);

	assert_int_equal(vhu_chan_send(c->chan, &f, pieces, 1, UINT64_MAX, NULL), 0);
	vhu_close(&c->peer);
	await_closed(c);
	assert_false(vhu_chan_sending(c->chan));
}

/* --- held frames ---------------------------------------------------------------------------------- */

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

/* --- a full socket -------------------------------------------------------------------------------- */

static size_t fill(struct ctx *c, size_t chunk)
{
	uint8_t *bytes = calloc(1, chunk);
	size_t sent = 0;

	assert_non_null(bytes);
	while (!vhu_chan_sending(c->chan)) {
		assert_int_equal(vhu_chan_send_bytes(c->chan, bytes, chunk, NULL, 0, NULL), 0);
		sent += chunk;
	}
	free(bytes);
	return sent;
}

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
	struct vhu_err err = { 0 };
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

/* --- receiving ------------------------------------------------------------------------------------ */

static void a_frame_arrives(void **state)
{
	struct ctx *c = *state;
	uint8_t bytes[HEADER + 24];
	int fds[2] = { marked_fd(41), marked_fd(42) };

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
	static const uint32_t sizes[] = { 8, 40, 0, 8, 0, 0, 12, 4, 8 };
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
	int fds[3] = { marked_fd(1), marked_fd(2), marked_fd(3) }, next;

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

/* --- the end -------------------------------------------------------------------------------------- */

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
	struct vhu_err err = { 0 };
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

/* --- pausing -------------------------------------------------------------------------------------- */

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

/* A hang-up cannot be masked: a paused channel that kept its place in the loop would spin. */
static void a_paused_channel_sleeps_though_the_peer_left(void **state)
{
	struct ctx *c = *state;

	assert_int_equal(vhu_chan_pause(c->chan, true, NULL), 0);
	assert_int_equal(vhu_chan_send_bytes(c->chan, "x", 1, NULL, 0, NULL), 0);
	vhu_close(&c->peer);
	assert_int_equal(vhu_loop_run_until(c->loop, was_closed, c, vhu_now_ns() + 1000000, false, NULL), -ETIME);
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

/* --- callbacks ------------------------------------------------------------------------------------ */

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

/* --- creation ------------------------------------------------------------------------------------- */

static void a_descriptor_that_is_none(void **state)
{
	struct ctx *c = *state;
	struct vhu_chan *chan = NULL;
	struct vhu_err err = { 0 };
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	assert_true(vhu_chan_new(c->loop, file, VHU_CHAN_MAIN, VHU_DIR_BE, &events, c, &chan, &err) < 0);
	assert_null(chan);
	assert_true(err.text[0]);
	/* It was taken all the same. */
	assert_int_equal(fcntl(file, F_GETFD), -1);
	vhu_chan_free(NULL);
	assert_true(vhu_chan_fd(c->chan) >= 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_BACKEND(f) cmocka_unit_test_setup_teardown(f, setup_backend, teardown)

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
