/*
 * Two local processes that flood each other with vhost-user messages: how fast, with and without somebody
 * watching.
 *
 *   bench-flood LISTEN CONNECT flood|backend|ping N
 *
 * One process listens at LISTEN and reads header and payload apart; the other one connects to CONNECT (a
 * proxy's socket, or the same) and sends N messages: `flood` without waiting, an answered one last, with as
 * little around each message as there can be; `backend` the same, but as back-ends read: they wait in poll,
 * and receive the header with room for descriptors; `ping` each answered, so that N counts both directions.
 * Prints the seconds that it took, and the processor's seconds of both.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GET_FEATURES = 1, SET_VRING_NUM = 8, VERSION = 1, REPLY = 4, HEADER = 12, PAYLOAD = 8 };

struct message {
	uint32_t request, flags, size;
	uint8_t payload[PAYLOAD];
} __attribute__((packed));

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double processor_seconds(int who)
{
	struct rusage r;

	getrusage(who, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6;
}

static bool get(int fd, void *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(fd, (char *)bytes + at, len - at, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static void put(int fd, const struct message *m)
{
	size_t len = HEADER + m->size;

	if (send(fd, m, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("send");
}

/* As libvhost-user, DPDK and others do. */
static bool wait_for_header(int fd, struct message *m)
{
	char control[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = {m, HEADER};
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (poll(&ready, 1, -1) != 1)
		return false;
	n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
	return n > 0 && get(fd, (char *)m + n, HEADER - (size_t)n);
}

static void serve(int listener, bool as_backend)
{
	int fd = accept(listener, NULL, NULL);
	struct message m;

	while (fd >= 0 && (as_backend ? wait_for_header(fd, &m) : get(fd, &m, HEADER)) && m.size <= PAYLOAD &&
	       get(fd, m.payload, m.size))
		if (m.request == GET_FEATURES) {
			m.flags = VERSION | REPLY;
			m.size = PAYLOAD;
			put(fd, &m);
		}
	exit(0);
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(a.sun_path)) {
		fprintf(stderr, "%s: too long\n", path);
		exit(2);
	}
	strcpy(a.sun_path, path);
	return a;
}

/* The other end may come a moment later. */
static int connect_to(const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < 500; i++) {
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		poll(NULL, 0, 10);
	}
	die(path);
}

static void ask(int fd)
{
	struct message m = {.request = GET_FEATURES, .flags = VERSION};

	put(fd, &m);
	if (!get(fd, &m, HEADER + PAYLOAD))
		die("reply");
}

int main(int argc, char **argv)
{
	long n = argc == 5 ? strtol(argv[4], NULL, 10) : 0;
	bool ping = argc == 5 && !strcmp(argv[3], "ping"),
	     as_backend = argc == 5 && !strcmp(argv[3], "backend");
	struct message m = {
		.request = SET_VRING_NUM, .flags = VERSION, .size = PAYLOAD, .payload = {0, 0, 0, 0, 1}};
	struct sockaddr_un a;
	double start;
	pid_t child;
	int listener, fd;

	if (n < 1 || (!ping && !as_backend && strcmp(argv[3], "flood"))) {
		fprintf(stderr, "usage: bench-flood LISTEN CONNECT flood|backend|ping N\n");
		return 2;
	}
	a = address(argv[1]);
	unlink(argv[1]);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 1) < 0)
		die(argv[1]);
	child = fork();
	if (child == 0)
		serve(listener, as_backend);
	fd = connect_to(argv[2]);
	ask(fd);
	start = now();
	for (long i = 0; i < (ping ? n / 2 : n - 2); i++)
		if (ping)
			ask(fd);
		else
			put(fd, &m);
	if (!ping)
		ask(fd);
	printf("%.6f ", now() - start);
	close(fd);
	waitpid(child, NULL, 0);
	printf("%.6f\n", processor_seconds(RUSAGE_SELF) + processor_seconds(RUSAGE_CHILDREN));
	unlink(argv[1]);
	return 0;
}
