#include "child.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const uint64_t grace_ns = UINT64_C(2000000000); /* between TERM and KILL */
static const uint64_t look_ns = UINT64_C(5000000);     /* without a pidfd */
static const uint64_t kill_ns = UINT64_C(10000000000); /* a process in the kernel's hands may outlast KILL */

void vhu_child_init(struct child *c, struct vhu_loop *loop, void (*ended)(void *ctx), void *ctx)
{
	c->loop = loop;
	c->pidfd = c->out_fd = -1;
	c->ended = ended;
	c->ctx = ctx;
}

bool vhu_child_running(const struct child *c)
{
	return c->pid > 0;
}

/* --- its output and its end ------------------------------------------------------------------ */

static void close_output(struct child *c)
{
	vhu_source_free(c->out_source);
	c->out_source = NULL;
	vhu_close(&c->out_fd);
}

/* One read. False when there is no more for now. */
static bool read_output(struct child *c)
{
	char bytes[4096];
	ssize_t n = read(c->out_fd, bytes, sizeof(bytes));

	if (n > 0)
		vhu_tail_add(&c->tail, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_output(c);
	return n > 0;
}

static void on_output(void *ctx, uint32_t events)
{
	read_output(ctx);
}

/* What the pipe still holds; bounded, because a stranger who inherited it may go on writing. */
static void drain_output(struct child *c)
{
	for (unsigned i = 0; i < 256 && c->out_fd >= 0 && read_output(c); i++)
		;
	if (c->out_fd >= 0)
		close_output(c);
	vhu_tail_add(&c->tail, "\n", c->tail.line_len ? 1 : 0);
}

static void release(struct child *c)
{
	vhu_source_free(c->pid_source);
	c->pid_source = NULL;
	vhu_close(&c->pidfd);
	c->pid = 0;
	c->over = false;
}

static bool has_ended(const struct child *c)
{
	siginfo_t info = {0};

	/* Left to be reaped: until then nobody else can have its number. */
	if (waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return errno == ECHILD;
	return info.si_pid == c->pid;
}

/* Only for one that has ended. */
static void reap(struct child *c)
{
	/* While it is a zombie the group's number is certainly still its own. */
	kill(-c->pid, SIGKILL);
	drain_output(c);
	while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
		;
	release(c);
	if (c->ended)
		c->ended(c->ctx);
}

/* Its pidfd is readable, or it is time to look. */
static void on_maybe_ended(void *ctx, uint32_t events)
{
	struct child *c = ctx;

	if (!has_ended(c))
		return;
	if (!c->lingers) {
		reap(c);
		return;
	}
	c->over = true;
	vhu_source_free(c->pid_source);
	c->pid_source = NULL;
}

/* Waits for the end while it keeps its pipe empty: a child that blocks writing does not end. */
static bool await_end(struct child *c, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd fds[] = {
			{.fd = c->pidfd, .events = POLLIN},
			{.fd = c->out_fd, .events = POLLIN},
		};
		uint64_t now = vhu_now_ns();
		uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
		uint64_t wait_ns = c->pidfd < 0 ? VHU_MIN(left_ns, look_ns) : left_ns;

		poll(fds, VHU_ARRAY_SIZE(fds), (int)((wait_ns + 999999) / 1000000));
		if (has_ended(c))
			return true;
		if (fds[1].revents)
			read_output(c);
		if (!left_ns)
			return false;
	}
}

void vhu_child_check(struct child *c)
{
	if (vhu_child_running(c) && await_end(c, 0))
		reap(c);
}

int vhu_child_signal(struct child *c, int signal)
{
	/* It may have made itself another group. */
	if (kill(-c->pid, signal) == 0 || kill(c->pid, signal) == 0)
		return 0;
	return -errno;
}

/* Whether /proc/PID/stat is that of a process of the group that is no zombie. */
static bool runs_in_group(const char *pid, pid_t group)
{
	_cleanup_(vhu_fclosep) FILE *file = NULL;
	char path[64], line[512];
	const char *behind;
	char state;
	int of;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	file = fopen(path, "re");
	if (!file || !fgets(line, sizeof(line), file))
		return false;
	/* The name in parentheses may hold anything. */
	behind = strrchr(line, ')');
	return behind && sscanf(behind, ") %c %*d %d", &state, &of) == 2 && of == group &&
	       !strchr("ZX", state);
}

unsigned vhu_child_others(const struct child *c)
{
	DIR *dir = vhu_child_running(c) ? opendir("/proc") : NULL;
	unsigned n = 0;

	for (const struct dirent *entry; dir && (entry = readdir(dir));)
		n += isdigit((unsigned char)entry->d_name[0]) && atoi(entry->d_name) != c->pid &&
		     runs_in_group(entry->d_name, c->pid);
	if (dir)
		closedir(dir);
	return n;
}

void vhu_child_stop(struct child *c)
{
	vhu_child_check(c);
	if (!vhu_child_running(c))
		return;
	vhu_child_signal(c, SIGTERM);
	vhu_child_signal(c, SIGCONT);
	if (!await_end(c, vhu_now_ns() + grace_ns)) {
		kill(-c->pid, SIGKILL);
		kill(c->pid, SIGKILL);
		if (!await_end(c, vhu_now_ns() + kill_ns)) {
			close_output(c);
			release(c);
			return;
		}
	}
	reap(c);
}

void vhu_child_describe_end(const struct child *c, char *out, size_t cap)
{
	const char *name = WIFSIGNALED(c->status) ? sigabbrev_np(WTERMSIG(c->status)) : NULL;
	int n;

	if (!WIFSIGNALED(c->status))
		n = snprintf(out, cap, "exited with status %d", WEXITSTATUS(c->status));
	else if (name)
		n = snprintf(out, cap, "killed by SIG%s", name);
	else
		n = snprintf(out, cap, "killed by signal %d", WTERMSIG(c->status));
	if (c->tail.report[0] && n > 0 && (size_t)n < cap)
		snprintf(out + n, cap - (size_t)n, " (%s)", c->tail.report);
}

/* --- its start ------------------------------------------------------------------------------- */

struct launch {
	char *const *argv, *const *envp;
	const struct child_io *io;
	pid_t parent;
	int kept, report; /* where its output is kept, and where a failure to start is told */
};

static void reset_signals(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* A copy out of the way of the numbers that are given out in the child. */
static int aside(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
}

/* The three standard descriptors, and what it inherits. */
static bool arrange(const struct launch *l)
{
	int null = open("/dev/null", O_RDWR), inherit = aside(l->io->inherit);
	int err = l->io->quiet ? aside(null) : aside(l->kept);
	int out = l->io->out >= 0 ? aside(l->io->out) : aside(err);

	if (null > STDIN_FILENO) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
	return dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0 &&
	       (inherit < 0 || dup2(inherit, CHILD_INHERITED_FD) >= 0);
}

/* In the child, up to exec; whatever fails is told to the parent as an errno. */
static void become(const struct launch *l)
{
	int report = aside(l->report);
	int code;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != l->parent)
		_exit(127);
	reset_signals();
	if (arrange(l) && (!l->io->cwd || chdir(l->io->cwd) == 0))
		execvpe(l->argv[0], l->argv, l->envp);
	code = errno;
	if (write(report, &code, sizeof(code)) < 0)
		_exit(126);
	_exit(127);
}

/* Makes the process and waits until it is the program: its pid, or negative errno. */
static pid_t launch(struct launch *l)
{
	int report[2];
	int code = 0;
	ssize_t n;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	l->report = report[1];
	l->parent = getpid();

	pid_t pid = fork();

	if (pid == 0)
		become(l);
	if (pid < 0)
		code = errno;
	close(report[1]);
	do {
		n = pid < 0 ? 0 : read(report[0], &code, sizeof(code));
	} while (n < 0 && errno == EINTR);
	close(report[0]);
	if (code && pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	return code ? -code : pid;
}

/* With SIGCHLD ignored, as some callers leave it to us, the kernel would throw the status away. */
static void keep_statuses(void)
{
	struct sigaction action;

	if (sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
		signal(SIGCHLD, SIG_DFL);
}

static int watch(struct child *c, struct vhu_err *err)
{
	int r;

	fcntl(c->out_fd, F_SETFL, O_NONBLOCK);
	r = vhu_loop_add_fd(c->loop, c->out_fd, EPOLLIN, on_output, c, &c->out_source, err);
	if (r < 0)
		return r;
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pidfd >= 0)
		return vhu_loop_add_fd(c->loop, c->pidfd, EPOLLIN, on_maybe_ended, c, &c->pid_source, err);
	/* Sandboxes and valgrind may have none. */
	if (errno == ENOSYS || errno == EPERM)
		return vhu_loop_add_timer(c->loop, look_ns, look_ns, on_maybe_ended, c, &c->pid_source, err);
	return vhu_err_errno(err, -errno, "cannot watch process %d", (int)c->pid);
}

int vhu_child_start(struct child *c, char *const argv[], char *const envp[], const struct child_io *io,
		    struct vhu_err *err)
{
	struct launch l = {.argv = argv, .envp = envp, .io = io};
	int out[2];
	int r;

	keep_statuses();
	if (pipe2(out, O_CLOEXEC) < 0)
		return vhu_err_errno(err, -errno, "cannot make a pipe for the output of '%s'", argv[0]);
	l.kept = out[1];

	pid_t pid = launch(&l);

	close(out[1]);
	if (pid < 0) {
		close(out[0]);
		return vhu_err_errno(err, (int)pid, "cannot run '%s'%s", argv[0],
				     strchr(argv[0], '/') ? "" : " (looked for in PATH)");
	}
	c->pid = pid;
	c->out_fd = out[0];
	memset(&c->tail, 0, sizeof(c->tail));
	r = watch(c, err);
	if (r < 0) {
		kill(-pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close_output(c);
		release(c);
	}
	return r;
}
