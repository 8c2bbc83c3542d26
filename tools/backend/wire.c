/*
 * The socket: a message at a time, whatever pieces it comes in.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fault.h"
#include "wire.h"

enum { WIRE_FEW_FDS = 8, WIRE_LEAK = 512, FAULT_FDS = C_BACKEND_REQUEST_FDS + 1 };

/* A header as the structure that it is: three numbers. */
enum { HEAD_REQUEST = 0, HEAD_FLAGS = 4, HEAD_SIZE = 8, HEAD_FIELD = 4 };

int wire_open(struct wire *w, int fd)
{
	w->got = 0;
	w->out_first = w->out_n = 0;
	w->blocked = false;
	w->msg.n_fds = 0;
	w->msg.fds_lost = false;
	return loop_add(&w->src, fd, EPOLLIN | EPOLLRDHUP);
}

void wire_close(struct wire *w)
{
	int fd = w->src.fd;

	if (fd < 0)
		return;
	loop_remove(&w->src);
	close(fd);
	if (!fault(hdr_disconnect_leak))
		msg_close_fds(&w->msg);
	for (; w->out_n; w->out_n--, w->out_first = (w->out_first + 1) % WIRE_OUT_MAX) {
		if (w->out[w->out_first].fd >= 0)
			close(w->out[w->out_first].fd);
	}
}

int msg_take_fd(struct msg *m)
{
	int fd;

	if (!m->n_fds)
		return -1;
	fd = m->fds[0];
	m->fds[0] = -1;
	return fd;
}

void msg_close_fds(struct msg *m)
{
	for (unsigned i = 0; i < m->n_fds; i++) {
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	}
	m->n_fds = 0;
	m->fds_lost = false;
}

/* Descriptors count with the bytes of the header; later ones, and those too many, are closed. */
static void take_fds(struct wire *w, struct msghdr *mh, bool with_header)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (with_header && w->msg.n_fds < WIRE_FDS_MAX) {
				w->msg.fds[w->msg.n_fds++] = fd;
			} else {
				close(fd);
				w->msg.fds_lost |= with_header;
			}
		}
	}
	if (mh->msg_flags & MSG_CTRUNC)
		w->msg.fds_lost = true;
	if (fault(hdr_many_fds_crash) && (w->msg.n_fds > WIRE_FEW_FDS || w->msg.fds_lost))
		fault_crash();
}

/* Bytes read, 0 for none yet, -1 for the end. */
static ssize_t take_bytes(struct wire *w, uint8_t *to, size_t len, bool with_header)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
	} control;
	struct iovec iov = {.iov_base = to, .iov_len = len};
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(w->src.fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
	take_fds(w, &mh, with_header);
	return n ? n : -1;
}

static bool parse_header(struct wire *w)
{
	struct msg *m = &w->msg;

	m->request = (uint32_t)field_get(w->head + HEAD_REQUEST, HEAD_FIELD);
	m->flags = (uint32_t)field_get(w->head + HEAD_FLAGS, HEAD_FIELD);
	m->size = (uint32_t)field_get(w->head + HEAD_SIZE, HEAD_FIELD);
	if (m->size > PAYLOAD_MAX) {
		if (fault(hdr_oversize) || (fault(hdr_garbage_crash) && m->request > UINT16_MAX))
			fault_crash();
		return false;
	}
	return w->header_ok(m);
}

/* What a reader loses that takes one message out of each read. */
static void lose_rest(struct wire *w)
{
	uint8_t rest[PAYLOAD_MAX];

	while (take_bytes(w, rest, sizeof(rest), false) > 0)
		continue;
}

/* What a reader that reads ahead does with those of the second message. */
static void lose_descriptors(struct wire *w)
{
	int waiting = 0;

	if (w->late)
		msg_close_fds(&w->msg);
	w->late = ioctl(w->src.fd, FIONREAD, &waiting) == 0 && waiting > 0;
}

static enum wire_event message(struct wire *w)
{
	w->got = 0;
	if (fault(hdr_fds_behind))
		lose_descriptors(w);
	if (fault(hdr_coalesce_lost) && w->msg.request == MSG_MAIN_GET_FEATURES)
		lose_rest(w);
	if (fault(hdr_memory_growth)) {
		char *leak = malloc(WIRE_LEAK);

		if (leak)
			memset(leak, 1, WIRE_LEAK);
		__asm__ volatile("" : : "r"(leak) : "memory");
	}
	return WIRE_MESSAGE;
}

enum wire_event wire_receive(struct wire *w)
{
	ssize_t n;

	if (w->got < C_HEADER_SIZE) {
		n = take_bytes(w, w->head + w->got, C_HEADER_SIZE - w->got, true);
		if (n < 0 && w->got && fault(hdr_half_header_crash))
			fault_crash();
		if (n <= 0)
			return n ? WIRE_END : WIRE_NOTHING;
		w->got += (size_t)n;
		if (w->got < C_HEADER_SIZE) {
			if (fault(hdr_partial))
				fault_crash();
			return WIRE_NOTHING;
		}
		if (!parse_header(w))
			return WIRE_END;
	}
	if (w->got < C_HEADER_SIZE + w->msg.size) {
		n = take_bytes(w, w->msg.payload + (w->got - C_HEADER_SIZE),
			       C_HEADER_SIZE + w->msg.size - w->got, false);
		if (n < 0 && fault(hdr_last_byte_crash) && w->got + 1 == C_HEADER_SIZE + w->msg.size)
			fault_crash();
		if (n < 0)
			return WIRE_END;
		w->got += (size_t)n;
		if (w->got < C_HEADER_SIZE + w->msg.size) {
			if (fault(hdr_split_payload))
				fault_crash();
			return WIRE_NOTHING;
		}
	}
	return message(w);
}

/* A request of ours with more descriptors than any may have. */
static unsigned copies(const struct out_frame *f)
{
	bool request = !(field_get(f->bytes + HEAD_FLAGS, HEAD_FIELD) & C_HEADER_REPLY);

	return fault(breq_many_fds) && request ? FAULT_FDS : 1;
}

static int send_frame(struct wire *w, struct out_frame *f)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FAULT_FDS)];
	} control;
	struct iovec iov = {.iov_base = f->bytes + f->sent, .iov_len = f->len - f->sent};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (f->fd >= 0) {
		struct cmsghdr *c = &control.align;

		memset(&control, 0, sizeof(control));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * copies(f));
		for (unsigned i = 0; i < copies(f); i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &f->fd, sizeof(int));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * copies(f));
	}
	n = sendmsg(w->src.fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->sent += (size_t)n;
	return f->sent < f->len ? -EAGAIN : 0;
}

int wire_flush(struct wire *w)
{
	while (w->out_n) {
		int r = send_frame(w, &w->out[w->out_first]);

		if (r == -EINTR)
			continue;
		if (r == -EAGAIN || r == -EWOULDBLOCK) {
			if (!w->blocked)
				loop_change(&w->src, EPOLLOUT);
			w->blocked = true;
			return 0;
		}
		if (r < 0) {
			if (fault(hdr_sigpipe)) {
				signal(SIGPIPE, SIG_DFL);
				raise(SIGPIPE);
			}
			return r;
		}
		w->out_first = (w->out_first + 1) % WIRE_OUT_MAX;
		w->out_n--;
	}
	if (w->blocked)
		loop_change(&w->src, EPOLLIN | EPOLLRDHUP);
	w->blocked = false;
	return 0;
}

int wire_send(struct wire *w, uint32_t request, uint32_t flags, const uint8_t *payload, size_t size, int fd)
{
	struct out_frame *f;

	if (w->out_n == WIRE_OUT_MAX || size > PAYLOAD_MAX) {
		if (fd >= 0)
			close(fd);
		return -ENOBUFS;
	}
	f = &w->out[(w->out_first + w->out_n) % WIRE_OUT_MAX];
	field_set(f->bytes + HEAD_REQUEST, HEAD_FIELD, request);
	field_set(f->bytes + HEAD_FLAGS, HEAD_FIELD, flags);
	field_set(f->bytes + HEAD_SIZE, HEAD_FIELD, size);
	if (fault(hdr_swapped) && request == MSG_MAIN_SET_FEATURES) {
		field_set(f->bytes + HEAD_REQUEST, HEAD_FIELD, __builtin_bswap32(request));
		field_set(f->bytes + HEAD_FLAGS, HEAD_FIELD, __builtin_bswap32(flags));
		field_set(f->bytes + HEAD_SIZE, HEAD_FIELD, __builtin_bswap32((uint32_t)size));
	}
	if (size)
		memcpy(f->bytes + C_HEADER_SIZE, payload, size);
	f->len = C_HEADER_SIZE + size;
	f->sent = 0;
	f->fd = fd;
	w->out_n++;
	if (fault(hdr_cut_answer) && request == MSG_MAIN_GET_QUEUE_NUM) {
		f->len -= size / 2;
		wire_flush(w);
		return -EPIPE;
	}
	return wire_flush(w);
}
