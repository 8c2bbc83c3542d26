#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* A number of the environment that sudo sets; -1: none. */
static long sudo_id(const char *name)
{
	const char *text = getenv(name);
	uint64_t id;

	return text && vhu_u64_parse(text, &id) == 0 && id && id < INT32_MAX ? (long)id : -1;
}

static int become_caller(struct vhu_err *err)
{
	long uid = sudo_id("SUDO_UID"), gid = sudo_id("SUDO_GID");

	if (geteuid() != 0 || uid < 0 || gid < 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) < 0 ||
	    setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0)
		return vhu_err_errno(err, -errno, "becoming user %ld", uid);
	return 0;
}

int vhu_privileges_drop(struct vhu_err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
	int code = become_caller(err);

	if (code < 0)
		return code;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, none) < 0)
		return vhu_err_errno(err, -errno, "giving up privileges");
	return 0;
}
