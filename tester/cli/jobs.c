/*
 * --jobs: worker processes with a target each. The parent hands out case numbers, one at a time
 * to each, and gets lines back: "R CASE RUNS PASSED JSON" or "E ERRNO TEXT". A worker that
 * crashes takes one case with it, as BROKEN.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "campaign.h"
#include "event/loop.h"
#include "runner.h"

enum {
	WORKER_IN = 3, WORKER_OUT = 4,	/* its ends of the pipes */
	LINE_MAX_BYTES = 64 << 20,
};

static const size_t no_case = SIZE_MAX;
static const uint64_t end_ns = UINT64_C(20000000000);	/* to stop its target and go */

/* --- in the worker --------------------------------------------------------------------------- */

static int write_all(int fd, const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void tell_error(int code, const struct vhu_err *err)
{
	struct vhu_buf line = {0};

	vhu_buf_printf(&line, "E %d ", code);
	for (const char *p = err->text; *p; p++)
		vhu_buf_add(&line, *p == '\n' ? " " : p, 1);
	vhu_buf_puts(&line, "\n");
	write_all(WORKER_OUT, vhu_buf_text(&line), line.len);
	vhu_buf_done(&line);
}

static int tell_outcome(size_t i, const struct vhu_outcome *o)
{
	_cleanup_(vhu_freep) char *json = vhu_result_to_json(&o->result);
	struct vhu_buf line = {0};
	int code = -ENOMEM;

	vhu_buf_printf(&line, "R %zu %u %u %s\n", i, o->runs, o->passed, json ? json : "");
	if (json && !line.failed)
		code = write_all(WORKER_OUT, line.data, line.len);
	vhu_buf_done(&line);
	return code;
}

/* The next case's number; false at the end. One number comes with one write. */
static bool next_number(size_t n, size_t *ret)
{
	char text[32];
	ssize_t len;
	uint64_t i;

	do {
		len = read(WORKER_IN, text, sizeof(text) - 1);
	} while (len < 0 && errno == EINTR);
	if (len < 2)
		return false;
	text[len - 1] = '\0';
	if (vhu_u64_parse(text, &i) < 0 || i >= n)
		return false;
	*ret = (size_t)i;
	return true;
}

static int serve(struct vhu_campaign *c, struct vhu_runner *r, struct vhu_err *err)
{
	size_t i;

	while (next_number(c->n, &i)) {
		struct vhu_outcome o;
		int code = vhu_campaign_run(c, r, i, &o, err);

		if (code < 0)
			return code;
		code = tell_outcome(i, &o);
		vhu_outcome_done(&o);
		if (code < 0)
			return vhu_err_errno(err, code, "%s", c->plans[i]->id);
	}
	return 0;
}

/* Nothing of the parent's may stay open here: its pipes, and the reports that it writes. */
static void keep_only(int in, int out)
{
	int a = fcntl(in, F_DUPFD_CLOEXEC, 10);
	int b = fcntl(out, F_DUPFD_CLOEXEC, 10);

	dup3(a, WORKER_IN, O_CLOEXEC);
	dup3(b, WORKER_OUT, O_CLOEXEC);
	close_range(WORKER_OUT + 1, ~0U, 0);
}

static void become_worker(struct vhu_campaign *c, enum vhu_device device, const char *dir, pid_t parent,
			  int in, int out)
{
	struct vhu_runner r = {0};
	struct vhu_err err = {0};
	int code;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(0);
	keep_only(in, out);
	code = vhu_runner_open(&r, c->o, device, false, dir, &err);
	if (code == 0)
		code = vhu_runner_probe(&r, &err);
	if (code >= 0)
		code = serve(c, &r, &err);
	if (code < 0 && code != -EINTR)
		tell_error(code, &err);
	vhu_runner_close(&r);
	_exit(0);
}

/* --- in the parent --------------------------------------------------------------------------- */

struct worker {
	pid_t pid;			/* 0: none */
	char dir[PATH_MAX];		/* of its target; what a crash leaves there goes with it */
	int to, from;
	struct vhu_source *source;
	struct vhu_buf in;
	bool eof;
	size_t at;			/* the case that it runs, or no_case */
	struct vhu_streak streak;
};

struct pool {
	struct vhu_campaign *c;
	struct vhu_loop *loop;
	enum vhu_device device;
	struct worker *workers;
	size_t n;
	size_t next;			/* case to be handed out */
	bool dismissed;			/* workers are told to end */
};

static void on_readable(void *ctx, uint32_t events)
{
	struct worker *w = ctx;
	char bytes[65536];
	ssize_t n = read(w->from, bytes, sizeof(bytes));

	if (n > 0)
		vhu_buf_add(&w->in, bytes, (size_t)n);
	if (n == 0 || w->in.failed || w->in.len > LINE_MAX_BYTES) {
		w->eof = true;
		vhu_source_free(w->source);
		w->source = NULL;
	}
}

static bool has_news(const struct worker *w)
{
	return w->pid && (w->eof || (w->in.len && memchr(w->in.data, '\n', w->in.len)));
}

static bool any_news(void *ctx)
{
	const struct pool *p = ctx;

	for (size_t i = 0; i < p->n; i++)
		if (has_news(&p->workers[i]))
			return true;
	return false;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static void remove_dir(struct worker *w)
{
	if (w->dir[0])
		nftw(w->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	w->dir[0] = '\0';
}

static int make_dir(struct worker *w, struct vhu_err *err)
{
	const char *parent = getenv("TMPDIR");

	snprintf(w->dir, sizeof(w->dir), "%s/vhu-XXXXXX", parent && *parent ? parent : "/tmp");
	if (mkdtemp(w->dir))
		return 0;
	w->dir[0] = '\0';
	return vhu_err_errno(err, -errno, "--jobs: cannot make a folder in '%s'",
			     parent && *parent ? parent : "/tmp");
}

/* The process and two pipes, one each way. -errno. */
static int fork_worker(struct pool *p, struct worker *w)
{
	pid_t parent = getpid();
	int down[2] = {-1, -1}, up[2] = {-1, -1};
	int code = 0;

	if (pipe2(down, O_CLOEXEC) < 0 || pipe2(up, O_CLOEXEC) < 0)
		code = -errno;
	w->pid = code < 0 ? -1 : fork();
	if (w->pid == 0)
		become_worker(p->c, p->device, w->dir, parent, down[0], up[1]);
	if (code == 0 && w->pid < 0)
		code = -errno;
	vhu_close(&down[0]);
	vhu_close(&up[1]);
	w->to = down[1];
	w->from = up[0];
	if (code < 0) {
		w->pid = 0;
		vhu_close(&w->to);
		vhu_close(&w->from);
	}
	return code;
}

static int start_worker(struct pool *p, struct worker *w, struct vhu_err *err)
{
	int code;

	*w = (struct worker){.to = -1, .from = -1, .at = no_case};
	code = make_dir(w, err);
	if (code < 0)
		return code;
	code = fork_worker(p, w);
	if (code < 0) {
		remove_dir(w);
		return vhu_err_errno(err, code, "--jobs: cannot start a process");
	}
	return vhu_loop_add_fd(p->loop, w->from, EPOLLIN, on_readable, w, &w->source, err);
}

static void describe_end(int status, char *out, size_t cap)
{
	if (WIFSIGNALED(status))
		snprintf(out, cap, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(out, cap, "exited with status %d", WEXITSTATUS(status));
}

static void release_worker(struct worker *w, int *status)
{
	vhu_source_free(w->source);
	vhu_close(&w->to);
	vhu_close(&w->from);
	vhu_buf_done(&w->in);
	while (waitpid(w->pid, status, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
	w->source = NULL;
	remove_dir(w);
}

/* A worker is gone without being asked: what it ran is lost, the others go on. */
static int bury(struct pool *p, struct worker *w, struct vhu_err *err)
{
	size_t i = w->at;
	char how[128], reason[200];
	struct vhu_outcome o;
	int status = 0, code;

	release_worker(w, &status);
	if (i == no_case || p->dismissed)
		return 0;
	describe_end(status, how, sizeof(how));
	snprintf(reason, sizeof(reason), "the process of the tester that ran this case was %s", how);
	code = vhu_outcome_without_run(p->c->plans[i], VHU_BROKEN, reason, &o, err);
	return code < 0 ? code : vhu_campaign_deliver(p->c, i, &o, &w->streak, err);
}

static int take_outcome(struct pool *p, struct worker *w, const char *line, size_t len, struct vhu_err *err)
{
	struct vhu_outcome o = {0};
	size_t i;
	int at = 0, code;

	if (sscanf(line, "R %zu %u %u %n", &i, &o.runs, &o.passed, &at) != 3 || i != w->at)
		return vhu_err_set(err, -EPROTO, "--jobs: a worker does not make sense");
	code = vhu_result_from_json(line + at, len - (size_t)at, &o.result, err);
	if (code < 0)
		return code;
	w->at = no_case;
	o.verdict = o.result.verdict;
	o.flaky = o.verdict == VHU_FAIL && o.passed > 0;
	return vhu_campaign_deliver(p->c, i, &o, &w->streak, err);
}

/* The worker could not go on, most often because its target did not start. */
static void take_error(struct pool *p, struct worker *w, const char *line)
{
	int code = 0, at = 0;

	sscanf(line, "E %d %n", &code, &at);
	vhu_campaign_stop(p->c, "%s", line + at);
	w->at = no_case;
	if (code == -ENOMEM || code == -EINVAL || code == -EIO)
		p->c->tester_fault = true;
	else
		p->c->target_lost = true;
}

static int take_line(struct pool *p, struct worker *w, struct vhu_err *err)
{
	char *end = w->in.len ? memchr(w->in.data, '\n', w->in.len) : NULL;
	size_t len;
	int code = 0;

	if (!end)
		return 0;
	*end = '\0';
	len = (size_t)(end - w->in.data);
	if (w->in.data[0] == 'E')
		take_error(p, w, w->in.data);
	else
		code = take_outcome(p, w, w->in.data, len, err);
	w->in.len -= len + 1;
	memmove(w->in.data, end + 1, w->in.len + 1);
	return code < 0 ? code : 1;
}

static int take_news(struct pool *p, struct vhu_err *err)
{
	for (size_t i = 0; i < p->n; i++) {
		struct worker *w = &p->workers[i];
		int code = 0;

		if (!w->pid)
			continue;
		while ((code = take_line(p, w, err)) > 0)
			;
		if (code == 0 && w->eof)
			code = bury(p, w, err);
		if (code < 0)
			return code;
	}
	return 0;
}

/* Gives every idle worker a case; starts workers as long as there is something for them. */
static int hand_out(struct pool *p, struct vhu_err *err)
{
	for (size_t i = 0; i < p->n && vhu_campaign_goes_on(p->c); i++) {
		struct worker *w = &p->workers[i];
		char text[32];
		int len, code;

		if (p->next >= p->c->n)
			break;
		if (w->pid && w->at != no_case)
			continue;
		code = w->pid ? 0 : start_worker(p, w, err);
		if (code < 0)
			return code;
		w->at = p->next++;
		len = snprintf(text, sizeof(text), "%zu\n", w->at);
		/* One that has just died shows by its end of file. */
		(void)!write(w->to, text, (size_t)len);
	}
	return 0;
}

static bool any_busy(const struct pool *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->workers[i].pid && p->workers[i].at != no_case)
			return true;
	return false;
}

/* 1 if a signal ended it. */
static int work(struct pool *p, struct vhu_err *err)
{
	for (;;) {
		int code = hand_out(p, err);

		if (code < 0 || !any_busy(p))
			return code;
		code = vhu_loop_run_until(p->loop, any_news, p, UINT64_MAX, false, err);
		if (code == -EINTR) {
			vhu_campaign_interrupt(p->c, vhu_loop_signalled(p->loop));
			return 1;
		}
		if (code == 0)
			code = take_news(p, err);
		if (code < 0)
			return code;
	}
}

static bool all_ended(void *ctx)
{
	const struct pool *p = ctx;

	for (size_t i = 0; i < p->n; i++)
		if (p->workers[i].pid && !p->workers[i].eof)
			return false;
	return true;
}

/* Moves what still runs to a loop without signals, since the other one won't wait after one. */
static int move_workers(struct pool *p, struct vhu_loop *quiet, struct vhu_err *err)
{
	p->loop = quiet;
	for (size_t i = 0; i < p->n; i++) {
		struct worker *w = &p->workers[i];
		int code;

		if (!w->pid || w->eof)
			continue;
		vhu_source_free(w->source);
		w->source = NULL;
		code = vhu_loop_add_fd(quiet, w->from, EPOLLIN, on_readable, w, &w->source, err);
		if (code < 0)
			return code;
	}
	return 0;
}

/* Ends all workers: the idle ones by the end of their pipe, the others at once if `now`. */
static int dismiss(struct pool *p, bool now, struct vhu_err *err)
{
	struct vhu_loop *quiet = NULL;
	int code = vhu_loop_new(&quiet, err), status;

	p->dismissed = true;
	for (size_t i = 0; i < p->n; i++) {
		vhu_close(&p->workers[i].to);
		if (p->workers[i].pid && now)
			kill(p->workers[i].pid, SIGTERM);
	}
	if (code == 0)
		code = move_workers(p, quiet, err);
	if (code == 0)
		code = vhu_loop_run_until(quiet, all_ended, p, vhu_loop_now(quiet) + end_ns, false, NULL);
	if (code == 0)
		code = take_news(p, err);
	for (size_t i = 0; i < p->n; i++) {
		struct worker *w = &p->workers[i];

		if (!w->pid)
			continue;
		if (!w->eof)
			kill(w->pid, SIGKILL);
		release_worker(w, &status);
	}
	vhu_loop_free(quiet);
	return code == -ETIME ? 0 : code;
}

int vhu_jobs_run(struct vhu_campaign *c, struct vhu_loop *loop, enum vhu_device device, struct vhu_err *err)
{
	struct pool p = {.c = c, .loop = loop, .device = device, .n = VHU_MIN((size_t)c->o->jobs, c->n)};
	int code, end;

	p.workers = calloc(p.n + 1, sizeof(*p.workers));
	if (!p.workers)
		return vhu_err_errno(err, -ENOMEM, "--jobs");
	for (size_t i = 0; i < p.n; i++)
		p.workers[i].to = p.workers[i].from = -1;
	code = work(&p, err);
	end = dismiss(&p, code != 0, code < 0 ? NULL : err);
	free(p.workers);
	return code < 0 ? code : end;
}
