#include "program_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { OUTPUT_MAX = 64 * 1024 };

static const uint64_t look_ns = UINT64_C(1000000);
/* How long something may serve in the place of a process that has left with status 0. */
static const uint64_t heir_ns = UINT64_C(500000000);

/* GET_FEATURES, and the head of its answer. */
static const uint32_t question[3] = {1, 1, 0};

/* --- start ----------------------------------------------------------------------------------------- */

static int make_descriptors(struct vhu_program *p, struct vhu_err *err)
{
	int pair[2];

	if (vhu_program_asks(p)) {
		p->out_fd = memfd_create("capabilities", MFD_CLOEXEC);
		return p->out_fd < 0 ? vhu_err_errno(err, -errno, "program: memfd") : 0;
	}
	if (p->way == VHU_PROGRAM_FD_CONNECTED) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return vhu_err_errno(err, -errno, "program: socketpair");
		p->own_fd = pair[0];
		p->its_fd = pair[1];
	}
	if (p->way == VHU_PROGRAM_FD_LISTENING || p->way == VHU_PROGRAM_BOTH) {
		if (p->way == VHU_PROGRAM_BOTH) {
			p->reach = vhu_arena_printf(p->t->arena, "%s/inherited", p->dir);
			if (!p->reach)
				return vhu_err_errno(err, -ENOMEM, "program");
		}
		p->its_fd = vhu_unix_listen(p->reach, err);
		return p->its_fd < 0 ? p->its_fd : 0;
	}
	return 0;
}

static int run(struct vhu_program *p, struct vhu_err *err)
{
	struct child_io io = {
		.inherit = p->its_fd,
		.out = p->out_fd,
		.quiet = p->way == VHU_PROGRAM_QUIET,
		.cwd = p->way == VHU_PROGRAM_CAPABILITIES ? p->dir : NULL,
	};
	int r = vhu_child_start(&p->child, p->argv, p->t->envp, &io, err);

	vhu_close(&p->its_fd);
	return r;
}

/* Takes over the folder of the one before, which is freed. */
static void inherit_folder(struct vhu_program *p, struct vhu_program *last)
{
	if (last && p->way == VHU_PROGRAM_AGAIN) {
		p->dir = last->dir;
		last->dir = NULL;
	}
	vhu_program_free(last);
}

int vhu_program_start(struct vhu_target *t, enum vhu_program_way way, struct vhu_program *last,
		      struct vhu_program **ret, struct vhu_err *err)
{
	struct vhu_program *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		vhu_program_free(last);
		return vhu_err_set(err, -ENOMEM, "program: out of memory");
	}
	*p = (struct vhu_program){.t = t,
				  .way = way,
				  .out_fd = -1,
				  .own_fd = -1,
				  .its_fd = -1,
				  .conn_fd = -1,
				  .other_pidfd = -1};
	vhu_child_init(&p->child, t->loop, NULL, NULL);
	p->child.lingers = true;
	inherit_folder(p, last);
	if (t->how != VHU_TARGET_SPAWN)
		r = vhu_err_set(err, -ENOTSUP, "its process is not ours");
	else if (t->after_start)
		r = vhu_err_set(err, -ENOTSUP, "it needs an --after-start command");
	else
		r = vhu_program_place(p, err);
	if (r == 0)
		r = vhu_program_words(p, err);
	if (r == 0)
		r = make_descriptors(p, err);
	if (r == 0)
		r = run(p, err);
	if (r < 0)
		vhu_program_free(p);
	else
		*ret = p;
	return r;
}

/* --- end --------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) < 0 && errno != ENOENT;
}

void vhu_program_free(struct vhu_program *p)
{
	if (!p)
		return;
	if (p->other_pidfd >= 0)
		syscall(SYS_pidfd_send_signal, p->other_pidfd, SIGKILL, NULL, 0);
	vhu_child_stop(&p->child);
	vhu_close(&p->out_fd);
	vhu_close(&p->own_fd);
	vhu_close(&p->its_fd);
	vhu_close(&p->conn_fd);
	vhu_close(&p->other_pidfd);
	if (p->dir) {
		chmod(p->dir, 0700);
		nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	}
	free(p);
}

static void note_end(struct vhu_program *p)
{
	siginfo_t info = {0};

	if (p->ended || !p->child.over)
		return;
	p->ended = true;
	/* Left to be reaped, as long as its group is of interest. */
	if (waitid(P_PID, (id_t)p->child.pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
		p->status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
	p->child.status = p->status;
}

/* --- serving ----------------------------------------------------------------------------------------- */

/* Who serves there, if it is another process than the one that was started. */
static void look_for_heir(struct vhu_program *p)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (p->other_pidfd < 0 && getsockopt(p->conn_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    peer.pid > 0 && peer.pid != p->child.pid && peer.pid != getpid())
		p->other_pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
}

/* Told of two sockets it may serve either. */
static void try_other_socket(struct vhu_program *p)
{
	int fd = p->way == VHU_PROGRAM_BOTH && !p->by_path ? vhu_unix_connect(p->path) : -1;

	if (fd < 0)
		return;
	vhu_close(&p->conn_fd);
	p->conn_fd = fd;
	p->by_path = true;
	p->asked = false;
}

static void try_connection(struct vhu_program *p)
{
	try_other_socket(p);
	if (p->conn_fd < 0 && p->own_fd >= 0) {
		p->conn_fd = p->own_fd;
		p->own_fd = -1;
	} else if (p->conn_fd < 0) {
		p->conn_fd = vhu_unix_connect(p->reach);
		if (p->conn_fd >= 0)
			look_for_heir(p);
	}
	if (p->conn_fd >= 0 && !p->asked)
		p->asked = send(p->conn_fd, question, sizeof(question), MSG_NOSIGNAL | MSG_DONTWAIT) ==
			   (ssize_t)sizeof(question);
}

static void try_answer(struct vhu_program *p)
{
	uint32_t head[3];
	ssize_t n;

	if (!p->asked)
		return;
	n = recv(p->conn_fd, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
	if (n == (ssize_t)sizeof(head))
		p->serves = head[0] == question[0];
	else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		vhu_close(&p->conn_fd);
		p->asked = false;
	}
}

static void on_look(void *ctx, uint32_t events)
{
	struct vhu_program *p = ctx;

	note_end(p);
	if (vhu_program_asks(p) || p->serves)
		return;
	try_connection(p);
	try_answer(p);
}

static bool settled(void *ctx)
{
	const struct vhu_program *p = ctx;

	return p->serves || p->ended;
}

static bool serves(void *ctx)
{
	return ((const struct vhu_program *)ctx)->serves;
}

static int wait_for(struct vhu_program *p, bool (*done)(void *ctx), uint64_t deadline_ns, struct vhu_err *err)
{
	struct vhu_source *timer = NULL;
	int r = vhu_loop_add_timer(p->t->loop, look_ns, look_ns, on_look, p, &timer, err);

	if (r == 0)
		r = vhu_loop_run_until(p->t->loop, done, p, deadline_ns, false, err);
	vhu_source_free(timer);
	return r;
}

static bool left_in_order(const struct vhu_program *p)
{
	return p->ended && WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0;
}

int vhu_program_await(struct vhu_program *p, uint64_t deadline_ns, struct vhu_err *err)
{
	int r = wait_for(p, settled, deadline_ns, err);

	/* One that makes itself a daemon leaves another process behind. */
	if (r == 0 && !p->serves && left_in_order(p) && !vhu_program_asks(p)) {
		r = wait_for(p, serves, VHU_MIN(deadline_ns, vhu_loop_now(p->t->loop) + heir_ns), err);
		r = r == -ETIME ? 0 : r;
	}
	return r;
}

/* --- the end ----------------------------------------------------------------------------------------- */

static bool alone(void *ctx)
{
	struct vhu_program *p = ctx;

	if (p->ended)
		p->left = vhu_child_others(&p->child);
	return p->ended && !p->left;
}

int vhu_program_end(struct vhu_program *p, uint64_t deadline_ns, struct vhu_err *err)
{
	int r;

	if (vhu_child_running(&p->child))
		kill(p->child.pid, SIGTERM);
	r = wait_for(p, alone, deadline_ns, err);
	return r == -ETIME && p->ended ? 0 : r;
}

/* --- questions --------------------------------------------------------------------------------------- */

bool vhu_program_serves(const struct vhu_program *p)
{
	return p->serves;
}

bool vhu_program_ended(const struct vhu_program *p)
{
	return p->ended;
}

int vhu_program_status(const struct vhu_program *p)
{
	return p->status;
}

char *vhu_program_describe(const struct vhu_program *p, char *out, size_t cap)
{
	char line[200];
	size_t n;

	if (!p->ended) {
		snprintf(out, cap, "it runs");
		return out;
	}
	vhu_child_describe_end(&p->child, out, cap);
	vhu_tail_last_line(&p->child.tail, line, sizeof(line));
	n = strlen(out);
	if (line[0])
		snprintf(out + n, cap - n, "; its last line was: %s", line);
	return out;
}

bool vhu_program_crashed(const struct vhu_program *p)
{
	return p->ended && (WIFSIGNALED(p->status) || p->child.tail.report[0]);
}

void vhu_program_command(const struct vhu_program *p, struct vhu_buf *out)
{
	for (size_t i = 0; p->argv[i]; i++)
		vhu_buf_printf(out, "%s%s", i ? " " : "", p->argv[i]);
}

unsigned vhu_program_left(const struct vhu_program *p)
{
	return p->left;
}

bool vhu_program_made_socket(const struct vhu_program *p)
{
	struct stat st;

	return lstat(p->path, &st) == 0;
}

char *vhu_program_output(const struct vhu_program *p)
{
	char *text = calloc(1, OUTPUT_MAX + 1);

	if (text && pread(p->out_fd, text, OUTPUT_MAX, 0) < 0)
		text[0] = '\0';
	return text;
}
