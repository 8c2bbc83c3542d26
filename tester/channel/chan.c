#include "chan_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { CONTROL_SIZE = CMSG_SPACE(sizeof(int) * VHU_FRAME_FDS_MAX), DRAIN_MAX = 1024 };

static const uint64_t pace_ns = 200 * 1000;

/* --- what is watched ------------------------------------------------------------------------- */

static void on_socket(void *ctx, uint32_t events);

static void leave(struct vhu_chan *c)
{
	if (!--c->busy && c->freed)
		free(c);
}

/* A send that happens later has nobody to report to but the next send. */
static void push_later(struct vhu_chan *c)
{
	int r = vhu_chan_push(c, NULL);

	if (r < 0)
		c->broken = r;
}

static void on_timer(void *ctx, uint32_t events)
{
	push_later(ctx);
}

int vhu_chan_watch(struct vhu_chan *c, struct vhu_err *err)
{
	const struct chan_item *head = c->queue.head;
	uint32_t interest = 0;
	int r = 0;

	if (!c->closed && !c->paused)
		interest |= EPOLLIN;
	if (head && !head->paced)
		interest |= EPOLLOUT;
	/* A hang-up is told whether it is asked for or not: what wants nothing must not be in the set. */
	if (!interest) {
		vhu_source_free(c->source);
		c->source = NULL;
	} else if (!c->source) {
		r = vhu_loop_add_fd(c->loop, c->fd, interest, on_socket, c, &c->source, err);
	} else if (interest != c->interest) {
		r = vhu_source_modify(c->source, interest, err);
	}
	c->interest = interest;
	if (r < 0)
		return r;

	if (!head || !head->paced) {
		vhu_source_free(c->timer);
		c->timer = NULL;
	} else if (!c->timer) {
		r = vhu_loop_add_timer(c->loop, pace_ns, pace_ns, on_timer, c, &c->timer, err);
	}
	return r;
}

/* --- receiving ------------------------------------------------------------------------------- */

/* Bytes of a frame that is not complete yet. */
static size_t begun(const struct vhu_chan *c)
{
	return c->in.end - c->in.start;
}

/* Its size field, once its header is there with `n` more bytes from the buffer; else 0. */
static size_t announced(const struct vhu_chan *c, size_t n)
{
	uint8_t header[VHU_C_HEADER_SIZE];
	size_t have = VHU_MIN(begun(c), sizeof(header));

	if (have)
		memcpy(header, c->in.bytes + c->in.start, have);
	n = VHU_MIN(n, sizeof(header) - have);
	memcpy(header + have, c->buffer, n);
	if (have + n < sizeof(header))
		return 0;
	return (size_t)vhu_ne_get(header + 2 * sizeof(uint32_t), sizeof(uint32_t));
}

/*
 * How much to read: not beyond the end of a frame, because descriptors come with the last
 * bytes of a read, and with two frames in it there is no telling whose they are. A back-end's
 * replies are hardly ever shorter than a u64, which saves a second read for nearly all of them.
 */
static size_t wanted(const struct vhu_chan *c)
{
	if (c->in.lost)
		return sizeof(c->buffer);
	if (begun(c) < VHU_C_HEADER_SIZE)
		return VHU_C_HEADER_SIZE - begun(c) + c->shortest;
	return VHU_MIN(VHU_C_HEADER_SIZE + announced(c, 0) - begun(c), sizeof(c->buffer));
}

static size_t collect_fds(struct msghdr *msg, int *fds)
{
	size_t n_fds = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;

		size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		memcpy(fds + n_fds, CMSG_DATA(cmsg), n * sizeof(int));
		n_fds += n;
	}
	return n_fds;
}

/* One recvmsg: bytes, 0 at the end of the stream, negative errno. */
static ssize_t receive_some(struct vhu_chan *c, size_t want, int fds[], size_t *ret_n_fds, bool *ret_lost)
{
	union {
		struct cmsghdr align;
		char bytes[CONTROL_SIZE];
	} control;
	struct iovec iov = {.iov_base = c->buffer, .iov_len = want};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	do {
		n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_n_fds = msg.msg_controllen ? collect_fds(&msg, fds) : 0;
	*ret_lost = msg.msg_flags & MSG_CTRUNC;
	return n;
}

/* The stream has ended: what is left of it, then the end itself. */
static void finish(struct vhu_chan *c, int errno_value)
{
	struct vhu_frame f;

	if (vhu_assembler_end(&c->in, &f, NULL) > 0)
		c->events.frame(c->ctx, &f);
	if (c->freed)
		return;
	c->closed = true;
	vhu_chan_queue_drop(&c->queue);
	vhu_chan_watch(c, NULL);
	c->events.closed(c->ctx, errno_value ? errno_value : c->gone);
}

/* Hands out the frames that are complete. False when that was the end. */
static bool deliver(struct vhu_chan *c)
{
	for (;;) {
		struct vhu_frame f;
		int r = vhu_assembler_next(&c->in, &f, NULL);

		if (r < 0)
			finish(c, -r);
		if (r <= 0)
			return r == 0;
		c->events.frame(c->ctx, &f);
		if (c->freed || c->closed)
			return false;
	}
}

/*
 * Where in a read of n bytes the frame of its last byte begins, or 0 when it began before. Two
 * frames are in one read only if the first was shorter than expected; the second is whole or
 * not, but there is no third.
 */
static size_t last_frame(const struct vhu_chan *c, size_t n)
{
	size_t end = VHU_C_HEADER_SIZE + announced(c, n);

	if (c->in.lost || begun(c) >= VHU_C_HEADER_SIZE || end >= begun(c) + n)
		return 0;
	return end - begun(c);
}

/* Gives a read to the assembler. A sendmsg with descriptors ends it: they are the last frame's. */
static int feed(struct vhu_chan *c, size_t n, const int *fds, size_t n_fds, bool lost)
{
	size_t split = n_fds || lost ? last_frame(c, n) : 0;
	int first = 0, last;

	if (split)
		first = vhu_assembler_feed(&c->in, c->buffer, split, NULL, 0, false, NULL);
	last = vhu_assembler_feed(&c->in, c->buffer + split, n - split, fds, n_fds, lost, NULL);
	return first < 0 ? first : last;
}

/* A header, and what it announces; for more the loop comes back. */
static void receive(struct vhu_chan *c)
{
	for (unsigned part = 0; part < 2; part++) {
		int fds[CONTROL_SIZE / sizeof(int)];
		size_t n_fds = 0, want = wanted(c);
		bool lost = false;
		ssize_t n = receive_some(c, want, fds, &n_fds, &lost);
		int r;

		if (n == -EAGAIN || n == -EWOULDBLOCK)
			return;
		r = n > 0 ? feed(c, (size_t)n, fds, n_fds, lost) : 0;
		if (n <= 0 || r < 0) {
			finish(c, n <= 0 ? (int)-n : -r);
			return;
		}
		if (!deliver(c) || !begun(c) || (size_t)n < want)
			return;
	}
}

static bool waits(const struct vhu_chan *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return !c->closed && !c->freed && !c->paused && poll(&p, 1, 0) == 1;
}

void vhu_chan_drain(struct vhu_chan *c)
{
	c->busy++;
	for (unsigned i = 0; i < DRAIN_MAX && waits(c); i++)
		receive(c);
	leave(c);
}

static void on_socket(void *ctx, uint32_t events)
{
	struct vhu_chan *c = ctx;

	c->busy++;
	if ((c->interest & EPOLLOUT) && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
		push_later(c);
	if ((c->interest & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		receive(c);
	leave(c);
}

/* --- life ------------------------------------------------------------------------------------ */

int vhu_chan_new(struct vhu_loop *loop, int fd, enum vhu_channel channel, enum vhu_dir peer,
		 const struct vhu_chan_events *events, void *ctx, struct vhu_chan **ret, struct vhu_err *err)
{
	struct vhu_chan *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return vhu_err_set(err, -ENOMEM, "channel: out of memory");
	}
	c->loop = loop;
	c->fd = fd;
	c->shortest = channel == VHU_CHAN_MAIN && peer == VHU_DIR_BE ? sizeof(uint64_t) : 0;
	c->events = *events;
	c->ctx = ctx;
	vhu_assembler_init(&c->in, channel, peer);
	r = vhu_chan_watch(c, err);
	if (r < 0) {
		vhu_chan_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void vhu_chan_free(struct vhu_chan *c)
{
	if (!c)
		return;
	vhu_source_free(c->source);
	vhu_source_free(c->timer);
	vhu_chan_queue_drop(&c->queue);
	vhu_chan_queue_drop(&c->held);
	vhu_assembler_done(&c->in);
	vhu_buf_done(&c->scratch);
	vhu_close(&c->fd);
	c->freed = true;
	if (!c->busy)
		free(c);
}

int vhu_chan_pause(struct vhu_chan *c, bool pause, struct vhu_err *err)
{
	c->paused = pause;
	return vhu_chan_watch(c, err);
}

bool vhu_chan_open(const struct vhu_chan *c)
{
	return !c->closed;
}

bool vhu_chan_sending(const struct vhu_chan *c)
{
	return c->queue.head;
}

int vhu_chan_fd(const struct vhu_chan *c)
{
	return c->fd;
}
