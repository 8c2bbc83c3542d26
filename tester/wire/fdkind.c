/* What a descriptor is, by what the kernel says of it. */
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "wire/frame.h"

enum { GHOST = -2 };

int vhu_fd_ghost(enum vhu_fd_kind kind)
{
	return GHOST - (int)kind;
}

/* The magic number of the file system that a file lies on; 0 if there is none. */
static unsigned long file_system(int fd)
{
	struct statfs fs;

	/* f_type is signed on some machines. */
	return fstatfs(fd, &fs) ? 0 : (unsigned long)fs.f_type;
}

static bool starts(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

enum vhu_fd_kind vhu_fd_kind(int fd)
{
	char path[64], link[256];
	struct stat st;
	ssize_t n;

	if (fd <= GHOST)
		return GHOST - fd < VHU_FDK_MAX ? (enum vhu_fd_kind)(GHOST - fd) : VHU_FDK_UNKNOWN;
	if (fd < 0 || fstat(fd, &st) < 0)
		return VHU_FDK_UNKNOWN;
	switch (st.st_mode & S_IFMT) {
	case S_IFSOCK:
		return VHU_FDK_SOCKET;
	case S_IFIFO:
		return VHU_FDK_PIPE;
	case S_IFCHR:
	case S_IFBLK:
		return VHU_FDK_DEVICE;
	case S_IFREG:
		if (file_system(fd) == (unsigned long)HUGETLBFS_MAGIC)
			return VHU_FDK_HUGETLB;
		break;
	}

	/* Anonymous inodes have no file type: only the link tells them apart. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return S_ISREG(st.st_mode) ? VHU_FDK_FILE : VHU_FDK_UNKNOWN;
	link[n] = '\0';
	if (S_ISREG(st.st_mode))
		return starts(link, "/memfd:")     ? VHU_FDK_MEMFD
		       : starts(link, "/dev/shm/") ? VHU_FDK_SHM
						   : VHU_FDK_FILE;
	if (starts(link, "anon_inode:[eventfd"))
		return VHU_FDK_EVENTFD;
	if (starts(link, "anon_inode:[userfaultfd"))
		return VHU_FDK_USERFAULT;
	return VHU_FDK_OTHER;
}

const char *vhu_fd_kind_name(enum vhu_fd_kind kind)
{
	switch (kind) {
	case VHU_FDK_UNKNOWN:
		return "unknown";
	case VHU_FDK_MEMFD:
		return "memfd";
	case VHU_FDK_HUGETLB:
		return "hugetlb";
	case VHU_FDK_SHM:
		return "shm";
	case VHU_FDK_FILE:
		return "file";
	case VHU_FDK_EVENTFD:
		return "eventfd";
	case VHU_FDK_SOCKET:
		return "socket";
	case VHU_FDK_PIPE:
		return "pipe";
	case VHU_FDK_USERFAULT:
		return "userfaultfd";
	case VHU_FDK_DEVICE:
		return "device";
	case VHU_FDK_OTHER:
		return "other";
	case VHU_FDK_MAX:
		break;
	}
	return "?";
}
