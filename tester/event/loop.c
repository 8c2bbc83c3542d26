#include "event/loop.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

enum { BATCH = 32 };

static const uint64_t ns_per_s = UINT64_C(1000000000);
/* While it waits it looks at the clock as often as that, and has lost what it was kept from looking. */
static const uint64_t look_ns = UINT64_C(100000000);

struct vhu_source {
	struct vhu_loop *loop;
	struct vhu_source *prev, *next;
	int fd;
	bool timer;	   /* fd is ours, and its count is read before cb is called */
	vhu_source_cb *cb; /* NULL: freed, kept until the batch that may name it is through */
	void *ctx;
};

struct vhu_loop {
	int epoll_fd, signal_fd;
	struct vhu_source *sources, *freed;
	unsigned timers;
	bool dispatching;
	/*
	 * Wakes a run for its deadline. It stays armed from run to run, and is only ever armed for
	 * something earlier: setting up a timer for each wait would cost a tenth of a round trip.
	 */
	struct vhu_source *alarm;
	uint64_t alarm_ns; /* UINT64_MAX: not armed */
	uint64_t looked_ns, lost_ns;
	int signalled;
	sigset_t watched, mask_before;
};

/* --- sources --------------------------------------------------------------------------------- */

static void reclaim(struct vhu_loop *loop)
{
	struct vhu_source *s = loop->freed, *next;

	for (loop->freed = NULL; s; s = next) {
		next = s->next;
		free(s);
	}
}

int vhu_loop_add_fd(struct vhu_loop *loop, int fd, uint32_t events, vhu_source_cb *cb, void *ctx,
		    struct vhu_source **ret, struct vhu_err *err)
{
	struct vhu_source *s = calloc(1, sizeof(*s));
	struct epoll_event event = {.events = events, .data.ptr = s};

	if (!s)
		return vhu_err_set(err, -ENOMEM, "event loop: out of memory");
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int code = -errno;

		free(s);
		return vhu_err_errno(err, code, "event loop: cannot watch descriptor %d", fd);
	}
	*s = (struct vhu_source){.loop = loop, .next = loop->sources, .fd = fd, .cb = cb, .ctx = ctx};
	if (s->next)
		s->next->prev = s;
	loop->sources = s;
	*ret = s;
	return 0;
}

int vhu_source_modify(struct vhu_source *s, uint32_t events, struct vhu_err *err)
{
	struct epoll_event event = {.events = events, .data.ptr = s};

	if (epoll_ctl(s->loop->epoll_fd, EPOLL_CTL_MOD, s->fd, &event) < 0)
		return vhu_err_errno(err, -errno, "event loop: cannot change how descriptor %d is watched",
				     s->fd);
	return 0;
}

void vhu_source_free(struct vhu_source *s)
{
	if (!s)
		return;

	struct vhu_loop *loop = s->loop;

	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	if (s->timer) {
		close(s->fd);
		loop->timers--;
	}
	if (s->prev)
		s->prev->next = s->next;
	else
		loop->sources = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->cb = NULL;
	s->next = loop->freed;
	loop->freed = s;
	if (!loop->dispatching)
		reclaim(loop);
}

static struct timespec to_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / ns_per_s), .tv_nsec = (long)(ns % ns_per_s)};
}

static int add_timer(struct vhu_loop *loop, const struct itimerspec *when, vhu_source_cb *cb, void *ctx,
		     struct vhu_source **ret, struct vhu_err *err)
{
	struct vhu_source *s;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r;

	if (fd < 0 || timerfd_settime(fd, 0, when, NULL) < 0) {
		r = vhu_err_errno(err, -errno, "event loop: cannot make a timer");
		vhu_close(&fd);
		return r;
	}
	r = vhu_loop_add_fd(loop, fd, EPOLLIN, cb, ctx, &s, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	s->timer = true;
	loop->timers++;
	*ret = s;
	return 0;
}

int vhu_loop_add_timer(struct vhu_loop *loop, uint64_t after_ns, uint64_t period_ns, vhu_source_cb *cb,
		       void *ctx, struct vhu_source **ret, struct vhu_err *err)
{
	/* Zero would disarm it. */
	const struct itimerspec when = {
		.it_value = to_timespec(VHU_MAX(after_ns, 1)),
		.it_interval = to_timespec(period_ns),
	};

	return add_timer(loop, &when, cb, ctx, ret, err);
}

static void on_alarm(void *ctx, uint32_t events)
{
	struct vhu_loop *loop = ctx;

	loop->alarm_ns = UINT64_MAX;
}

uint64_t vhu_loop_now(struct vhu_loop *loop)
{
	uint64_t now = vhu_now_ns();

	if (loop->looked_ns && now - loop->looked_ns > 2 * look_ns)
		loop->lost_ns += now - loop->looked_ns - look_ns;
	loop->looked_ns = now;
	return now - loop->lost_ns;
}

/* Sees to it that a wait that may last so long looks at the clock in time. */
static int set_alarm(struct vhu_loop *loop, uint64_t left_ns, struct vhu_err *err)
{
	const uint64_t at_ns = loop->looked_ns + VHU_MIN(left_ns, look_ns);
	const struct itimerspec when = {.it_value = to_timespec(at_ns)};

	if (at_ns >= loop->alarm_ns)
		return 0;
	if (timerfd_settime(loop->alarm->fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		return vhu_err_errno(err, -errno, "event loop: cannot set its timer");
	loop->alarm_ns = at_ns;
	return 0;
}

/* --- signals --------------------------------------------------------------------------------- */

/* Reads all that are pending; the first one counts. */
static void on_signal(void *ctx, uint32_t events)
{
	struct vhu_loop *loop = ctx;
	struct signalfd_siginfo info;

	while (read(loop->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (!loop->signalled)
			loop->signalled = (int)info.ssi_signo;
}

int vhu_loop_watch_signals(struct vhu_loop *loop, const int *signals, size_t n, struct vhu_err *err)
{
	sigset_t watched = loop->watched, mask;
	struct vhu_source *source;
	int fd, r;

	for (size_t i = 0; i < n; i++)
		if (sigaddset(&watched, signals[i]) < 0)
			return vhu_err_set(err, -EINVAL, "event loop: there is no signal %d", signals[i]);
	fd = signalfd(loop->signal_fd, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return vhu_err_errno(err, -errno, "event loop: cannot watch signals");
	if (loop->signal_fd < 0) {
		loop->signal_fd = fd;
		r = vhu_loop_add_fd(loop, fd, EPOLLIN, on_signal, loop, &source, err);
		if (r < 0) {
			vhu_close(&loop->signal_fd);
			return r;
		}
	}
	r = pthread_sigmask(SIG_BLOCK, &watched, &mask);
	if (r)
		return vhu_err_errno(err, -r, "event loop: cannot block signals");
	if (sigisemptyset(&loop->watched))
		loop->mask_before = mask;
	loop->watched = watched;
	return 0;
}

int vhu_loop_signalled(const struct vhu_loop *loop)
{
	return loop->signalled;
}

void vhu_loop_acknowledge(struct vhu_loop *loop)
{
	loop->signalled = 0;
}

/* What is still pending would kill us when it is no longer blocked: it was asked for and is taken. */
static void unwatch_signals(struct vhu_loop *loop)
{
	if (loop->signal_fd < 0)
		return;
	on_signal(loop, EPOLLIN);
	pthread_sigmask(SIG_SETMASK, &loop->mask_before, NULL);
	vhu_close(&loop->signal_fd);
}

/* --- the loop -------------------------------------------------------------------------------- */

int vhu_loop_new(struct vhu_loop **ret, struct vhu_err *err)
{
	static const struct itimerspec never;
	struct vhu_loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return vhu_err_set(err, -ENOMEM, "event loop: out of memory");
	loop->signal_fd = -1;
	loop->alarm_ns = UINT64_MAX;
	sigemptyset(&loop->watched);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		r = vhu_err_errno(err, -errno, "event loop: cannot make an epoll descriptor");
	else
		r = add_timer(loop, &never, on_alarm, loop, &loop->alarm, err);
	if (r < 0) {
		vhu_loop_free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

void vhu_loop_free(struct vhu_loop *loop)
{
	if (!loop)
		return;
	assert(!loop->dispatching);
	while (loop->sources)
		vhu_source_free(loop->sources);
	unwatch_signals(loop);
	vhu_close(&loop->epoll_fd);
	free(loop);
}

int vhu_loop_fd(const struct vhu_loop *loop)
{
	return loop->epoll_fd;
}

int vhu_loop_fds(const struct vhu_loop *loop)
{
	return 1 + (loop->signal_fd >= 0) + (int)loop->timers;
}

/* Calls what is ready; with `wait` there will be something. */
static int step(struct vhu_loop *loop, bool wait, struct vhu_err *err)
{
	struct epoll_event events[BATCH];
	int n = epoll_wait(loop->epoll_fd, events, BATCH, wait ? -1 : 0);

	if (n < 0)
		return errno == EINTR ? 0 : vhu_err_errno(err, -errno, "event loop: cannot wait for events");
	loop->dispatching = true;
	for (int i = 0; i < n; i++) {
		struct vhu_source *s = events[i].data.ptr;
		uint64_t expirations;

		if (!s->cb)
			continue; /* freed by a callback of this batch */
		if (s->timer && read(s->fd, &expirations, sizeof(expirations)) < 0)
			continue;
		s->cb(s->ctx, events[i].events);
	}
	loop->dispatching = false;
	reclaim(loop);
	return 0;
}

static int interrupted(const struct vhu_loop *loop, struct vhu_err *err)
{
	return vhu_err_set(err, -EINTR, "interrupted by signal %d (%s)", loop->signalled,
			   strsignal(loop->signalled));
}

int vhu_loop_run_until(struct vhu_loop *loop, bool (*done)(void *ctx), void *ctx, uint64_t deadline_ns,
		       bool spin, struct vhu_err *err)
{
	assert(!loop->dispatching);
	if (loop->signalled)
		return interrupted(loop, err);
	for (bool late = false;;) {
		bool timed = deadline_ns != UINT64_MAX;
		uint64_t now_ns;
		int r = 0;

		if (done && done(ctx))
			return 0;
		if (loop->signalled)
			return interrupted(loop, err);
		if (late)
			return vhu_err_set(err, -ETIME, "nothing that was waited for happened in time");
		now_ns = timed ? vhu_loop_now(loop) : 0;
		late = timed && now_ns >= deadline_ns;
		if (spin && !late)
			sched_yield();
		else if (timed && !late)
			r = set_alarm(loop, deadline_ns - now_ns, err);
		if (r == 0)
			r = step(loop, !spin && !late, err);
		if (r < 0)
			return r;
	}
}

int vhu_loop_poll(struct vhu_loop *loop, struct vhu_err *err)
{
	assert(!loop->dispatching);
	return step(loop, false, err);
}
