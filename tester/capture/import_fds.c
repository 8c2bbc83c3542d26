/* Calls that make descriptors, copy or close them, and those that make processes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "import_priv.h"

static int no_memory(struct vhu_err *err)
{
	return vhu_err_errno(err, -ENOMEM, "import");
}

/* The number that the call gave; false if it failed. */
static bool gave(const struct strace_line *line, int *ret)
{
	*ret = (int)line->call.result;
	return line->call.result >= 0 && line->call.result <= INT32_MAX;
}

/* --- sockets ---------------------------------------------------------------------------------------- */

/* A new socket of the process at this number. */
static struct endpoint *open_socket(struct import *m, const struct strace_line *line, int fd,
				    const char *note, enum endpoint_how how)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct endpoint *e = p ? vhu_import_endpoint(m, p, fd, how, line) : NULL;

	if (!e)
		return NULL;
	vhu_import_inodes(note, &e->inode, &e->peer_inode);
	return e->inode && vhu_table_put(&m->inodes, e->inode, e) < 0 ? NULL : e;
}

/* Descriptors of other kinds: what they are is told with the messages that carry them. */
static int open_other(struct import *m, const struct strace_line *line, enum vhu_fd_kind kind,
		      struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	int fd;

	if (!gave(line, &fd))
		return 0;
	return p && vhu_import_open(m, p, fd, kind) ? 0 : no_memory(err);
}

static int socket_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *domain = vhu_strace_arg(&line->call, 0);
	int fd;

	if (!gave(line, &fd))
		return 0;
	if (!vhu_strace_is(domain, "AF_UNIX", AF_UNIX) && !vhu_strace_is(domain, "AF_LOCAL", AF_UNIX) &&
	    !vhu_strace_is(domain, "PF_LOCAL", AF_UNIX))
		return open_other(m, line, VHU_FDK_SOCKET, err);
	return open_socket(m, line, fd, line->call.result_note, HOW_SOCKET) ? 0 : no_memory(err);
}

static int accept_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	int fd;

	if (!gave(line, &fd))
		return 0;
	return open_socket(m, line, fd, line->call.result_note, HOW_ACCEPT) ? 0 : no_memory(err);
}

static int connect_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *fd_arg = vhu_strace_arg(&line->call, 0);
	const struct strace_value *path = vhu_strace_member(vhu_strace_arg(&line->call, 1), "sun_path");
	struct endpoint *e;
	int fd;

	if (line->call.result || !path || path->kind != STRACE_STRING || !vhu_import_fd(fd_arg, &fd))
		return 0;
	e = open_socket(m, line, fd, fd_arg->note, HOW_CONNECT);
	if (e)
		e->path = vhu_arena_strdup(m->arena, path->text);
	return e && e->path ? 0 : no_memory(err);
}

/* "[3, 4]", where a call puts two descriptors. */
static bool gave_two(const struct strace_line *line, unsigned arg, const struct strace_value *two[2],
		     int fds[2])
{
	const struct strace_value *both = vhu_strace_arg(&line->call, arg);

	two[0] = both && both->kind == STRACE_LIST ? both->first : NULL;
	two[1] = two[0] ? two[0]->next : NULL;
	return !line->call.result && vhu_import_fd(two[0], &fds[0]) && vhu_import_fd(two[1], &fds[1]);
}

static int socketpair_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *two[2];
	struct endpoint *one, *other;
	int fds[2];

	if (!gave_two(line, 3, two, fds))
		return 0;
	one = open_socket(m, line, fds[0], two[0]->note, HOW_PAIR);
	other = open_socket(m, line, fds[1], two[1]->note, HOW_PAIR);
	if (!one || !other)
		return no_memory(err);
	one->pair = other;
	other->pair = one;
	return 0;
}

/* --- others ----------------------------------------------------------------------------------------- */

static int eventfd_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return open_other(m, line, VHU_FDK_EVENTFD, err);
}

static int memfd_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	bool huge = vhu_strace_has(vhu_strace_arg(&line->call, 1), "MFD_HUGETLB", MFD_HUGETLB);

	return open_other(m, line, huge ? VHU_FDK_HUGETLB : VHU_FDK_MEMFD, err);
}

static int userfault_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return open_other(m, line, VHU_FDK_USERFAULT, err);
}

/* What file it is, its path tells: the first argument, or the second behind a folder's descriptor. */
static int open_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *path = vhu_strace_arg(&line->call, 0);

	if (path && path->kind != STRACE_STRING)
		path = vhu_strace_arg(&line->call, 1);
	return open_other(m, line,
			  path && path->kind == STRACE_STRING ? vhu_import_kind(path->text) : VHU_FDK_OTHER,
			  err);
}

static int other_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	return open_other(m, line, VHU_FDK_OTHER, err);
}

static int pipe_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	const struct strace_value *two[2];
	int fds[2];

	if (!gave_two(line, 0, two, fds))
		return 0;
	return p && vhu_import_open(m, p, fds[0], VHU_FDK_PIPE) && vhu_import_open(m, p, fds[1], VHU_FDK_PIPE)
		       ? 0
		       : no_memory(err);
}

static int resize_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct opened *what;
	int64_t size;
	int fd;

	if (!p)
		return no_memory(err);
	if (line->call.result || !vhu_import_fd(vhu_strace_arg(&line->call, 0), &fd) ||
	    !vhu_strace_number(vhu_strace_arg(&line->call, 1), &size) || size < 0)
		return 0;
	what = vhu_import_lookup(p, fd);
	if (what && what->refs && !what->endpoint) {
		what->sized = true;
		what->size = (uint64_t)size;
	}
	return 0;
}

/* --- copies ----------------------------------------------------------------------------------------- */

/* The call gave another number for what a process has. */
static int copy(struct import *m, const struct strace_line *line, const struct process *from, int fd,
		struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct opened *what = from ? vhu_import_lookup(from, fd) : NULL;
	int number;

	if (!gave(line, &number))
		return 0;
	return p && vhu_import_put(m, p, number, what) == 0 ? 0 : no_memory(err);
}

static int dup_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	int fd;

	return vhu_import_fd(vhu_strace_arg(&line->call, 0), &fd)
		       ? copy(m, line, vhu_import_process(m, line->tid), fd, err)
		       : 0;
}

static int fcntl_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *command = vhu_strace_arg(&line->call, 1);

	return vhu_strace_is(command, "F_DUPFD", F_DUPFD) ||
			       vhu_strace_is(command, "F_DUPFD_CLOEXEC", F_DUPFD_CLOEXEC)
		       ? dup_call(m, line, err)
		       : 0;
}

static int pidfd_open_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	struct opened *what;
	int64_t pid;
	int fd;

	if (!gave(line, &fd) || !vhu_strace_number(vhu_strace_arg(&line->call, 0), &pid) || pid <= 0 ||
	    pid > INT32_MAX)
		return 0;
	what = p ? vhu_import_open(m, p, fd, VHU_FDK_OTHER) : NULL;
	if (!what)
		return no_memory(err);
	what->pid = (uint32_t)pid;
	return 0;
}

static int pidfd_getfd_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct process *p = vhu_import_process(m, line->tid);
	const struct opened *pidfd;
	int number, fd;

	if (!p)
		return no_memory(err);
	if (!vhu_import_fd(vhu_strace_arg(&line->call, 0), &number) ||
	    !vhu_import_fd(vhu_strace_arg(&line->call, 1), &fd))
		return 0;
	pidfd = vhu_import_lookup(p, number);
	return copy(m, line, pidfd && pidfd->pid ? vhu_import_process(m, pidfd->pid) : NULL, fd, err);
}

/* --- ends ------------------------------------------------------------------------------------------- */

static int close_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	struct process *p = vhu_import_process(m, line->tid);
	int fd;

	if (!p)
		return no_memory(err);
	if (line->call.result || !vhu_import_fd(vhu_strace_arg(&line->call, 0), &fd) ||
	    !vhu_import_lookup(p, fd))
		return 0;
	return vhu_import_put(m, p, fd, NULL) < 0 ? no_memory(err) : 0;
}

static int close_range_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *flags = vhu_strace_arg(&line->call, 2);
	struct process *p = vhu_import_process(m, line->tid);
	int64_t first, last;

	if (!p)
		return no_memory(err);
	/* The last one may be ~0U. */
	if (line->call.result || vhu_strace_has(flags, "CLOSE_RANGE_CLOEXEC", CLOSE_RANGE_CLOEXEC) ||
	    !vhu_strace_number(vhu_strace_arg(&line->call, 0), &first) ||
	    !vhu_strace_number(vhu_strace_arg(&line->call, 1), &last) || first < 0)
		return 0;
	vhu_import_close_range(m, p, (uint64_t)first, (uint64_t)last);
	return 0;
}

/* A new thread shares its maker's descriptors, a new process has copies. */
static int clone_call(struct import *m, const struct strace_line *line, struct vhu_err *err)
{
	const struct strace_value *v = line->call.args->first;
	struct process *p = vhu_import_process(m, line->tid);
	bool shares = false;

	if (line->call.result <= 0 || line->call.result > INT32_MAX)
		return 0;
	for (; v; v = v->next) {
		const struct strace_value *flags = vhu_strace_member(v, "flags");

		if (flags || (v->name && !strcmp(v->name, "flags")))
			shares = vhu_strace_has(flags ? flags : v, "CLONE_FILES", CLONE_FILES);
	}
	return p && vhu_import_fork(m, p, (uint32_t)line->call.result, shares) == 0 ? 0 : no_memory(err);
}

const struct import_call vhu_import_fd_calls[] = {
	{"socket", socket_call},
	{"connect", connect_call},
	{"accept", accept_call},
	{"accept4", accept_call},
	{"socketpair", socketpair_call},
	{"eventfd", eventfd_call},
	{"eventfd2", eventfd_call},
	{"memfd_create", memfd_call},
	{"userfaultfd", userfault_call},
	{"open", open_call},
	{"openat", open_call},
	{"openat2", open_call},
	{"creat", open_call},
	{"pipe", pipe_call},
	{"pipe2", pipe_call},
	{"epoll_create", other_call},
	{"epoll_create1", other_call},
	{"timerfd_create", other_call},
	{"signalfd", other_call},
	{"signalfd4", other_call},
	{"inotify_init1", other_call},
	{"ftruncate", resize_call},
	{"dup", dup_call},
	{"dup2", dup_call},
	{"dup3", dup_call},
	{"fcntl", fcntl_call},
	{"fcntl64", fcntl_call},
	{"pidfd_open", pidfd_open_call},
	{"pidfd_getfd", pidfd_getfd_call},
	{"close", close_call},
	{"close_range", close_range_call},
	{"clone", clone_call},
	{"clone3", clone_call},
	{"fork", clone_call},
	{"vfork", clone_call},
	{NULL},
};
