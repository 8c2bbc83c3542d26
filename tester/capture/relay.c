#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "event/loop.h"

enum {
	PIECE_MAX = 65536,
	STEPS_MAX = 4096, /* single bytes read in search of descriptors */
	PUMP_MAX = 64,	  /* pieces at once, so that a flood does not keep the others waiting */
	CONTROL_SIZE = CMSG_SPACE(sizeof(int) * VHU_FRAME_FDS_MAX),
};

/* The kernel takes no more descriptors in flight, or has no memory: nothing wakes us when that is over. */
static const uint64_t retry_ns = UINT64_C(2000000);

union control {
	struct cmsghdr align;
	char bytes[CONTROL_SIZE];
};

/* One direction, named by the end that it comes from. */
struct flow {
	uint8_t *bytes; /* start … end wait for room at the other end */
	size_t start, end;
	size_t fds_at;
	int fds[VHU_FRAME_FDS_MAX]; /* go with the byte at fds_at; owned */
	size_t n_fds;
	bool eof;  /* nothing more comes */
	bool dead; /* the other end takes nothing any more */
	bool told; /* `end` was called */
	int errno_value;
};

struct relay {
	struct vhu_loop *loop;
	struct relay_events events;
	void *ctx;
	int fd[2];
	struct vhu_source *source[2];
	uint32_t interest[2];
	struct relay_end {
		struct relay *relay;
		unsigned at;
	} end[2];
	struct flow flow[2];
	struct vhu_source *retry;
	unsigned busy;
	bool over;
};

bool vhu_relay_can_take(int fd)
{
	int domain = 0, type = 0, listening = 0;
	struct sockaddr_storage peer;
	socklen_t size = sizeof(int), peer_size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX)
		return false;
	size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_STREAM)
		return false;
	size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || listening)
		return false;
	return getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0;
}

static void close_all(int *fds, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		vhu_close(&fds[i]);
	*n = 0;
}

static bool waiting(const struct flow *f)
{
	return f->end > f->start;
}

static void drop(struct flow *f)
{
	close_all(f->fds, &f->n_fds);
	free(f->bytes);
	f->bytes = NULL;
	f->start = f->end = 0;
}

static void close_ends(struct relay *r)
{
	for (unsigned i = 0; i < 2; i++) {
		vhu_source_free(r->source[i]);
		r->source[i] = NULL;
		vhu_close(&r->fd[i]);
		drop(&r->flow[i]);
	}
	vhu_source_free(r->retry);
	r->retry = NULL;
}

static void on_end(void *ctx, uint32_t events);
static void on_retry(void *ctx, uint32_t events);

static void enter(struct relay *r)
{
	r->busy++;
}

/* The last one out tells that it is over: until then somebody still looks at the struct. */
static void leave(struct relay *r)
{
	if (--r->busy || !r->over)
		return;
	r->events.over(r->ctx);
	free(r);
}

/* --- what is watched ------------------------------------------------------------------------- */

/*
 * What wants nothing must not be in the set, because a hang-up is told whether it is asked for or not; one
 * whose stream has ended stays in it for just that.
 */
static int watch_end(struct relay *r, unsigned at)
{
	const struct flow *out = &r->flow[!at], *in = &r->flow[at];
	uint32_t want = 0;
	bool stay;
	int code = 0;

	if (!in->eof && !waiting(in))
		want |= EPOLLIN;
	if (waiting(out) && !r->retry)
		want |= EPOLLOUT;
	stay = want || (in->eof && !waiting(in));
	if (!stay) {
		vhu_source_free(r->source[at]);
		r->source[at] = NULL;
	} else if (!r->source[at]) {
		code = vhu_loop_add_fd(r->loop, r->fd[at], want, on_end, &r->end[at], &r->source[at], NULL);
	} else if (want != r->interest[at]) {
		code = vhu_source_modify(r->source[at], want, NULL);
	}
	r->interest[at] = want;
	return code;
}

static void finish(struct relay *r);

static void watch(struct relay *r)
{
	if (!r->over && (watch_end(r, 0) < 0 || watch_end(r, 1) < 0))
		finish(r);
}

/* --- sending --------------------------------------------------------------------------------- */

/* One sendmsg of bytes[start … end): how many were taken, or negative errno. Descriptors begin a sendmsg of
 * their own. */
static ssize_t send_some(int fd, const uint8_t *bytes, size_t start, size_t end, size_t fds_at,
			 const int *fds, size_t n_fds)
{
	size_t stop = n_fds && start < fds_at ? fds_at : end;
	struct iovec iov = {.iov_base = (void *)(bytes + start), .iov_len = stop - start};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control;
	ssize_t n;

	if (n_fds && start == fds_at) {
		struct cmsghdr *cmsg = &control.align;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		memset(&control, 0, msg.msg_controllen);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
	}
	do {
		n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static bool full(ssize_t n)
{
	return n == -EAGAIN || n == -EWOULDBLOCK;
}

static bool passes(ssize_t n)
{
	return n == -ETOOMANYREFS || n == -ENOMEM || n == -ENOBUFS;
}

/* The peer behind the other end takes no more; its sender shall learn it as it would have. */
static void refuse(struct relay *r, unsigned from)
{
	drop(&r->flow[from]);
	r->flow[from].dead = true;
	shutdown(r->fd[from], SHUT_RD);
}

static void wait_to_retry(struct relay *r)
{
	if (!r->retry && vhu_loop_add_timer(r->loop, retry_ns, 0, on_retry, r, &r->retry, NULL) < 0)
		finish(r);
}

/* Keeps what is left of a piece, which the peer does not take now. */
static void keep(struct relay *r, unsigned from, const struct relay_piece *p, size_t sent, size_t n_fds)
{
	struct flow *f = &r->flow[from];

	f->bytes = malloc(p->len - sent);
	if (!f->bytes) {
		size_t n = n_fds;

		close_all(p->fds, &n);
		finish(r);
		return;
	}
	memcpy(f->bytes, p->bytes + sent, p->len - sent);
	f->end = p->len - sent;
	f->fds_at = n_fds ? p->fds_at - sent : 0;
	memcpy(f->fds, p->fds, n_fds * sizeof(*p->fds));
	f->n_fds = n_fds;
}

/* Sends bytes that have just come; what is not taken is kept. */
static void forward(struct relay *r, unsigned from, const struct relay_piece *p)
{
	struct flow *f = &r->flow[from];
	size_t n_fds = p->n_fds, sent = 0;

	while (sent < p->len && !f->dead) {
		ssize_t n = send_some(r->fd[!from], p->bytes, sent, p->len, p->fds_at, p->fds, n_fds);

		if (n > 0) {
			if (sent >= p->fds_at)
				close_all(p->fds, &n_fds);
			sent += (size_t)n;
		} else if (full(n) || passes(n)) {
			keep(r, from, p, sent, n_fds);
			if (passes(n))
				wait_to_retry(r);
			return;
		} else {
			refuse(r, from);
		}
	}
	close_all(p->fds, &n_fds);
}

/* Sends more of what waits. */
static void flush(struct relay *r, unsigned from)
{
	struct flow *f = &r->flow[from];

	while (waiting(f)) {
		ssize_t n = send_some(r->fd[!from], f->bytes, f->start, f->end, f->fds_at, f->fds, f->n_fds);

		if (full(n))
			return;
		if (passes(n)) {
			wait_to_retry(r);
			return;
		}
		if (n <= 0) {
			refuse(r, from);
			return;
		}
		if (f->start >= f->fds_at)
			close_all(f->fds, &f->n_fds);
		f->start += (size_t)n;
	}
	drop(f);
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Whether the peer has closed, not only ended its stream. */
static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

/*
 * What a peer sent that nobody will read any more: shown, and left where it is, so that the peer finds its
 * connection reset as it would have.
 */
static void show_unread(struct relay *r, unsigned from)
{
	static uint8_t bytes[PIECE_MAX];
	struct flow *f = &r->flow[from];
	struct relay_piece p = {.bytes = bytes};
	ssize_t n;

	if (f->eof)
		return;
	n = recv(r->fd[from], bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
	if (n <= 0)
		return;
	p.len = p.fds_at = (size_t)n;
	r->events.piece(r->ctx, from, &p);
}

static void tell_end(struct relay *r, unsigned from, bool half)
{
	struct flow *f = &r->flow[from];

	if (f->told)
		return;
	f->told = true;
	r->events.end(r->ctx, from, f->errno_value, half);
}

/* Nothing can pass any more, or we cannot go on. */
static void finish(struct relay *r)
{
	if (r->over)
		return;
	r->over = true;
	for (unsigned i = 0; i < 2; i++)
		show_unread(r, i);
	for (unsigned i = 0; i < 2; i++)
		if (r->flow[i].eof)
			tell_end(r, i, false);
	close_ends(r);
}

/* The stream from that end is at its end, and all of it went on. */
static void pass_end(struct relay *r, unsigned from)
{
	struct flow *f = &r->flow[from];

	/* What is refused ends by our own doing. */
	if (r->over || !f->eof || waiting(f) || f->dead)
		return;
	if (f->errno_value || r->flow[!from].eof || hung_up(r->fd[from])) {
		tell_end(r, from, false);
		if (!waiting(&r->flow[!from]) || hung_up(r->fd[from]))
			finish(r);
		return;
	}
	if (!f->told) {
		tell_end(r, from, true);
		shutdown(r->fd[!from], SHUT_WR);
	}
}

/* --- receiving ------------------------------------------------------------------------------- */

/*
 * Looks at what has arrived: bytes up to the end of the first stretch that came with descriptors, and whether
 * there is such a stretch.
 */
static ssize_t look(int fd, uint8_t *bytes, size_t len, bool *ret_fds)
{
	struct iovec iov = {.iov_base = bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	do {
		n = recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	/* With no room for them they count as cut off. */
	*ret_fds = n > 0 && (msg.msg_flags & MSG_CTRUNC);
	return n < 0 ? -errno : n;
}

static size_t collect_fds(struct msghdr *msg, int *fds)
{
	size_t n_fds = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t n;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		n = VHU_MIN((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int), VHU_FRAME_FDS_MAX - n_fds);
		memcpy(fds + n_fds, CMSG_DATA(cmsg), n * sizeof(int));
		n_fds += n;
	}
	return n_fds;
}

/* One recvmsg of at most len bytes, put behind those of the piece: bytes, 0 at the end, negative errno. */
static ssize_t take(int fd, uint8_t *bytes, size_t len, struct relay_piece *p)
{
	struct iovec iov = {.iov_base = bytes + p->len, .iov_len = len};
	union control control;
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n;

	do {
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n > 0 && msg.msg_controllen) {
		p->n_fds = collect_fds(&msg, p->fds);
		p->fds_at = p->len;
		p->fds_lost = msg.msg_flags & MSG_CTRUNC;
	}
	p->len += (size_t)n;
	return n;
}

/*
 * Takes n bytes of which some came with descriptors: the kernel joins what was sent before with them, and
 * tells at which byte they are only to who takes single bytes. It joins nothing to the end of them, so the
 * rest is known.
 */
static ssize_t take_by_steps(int fd, uint8_t *bytes, size_t n, struct relay_piece *p)
{
	ssize_t got = 1;

	for (unsigned i = 0; i < STEPS_MAX && p->len < n && !p->n_fds && !p->fds_lost && got > 0; i++)
		got = take(fd, bytes, 1, p);
	if (got > 0 && (p->n_fds || p->fds_lost) && p->len < n)
		take(fd, bytes, n - p->len, p);
	return p->len ? (ssize_t)p->len : got;
}

/* One stretch from that end. False when there is none now. */
static bool pump_once(struct relay *r, unsigned from)
{
	/* Only between a recvmsg and its sendmsg, and no callback comes back here in between. */
	static uint8_t bytes[PIECE_MAX];
	struct flow *f = &r->flow[from];
	int fds[CONTROL_SIZE / sizeof(int)];
	struct relay_piece p = {.bytes = bytes, .fds = fds};
	bool with_fds = false;
	ssize_t n;

	if (r->over || f->eof || waiting(f))
		return false;
	n = look(r->fd[from], bytes, sizeof(bytes), &with_fds);
	if (full(n))
		return false;
	if (r->events.ready)
		r->events.ready(r->ctx, from);
	if (r->over)
		return false;
	if (n > 0)
		n = with_fds ? take_by_steps(r->fd[from], bytes, (size_t)n, &p)
			     : take(r->fd[from], bytes, (size_t)n, &p);
	if (!p.n_fds && !p.fds_lost)
		p.fds_at = p.len;
	if (n <= 0) {
		f->eof = true;
		f->errno_value = (int)-n;
		return false;
	}
	r->events.piece(r->ctx, from, &p);
	forward(r, from, &p);
	return true;
}

void vhu_relay_pump(struct relay *r, unsigned from)
{
	enter(r);
	for (unsigned i = 0; i < PUMP_MAX && pump_once(r, from); i++)
		;
	pass_end(r, from);
	watch(r);
	leave(r);
}

static void on_end(void *ctx, uint32_t events)
{
	struct relay_end *end = ctx;
	struct relay *r = end->relay;
	uint32_t interest = r->interest[end->at];

	enter(r);
	if ((interest & EPOLLOUT) && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
		flush(r, !end->at);
		pass_end(r, !end->at);
	}
	if ((interest & EPOLLIN) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		pump_once(r, end->at);
	pass_end(r, end->at);
	watch(r);
	leave(r);
}

static void on_retry(void *ctx, uint32_t events)
{
	struct relay *r = ctx;

	enter(r);
	vhu_source_free(r->retry);
	r->retry = NULL;
	for (unsigned i = 0; i < 2; i++) {
		flush(r, i);
		pass_end(r, i);
	}
	watch(r);
	leave(r);
}

/* --- life ------------------------------------------------------------------------------------ */

int vhu_relay_new(struct vhu_loop *loop, const int fds[2], const struct relay_events *events, void *ctx,
		  struct relay **ret, struct vhu_err *err)
{
	struct relay *r = calloc(1, sizeof(*r));

	if (!r) {
		close(fds[0]);
		close(fds[1]);
		return vhu_err_set(err, -ENOMEM, "relay: out of memory");
	}
	*r = (struct relay){.loop = loop, .events = *events, .ctx = ctx};
	for (unsigned i = 0; i < 2; i++) {
		r->fd[i] = fds[i];
		r->end[i] = (struct relay_end){r, i};
	}
	if (watch_end(r, 0) < 0 || watch_end(r, 1) < 0) {
		close_ends(r);
		free(r);
		return vhu_err_set(err, -ENOMEM, "relay: cannot watch its sockets");
	}
	*ret = r;
	return 0;
}

void vhu_relay_free(struct relay *r)
{
	if (!r || r->over)
		return;
	close_ends(r);
	free(r);
}
