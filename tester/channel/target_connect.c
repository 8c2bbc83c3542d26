#include "target_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const uint64_t retry_ns = UINT64_C(2000000);
/* Between making its socket and listening on it a back-end may lose its turn. */
static const uint64_t bound_ns = UINT64_C(200000000);
/* A back-end that listens anew after each session is away for a moment. */
static const uint64_t relisten_ns = UINT64_C(2000000000);
/* How long a one-shot process may take to end by itself; leak checkers run then. */
static const uint64_t one_shot_ns = UINT64_C(5000000000);

static uint64_t after(const struct vhu_target *t, uint64_t ns)
{
	uint64_t now = vhu_loop_now(t->loop);

	return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

/* --- sockets that are made anew ---------------------------------------------------------------- */

/* All zero where there is none at the moment. */
static struct socket_id socket_now(const struct vhu_target *t)
{
	struct stat st;

	if (stat(t->socket, &st) < 0)
		return (struct socket_id){0};
	return (struct socket_id){.ino = st.st_ino, .made = st.st_ctim};
}

static bool is_new(const struct socket_id *now, const struct socket_id *old)
{
	return now->ino && (now->ino != old->ino || now->made.tv_sec != old->made.tv_sec ||
			    now->made.tv_nsec != old->made.tv_nsec);
}

static bool has_new_socket(const struct vhu_target *t)
{
	struct socket_id now = socket_now(t);

	return is_new(&now, &t->served_at);
}

static bool is_gone(const struct vhu_target *t)
{
	return t->how == VHU_TARGET_SPAWN && !vhu_child_running(&t->child);
}

static bool relistened(void *ctx)
{
	return has_new_socket(ctx) || is_gone(ctx);
}

static void on_look(void *ctx, uint32_t events)
{
}

/* What connects to the old socket waits in its backlog and goes with it. */
static int await_new_socket(struct vhu_target *t, struct vhu_err *err)
{
	struct vhu_source *timer = NULL;
	int r;

	vhu_child_check(&t->child);
	if (!t->served || !t->left || t->ready_fd >= 0 || is_gone(t))
		return 0;
	t->relistens |= has_new_socket(t);
	if (!t->relistens || has_new_socket(t))
		return 0;
	r = vhu_loop_add_timer(t->loop, retry_ns / 4, retry_ns / 4, on_look, t, &timer, err);
	if (r == 0)
		r = vhu_loop_run_until(t->loop, relistened, t, after(t, relisten_ns), false, err);
	vhu_source_free(timer);
	return r == -ETIME ? 0 : r;
}

void vhu_target_left(struct vhu_target *t)
{
	t->left = true;
}

/* --- connecting ------------------------------------------------------------------------------ */

static bool may_come(int code)
{
	return code == -ENOENT || code == -ECONNREFUSED || code == -EAGAIN;
}

static void attempt(struct vhu_target *t)
{
	int fd = vhu_unix_connect(t->socket);

	t->ready_fd = fd < 0 ? -1 : fd;
	t->connect_error = fd < 0 ? fd : 0;
}

static void on_retry(void *ctx, uint32_t events)
{
	struct vhu_target *t = ctx;

	if (t->ready_fd < 0)
		attempt(t);
}

static bool connect_settled(void *ctx)
{
	struct vhu_target *t = ctx;

	return t->ready_fd >= 0 || !may_come(t->connect_error) ||
	       (t->how == VHU_TARGET_SPAWN && !vhu_child_running(&t->child));
}

/* Why, and what to do, for somebody who gave a path. */
static int connect_failed(struct vhu_target *t, struct vhu_err *err)
{
	int code = t->connect_error;
	struct stat st;

	if (code == -ENOENT)
		return vhu_err_set(err, code,
				   "cannot connect to '%s': there is none; start the back-end first",
				   t->socket);
	if (code == -ECONNREFUSED && stat(t->socket, &st) == 0 && !S_ISSOCK(st.st_mode))
		return vhu_err_set(err, code, "cannot connect to '%s': it is no socket", t->socket);
	if (code == -ECONNREFUSED)
		return vhu_err_set(err, code,
				   "cannot connect to '%s': nobody listens there; start the back-end again",
				   t->socket);
	if (code == -EAGAIN)
		return vhu_err_set(err, -ETIME,
				   "cannot connect to '%s': the back-end accepts no further connection",
				   t->socket);
	if (code == -EPROTOTYPE)
		return vhu_err_set(err, code, "cannot connect to '%s': it is no stream socket", t->socket);
	return vhu_err_errno(err, code, "cannot connect to '%s'", t->socket);
}

static int died(const struct vhu_target *t, const char *when, struct vhu_err *err)
{
	char line[300];

	vhu_tail_last_line(&t->child.tail, line, sizeof(line));
	return vhu_err_set(err, -ECHILD, "%s %s %s%s%s", t->program, t->exit.what, when,
			   line[0] ? "; its last line was: " : "", line);
}

static int never_listened(const struct vhu_target *t, uint64_t within_ns, struct vhu_err *err)
{
	const char *hint = "";
	char line[300];

	if (t->connect_error == -EAGAIN)
		return vhu_err_set(err, -ETIME, "%s runs and accepts no connection on '%s' within %.1f s",
				   t->program, t->socket, (double)within_ns / 1e9);
	vhu_tail_last_line(&t->child.tail, line, sizeof(line));
	if (!t->names_socket)
		hint = "; the command names neither {socket} nor {fd} nor $VHU_SOCKET";
	return vhu_err_set(err, -ETIME, "%s runs and does not listen on '%s' within %.1f s%s%s%s", t->program,
			   t->socket, (double)within_ns / 1e9, hint, line[0] ? "; its last line was: " : "",
			   line);
}

/* Tries until ready_fd is a connection; with `once` there being no socket or listener is final. */
static int connect_within(struct vhu_target *t, uint64_t within_ns, bool once, struct vhu_err *err)
{
	struct vhu_source *timer = NULL;
	int r = 0;

	attempt(t);
	if (once && t->connect_error == -ECONNREFUSED)
		within_ns = VHU_MIN(within_ns, bound_ns);
	if (!connect_settled(t) && !(once && t->connect_error == -ENOENT)) {
		r = vhu_loop_add_timer(t->loop, retry_ns, retry_ns, on_retry, t, &timer, err);
		if (r < 0)
			return r;
		r = vhu_loop_run_until(t->loop, connect_settled, t, after(t, within_ns), false, err);
		vhu_source_free(timer);
	}
	if (r < 0 && r != -ETIME)
		return r;
	/* A socket that we listened on for it takes connections for a process that is dead, too. */
	vhu_child_check(&t->child);
	if (t->ready_fd >= 0)
		return 0;
	if (t->how != VHU_TARGET_SPAWN)
		return connect_failed(t, err);
	if (!vhu_child_running(&t->child))
		return died(t, t->served ? "and takes no further connection" : "before it listened", err);
	return may_come(t->connect_error) ? never_listened(t, within_ns, err) : connect_failed(t, err);
}

/* --- listening ------------------------------------------------------------------------------- */

static int start_listening(struct vhu_target *t, struct vhu_err *err)
{
	int r;

	if (t->listen_fd >= 0)
		return 0;
	r = vhu_unix_remove_stale(t->socket, err);
	if (r < 0)
		return r;
	r = vhu_unix_listen(t->socket, err);
	if (r < 0)
		return r;
	t->listen_fd = r;
	fcntl(t->listen_fd, F_SETFL, O_NONBLOCK);
	return 0;
}

static void on_listener(void *ctx, uint32_t events)
{
	struct vhu_target *t = ctx;

	if (t->ready_fd >= 0)
		return;
	t->ready_fd = accept4(t->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	t->connect_error = t->ready_fd < 0 ? -errno : 0;
}

static bool accept_settled(void *ctx)
{
	struct vhu_target *t = ctx;
	int code = t->connect_error;

	return t->ready_fd >= 0 || (code && code != -EAGAIN && code != -ECONNABORTED && code != -EINTR);
}

static int accept_within(struct vhu_target *t, uint64_t within_ns, struct vhu_err *err)
{
	struct vhu_source *source;
	int r = vhu_loop_add_fd(t->loop, t->listen_fd, EPOLLIN, on_listener, t, &source, err);

	if (r < 0)
		return r;
	t->connect_error = 0;
	r = vhu_loop_run_until(t->loop, accept_settled, t, after(t, within_ns), false, err);
	vhu_source_free(source);
	if (r == -ETIME)
		return vhu_err_set(err, r,
				   "no back-end connected to '%s' within %.1f s; start it in client mode",
				   t->socket, (double)within_ns / 1e9);
	if (r == 0 && t->ready_fd < 0)
		return vhu_err_errno(err, t->connect_error, "cannot accept a connection on '%s'", t->socket);
	return r;
}

/* --- starting -------------------------------------------------------------------------------- */

static bool helper_settled(void *ctx)
{
	struct vhu_target *t = ctx;

	return !vhu_child_running(&t->helper) || !vhu_child_running(&t->child);
}

static int run_after_start(struct vhu_target *t, struct vhu_err *err)
{
	char shell[] = "sh", flag[] = "-c";
	char *argv[] = {shell, flag, (char *)t->after_start, NULL};
	static const struct child_io io = {.inherit = -1, .out = -1};
	char end[160], line[300];
	int r = vhu_child_start(&t->helper, argv, t->envp, &io, err);

	if (r < 0)
		return r;
	r = vhu_loop_run_until(t->loop, helper_settled, t, after(t, t->start_ns), false, err);
	if (vhu_child_running(&t->helper)) {
		vhu_child_stop(&t->helper);
		if (r == -ETIME)
			return vhu_err_set(err, r, "the after-start command did not end within %.1f s: %s",
					   (double)t->start_ns / 1e9, t->after_start);
		return r < 0 ? r : died(t, "while the after-start command ran", err);
	}
	if (WIFEXITED(t->helper.status) && WEXITSTATUS(t->helper.status) == 0)
		return 0;
	vhu_child_describe_end(&t->helper, end, sizeof(end));
	vhu_tail_last_line(&t->helper.tail, line, sizeof(line));
	return vhu_err_set(err, -EIO, "the after-start command %s: %s%s%s", end, t->after_start,
			   line[0] ? "; its last line was: " : "", line);
}

static int start_process(struct vhu_target *t, struct vhu_err *err)
{
	struct child_io io = {.inherit = -1, .out = -1};
	int r;

	vhu_target_clear_exit(t);
	t->expect_exit = false;
	t->sent_signal = 0;
	t->served = 0;
	t->answered = 0;
	vhu_close(&t->ready_fd);
	unlink(t->socket);
	if (t->inherits_socket) {
		io.inherit = vhu_unix_listen(t->socket, err);
		if (io.inherit < 0)
			return io.inherit;
	}
	r = vhu_child_start(&t->child, t->argv, t->envp, &io, err);
	vhu_close(&io.inherit);
	vhu_target_set_name(t);
	return r;
}

static int start_and_wait(struct vhu_target *t, struct vhu_err *err)
{
	int r = start_process(t, err);

	if (r < 0)
		return r;
	if (t->after_start)
		r = run_after_start(t, err);
	if (r == 0)
		r = connect_within(t, t->start_ns, false, err);
	if (r < 0)
		vhu_target_stop(t);
	return r;
}

int vhu_target_start(struct vhu_target *t, struct vhu_err *err)
{
	if (t->how == VHU_TARGET_LISTEN)
		return start_listening(t, err);
	if (t->how == VHU_TARGET_CONNECT)
		return 0;
	vhu_child_check(&t->child);
	return vhu_child_running(&t->child) ? 0 : start_and_wait(t, err);
}

/* --- a connection ---------------------------------------------------------------------------- */

static bool child_ended(void *ctx)
{
	struct vhu_target *t = ctx;

	return !vhu_child_running(&t->child);
}

int vhu_target_end_one_shot(struct vhu_target *t, struct vhu_err *err)
{
	int r;

	vhu_child_check(&t->child);
	if (!t->one_shot || !t->served || !vhu_child_running(&t->child))
		return 0;
	r = vhu_loop_run_until(t->loop, child_ended, t, after(t, VHU_MIN(one_shot_ns, t->timeout_ns)), false,
			       err);
	if (r != -ETIME)
		return r;
	vhu_target_stop(t);
	return 0;
}

static int spawned_connection(struct vhu_target *t, struct vhu_err *err)
{
	struct vhu_err why = {0};
	int r = vhu_target_end_one_shot(t, err);

	if (r < 0)
		return r;
	if (vhu_child_running(&t->child) && t->ready_fd < 0) {
		r = connect_within(t, t->timeout_ns, false, &why);
		/* One that served before and ends now is one to start again. */
		if (r != -ECHILD || !t->served) {
			if (r < 0 && err)
				*err = why;
			return r;
		}
	}
	return vhu_child_running(&t->child) ? 0 : start_and_wait(t, err);
}

int vhu_target_connect(struct vhu_target *t, int *ret_fd, struct vhu_err *err)
{
	int r = t->how == VHU_TARGET_LISTEN ? 0 : await_new_socket(t, err);

	if (r < 0)
		return r;
	switch (t->how) {
	case VHU_TARGET_CONNECT:
		r = connect_within(t, VHU_MIN(relisten_ns, t->timeout_ns), !t->served, err);
		break;
	case VHU_TARGET_LISTEN:
		r = start_listening(t, err);
		if (r == 0)
			r = accept_within(t, t->served ? t->timeout_ns : t->start_ns, err);
		break;
	case VHU_TARGET_SPAWN:
		r = spawned_connection(t, err);
		break;
	}
	if (r < 0)
		return r;
	t->served_at = socket_now(t);
	t->left = false;
	*ret_fd = t->ready_fd;
	t->ready_fd = -1;
	t->served++;
	return 0;
}
