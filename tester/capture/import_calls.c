/* What processes do with their sockets, call by call. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "import_priv.h"

/* --- bytes ------------------------------------------------------------------------------------------ */

/* What a call moved, from its buffers: bytes up to the first that strace left out. */
struct moved {
	struct vhu_buf bytes;
	bool cut;
};

static void add_string(struct moved *g, const struct strace_value *v)
{
	if (g->cut)
		return;
	if (!v || v->kind != STRACE_STRING) {
		g->cut = true;
		return;
	}
	vhu_buf_add(&g->bytes, v->text, v->len);
	g->cut = v->cut;
}

/* [{iov_base="…", iov_len=12}, …], in older versions [{"…", 12}, …] */
static void add_vector(struct moved *g, const struct strace_value *list)
{
	if (!list || list->kind != STRACE_LIST) {
		g->cut = true;
		return;
	}
	for (const struct strace_value *v = list->first; v; v = v->next) {
		const struct strace_value *base = vhu_strace_member(v, "iov_base");

		add_string(g, base || v->kind != STRACE_STRUCT ? base : v->first);
	}
}

/* The descriptors of one control message; NULL if it has none. */
static const struct strace_value *rights_of(const struct strace_value *cmsg)
{
	const struct strace_value *type = vhu_strace_member(cmsg, "cmsg_type");

	if (!vhu_strace_is(type, "SCM_RIGHTS", SCM_RIGHTS) ||
	    !vhu_strace_is(vhu_strace_member(cmsg, "cmsg_level"), "SOL_SOCKET", SOL_SOCKET))
		return NULL;
	for (const struct strace_value *v = cmsg->first; v; v = v->next)
		if (v->kind == STRACE_LIST || v->kind == STRACE_STRUCT)
			return v;
	return NULL;
}

/* The same of a message: control messages stand in a list, in older versions as they are. */
static const struct strace_value *find_rights(const struct strace_value *msg)
{
	const struct strace_value *found = NULL;

	for (const struct strace_value *v = msg->first; v && !found; v = v->next) {
		found = rights_of(v);
		if (v->kind != STRACE_LIST)
			continue;
		for (const struct strace_value *c = v->first; c && !found; c = c->next)
			found = rights_of(c);
	}
	return found;
}

static void describe_fd(const struct process *p, const struct strace_value *v, struct vhu_fd_info *info,
			struct endpoint **at)
{
	const struct opened *what;
	int number = -1;

	what = vhu_import_fd(v, &number) ? vhu_import_lookup(p, number) : NULL;
	what = what && what->refs ? what : NULL;
	info->number = (uint32_t)number;
	info->kind = v->note ? vhu_import_kind(v->note) : what ? what->kind : VHU_FDK_UNKNOWN;
	if (what) {
		info->size_valid = what->sized;
		info->size = what->size;
		*at = what->endpoint;
	}
}

/* A descriptor of its own from now on, whatever it is. */
static int receive_fd(struct import *m, struct process *p, const struct strace_value *v, int fd,
		      const struct strace_line *line, struct endpoint **at)
{
	uint64_t inode, peer;
	struct endpoint *e;

	vhu_import_inodes(v->note, &inode, &peer);
	if (v->note && !inode)
		return vhu_import_open(m, p, fd, vhu_import_kind(v->note)) ? 0 : -ENOMEM;
	e = vhu_import_endpoint(m, p, fd, HOW_RECEIVED, line);
	if (!e)
		return -ENOMEM;
	e->inode = inode;
	e->peer_inode = peer;
	*at = e;
	return inode && !vhu_table_get(&m->inodes, inode) ? vhu_table_put(&m->inodes, inode, e) : 0;
}

static int take_fds(struct import *m, struct process *p, const struct strace_value *msg, enum io_dir dir,
		    const struct strace_line *line, struct io *io)
{
	const struct strace_value *rights = find_rights(msg);
	size_t n = 0;

	io->fds_lost = vhu_strace_has(vhu_strace_member(msg, "msg_flags"), "MSG_CTRUNC", MSG_CTRUNC);
	if (!rights)
		return 0;
	for (const struct strace_value *v = rights->first; v; v = v->next)
		n++;
	n = VHU_MIN(n, (size_t)VHU_CAP_FDS_MAX);
	io->fds = vhu_arena_array(m->arena, n, sizeof(*io->fds));
	io->at = vhu_arena_array(m->arena, n, sizeof(*io->at));
	if (!io->fds || !io->at)
		return -ENOMEM;
	for (const struct strace_value *v = rights->first; v && io->n_fds < n; v = v->next) {
		int fd;

		if (!vhu_import_fd(v, &fd))
			continue;
		describe_fd(p, v, &io->fds[io->n_fds], &io->at[io->n_fds]);
		io->fds[io->n_fds].stand_in = dir == IO_IN;
		if (dir == IO_IN && receive_fd(m, p, v, fd, line, &io->at[io->n_fds]) < 0)
			return -ENOMEM;
		io->n_fds++;
	}
	return 0;
}

static void append(struct import *m, struct endpoint *e, enum io_dir dir, struct io *io)
{
	if (e->last[dir])
		e->last[dir]->next = io;
	else
		e->first[dir] = io;
	e->last[dir] = io;
	if (!e->len[IO_OUT] && !e->len[IO_IN])
		e->first_ns = io->t_ns;
	vhu_import_judge(e, dir, io->bytes, io->kept);
	if (e->walk[dir].lost && vhu_import_judge(NULL, dir, io->bytes, io->kept))
		e->walk[dir] = (struct walk){0};
	vhu_walk_over(&e->walk[dir], io->bytes, io->kept);
	vhu_walk_skip(&e->walk[dir], io->len - io->kept);
	e->kept[dir] += io->kept;
	e->len[dir] += io->len;
	m->bytes += io->kept;
}

/* An endpoint for bytes on a descriptor of which nothing is known: only if they look like a message. */
static struct endpoint *discover(struct import *m, struct process *p, int fd, const char *note,
				 enum io_dir dir, const struct moved *g, const struct strace_line *line)
{
	uint64_t inode, peer;
	struct endpoint *e;

	vhu_import_inodes(note, &inode, &peer);
	if (!inode && !vhu_import_judge(NULL, dir, (const uint8_t *)vhu_buf_text(&g->bytes), g->bytes.len))
		return NULL;
	e = vhu_import_endpoint(m, p, fd, HOW_UNKNOWN, line);
	if (!e)
		return NULL;
	e->inode = inode;
	e->peer_inode = peer;
	return inode && vhu_table_put(&m->inodes, inode, e) < 0 ? NULL : e;
}

/* What a descriptor carries that these bytes go through; NULL: nothing that matters, or no memory. */
static struct endpoint *carrier(struct import *m, const struct strace_line *line, struct process *p, int fd,
				enum io_dir dir, const struct moved *g, size_t kept)
{
	const char *note = vhu_strace_arg(&line->call, 0)->note;
	struct endpoint *e =
		vhu_import_find(m, p, fd, note, dir, (const uint8_t *)vhu_buf_text(&g->bytes), kept);
	const struct opened *what = vhu_import_lookup(p, fd);

	if (!e && (!what || !what->refs || vhu_import_kind(note) == VHU_FDK_SOCKET))
		e = discover(m, p, fd, note, dir, g, line);
	if (!e)
		return NULL;
	e->user = p;
	/* An end that something comes behind was none: another has the socket too. */
	if (e->ended == END_OURS) {
		e->ended = END_NONE;
		e->exited = false;
	}
	return e;
}

/* A call moved `len` bytes, of which these are told. */
static int move(struct import *m, const struct strace_line *line, enum io_dir dir, struct moved *g,
		size_t len, const struct strace_value *msg, struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	size_t kept = VHU_MIN(g->bytes.len, len);
	struct endpoint *e;
	struct io *io;
	int fd;

	if (!p)
		return vhu_err_errno(err, -ENOMEM, "import");
	if (!vhu_import_fd(vhu_strace_arg(&line->call, 0), &fd) || len > INT32_MAX)
		return 0;
	e = carrier(m, line, p, fd, dir, g, kept);
	if (!e)
		return 0;
	/* A socket that carries something else is not kept whole. */
	if (e->len[dir] > IMPORT_EARLY_MAX &&
	    !(e->score[0][0] + e->score[0][1] + e->score[1][0] + e->score[1][1]))
		return 0;
	if (m->bytes + kept > IMPORT_BYTES_MAX)
		return vhu_err_set(err, -EFBIG, "import: the logs hold more than 1 GiB of messages");
	io = vhu_arena_alloc(m->arena, sizeof(*io));
	if (!io)
		return vhu_err_errno(err, -ENOMEM, "import");
	/* Others may have what was sent before the call returns, and nobody what is read before. */
	*io = (struct io){.t_ns = dir == IO_OUT ? line->begun_ns : line->t_ns,
			  .order = m->order,
			  .tid = line->tid,
			  .kept = kept,
			  .len = len};
	io->bytes = vhu_arena_memdup(m->arena, vhu_buf_text(&g->bytes), kept + 1);
	if (!io->bytes || (msg && take_fds(m, p, msg, dir, line, io) < 0))
		return vhu_err_errno(err, -ENOMEM, "import");
	append(m, e, dir, io);
	return 0;
}

/* --- calls ------------------------------------------------------------------------------------------ */

enum buffer { BUFFER_STRING, BUFFER_VECTOR, BUFFER_MESSAGE, BUFFER_MESSAGES };

/* An end of the stream that a call met: 0 bytes read, or an error. */
static void meet_end(struct import *m, const struct strace_line *line, enum io_dir dir)
{
	const struct strace_value *fd_arg = vhu_strace_arg(&line->call, 0);
	int error = line->call.error, fd;
	struct process *p = vhu_import_process(m, line->tid);
	const struct opened *what;
	uint64_t inode, peer;
	struct endpoint *e;

	if (!p || !vhu_import_fd(fd_arg, &fd))
		return;
	if (line->call.result == -1 && error != ECONNRESET && error != EPIPE)
		return;
	if (line->call.result == 0 && dir == IO_OUT)
		return;
	vhu_import_inodes(fd_arg->note, &inode, &peer);
	what = vhu_import_lookup(p, fd);
	e = inode ? vhu_table_get(&m->inodes, inode) : what && what->refs ? what->endpoint : NULL;
	if (e)
		vhu_import_end(m, e, END_PEERS, error, line->t_ns);
}

/* One buffer, or those of one message: `len` bytes went through. */
static int transfer_one(struct import *m, const struct strace_line *line, enum io_dir dir,
			const struct strace_value *what, enum buffer how, size_t len, struct vhu_err *err)
{
	bool message = how == BUFFER_MESSAGE && what && what->kind == STRACE_STRUCT;
	struct moved g = {0};
	int r;

	if (how == BUFFER_STRING)
		add_string(&g, what);
	else if (how == BUFFER_VECTOR)
		add_vector(&g, what);
	else if (message)
		add_vector(&g, vhu_strace_member(what, "msg_iov"));
	r = g.bytes.failed ? vhu_err_errno(err, -ENOMEM, "import")
			   : move(m, line, dir, &g, len, message ? what : NULL, err);
	vhu_buf_done(&g.bytes);
	return r;
}

/* [{msg_hdr={…}, msg_len=12}, …]: as many as the call tells. */
static int transfer_all(struct import *m, const struct strace_line *line, enum io_dir dir,
			const struct strace_value *list, struct vhu_err *err)
{
	const struct strace_value *v = list && list->kind == STRACE_LIST ? list->first : NULL;
	int64_t n = line->call.result, len;
	int r = 0;

	for (; v && n > 0 && r == 0; v = v->next, n--) {
		if (!vhu_strace_number(vhu_strace_member(v, "msg_len"), &len) || len < 0)
			break;
		if (len)
			r = transfer_one(m, line, dir, vhu_strace_member(v, "msg_hdr"), BUFFER_MESSAGE,
					 (size_t)len, err);
	}
	if (n > 0 && r == 0)
		m->stats.unread++;
	return r;
}

static int transfer(struct import *m, const struct strace_line *line, enum io_dir dir, enum buffer how,
		    struct vhu_err *err)
{
	const struct strace_value *what = vhu_strace_arg(&line->call, 1),
				  *flags = vhu_strace_arg(&line->call, how == BUFFER_MESSAGE ? 2 : 3);

	if (how != BUFFER_VECTOR && vhu_strace_has(flags, "MSG_PEEK", MSG_PEEK))
		return 0;
	if (line->call.result <= 0) {
		meet_end(m, line, dir);
		return 0;
	}
	return how == BUFFER_MESSAGES ? transfer_all(m, line, dir, what, err)
				      : transfer_one(m, line, dir, what, how, (size_t)line->call.result, err);
}

static int send_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_OUT, BUFFER_STRING, err);
}

static int receive_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_IN, BUFFER_STRING, err);
}

static int writev_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_OUT, BUFFER_VECTOR, err);
}

static int readv_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_IN, BUFFER_VECTOR, err);
}

static int sendmsg_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_OUT, BUFFER_MESSAGE, err);
}

static int recvmsg_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_IN, BUFFER_MESSAGE, err);
}

static int sendmmsg_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_OUT, BUFFER_MESSAGES, err);
}

static int recvmmsg_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return transfer(m, line, IO_IN, BUFFER_MESSAGES, err);
}

static const struct import_call calls[] = {
	{"sendmsg", sendmsg_call},   {"recvmsg", recvmsg_call},	  {"write", send_call},
	{"read", receive_call},	     {"sendto", send_call},	  {"recvfrom", receive_call},
	{"send", send_call},	     {"recv", receive_call},	  {"writev", writev_call},
	{"readv", readv_call},	     {"pwritev2", writev_call},	  {"preadv2", readv_call},
	{"sendmmsg", sendmmsg_call}, {"recvmmsg", recvmmsg_call}, {NULL},
};

static import_take *find_call(const char *name)
{
	static const struct import_call *const tables[] = {calls, vhu_import_fd_calls};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(tables); i++)
		for (const struct import_call *c = tables[i]; c->name; c++)
			if (!strcmp(name, c->name))
				return c->take;
	return NULL;
}

bool vhu_import_knows(const char *name)
{
	return find_call(name);
}

/* Whoever appears while another is making a thread or a process is that one. */
static int note_birth(struct import *m, const struct strace_line *line)
{
	struct process *maker = line->maker && !vhu_table_get(&m->processes, line->tid)
					? vhu_import_process(m, line->maker)
					: NULL;

	return maker ? vhu_import_fork(m, maker, line->tid, line->shares) : 0;
}

/* The thread is gone; with the first one of a process, all of it. */
static int end_thread(struct import *m, const struct strace_line *line)
{
	struct process *p = vhu_table_get(&m->processes, line->tid);

	if (!p)
		return 0;
	if (!p->same && p->tgid == line->tid)
		vhu_import_exit(m, p, line->status);
	/* The number may be another's later. */
	return vhu_table_put(&m->processes, line->tid, NULL);
}

int vhu_import_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	import_take *take = line->ended ? NULL : find_call(line->call.name);

	m->order++;
	m->begun_ns = line->begun_ns;
	if (note_birth(m, line) < 0 || (line->ended && end_thread(m, line) < 0))
		return vhu_err_errno(err, -ENOMEM, "import");
	return take ? take(m, line, err) : 0;
}
