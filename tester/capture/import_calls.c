/* What processes do with their sockets, call by call. */
#include <errno.h>
#include <string.h>

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

	if (!type || type->kind != STRACE_WORD || strcmp(type->text, "SCM_RIGHTS"))
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

static void describe_fd(struct import *m, const struct process *p, const struct strace_value *v,
			struct vhu_fd_info *info, struct endpoint **at)
{
	const struct descriptor *d;
	int64_t number = -1;

	vhu_strace_number(v, &number);
	d = number >= 0 ? vhu_import_lookup(m, p, (int)number) : NULL;
	info->number = (uint32_t)number;
	info->kind = v->note ? vhu_import_kind(v->note) : d && d->open ? d->kind : VHU_FDK_UNKNOWN;
	if (d && d->open) {
		info->size_valid = d->sized;
		info->size = d->size;
		*at = d->endpoint;
	}
}

static int take_fds(struct import *m, struct process *p, const struct strace_value *msg, enum io_dir dir,
		    const struct strace_line *line, struct io *io)
{
	const struct strace_value *rights = find_rights(msg);
	size_t n = 0;

	io->fds_lost = vhu_strace_has(vhu_strace_member(msg, "msg_flags"), "MSG_CTRUNC");
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
		uint64_t inode, peer;
		int64_t fd;

		if (!vhu_strace_number(v, &fd) || fd < 0 || fd > INT32_MAX)
			continue;
		describe_fd(m, p, v, &io->fds[io->n_fds], &io->at[io->n_fds]);
		io->fds[io->n_fds].stand_in = dir == IO_IN;
		vhu_import_inodes(v->note, &inode, &peer);
		if (dir == IO_IN && (!v->note || inode)) {
			/* A descriptor of its own from now on, whatever it is. */
			struct endpoint *e = vhu_import_endpoint(m, p, (int)fd, HOW_RECEIVED, line);

			if (!e)
				return -ENOMEM;
			e->inode = inode;
			e->peer_inode = peer;
			if (inode && !vhu_table_get(&m->inodes, inode) &&
			    vhu_table_put(&m->inodes, inode, e) < 0)
				return -ENOMEM;
			io->at[io->n_fds] = e;
		}
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

/* A call moved `len` bytes, of which these are told. */
static int move(struct import *m, const struct strace_line *line, enum io_dir dir, struct moved *g,
		const struct strace_value *msg, struct vhu_err *err)
{
	const struct strace_value *fd_arg = vhu_strace_arg(&line->call, 0);
	struct process *p = vhu_import_process(m, line->tid);
	size_t len = (size_t)line->call.result, kept = VHU_MIN(g->bytes.len, len);
	const uint8_t *bytes = (const uint8_t *)vhu_buf_text(&g->bytes);
	struct endpoint *e;
	struct io *io;
	int64_t fd;

	if (!vhu_strace_number(fd_arg, &fd) || fd < 0 || fd > INT32_MAX)
		return 0;
	if (!p)
		return vhu_err_errno(err, -ENOMEM, "import");
	e = vhu_import_find(m, p, (int)fd, fd_arg->note, dir, bytes, kept);
	if (!e && (!vhu_import_lookup(m, p, (int)fd) || vhu_import_kind(fd_arg->note) == VHU_FDK_SOCKET))
		e = discover(m, p, (int)fd, fd_arg->note, dir, g, line);
	if (!e || e->ended == END_OURS || len > INT32_MAX)
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
	*io = (struct io){.t_ns = line->t_ns, .order = m->order, .tid = line->tid, .kept = kept, .len = len};
	io->bytes = vhu_arena_memdup(m->arena, bytes, kept + 1);
	if (!io->bytes || (msg && take_fds(m, p, msg, dir, line, io) < 0))
		return vhu_err_errno(err, -ENOMEM, "import");
	append(m, e, dir, io);
	return 0;
}

/* --- calls ------------------------------------------------------------------------------------------ */

enum buffer { BUFFER_STRING, BUFFER_VECTOR, BUFFER_MESSAGE };

/* An end of the stream that a call met: 0 bytes read, or an error. */
static void meet_end(struct import *m, const struct strace_line *line, enum io_dir dir)
{
	const struct strace_value *fd_arg = vhu_strace_arg(&line->call, 0);
	int error = line->call.error;
	struct process *p = vhu_import_process(m, line->tid);
	struct descriptor *d;
	uint64_t inode, peer;
	struct endpoint *e;
	int64_t fd;

	if (!p || !vhu_strace_number(fd_arg, &fd) || fd < 0 || fd > INT32_MAX)
		return;
	if (line->call.result == -1 && error != ECONNRESET && error != EPIPE)
		return;
	if (line->call.result == 0 && dir == IO_OUT)
		return;
	vhu_import_inodes(fd_arg->note, &inode, &peer);
	d = vhu_import_lookup(m, p, (int)fd);
	e = inode ? vhu_table_get(&m->inodes, inode) : d && d->open ? d->endpoint : NULL;
	if (e)
		vhu_import_end(m, e, END_PEERS, error, line->t_ns);
}

static int transfer(struct import *m, const struct strace_line *line, enum io_dir dir, enum buffer how,
		    struct vhu_err *err)
{
	const struct strace_value *msg = NULL, *what = vhu_strace_arg(&line->call, 1), *flags;
	struct moved g = {0};
	int r = 0;

	flags = vhu_strace_arg(&line->call, how == BUFFER_MESSAGE ? 2 : 3);
	if (how != BUFFER_VECTOR && vhu_strace_has(flags, "MSG_PEEK"))
		return 0;
	if (line->call.result <= 0) {
		meet_end(m, line, dir);
		return 0;
	}
	switch (how) {
	case BUFFER_STRING:
		add_string(&g, what);
		break;
	case BUFFER_VECTOR:
		add_vector(&g, what);
		break;
	case BUFFER_MESSAGE:
		if (what && what->kind == STRACE_STRUCT) {
			msg = what;
			add_vector(&g, vhu_strace_member(msg, "msg_iov"));
		}
		break;
	}
	r = g.bytes.failed ? vhu_err_errno(err, -ENOMEM, "import") : move(m, line, dir, &g, msg, err);
	vhu_buf_done(&g.bytes);
	return r;
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

static int no_memory(struct vhu_err *err)
{
	return vhu_err_errno(err, -ENOMEM, "import");
}

/* A new socket of the process at this number. */
static struct endpoint *open_socket(struct import *m, const struct strace_line *line, int64_t fd,
				    const char *note, enum endpoint_how how)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct endpoint *e = p ? vhu_import_endpoint(m, p, (int)fd, how, line) : NULL;

	if (!e)
		return NULL;
	vhu_import_inodes(note, &e->inode, &e->peer_inode);
	return e->inode && vhu_table_put(&m->inodes, e->inode, e) < 0 ? NULL : e;
}

static bool unix_domain(const struct strace_call *c)
{
	const struct strace_value *domain = vhu_strace_arg(c, 0);

	return vhu_strace_has(domain, "AF_UNIX") || vhu_strace_has(domain, "AF_LOCAL") ||
	       vhu_strace_has(domain, "PF_LOCAL");
}

static int socket_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_call *c = &line->call;

	if (c->result < 0 || c->result > INT32_MAX || !unix_domain(c))
		return 0;
	return open_socket(m, line, c->result, c->result_note, HOW_SOCKET) ? 0 : no_memory(err);
}

static int accept_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_call *c = &line->call;

	if (c->result < 0 || c->result > INT32_MAX)
		return 0;
	return open_socket(m, line, c->result, c->result_note, HOW_ACCEPT) ? 0 : no_memory(err);
}

static int connect_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *fd_arg = vhu_strace_arg(&line->call, 0);
	const struct strace_value *path = vhu_strace_member(vhu_strace_arg(&line->call, 1), "sun_path");
	struct endpoint *e;
	int64_t fd;

	if (line->call.result || !path || path->kind != STRACE_STRING || !vhu_strace_number(fd_arg, &fd) ||
	    fd < 0 || fd > INT32_MAX)
		return 0;
	e = open_socket(m, line, fd, fd_arg->note, HOW_CONNECT);
	if (e)
		e->path = vhu_arena_strdup(m->arena, path->text);
	return e && e->path ? 0 : no_memory(err);
}

static int socketpair_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *both = vhu_strace_arg(&line->call, 3), *a, *b;
	struct endpoint *one, *other;
	int64_t x, y;

	a = both && both->kind == STRACE_LIST ? both->first : NULL;
	b = a ? a->next : NULL;
	if (line->call.result || !vhu_strace_number(a, &x) || !vhu_strace_number(b, &y) || x < 0 || y < 0 ||
	    x > INT32_MAX || y > INT32_MAX)
		return 0;
	one = open_socket(m, line, x, a->note, HOW_PAIR);
	other = open_socket(m, line, y, b->note, HOW_PAIR);
	if (!one || !other)
		return no_memory(err);
	one->pair = other;
	other->pair = one;
	return 0;
}

static int close_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *fd_arg = vhu_strace_arg(&line->call, 0);
	struct process *p = vhu_import_process(m, line->tid);
	struct descriptor *d, *mine;
	int64_t fd;

	if (!p)
		return no_memory(err);
	if (line->call.result || !vhu_strace_number(fd_arg, &fd) || fd < 0 || fd > INT32_MAX)
		return 0;
	d = vhu_import_lookup(m, p, (int)fd);
	if (!d)
		return 0;
	mine = vhu_import_own(m, p, (int)fd);
	if (!mine)
		return no_memory(err);
	/* A child's copy of its parent's socket is no end of anything. */
	if (d == mine && d->endpoint && d->open)
		vhu_import_end(m, d->endpoint, END_OURS, 0, line->t_ns);
	*mine = (struct descriptor){0};
	return 0;
}

/* Descriptors that are no sockets: what they are is told with the messages that carry them. */
static int make_call(struct import *m, const struct strace_line *line, enum vhu_fd_kind kind,
		     struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct descriptor *d;

	if (line->call.result < 0 || line->call.result > INT32_MAX)
		return 0;
	d = p ? vhu_import_own(m, p, (int)line->call.result) : NULL;
	if (!d)
		return no_memory(err);
	*d = (struct descriptor){.open = true, .kind = kind};
	return 0;
}

static int eventfd_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return make_call(m, line, VHU_FDK_EVENTFD, err);
}

static int memfd_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	bool huge = vhu_strace_has(vhu_strace_arg(&line->call, 1), "MFD_HUGETLB");

	return make_call(m, line, huge ? VHU_FDK_HUGETLB : VHU_FDK_MEMFD, err);
}

static int userfault_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return make_call(m, line, VHU_FDK_USERFAULT, err);
}

static int resize_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct descriptor *d;
	int64_t fd, size;

	if (!p)
		return no_memory(err);
	if (line->call.result || !vhu_strace_number(vhu_strace_arg(&line->call, 0), &fd) || fd < 0 ||
	    fd > INT32_MAX || !vhu_strace_number(vhu_strace_arg(&line->call, 1), &size) || size < 0)
		return 0;
	d = vhu_import_lookup(m, p, (int)fd);
	if (d && d->open && !d->endpoint) {
		d->sized = true;
		d->size = (uint64_t)size;
	}
	return 0;
}

/* A new thread shares its maker's descriptors, a new process has copies. */
static int clone_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *v = line->call.args->first;
	struct process *p = vhu_import_process(m, line->tid), *child;
	bool shares = false;

	if (line->call.result <= 0 || line->call.result > INT32_MAX)
		return 0;
	for (; v; v = v->next) {
		const struct strace_value *flags = vhu_strace_member(v, "flags");

		flags = flags ? flags : v;
		shares |= vhu_strace_has(flags, "CLONE_FILES");
	}
	child = vhu_import_process(m, (uint32_t)line->call.result);
	if (!p || !child)
		return no_memory(err);
	if (child == p)
		return 0;
	child->certain = true;
	if (shares)
		child->same = p;
	else
		child->parent = p;
	return 0;
}

/* The process is gone, and with it its sockets. */
static int end_process(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	struct process *p = vhu_table_get(&m->processes, line->tid);

	/* Other threads of it may live on. */
	if (!p || p->same || p->tgid != line->tid)
		return 0;
	for (struct endpoint *e = p->endpoints; e; e = e->sibling) {
		if (e->ended == END_OURS)
			continue;
		e->exited = true;
		e->status = line->status;
		vhu_import_end(m, e, END_OURS, 0, line->t_ns);
	}
	p->endpoints = NULL;
	return 0;
}

static const struct {
	const char *name;
	int (*take)(struct import *m, const struct strace_line *line, struct vhu_err *err);
} calls[] = {
	{"sendmsg", sendmsg_call},  {"recvmsg", recvmsg_call},	  {"write", send_call},
	{"read", receive_call},	    {"sendto", send_call},	  {"recvfrom", receive_call},
	{"send", send_call},	    {"recv", receive_call},	  {"writev", writev_call},
	{"readv", readv_call},	    {"socket", socket_call},	  {"connect", connect_call},
	{"accept", accept_call},    {"accept4", accept_call},	  {"socketpair", socketpair_call},
	{"close", close_call},	    {"clone", clone_call},	  {"clone3", clone_call},
	{"fork", clone_call},	    {"vfork", clone_call},	  {"eventfd", eventfd_call},
	{"eventfd2", eventfd_call}, {"memfd_create", memfd_call}, {"userfaultfd", userfault_call},
	{"ftruncate", resize_call},
};

int vhu_import_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	m->order++;
	if (line->ended)
		return end_process(m, line, err);
	for (size_t i = 0; i < VHU_ARRAY_SIZE(calls); i++)
		if (!strcmp(line->call.name, calls[i].name))
			return calls[i].take(m, line, err);
	return 0;
}
