/*
 * A proxy between two plain sockets, and what it writes as text. What a program does not use
 * of it is no mistake, hence inline.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/rng.h>
#include <capture/sources.h>
#include <channel/unix.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "fds_open.h"
#include "send_fds.h"

enum { NEED_REPLY = 9, PLAIN = 1, REPLY = 5 };

struct fixture {
	char dir[32], listen[64], target[64];
	int target_fd, fe, be;
	void *proxy;
	struct vhu_buf text; /* "fe main 12 1fd; be main 20" */
	size_t n, full;	     /* no record is taken after so many; 0: all are */
	int fds_before;
};

static inline int note(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	static const char *const dirs[] = {"-", "fe", "be"};
	struct fixture *f = ctx;

	if (f->full && f->n == f->full)
		return vhu_err_set(err, -ENOSPC, "full");
	vhu_buf_printf(&f->text, "%s%u %s ", f->n++ ? "; " : "", r->connection, dirs[r->dir]);
	if (r->channel == VHU_CAP_LIFE)
		vhu_buf_puts(&f->text, vhu_cap_life_name(r->kind));
	else
		vhu_buf_printf(&f->text, "%s %u", vhu_cap_channel_name(r->channel), r->orig_len);
	for (size_t i = 0; i < r->n_fds; i++)
		vhu_buf_printf(&f->text, " %s", vhu_fd_kind_name(r->fds[i].kind));
	for (size_t i = 0; i < r->n_recvs; i++)
		vhu_buf_printf(&f->text, "%s%u", i ? "+" : " ", r->recvs[i]);
	if (r->flags & VHU_CAP_MALFORMED)
		vhu_buf_puts(&f->text, " malformed");
	if (r->flags & VHU_CAP_PARTIAL)
		vhu_buf_puts(&f->text, " partial");
	if (r->has_errno)
		vhu_buf_printf(&f->text, " %s", strerrorname_np(r->errno_value));
	assert_int_equal(r->tap, VHU_CAP_TAP_PROXY);
	return 0;
}

static inline void recorded(struct fixture *f, const char *text)
{
	assert_string_equal(vhu_buf_text(&f->text), text);
	vhu_buf_reset(&f->text);
	f->n = 0;
}

/* Everything that is ready, and what becomes ready by that. */
static inline void run(struct fixture *f)
{
	struct pollfd p = {.fd = vhu_source_proxy.poll_fd(f->proxy), .events = POLLIN};

	while (poll(&p, 1, 0) == 1)
		assert_int_equal(vhu_source_proxy.drain(f->proxy, NULL), 0);
}

static inline int setup(void **state)
{
	static struct fixture f;
	struct vhu_source_opts opts = {.listen = f.listen, .target = f.target};

	f = (struct fixture){.dir = "/tmp/vhu-proxy-XXXXXX", .fe = -1, .be = -1, .fds_before = fds_open()};
	assert_non_null(mkdtemp(f.dir));
	snprintf(f.listen, sizeof(f.listen), "%s/listen", f.dir);
	snprintf(f.target, sizeof(f.target), "%s/target", f.dir);
	f.target_fd = vhu_unix_listen(f.target, NULL);
	assert_true(f.target_fd >= 0);
	assert_int_equal(listen(f.target_fd, 4), 0);
	assert_int_equal(vhu_source_proxy.open(&opts, note, &f, &f.proxy, NULL), 0);
	*state = &f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->proxy)
		assert_int_equal(vhu_source_proxy.close(f->proxy, NULL), 0);
	vhu_close(&f->fe);
	vhu_close(&f->be);
	vhu_close(&f->target_fd);
	vhu_buf_done(&f->text);
	assert_int_equal(access(f->listen, F_OK), -1);
	unlink(f->target);
	assert_int_equal(rmdir(f->dir), 0);
	assert_int_equal(fds_open(), f->fds_before);
	return 0;
}

static inline void connect_both(struct fixture *f)
{
	f->fe = vhu_unix_connect(f->listen);
	assert_true(f->fe >= 0);
	run(f);
	f->be = accept4(f->target_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(f->be >= 0);
}

static inline size_t message(uint8_t *out, uint32_t id, uint32_t flags, uint32_t size)
{
	uint32_t header[3] = {id, flags, size};

	memcpy(out, header, sizeof(header));
	for (uint32_t i = 0; i < size; i++)
		out[sizeof(header) + i] = (uint8_t)(id * 7 + i);
	return sizeof(header) + size;
}

static inline void send_message(int fd, uint32_t id, uint32_t flags, uint32_t size, const int *fds,
				size_t n_fds)
{
	uint8_t bytes[4096];

	send_bytes(fd, bytes, message(bytes, id, flags, size), fds, n_fds);
}

/* One recvmsg: its length or -errno; descriptors are the caller's. */
static inline ssize_t receive(int fd, void *bytes, size_t len, int *fds, size_t *n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)];
	struct iovec iov = {bytes, len};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*n_fds = 0;
	if (n < 0)
		return -errno;
	if (CMSG_FIRSTHDR(&msg)) {
		*n_fds = (CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), *n_fds * sizeof(int));
	}
	return n;
}

/* Receives that many bytes and no descriptors. */
static inline void receive_bytes(int fd, size_t len)
{
	uint8_t bytes[4096];
	int fds[253];
	size_t n_fds;

	assert_int_equal(receive(fd, bytes, len, fds, &n_fds), len);
	assert_int_equal(n_fds, 0);
}

/* What reading gives: -EAGAIN, 0 at the end, other errors. */
static inline int reading(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n < 0 ? -errno : (int)n;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
