#include "channel/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* More than one that serves one session at a time needs. */
enum { BACKLOG = 64 };

int vhu_unix_check(const char *path, const char *advice, struct vhu_err *err)
{
	const size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (!*path)
		return vhu_err_set(err, -EINVAL, "the socket's path is empty");
	if (strlen(path) > most)
		return vhu_err_set(err, -EINVAL, "the socket path '%s' has %zu bytes, of at most %zu: %s",
				   path, strlen(path), most, advice);
	return 0;
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	/* Its length was checked by vhu_unix_check. */
	memcpy(addr.sun_path, path, strlen(path) + 1);
	return addr;
}

int vhu_unix_connect(const char *path)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : fcntl(fd, F_SETFL, 0);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

int vhu_unix_listen(const char *path, struct vhu_err *err)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, BACKLOG) < 0) {
		int r = vhu_err_errno(err, -errno, "cannot listen on '%s'", path);

		vhu_close(&fd);
		return r;
	}
	return fd;
}

int vhu_unix_remove_stale(const char *path, struct vhu_err *err)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : vhu_err_errno(err, -errno, "cannot listen on '%s'", path);
	if (!S_ISSOCK(st.st_mode))
		return vhu_err_set(err, -EEXIST, "cannot listen on '%s': it exists and is no socket", path);
	fd = vhu_unix_connect(path);
	if (fd >= 0 || fd == -EAGAIN) {
		vhu_close(&fd);
		return vhu_err_set(err, -EADDRINUSE, "cannot listen on '%s': another process listens there",
				   path);
	}
	if (fd != -ECONNREFUSED)
		return vhu_err_errno(err, fd, "cannot listen on '%s'", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return vhu_err_errno(err, -errno, "cannot remove the old socket '%s'", path);
	return 0;
}
