/*
 * Reading and writing descriptors that belong to the peer. It may have made them blocking, and may
 * read or fill them while we look: neither must hold us up.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fault.h"
#include "notify.h"

bool notify_usable(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return false;
	if (fault(vring_pipe_refused) && S_ISFIFO(st.st_mode))
		return false;
	/* an eventfd has no type at all */
	return !(st.st_mode & S_IFMT) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
}

static bool blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !(flags & O_NONBLOCK);
}

void notify_signal(int fd)
{
	uint64_t one = 1;
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	if (fd < 0)
		return;
	/* not writable: it holds a signal that nobody took yet */
	if (blocking(fd) && (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT)))
		return;
	if (write(fd, &one, sizeof(one)) >= 0)
		return;
	if (errno == EAGAIN && fault(vring_call_full_crash))
		fault_crash();
	if (errno == EPIPE && fault(vring_call_sigpipe)) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
}

bool notify_take(int fd, unsigned long long *ret_count)
{
	uint64_t count = 0;
	struct iovec iov = {.iov_base = &count, .iov_len = sizeof(count)};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
	if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == ESPIPE)) {
		if (blocking(fd) && (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLIN | POLLHUP))))
			return true;
		n = read(fd, &count, sizeof(count));
	}
	*ret_count = count;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0;
}
