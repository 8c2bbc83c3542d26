/*
 * A proxy between a front-end and a back-end: each connection to its socket becomes one to the target's, and
 * what passes is recorded. Forwarding comes first; the recording sees what was forwarded.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "channel/unix.h"
#include "event/loop.h"
#include "capture/sources.h"
#include "proxy_priv.h"

/* Until the target has room in its backlog, or we have descriptors again. */
static const uint64_t retry_ns = UINT64_C(2000000);
/* How often it is looked whether a target has come back. */
static const uint64_t look_ns = UINT64_C(10000000);
/* What our socket is made as, before it takes the place of the one before. */
#define FRESH "%s.new"
enum { TARGET_END = 1, BACKLOG = 64 };
enum { BLIND_LOOKS = 50 }; /* until a file that has changed is taken for a target that cannot be seen */

static void mind_target(struct proxy *p);

/* --- connections ------------------------------------------------------------------------------------ */

static void free_session(struct proxy_session *s)
{
	struct proxy *p = s->proxy;

	vhu_source_free(s->retry);
	vhu_close(&s->waiting_fd);
	if (s->prev)
		s->prev->next = s->next;
	else
		p->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	free(s);
}

static void drop_session(struct proxy_session *s)
{
	if (!s->links && !s->busy)
		free_session(s);
}

static void on_over(void *ctx)
{
	struct proxy_link *l = ctx;
	struct proxy_session *s = l->session;

	vhu_proxy_record_over(l);
	if (l == s->main) {
		s->main = NULL;
		s->proxy->stats.open--;
	}
	if (l->prev)
		l->prev->next = l->next;
	else
		s->links = l->next;
	if (l->next)
		l->next->prev = l->prev;
	vhu_stream_free(l->stream[0]);
	vhu_stream_free(l->stream[1]);
	vhu_proxy_memory_free(l->memory);
	free(l);
	drop_session(s);
}

/*
 * Before anything of the main channel goes on, what its sender wrote to the other channels does: somebody who
 * has read an answer may rely on what was sent before it.
 */
static void on_ready(void *ctx, unsigned from)
{
	struct proxy_link *l = ctx, *next;

	for (struct proxy_link *other = l->session->links; other; other = next) {
		next = other->next;
		if (other != l)
			vhu_relay_pump(other->relay, from);
	}
}

static void on_piece(void *ctx, unsigned from, struct relay_piece *piece);

static void on_end_of(void *ctx, unsigned from, int errno_value, bool half)
{
	struct proxy_link *l = ctx;

	if (l->ended)
		return;
	l->ended = true;
	l->first_end = from;
	l->errno_value = errno_value;
	l->half = half;
	/* Before the front-end learns of it: what it finds when it tries again is what it would find there.
	 */
	if (l->channel == VHU_CAP_MAIN && from == TARGET_END)
		mind_target(l->session->proxy);
}

static const struct relay_events main_events = {on_ready, on_piece, on_end_of, on_over};
static const struct relay_events side_events = {NULL, on_piece, on_end_of, on_over};

/* Takes both descriptors, also on failure. */
static int add_link(struct proxy_session *s, enum vhu_cap_channel channel, const int fds[2],
		    struct vhu_err *err)
{
	struct proxy_link *l = calloc(1, sizeof(*l));
	bool is_main = channel == VHU_CAP_MAIN;
	int r;

	if (!l) {
		close(fds[0]);
		close(fds[1]);
		return vhu_err_errno(err, -ENOMEM, "proxy");
	}
	l->session = s;
	l->channel = channel;
	r = vhu_relay_new(s->proxy->loop, fds, is_main ? &main_events : &side_events, l, &l->relay, err);
	if (r < 0) {
		free(l);
		return r;
	}
	l->next = s->links;
	if (l->next)
		l->next->prev = l;
	s->links = l;
	if (is_main)
		s->main = l;
	return 0;
}

/* --- sockets that are passed through ---------------------------------------------------------------- */

static enum vhu_cap_channel carried(uint32_t id)
{
	return id == VHU_ID_SET_BACKEND_REQ_FD ? VHU_CAP_BACKEND
	       : id == VHU_ID_GPU_SET_SOCKET   ? VHU_CAP_GPU
					       : VHU_CAP_META;
}

/*
 * The back-end gets a socket of ours instead, so that what goes over it passes here. A socket that comes
 * before its message's id is there can be none but one of these, and the back-end's channel is the likely
 * one.
 */
static void interpose(struct proxy_link *l, unsigned from, struct relay_piece *piece)
{
	struct proxy_session *s = l->session;
	enum vhu_cap_channel channel = VHU_CAP_BACKEND;
	int pair[2], flags, fds[2];
	uint32_t id;

	if (vhu_walk_owner(&l->walk, piece->bytes + piece->fds_at, piece->len - piece->fds_at, &id))
		channel = carried(id);
	else if (l->walk.lost)
		return;
	if (channel == VHU_CAP_META || !vhu_relay_can_take(piece->fds[0]) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	/* Whether calls on it wait is a property of the socket, and goes with it. */
	flags = fcntl(piece->fds[0], F_GETFL);
	if (flags >= 0 && flags & O_NONBLOCK)
		fcntl(pair[1], F_SETFL, flags);
	fds[from] = piece->fds[0];
	fds[!from] = pair[0];
	piece->fds[0] = pair[1];
	/* On failure the back-end's end is closed, and both sides see that. */
	add_link(s, channel, fds, NULL);
}

static void on_piece(void *ctx, unsigned from, struct relay_piece *piece)
{
	struct proxy_link *l = ctx;

	vhu_proxy_record_piece(l, from, piece);
	if (l->channel != VHU_CAP_MAIN || from != l->session->front_end)
		return;
	vhu_walk_over(&l->walk, piece->bytes, piece->fds_at);
	if (piece->n_fds)
		interpose(l, from, piece);
	vhu_walk_over(&l->walk, piece->bytes + piece->fds_at, piece->len - piece->fds_at);
}

/* --- accepting -------------------------------------------------------------------------------------- */

static void on_connection(void *ctx, uint32_t events);
static void try_target(struct proxy_session *s);

static void fail(struct proxy *p, int code)
{
	if (code < 0 && p->failed == 0)
		p->failed = code;
}

static void listen_again(struct proxy *p)
{
	if (!p->listening && !p->watch)
		fail(p, vhu_loop_add_fd(p->loop, p->listen_fd, EPOLLIN, on_connection, p, &p->listening,
					&p->err));
}

static void on_listen_again(void *ctx, uint32_t events)
{
	struct proxy *p = ctx;

	vhu_source_free(p->pause);
	p->pause = NULL;
	listen_again(p);
}

/* Connections wait in our backlog meanwhile, in their order. */
static void stop_listening(struct proxy *p)
{
	vhu_source_free(p->listening);
	p->listening = NULL;
}

static void on_retry_target(void *ctx, uint32_t events)
{
	struct proxy_session *s = ctx;
	struct proxy *p = s->proxy;

	vhu_source_free(s->retry);
	s->retry = NULL;
	listen_again(p);
	try_target(s);
}

/* Connects the waiting front-end to the target; if there is none, closes as a target would that is gone. */
static void try_target(struct proxy_session *s)
{
	struct proxy *p = s->proxy;
	int fd = vhu_unix_connect(p->target);
	int fds[2];

	if (fd == -EAGAIN &&
	    vhu_loop_add_timer(p->loop, retry_ns, 0, on_retry_target, s, &s->retry, NULL) == 0) {
		stop_listening(p);
		return;
	}
	if (fd >= 0) {
		fds[0] = s->waiting_fd;
		fds[1] = fd;
		s->waiting_fd = -1;
		vhu_proxy_record_peers(s, fds);
		fd = add_link(s, VHU_CAP_MAIN, fds, NULL);
		if (fd == 0) {
			p->visible = p->visible || vhu_unix_listens(p->target);
			p->stats.open++;
			return;
		}
	}
	vhu_proxy_record_refused(s, -fd);
	free_session(s);
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		mind_target(p);
}

/* What has happened on older connections happened before a new one. */
static void pump_all(struct proxy *p)
{
	struct proxy_session *next;

	for (struct proxy_session *s = p->sessions; s; s = next) {
		next = s->next;
		s->busy = true;
		for (unsigned end = 0; end < 2 && s->main; end++)
			vhu_relay_pump(s->main->relay, end);
		s->busy = false;
		drop_session(s);
	}
}

/* We are out of descriptors or memory. */
static void wait_for_room(struct proxy *p)
{
	stop_listening(p);
	if (!p->pause)
		fail(p, vhu_loop_add_timer(p->loop, retry_ns, 0, on_listen_again, p, &p->pause, &p->err));
}

static void on_connection(void *ctx, uint32_t events)
{
	struct proxy *p = ctx;
	struct proxy_session *s;
	int fd;

	pump_all(p);
	fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			wait_for_room(p);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		close(fd);
		return;
	}
	*s = (struct proxy_session){.proxy = p,
				    .next = p->sessions,
				    .connection = (uint32_t)++p->stats.connections,
				    .waiting_fd = fd,
				    .connected_ns = vhu_proxy_realtime()};
	if (s->next)
		s->next->prev = s;
	p->sessions = s;
	try_target(s);
}

/* --- a source of captures --------------------------------------------------------------------------- */

/* Each session takes four descriptors and more. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* A socket at our path that listens to nobody yet; in the place of the one that is there, without a gap. */
static int bind_at(struct proxy *p, struct vhu_err *err)
{
	char fresh[PATH_MAX];
	struct stat st;
	int r;

	snprintf(fresh, sizeof(fresh), FRESH, p->listen);
	unlink(fresh);
	r = vhu_unix_bind(fresh, err);
	if (r < 0)
		return r;
	vhu_close(&p->listen_fd);
	p->listen_fd = r;
	if (rename(fresh, p->listen) < 0 || lstat(p->listen, &st) < 0 || fcntl(r, F_SETFL, O_NONBLOCK) < 0) {
		r = vhu_err_errno(err, -errno, "cannot listen on '%s'", p->listen);
		unlink(fresh);
		return r;
	}
	p->dev = st.st_dev;
	p->inode = st.st_ino;
	return 0;
}

static int start_listening(struct proxy *p, struct vhu_err *err)
{
	if (listen(p->listen_fd, BACKLOG) < 0)
		return vhu_err_errno(err, -errno, "cannot listen on '%s'", p->listen);
	return vhu_loop_add_fd(p->loop, p->listen_fd, EPOLLIN, on_connection, p, &p->listening, err);
}

/* Whether there is another socket at the target's path than when nobody was there. */
static bool has_changed(const struct proxy *p)
{
	struct stat now;

	return stat(p->target, &now) == 0 && (now.st_dev != p->gone.st_dev || now.st_ino != p->gone.st_ino ||
					      now.st_ctim.tv_sec != p->gone.st_ctim.tv_sec ||
					      now.st_ctim.tv_nsec != p->gone.st_ctim.tv_nsec);
}

/* Somebody may be at the target again. One who cannot be seen shows by the new socket. */
static void on_look(void *ctx, uint32_t events)
{
	struct proxy *p = ctx;
	bool listens = vhu_unix_listens(p->target);

	p->visible = p->visible || listens;
	p->looks += has_changed(p);
	if (!listens && p->looks < BLIND_LOOKS)
		return;
	vhu_source_free(p->watch);
	p->watch = NULL;
	fail(p, start_listening(p, &p->err));
}

/* Nobody is at the target: who connects to us now is refused, as he would be there. */
static int stop_serving(struct proxy *p, struct vhu_err *err)
{
	int r;

	stop_listening(p);
	vhu_source_free(p->pause);
	p->pause = NULL;
	p->looks = 0;
	if (stat(p->target, &p->gone) < 0)
		p->gone = (struct stat){0};
	r = bind_at(p, err);
	return r < 0 ? r : vhu_loop_add_timer(p->loop, look_ns, look_ns, on_look, p, &p->watch, err);
}

/* Looks whether the target is gone. Where it cannot be seen there is always somebody, as far as we know. */
static void mind_target(struct proxy *p)
{
	if (p->watch || p->stopped || p->failed < 0)
		return;
	if (access(p->target, F_OK) == 0 && (!p->visible || vhu_unix_listens(p->target)))
		return;
	fail(p, stop_serving(p, &p->err));
}

static int listen_at(struct proxy *p, struct vhu_err *err)
{
	int r = vhu_unix_remove_stale(p->listen, err);

	if (r == 0)
		r = bind_at(p, err);
	if (r < 0)
		return r;
	p->visible = vhu_unix_listens(p->target);
	if (access(p->target, F_OK) < 0)
		return vhu_loop_add_timer(p->loop, look_ns, look_ns, on_look, p, &p->watch, err);
	return start_listening(p, err);
}

/* Removes our socket, unless another's is in its place by now. */
static void unlisten(struct proxy *p)
{
	struct stat st;

	if (p->listen_fd >= 0 && lstat(p->listen, &st) == 0 && st.st_dev == p->dev && st.st_ino == p->inode)
		unlink(p->listen);
	vhu_source_free(p->listening);
	vhu_source_free(p->pause);
	vhu_source_free(p->watch);
	vhu_close(&p->listen_fd);
}

static void free_all(struct proxy *p)
{
	while (p->sessions) {
		struct proxy_session *s = p->sessions;

		s->busy = true;
		while (s->links) {
			struct proxy_link *l = s->links;

			vhu_relay_free(l->relay);
			on_over(l);
		}
		free_session(s);
	}
	unlisten(p);
	vhu_loop_free(p->loop);
	free(p);
}

/* Paths as programs of the field write them. */
static const char *plain_path(const char *text)
{
	return strncmp(text, "unix://", 7) == 0 ? text + 7 : strncmp(text, "unix:", 5) == 0 ? text + 5 : text;
}

static int check_paths(const struct proxy *p, struct vhu_err *err)
{
	static const char advice[] = "use a shorter one";
	char fresh[PATH_MAX];
	struct stat a, b;

	snprintf(fresh, sizeof(fresh), FRESH, p->listen);
	if (vhu_unix_check(fresh, advice, err) < 0 || vhu_unix_check(p->target, advice, err) < 0)
		return vhu_err_prefix(err, "proxy");
	if (strcmp(p->listen, p->target) == 0 || (stat(p->listen, &a) == 0 && stat(p->target, &b) == 0 &&
						  a.st_dev == b.st_dev && a.st_ino == b.st_ino))
		return vhu_err_set(err, -EINVAL, "proxy: '%s' is both the socket to listen on and the target",
				   p->listen);
	return 0;
}

static int open_proxy(const struct vhu_source_opts *o, vhu_record_sink *sink, void *ctx, void **ret,
		      struct vhu_err *err)
{
	struct proxy *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return vhu_err_errno(err, -ENOMEM, "proxy");
	*p = (struct proxy){.sink = sink,
			    .sink_ctx = ctx,
			    .listen = plain_path(o->listen),
			    .target = plain_path(o->target),
			    .memory = o->memory,
			    .listen_fd = -1};
	raise_limit();
	r = check_paths(p, err);
	if (r == 0)
		r = vhu_loop_new(&p->loop, err);
	if (r == 0)
		r = listen_at(p, err);
	if (r < 0) {
		free_all(p);
		return r;
	}
	*ret = p;
	return 0;
}

static int poll_fd(const void *source)
{
	const struct proxy *p = source;

	return vhu_loop_fd(p->loop);
}

static int drain(void *source, struct vhu_err *err)
{
	struct proxy *p = source;
	int r = vhu_loop_poll(p->loop, err);

	if (r < 0)
		return r;
	if (p->failed < 0 && err)
		*err = p->err;
	return p->failed;
}

static void stats(const void *source, struct vhu_source_stats *ret)
{
	*ret = ((const struct proxy *)source)->stats;
}

static int close_proxy(void *source, struct vhu_err *err)
{
	struct proxy *p = source;
	int r;

	/* What has arrived still goes on. */
	if (p->failed == 0)
		pump_all(p);
	for (struct proxy_session *s = p->sessions; s; s = s->next)
		vhu_proxy_record_stop(s);
	p->stopped = true;
	r = p->failed < 0 ? p->failed : p->unrecorded;
	if (r < 0 && err)
		*err = p->failed < 0 ? p->err : p->record_err;
	free_all(p);
	return r;
}

const struct vhu_source_ops vhu_source_proxy = {
	.name = "proxy",
	.tap = VHU_CAP_TAP_PROXY,
	.open = open_proxy,
	.poll_fd = poll_fd,
	.drain = drain,
	.period_ms = 0,
	.stats = stats,
	.close = close_proxy,
};
