/*
 * A channel under test whose other end is a plain socket. What a program does not use of it is
 * no mistake, hence inline.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <channel/chan.h>
#include <errno.h>
#include <event/loop.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <wire/frame.h>

#include "fds_open.h"
#include "send_fds.h"

/* Long enough that a test which gets there has failed. */
static const uint64_t patience_ns = UINT64_C(20000000000);

enum { HEADER = 12, KEPT_MAX = 64 };

/* --- a channel whose other end is a plain socket ------------------------------------------- */

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

static inline void on_frame(void *ctx, struct vhu_frame *f)
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

static inline void on_closed(void *ctx, int errno_value)
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

static const struct vhu_chan_events events = {.frame = on_frame, .closed = on_closed};

static int fds_at_start;

static inline int setup_channel(void **state, enum vhu_channel channel)
{
	static struct ctx c;
	int pair[2];

	fds_at_start = fds_open();
	c = (struct ctx){0};
	assert_int_equal(vhu_loop_new(&c.loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(vhu_chan_new(c.loop, pair[0], channel, VHU_DIR_BE, &events, &c, &c.chan, NULL), 0);
	c.peer = pair[1];
	*state = &c;
	return 0;
}

static inline int setup(void **state)
{
	return setup_channel(state, VHU_CHAN_MAIN);
}

static inline int setup_backend(void **state)
{
	return setup_channel(state, VHU_CHAN_BACKEND);
}

static inline void forget_frames(struct ctx *c)
{
	for (size_t i = 0; i < c->n_frames; i++)
		vhu_frame_done(&c->frames[i]);
	c->n_frames = 0;
}

/* Each test ends with the descriptors that it began with. */
static inline int teardown(void **state)
{
	struct ctx *c = *state;

	forget_frames(c);
	vhu_chan_free(c->chan);
	vhu_close(&c->peer);
	vhu_loop_free(c->loop);
	assert_int_equal(fds_open(), fds_at_start);
	return 0;
}

static inline bool enough_frames(void *ctx)
{
	struct ctx *c = ctx;

	return c->n_frames >= c->want || c->closed;
}

static inline void await_frames(struct ctx *c, size_t n)
{
	c->want = n;
	assert_int_equal(
		vhu_loop_run_until(c->loop, enough_frames, c, vhu_now_ns() + patience_ns, false, NULL), 0);
	assert_true(c->n_frames >= n);
}

static inline bool was_closed(void *ctx)
{
	return ((struct ctx *)ctx)->closed;
}

static inline void await_closed(struct ctx *c)
{
	assert_int_equal(vhu_loop_run_until(c->loop, was_closed, c, vhu_now_ns() + patience_ns, false, NULL),
			 0);
	assert_int_equal(c->closed, 1);
}

static inline bool is_sent(void *ctx)
{
	return !vhu_chan_sending(((struct ctx *)ctx)->chan);
}

static inline void await_sent(struct ctx *c)
{
	assert_int_equal(vhu_loop_run_until(c->loop, is_sent, c, vhu_now_ns() + patience_ns, false, NULL), 0);
}

/* Everything that is ready, and a little more than once. */
static inline void poll_some(struct ctx *c)
{
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(vhu_loop_poll(c->loop, NULL), 0);
}

/* --- the other end ------------------------------------------------------------------------- */

static inline size_t put_frame(uint8_t *out, uint32_t request, uint32_t size, uint8_t fill)
{
	vhu_ne_put(out, 4, request);
	vhu_ne_put(out + 4, 4, 5);
	vhu_ne_put(out + 8, 4, size);
	memset(out + HEADER, fill, size);
	return HEADER + size;
}

static inline void peer_sends(struct ctx *c, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	send_bytes(c->peer, bytes, len, fds, n_fds);
}

/* What one recvmsg gives; descriptors are closed, their marks kept. */
struct received {
	uint8_t bytes[4096];
	ssize_t len;
	size_t n_fds;
	uint64_t marks[VHU_FRAME_FDS_MAX];
};

static inline ssize_t peer_receives(struct ctx *c, struct received *r)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * VHU_FRAME_FDS_MAX)];
	struct iovec iov = {r->bytes, sizeof(r->bytes)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
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
static inline int marked_fd(unsigned mark)
{
	int fd = eventfd(mark, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static inline unsigned mark_of(struct vhu_frame *f, size_t i)
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
static inline struct vhu_frame borrowed(uint8_t *payload, size_t len, int *fds, size_t n_fds)
{
	return (struct vhu_frame){.request = 77,
				  .flags = 1,
				  .size = (uint32_t)len,
				  .payload = payload,
				  .len = len,
				  .fds = fds,
				  .n_fds = n_fds};
}

/* Sends until the socket takes no more: how much that was. */
static inline size_t fill(struct ctx *c, size_t chunk)
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

#define TEST(f)		cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_BACKEND(f) cmocka_unit_test_setup_teardown(f, setup_backend, teardown)
