/*
 * The only place that waits.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

enum {
	LOOP_EVENTS = 64,
	FORCED_END_S = 1, /* how long an orderly end may take before the program just ends */
};

static int epoll_fd = -1;
static struct source wake = {.fd = -1};
static const char *socket_path;
static volatile sig_atomic_t stopping, reload;

static void wake_up(void)
{
	uint64_t one = 1;
	int saved = errno;

	if (write(wake.fd, &one, sizeof(one)) < 0)
		errno = saved;
	errno = saved;
}

/* The loop ends in order; where it is stuck (a blocking descriptor of the peer's) the alarm ends it. */
static void on_stop(int sig)
{
	(void)sig;
	stopping = 1;
	alarm(FORCED_END_S);
	wake_up();
}

static void on_alarm(int sig)
{
	(void)sig;
	if (socket_path)
		unlink(socket_path);
	_exit(0);
}

static void on_reload(int sig)
{
	(void)sig;
	reload = 1;
	wake_up();
}

static void wake_ready(struct source *src, uint32_t events)
{
	uint64_t count;

	(void)events;
	if (read(src->fd, &count, sizeof(count)) < 0)
		return;
}

static void handle(int sig, void (*handler)(int))
{
	struct sigaction sa = {.sa_handler = handler}; /* no SA_RESTART: a blocked call must return */

	sigemptyset(&sa.sa_mask);
	sigaction(sig, &sa, NULL);
}

int loop_init(const char *path)
{
	int fd;

	socket_path = path;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (epoll_fd < 0 || fd < 0)
		return -errno;
	wake.ready = wake_ready;
	if (loop_add(&wake, fd, EPOLLIN) < 0)
		return -errno;
	handle(SIGTERM, on_stop);
	handle(SIGINT, on_stop);
	handle(SIGALRM, on_alarm);
	handle(SIGHUP, on_reload);
	handle(SIGPIPE, SIG_IGN);
	return 0;
}

void loop_done(void)
{
	if (wake.fd >= 0)
		close(wake.fd);
	if (epoll_fd >= 0)
		close(epoll_fd);
	wake.fd = epoll_fd = -1;
}

int loop_add(struct source *src, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	src->fd = fd;
	return 0;
}

void loop_change(struct source *src, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, src->fd, &ev);
}

void loop_remove(struct source *src)
{
	if (src->fd >= 0)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
	src->fd = -1;
}

void loop_wait(int64_t timeout_ns)
{
	struct epoll_event events[LOOP_EVENTS];
	struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
	int n;

	if (stopping)
		return;
	n = epoll_pwait2(epoll_fd, events, LOOP_EVENTS, timeout_ns < 0 ? NULL : &ts, NULL);
	if (n < 0 && errno == ENOSYS) /* before Linux 5.11 */
		n = epoll_wait(epoll_fd, events, LOOP_EVENTS,
			       timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
	for (int i = 0; i < n; i++) {
		struct source *src = events[i].data.ptr;

		/* a handler before it may have removed it */
		if (src->fd >= 0)
			src->ready(src, events[i].events);
	}
}

bool loop_stopping(void)
{
	return stopping;
}

bool loop_reload(void)
{
	bool was = reload;

	reload = 0;
	return was;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
