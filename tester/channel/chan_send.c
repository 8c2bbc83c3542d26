#include "chan_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* --- the queue ------------------------------------------------------------------------------- */

static void item_close_fds(struct chan_item *item)
{
	for (size_t i = 0; i < item->n_fds; i++)
		close(item->fds[i]);
	free(item->fds);
	item->fds = NULL;
	item->n_fds = 0;
}

static void item_free(struct chan_item *item)
{
	item_close_fds(item);
	vhu_buf_done(&item->bytes);
	free(item);
}

static void queue_pop(struct chan_queue *q)
{
	struct chan_item *item = q->head;

	q->head = item->next;
	if (!q->head)
		q->tail = NULL;
	q->bytes -= item->bytes.len;
	item_free(item);
}

void vhu_chan_queue_drop(struct chan_queue *q)
{
	while (q->head)
		queue_pop(q);
}

static void queue_append(struct chan_queue *q, struct chan_item *item)
{
	if (q->tail)
		q->tail->next = item;
	else
		q->head = item;
	q->tail = item;
	q->bytes += item->bytes.len;
}

/* The descriptors were lent for the time of the call only: what waits needs its own. */
static int item_dup_fds(struct chan_item *item, const int *fds, size_t n_fds, struct vhu_err *err)
{
	if (!n_fds)
		return 0;
	item->fds = calloc(n_fds, sizeof(*item->fds));
	if (!item->fds)
		return vhu_err_set(err, -ENOMEM, "channel: out of memory");
	for (; item->n_fds < n_fds; item->n_fds++) {
		int fd = fcntl(fds[item->n_fds], F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return vhu_err_errno(err, -errno, "channel: cannot duplicate descriptor %d",
					     fds[item->n_fds]);
		item->fds[item->n_fds] = fd;
	}
	return 0;
}

static int enqueue(struct chan_queue *q, const void *bytes, size_t len, const int *fds, size_t n_fds,
		   struct vhu_err *err)
{
	struct chan_item *item = calloc(1, sizeof(*item));
	int r;

	if (!item)
		return vhu_err_set(err, -ENOMEM, "channel: out of memory");
	vhu_buf_add(&item->bytes, bytes, len);
	if (item->bytes.failed)
		r = vhu_err_set(err, -ENOMEM, "channel: out of memory");
	else
		r = item_dup_fds(item, fds, n_fds, err);
	if (r < 0) {
		item_free(item);
		return r;
	}
	queue_append(q, item);
	return 0;
}

/* --- the socket ------------------------------------------------------------------------------ */

/* One sendmsg: bytes that were taken, or negative errno. */
static ssize_t transmit(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHU_FRAME_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (n_fds) {
		control.align = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_LEN(n_fds * sizeof(int));
	}
	do {
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static bool full(ssize_t result)
{
	return result == -EAGAIN || result == -EWOULDBLOCK;
}

/* A peer that is gone is no failure of ours: its end is reported where we read it. */
static int send_failed(struct vhu_chan *c, int code, struct vhu_err *err)
{
	vhu_chan_queue_drop(&c->queue);
	if (code == -EPIPE || code == -ECONNRESET || code == -ENOTCONN) {
		c->gone = -code;
		return vhu_chan_watch(c, err);
	}
	vhu_chan_watch(c, NULL);
	return vhu_err_errno(err, code, "channel: cannot send");
}

/* Whether the item at the queue's head may go out. */
static bool may_go(struct vhu_chan *c, struct chan_item *item)
{
	int unread = 0;

	if (!item->paced)
		return true;
	if (!item->deadline_ns) {
		uint64_t now = vhu_now_ns();

		item->deadline_ns = item->wait_ns < UINT64_MAX - now ? now + item->wait_ns : UINT64_MAX;
	}
	if (ioctl(c->fd, SIOCOUTQ, &unread) == 0 && unread > 0 && vhu_now_ns() < item->deadline_ns)
		return false;
	item->paced = false;
	return true;
}

int vhu_chan_push(struct vhu_chan *c, struct vhu_err *err)
{
	struct chan_item *item;

	while ((item = c->queue.head) && may_go(c, item)) {
		ssize_t n = transmit(c->fd, item->bytes.data + item->sent, item->bytes.len - item->sent,
				     item->fds, item->n_fds);

		if (full(n))
			break;
		if (n < 0)
			return send_failed(c, (int)n, err);
		item_close_fds(item);
		item->sent += (size_t)n;
		if (item->sent == item->bytes.len)
			queue_pop(&c->queue);
	}
	if (!c->queue.head && c->half_close && !c->half_closed) {
		shutdown(c->fd, SHUT_WR);
		c->half_closed = true;
	}
	return vhu_chan_watch(c, err);
}

/* --- sending --------------------------------------------------------------------------------- */

/* 1 if there is somebody to send to, 0 if not, -errno if we must not. */
static int may_send(struct vhu_chan *c, size_t len, size_t n_fds, struct vhu_err *err)
{
	if (c->broken)
		return vhu_err_errno(err, c->broken, "channel: cannot send what was queued");
	if (c->half_close)
		return vhu_err_set(err, -ESHUTDOWN,
				   "channel: cannot send: our side of the connection was closed before");
	if (n_fds > VHU_FRAME_FDS_MAX || (n_fds && !len))
		return vhu_err_set(err, -EINVAL,
				   "channel: cannot send %zu descriptors with %zu bytes: at most %d, with 1",
				   n_fds, len, VHU_FRAME_FDS_MAX);
	if (len > VHU_CHAN_QUEUE_MAX - c->queue.bytes - c->held.bytes)
		return vhu_err_set(err, -ENOBUFS,
				   "channel: cannot send %zu bytes: the peer does not read, %zu of %d wait",
				   len, c->queue.bytes + c->held.bytes, VHU_CHAN_QUEUE_MAX);
	return !c->closed && !c->gone && len;
}

/* Behind what is held already, in the same sendmsg unless it brings descriptors. */
static int hold(struct vhu_chan *c, const void *bytes, size_t len, const int *fds, size_t n_fds,
		struct vhu_err *err)
{
	struct chan_item *last = c->held.tail;

	if (!last || n_fds || last->paced)
		return enqueue(&c->held, bytes, len, fds, n_fds, err);
	vhu_buf_add(&last->bytes, bytes, len);
	if (last->bytes.failed)
		return vhu_err_set(err, -ENOMEM, "channel: out of memory");
	c->held.bytes += len;
	return 0;
}

static int send_now(struct vhu_chan *c, const uint8_t *bytes, size_t len, const int *fds, size_t n_fds,
		    struct vhu_err *err)
{
	ssize_t n = transmit(c->fd, bytes, len, fds, n_fds);
	int r;

	if (n == (ssize_t)len)
		return 0;
	if (n < 0 && !full(n))
		return send_failed(c, (int)n, err);
	if (n > 0) {
		bytes += n;
		len -= (size_t)n;
		n_fds = 0;
	}
	r = enqueue(&c->queue, bytes, len, fds, n_fds, err);
	return r < 0 ? r : vhu_chan_watch(c, err);
}

int vhu_chan_send_bytes(struct vhu_chan *c, const void *bytes, size_t len, const int *fds, size_t n_fds,
			struct vhu_err *err)
{
	int r = may_send(c, len, n_fds, err);

	if (r <= 0)
		return r;
	if (c->holding)
		return hold(c, bytes, len, fds, n_fds, err);
	if (c->queue.head)
		return enqueue(&c->queue, bytes, len, fds, n_fds, err);
	return send_now(c, bytes, len, fds, n_fds, err);
}

static int send_pieces(struct vhu_chan *c, const uint8_t *bytes, size_t len, const struct vhu_frame *f,
		       const size_t *pieces, size_t n_pieces, uint64_t wait_ns, struct vhu_err *err)
{
	struct chan_queue *q = c->holding ? &c->held : &c->queue;
	int r = may_send(c, len, f->n_fds, err);

	if (r <= 0)
		return r;
	for (size_t i = 0, at = 0; at < len; i++) {
		size_t n = i < n_pieces ? VHU_MIN(pieces[i], len - at) : len - at;

		if (!n)
			continue;
		r = enqueue(q, bytes + at, n, f->fds, at ? 0 : f->n_fds, err);
		if (r < 0)
			return r;
		q->tail->paced = at > 0;
		q->tail->wait_ns = wait_ns;
		at += n;
	}
	return c->holding ? 0 : vhu_chan_push(c, err);
}

int vhu_chan_send(struct vhu_chan *c, const struct vhu_frame *f, const size_t *pieces, size_t n_pieces,
		  uint64_t piece_wait_ns, struct vhu_err *err)
{
	int r;

	vhu_buf_reset(&c->scratch);
	r = vhu_frame_encode(f, &c->scratch, err);
	if (r < 0)
		return r;
	if (n_pieces)
		return send_pieces(c, (const uint8_t *)c->scratch.data, c->scratch.len, f, pieces, n_pieces,
				   piece_wait_ns, err);
	return vhu_chan_send_bytes(c, c->scratch.data, c->scratch.len, f->fds, f->n_fds, err);
}

void vhu_chan_hold(struct vhu_chan *c)
{
	c->holding = true;
}

int vhu_chan_release(struct vhu_chan *c, struct vhu_err *err)
{
	int r = c->held.head ? may_send(c, 0, 0, err) : 0;

	c->holding = false;
	if (r < 0 || c->closed || c->gone) {
		vhu_chan_queue_drop(&c->held);
		return r;
	}
	while (c->held.head) {
		struct chan_item *item = c->held.head;

		c->held.head = item->next;
		item->next = NULL;
		queue_append(&c->queue, item);
	}
	c->held = (struct chan_queue){0};
	return vhu_chan_push(c, err);
}

void vhu_chan_half_close(struct vhu_chan *c)
{
	c->half_close = true;
	if (!c->queue.head)
		vhu_chan_push(c, NULL);
}
