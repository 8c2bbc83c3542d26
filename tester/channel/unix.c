#include "channel/unix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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

int vhu_unix_bind(const char *path, struct vhu_err *err)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int r = vhu_err_errno(err, -errno, "cannot listen on '%s'", path);

		vhu_close(&fd);
		return r;
	}
	return fd;
}

int vhu_unix_listen(const char *path, struct vhu_err *err)
{
	int fd = vhu_unix_bind(path, err);

	if (fd >= 0 && listen(fd, BACKLOG) < 0) {
		int r = vhu_err_errno(err, -errno, "cannot listen on '%s'", path);

		close(fd);
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

/* --- who listens ------------------------------------------------------------------------------------ */

enum { STATE_LISTEN = 10, KERNEL_MINOR_BITS = 20 };

/* Whether an answer of the kernel is about this file. */
static bool is_about(const struct nlmsghdr *answer, const struct stat *file)
{
	const struct unix_diag_msg *msg = NLMSG_DATA(answer);
	size_t left = answer->nlmsg_len - NLMSG_LENGTH(sizeof(*msg));

	for (const struct rtattr *a = (const struct rtattr *)(msg + 1); RTA_OK(a, left);
	     a = RTA_NEXT(a, left)) {
		const struct unix_diag_vfs *vfs = RTA_DATA(a);

		if (a->rta_type == UNIX_DIAG_VFS && RTA_PAYLOAD(a) >= sizeof(*vfs))
			return vfs->udiag_vfs_ino == (uint32_t)file->st_ino &&
			       vfs->udiag_vfs_dev >> KERNEL_MINOR_BITS == major(file->st_dev) &&
			       (vfs->udiag_vfs_dev & ((1u << KERNEL_MINOR_BITS) - 1)) == minor(file->st_dev);
	}
	return false;
}

/* Reads answers until one fits or they end. */
static bool any_about(int fd, const struct stat *file)
{
	_Alignas(struct nlmsghdr) char bytes[32768];

	for (;;) {
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
		size_t left = n > 0 ? (size_t)n : 0;

		if (!left)
			return false;
		for (const struct nlmsghdr *h = (const struct nlmsghdr *)bytes; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR)
				return false;
			if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct unix_diag_msg)) && is_about(h, file))
				return true;
		}
	}
}

bool vhu_unix_listens(const char *path)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req req;
	} question = {
		.head = {.nlmsg_len = sizeof(question),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.req = {.sdiag_family = AF_UNIX,
			.udiag_states = 1u << STATE_LISTEN,
			.udiag_show = UDIAG_SHOW_VFS},
	};
	struct stat file;
	bool found = false;
	int fd;

	if (stat(path, &file) < 0 || !S_ISSOCK(file.st_mode))
		return false;
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		return false;
	if (send(fd, &question, sizeof(question), 0) == (ssize_t)sizeof(question))
		found = any_about(fd, &file);
	close(fd);
	return found;
}
