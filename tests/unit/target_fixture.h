/*
 * A target under test. Its back-ends are the test program itself, called with a mode, or shell
 * scripts. What a program does not use of it is no mistake, hence inline.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <channel/target.h>
#include <errno.h>
#include <event/loop.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fds_open.h"

/* Long enough that a test which gets there has failed. */
static const uint64_t patience_ns = UINT64_C(20000000000);

static char self[PATH_MAX]; /* this program */
static char tmp[64];	    /* TMPDIR of the tests; each leaves it empty */

/* --- the back-ends ------------------------------------------------------------------------- */

static inline struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return addr;
}

static inline int listen_at(const char *path)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 8) < 0) {
		perror(path);
		exit(9);
	}
	return fd;
}

/* Does what each byte says until the connection ends. */
static inline void obey(int fd, unsigned connections)
{
	char c, answer;

	while (read(fd, &c, 1) == 1) {
		switch (c) {
		case 'n': /* the how-manieth connection is this? */
			answer = (char)('0' + connections);
			if (write(fd, &answer, 1) < 0)
				return;
			break;
		case 'a':
			fprintf(stderr, "told to abort\n");
			abort();
		case 'x':
			exit(3);
		}
	}
}

/* serve PATH|fd:N, once PATH, anew PATH (a socket for each session), env: PATH from the environment */
static inline int be_backend(const char *mode, const char *where)
{
	const struct rlimit no_core = {0, 0};
	int listener;

	setrlimit(RLIMIT_CORE, &no_core);
	if (strcmp(mode, "env") == 0)
		where = getenv("VHU_SOCKET");
	listener = strncmp(where, "fd:", 3) == 0 ? atoi(where + 3) : listen_at(where);
	for (unsigned n = 1;; n++) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			return 8;
		obey(fd, n);
		close(fd);
		if (strcmp(mode, "once") == 0)
			return 0;
		if (strcmp(mode, "anew") == 0) {
			/* What connects meanwhile is lost. */
			usleep(20000);
			close(listener);
			unlink(where);
			listener = listen_at(where);
		}
	}
}

/* --- frame of a test ----------------------------------------------------------------------- */

struct ctx {
	struct vhu_loop *loop;
	struct vhu_target *target;
	struct vhu_err err;
	unsigned exits;
	int fds_before;
	char command[PATH_MAX + 256];
};

static inline int setup(void **state)
{
	static struct ctx c;

	c = (struct ctx){.fds_before = fds_open()};
	snprintf(tmp, sizeof(tmp), "/tmp/vhu-test-XXXXXX");
	assert_non_null(mkdtemp(tmp));
	setenv("TMPDIR", tmp, 1);
	assert_int_equal(vhu_loop_new(&c.loop, NULL), 0);
	*state = &c;
	return 0;
}

/* Nothing is left: no descriptor, no child, no file. */
static inline int teardown(void **state)
{
	struct ctx *c = *state;

	vhu_target_free(c->target);
	vhu_loop_free(c->loop);
	assert_int_equal(fds_open(), c->fds_before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(rmdir(tmp), 0);
	return 0;
}

static inline void on_exit_cb(void *ctx)
{
	((struct ctx *)ctx)->exits++;
}

static inline void target_new(struct ctx *c, const struct vhu_target_opts *opts)
{
	if (vhu_target_new(c->loop, opts, &c->target, &c->err) < 0)
		fail_msg("%s", c->err.text);
	vhu_target_on_exit(c->target, on_exit_cb, c);
}

/* A target that runs this program. */
static inline struct vhu_target_opts ourselves(struct ctx *c, const char *args)
{
	snprintf(c->command, sizeof(c->command), "'%s' %s", self, args);
	return (struct vhu_target_opts){
		.how = VHU_TARGET_SPAWN,
		.command = c->command,
		.timeout_ns = patience_ns,
	};
}

static inline struct vhu_target_opts script(const char *const *argv)
{
	return (struct vhu_target_opts){.how = VHU_TARGET_SPAWN, .argv = argv, .timeout_ns = patience_ns};
}

static inline int connect_it(struct ctx *c)
{
	int fd = -1;

	if (vhu_target_connect(c->target, &fd, &c->err) < 0)
		fail_msg("%s", c->err.text);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return fd;
}

static inline void refuse(struct ctx *c, int code, const char *text)
{
	int fd = 4711;

	assert_int_equal(vhu_target_connect(c->target, &fd, &c->err), code);
	assert_int_equal(fd, 4711);
	assert_int_equal(c->err.code, code);
	if (!strstr(c->err.text, text))
		fail_msg("no \"%s\" in: %s", text, c->err.text);
}

static inline void tell(int fd, char byte)
{
	assert_int_equal(send(fd, &byte, 1, MSG_NOSIGNAL), 1);
}

static inline char ask(int fd, char byte)
{
	char answer = 0;

	tell(fd, byte);
	assert_int_equal(read(fd, &answer, 1), 1);
	return answer;
}

static inline void await_exit(struct ctx *c)
{
	assert_int_equal(vhu_target_await_exit(c->target, vhu_now_ns() + patience_ns, &c->err), 0);
	assert_false(vhu_target_running(c->target));
	assert_true(vhu_target_exit(c->target)->exited);
}

struct place {
	char path[100];
	int fd;
	struct vhu_source *timer;
};

static inline struct place place(const char *name)
{
	struct place p = {.fd = -1};

	snprintf(p.path, sizeof(p.path), "%s/%s", tmp, name);
	return p;
}

static inline void place_done(struct place *p)
{
	vhu_source_free(p->timer);
	vhu_close(&p->fd);
	unlink(p->path);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Where each program's main ends up: as a back-end, or as the tests. */
static inline int target_main(int argc, char **argv, int (*run)(void))
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (argc > 1)
		return be_backend(argv[1], argc > 2 ? argv[2] : NULL);
	if (n < 0)
		return 1;
	/* Grandchildren come to us when their parents end: nothing can escape unseen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return run();
}
