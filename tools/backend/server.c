/*
 * Listening, connecting, and inherited sockets. One front-end is served at a time; the next one waits
 * in the backlog, which nobody looks at meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fault.h"
#include "loop.h"
#include "options.h"
#include "server.h"

enum { RETRY_NS = 50000000, BACKLOG = 16 };

static struct source listener = {.fd = -1};
static int listen_fd = -1, connected_fd = -1, accepted = -1;
static bool made; /* the socket's file is ours */

static bool address(struct sockaddr_un *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (strlen(options.socket) >= sizeof(sa->sun_path)) {
		complain("%s: the path is too long for a socket (at most %zu bytes)", options.socket,
			 sizeof(sa->sun_path) - 1);
		return false;
	}
	memcpy(sa->sun_path, options.socket, strlen(options.socket));
	return true;
}

static void connection_ready(struct source *src, uint32_t events)
{
	if (accepted >= 0) /* a front-end is being served */
		fault_crash();
	accepted = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* A socket file that nobody listens on is left over from a program that was killed. */
static bool is_stale(const struct sockaddr_un *sa)
{
	struct stat st;
	int fd, err;

	if (lstat(sa->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	if (fault(prog_stale_crash))
		fault_crash();
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	err = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 ? errno : 0;
	close(fd);
	return err == ECONNREFUSED;
}

static int listen_on_path(void)
{
	struct sockaddr_un sa;
	int r;

	if (!address(&sa))
		return -ENAMETOOLONG;
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listen_fd < 0)
		return -errno;
	r = bind(listen_fd, (struct sockaddr *)&sa, sizeof(sa));
	if (r < 0 && errno == EADDRINUSE && is_stale(&sa) && unlink(options.socket) == 0)
		r = bind(listen_fd, (struct sockaddr *)&sa, sizeof(sa));
	made = r == 0;
	if (r < 0 || listen(listen_fd, BACKLOG) < 0) {
		r = -errno;
		complain("%s: cannot listen: %s", options.socket, strerror(-r));
		return r;
	}
	return 0;
}

static int take_inherited(void)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	if (getsockopt(options.fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
		complain("--fd %d: %s", options.fd, strerror(errno));
		return -errno;
	}
	*(listening ? &listen_fd : &connected_fd) = options.fd;
	return 0;
}

int server_open(void)
{
	int r;

	if (options.client) {
		struct sockaddr_un sa;

		return address(&sa) ? 0 : -ENAMETOOLONG;
	}
	r = options.socket ? listen_on_path() : take_inherited();
	if (r < 0 || listen_fd < 0)
		return r;
	listener.ready = connection_ready;
	return 0;
}

static int connect_to_path(void)
{
	struct sockaddr_un sa;
	int fd;

	if (!address(&sa))
		return -1;
	while (!loop_stopping()) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -1;
		if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
			return fd;
		close(fd);
		loop_wait(RETRY_NS);
	}
	return -1;
}

int server_next(void)
{
	int fd = connected_fd;

	if (options.client)
		return connect_to_path();
	connected_fd = -1;
	if (fd >= 0 || listen_fd < 0)
		return fd;
	accepted = -1;
	loop_remove(&listener);
	if (loop_add(&listener, listen_fd, EPOLLIN) < 0)
		return -1;
	while (accepted < 0 && !loop_stopping())
		loop_wait(-1);
	if (!fault(owner_second_crash))
		loop_remove(&listener);
	return accepted;
}

void server_close(void)
{
	if (listen_fd >= 0)
		close(listen_fd);
	if (connected_fd >= 0)
		close(connected_fd);
	listen_fd = connected_fd = -1;
	if (made)
		unlink(options.socket);
	if (made && fault(prog_path_taken)) {
		int fd = open(options.socket, O_CREAT | O_CLOEXEC | O_WRONLY, 0600);

		if (fd >= 0)
			close(fd);
	}
	made = false;
}
