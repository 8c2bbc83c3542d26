/* Sockets of the unix domain by path; at most as long as the kernel takes it (vhu_unix_check). */
#pragma once

#include "base/err.h"

/* -EINVAL with text, and with advice for a path that is too long. */
int vhu_unix_check(const char *path, const char *advice, struct vhu_err *err);
/* A connected stream socket, or negative errno. Never waits, not even for room in the backlog (-EAGAIN). */
int vhu_unix_connect(const char *path);
/* A stream socket at the path that does not listen yet: who connects to it is refused. */
int vhu_unix_bind(const char *path, struct vhu_err *err);
/* A listening stream socket, or negative errno. */
int vhu_unix_listen(const char *path, struct vhu_err *err);
/* Takes a socket away that nobody listens on; anything else that is there stays, and is an error. */
int vhu_unix_remove_stale(const char *path, struct vhu_err *err);
/*
 * Whether somebody listens at the path, without connecting. False also where the kernel does not show it:
 * sockets of other network namespaces, some file systems.
 */
bool vhu_unix_listens(const char *path);
