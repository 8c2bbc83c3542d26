/* What a proxy writes of the connections that pass through it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "proxy_priv.h"

uint64_t vhu_proxy_realtime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Records that cannot be written end the recording, not what is recorded; the first reason counts. */
static void note(struct proxy *p, int code)
{
	if (code < 0 && p->unrecorded == 0)
		p->unrecorded = code;
}

/* --- who they are ----------------------------------------------------------------------------------- */

static void read_comm(pid_t pid, char comm[17])
{
	char path[64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, comm, 16);
		close(fd);
	}
	n = n < 0 ? 0 : n;
	comm[n] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
}

void vhu_proxy_record_peers(struct proxy_session *s, const int fds[2])
{
	for (unsigned i = 0; i < 2; i++) {
		struct ucred cred;
		socklen_t size = sizeof(cred);

		if (getsockopt(fds[i], SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 || cred.pid <= 0)
			continue;
		s->peer[i].tgid = (uint32_t)cred.pid;
		read_comm(cred.pid, s->peer[i].comm);
	}
}

/* --- life ------------------------------------------------------------------------------------------- */

static enum vhu_cap_direction dir_of(const struct proxy_session *s, unsigned from)
{
	return from == s->front_end ? VHU_CAP_DIR_FE : VHU_CAP_DIR_BE;
}

/* Something that end `by` did. */
static void put_life(struct proxy_session *s, enum vhu_cap_life kind, uint64_t t_ns,
		     enum vhu_cap_direction dir, unsigned by, int errno_value, const char *text)
{
	struct proxy *p = s->proxy;
	struct vhu_record r = {
		.t_ns = t_ns,
		.channel = VHU_CAP_LIFE,
		.dir = dir,
		.tap = VHU_CAP_TAP_PROXY,
		.kind = kind,
		.connection = s->connection,
		.tgid = s->peer[by].tgid,
		.comm = s->peer[by].comm[0] ? s->peer[by].comm : NULL,
		.peer_comm = s->peer[!by].comm[0] ? s->peer[!by].comm : NULL,
		.path = p->target,
		.text = text,
		.has_errno = errno_value != 0,
		.errno_value = errno_value,
	};

	if (p->unrecorded == 0)
		note(p, p->sink(p->sink_ctx, &r, &p->record_err));
}

/*
 * The front-end speaks first, at whichever end it is: back-ends connect to front-ends that listen, too. What
 * cannot be its first message was sent by a back-end that breaks the rules.
 */
static void find_front_end(struct proxy_session *s, unsigned from, const uint8_t *bytes, size_t len)
{
	bool speaks =
		len < VHU_C_HEADER_SIZE || vhu_stream_is_start(VHU_CAP_MAIN, VHU_CAP_DIR_FE, bytes, len);

	s->front_end = from && speaks;
}

/* The session is known: its first record is due. */
static void begin(struct proxy_session *s)
{
	if (s->begun)
		return;
	s->begun = true;
	put_life(s, VHU_CAP_LIFE_CONNECT, s->connected_ns, dir_of(s, 0), 0, 0, NULL);
}

void vhu_proxy_record_refused(struct proxy_session *s, int errno_value)
{
	begin(s);
	put_life(s, VHU_CAP_LIFE_CLOSE, vhu_proxy_realtime(), dir_of(s, 1), 1, errno_value, NULL);
}

static void end_streams(struct proxy_link *l, const char *text)
{
	struct proxy *p = l->session->proxy;
	uint64_t now = vhu_proxy_realtime();

	for (unsigned i = 0; i < 2; i++)
		if (l->stream[i] && p->unrecorded == 0)
			note(p, vhu_stream_end(l->stream[i], now, text, &p->record_err));
}

void vhu_proxy_record_over(struct proxy_link *l)
{
	struct proxy_session *s = l->session;
	const char *text = l->half ? "it ended its stream before it closed" : NULL;

	if (s->proxy->stopped)
		return;
	end_streams(l, NULL);
	if (l->channel != VHU_CAP_MAIN)
		return;
	begin(s);
	put_life(s, VHU_CAP_LIFE_CLOSE, vhu_proxy_realtime(),
		 l->ended ? dir_of(s, l->first_end) : VHU_CAP_DIR_NONE, l->first_end, l->errno_value, text);
}

void vhu_proxy_record_stop(struct proxy_session *s)
{
	for (struct proxy_link *l = s->links; l; l = l->next)
		end_streams(l, "the recording ended here");
	if (!s->main)
		return;
	begin(s);
	put_life(s, VHU_CAP_LIFE_STOP, vhu_proxy_realtime(), VHU_CAP_DIR_NONE, 0, 0, NULL);
}

/* --- messages --------------------------------------------------------------------------------------- */

/* An eventfd's number among all of the machine: all of them share one inode. */
static bool eventfd_number(int fd, uint32_t *ret)
{
	char path[64], text[512];
	const char *at;
	ssize_t n = 0;
	int info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info >= 0) {
		n = read(info, text, sizeof(text) - 1);
		close(info);
	}
	if (n <= 0)
		return false;
	text[n] = '\0';
	at = strstr(text, "eventfd-id:");
	return at && sscanf(at, "eventfd-id: %" SCNu32, ret) == 1;
}

/*
 * Our numbers say nothing of the sender's, and are used again at once. What stands in their place must tell
 * eventfds apart, and nothing else.
 */
static void look_at(const struct relay_piece *piece, struct vhu_fd_info *ret)
{
	for (size_t i = 0; i < piece->n_fds; i++) {
		vhu_fd_info_read(piece->fds[i], &ret[i]);
		ret[i].number = (uint32_t)i;
		ret[i].stand_in = true;
		if (ret[i].kind == VHU_FDK_EVENTFD)
			eventfd_number(piece->fds[i], &ret[i].number);
	}
}

static int make_stream(struct proxy_link *l, unsigned from)
{
	struct proxy_session *s = l->session;
	struct proxy *p = s->proxy;
	struct vhu_stream_id id = {.channel = l->channel,
				   .dir = dir_of(s, from),
				   .tap = VHU_CAP_TAP_PROXY,
				   .connection = s->connection};

	memcpy(id.comm, s->peer[from].comm, sizeof(id.comm));
	memcpy(id.peer_comm, s->peer[!from].comm, sizeof(id.peer_comm));
	if (p->memory && l->channel == VHU_CAP_MAIN && id.dir == VHU_CAP_DIR_FE) {
		l->memory = vhu_proxy_memory_new();
		return l->memory ? vhu_stream_new(&id, vhu_proxy_memory_record, l, &l->stream[from],
						  &p->record_err)
				 : vhu_err_errno(&p->record_err, -ENOMEM, "proxy");
	}
	return vhu_stream_new(&id, p->sink, p->sink_ctx, &l->stream[from], &p->record_err);
}

/* A stretch of a piece. */
static void feed(struct proxy_link *l, unsigned from, const uint8_t *bytes, size_t len,
		 const struct vhu_fd_info *fds, size_t n_fds, bool fds_lost)
{
	struct proxy *p = l->session->proxy;
	struct vhu_stream *stream = l->stream[from];
	struct vhu_piece piece = {
		.t_ns = vhu_proxy_realtime(),
		.off = VHU_STREAM_NEXT,
		.bytes = bytes,
		.len = len,
		.fds = fds,
		.n_fds = n_fds,
		.fds_lost = fds_lost,
		.tgid = l->session->peer[from].tgid,
	};

	if (!len || p->unrecorded < 0)
		return;
	p->stats.messages -= vhu_stream_messages(stream);
	note(p, vhu_stream_feed(stream, &piece, &p->record_err));
	p->stats.messages += vhu_stream_messages(stream);
}

void vhu_proxy_record_piece(struct proxy_link *l, unsigned from, const struct relay_piece *piece)
{
	struct proxy_session *s = l->session;
	struct vhu_fd_info fds[VHU_CAP_FDS_MAX];

	if (!s->begun)
		find_front_end(s, from, piece->bytes, piece->len);
	begin(s);
	if (!l->stream[from] && s->proxy->unrecorded == 0)
		note(s->proxy, make_stream(l, from));
	if (!l->stream[from])
		return;
	if (l->memory && from == s->front_end)
		vhu_proxy_memory_came(l->memory, piece->fds, piece->n_fds);
	look_at(piece, fds);
	feed(l, from, piece->bytes, piece->fds_at, NULL, 0, false);
	feed(l, from, piece->bytes + piece->fds_at, piece->len - piece->fds_at, fds, piece->n_fds,
	     piece->fds_lost);
}
