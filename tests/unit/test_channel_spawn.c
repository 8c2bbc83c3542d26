/* Targets that we start: how they find their socket, what keeps them from starting, after-start. */
#include "target_fixture.h"

/* --- a process that serves ----------------------------------------------------------------- */

static void a_process_is_started_and_kept(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");
	char name[PATH_MAX + 40];
	pid_t pid;
	int fd;

	target_new(c, &o);
	assert_true(vhu_target_spawned(c->target));
	assert_false(vhu_target_running(c->target));
	assert_int_equal(vhu_target_fd_count(c->target), -1);
	assert_int_equal(vhu_target_heap_kib(c->target), -1);
	fd = connect_it(c);
	/* The connection that showed it to be ready is the one that we get. */
	assert_int_equal(ask(fd, 'n'), '1');
	close(fd);
	pid = vhu_target_pid(c->target);
	assert_true(pid > 0);
	assert_true(vhu_target_running(c->target));
	snprintf(name, sizeof(name), "%s (pid %d)", strrchr(self, '/') + 1, (int)pid);
	assert_string_equal(vhu_target_name(c->target), name);
	fd = connect_it(c);
	assert_int_equal(ask(fd, 'n'), '2');
	assert_in_range(vhu_target_fd_count(c->target), 5, 20);
	close(fd);
	assert_int_equal(vhu_target_pid(c->target), pid);
	assert_null(vhu_target_image(c->target));
	assert_false(vhu_target_exit(c->target)->exited);
	assert_int_equal(c->exits, 0);
}

static void the_socket_by_environment(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "env");
	int fd;

	setenv("VHU_SOCKET", "/of/somebody/else", 1);
	target_new(c, &o);
	unsetenv("VHU_SOCKET");
	fd = connect_it(c);
	assert_int_equal(ask(fd, 'n'), '1');
	close(fd);
}

static void the_socket_by_descriptor(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve fd:{fd}");
	int fd;

	target_new(c, &o);
	for (unsigned i = 0; i < 3; i++) {
		fd = connect_it(c);
		assert_int_equal(ask(fd, 'n'), '1' + (char)i);
		close(fd);
	}
	/* A new process listens on a new socket: nothing waits in the old one's backlog. */
	vhu_target_stop(c->target);
	fd = connect_it(c);
	assert_int_equal(ask(fd, 'n'), '1');
	close(fd);
}

static void the_descriptor_has_died_with_its_process(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "echo bad option; exit 2", "{fd}", NULL};
	struct vhu_target_opts o = script(argv);
	int fd = -1, r;

	target_new(c, &o);
	/* Whether it is dead already, nobody knows; that it died will be known. */
	r = vhu_target_connect(c->target, &fd, &c->err);
	assert_true(r == 0 || r == -ECHILD);
	vhu_close(&fd);
	await_exit(c);
	assert_string_equal(vhu_target_exit(c->target)->what, "exited with status 2");
	assert_string_equal(vhu_target_exit(c->target)->stderr_tail, "bad option\n");
}

static void the_image(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {
		"sh",	    "-c", "test \"$0\" = \"$VHU_IMAGE\" && exec \"$1\" serve \"$2\"", "{image}", self,
		"{socket}", NULL};
	struct vhu_target_opts o = script(argv);
	char path[200], byte = 'i';
	struct stat st;
	int image;

	o.image_size = 12345 * 512;
	target_new(c, &o);
	snprintf(path, sizeof(path), "%s", vhu_target_image(c->target));
	close(connect_it(c));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 12345 * 512);
	assert_int_equal(st.st_blocks, 0);
	image = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(image, &byte, 1, 99), 1);
	/* It outlives the process. */
	vhu_target_stop(c->target);
	close(connect_it(c));
	byte = 0;
	assert_int_equal(pread(image, &byte, 1, 99), 1);
	assert_int_equal(byte, 'i');
	assert_string_equal(vhu_target_image(c->target), path);
	close(image);
	vhu_target_free(c->target);
	c->target = NULL;
	assert_int_equal(stat(path, &st), -1);
}

static void the_image_has_a_size_by_default(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = {.how = VHU_TARGET_SPAWN, .command = "sh -c 'cat $VHU_IMAGE'"};
	struct stat st;

	target_new(c, &o);
	assert_int_equal(stat(vhu_target_image(c->target), &st), 0);
	assert_int_equal(st.st_size, 64 << 20);
}

/* --- processes that do not start ----------------------------------------------------------- */

static void a_program_that_is_missing(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = {.how = VHU_TARGET_SPAWN, .command = "no-such-back-end {socket}"};

	target_new(c, &o);
	refuse(c, -ENOENT, "no-such-back-end");
	assert_non_null(strstr(c->err.text, "PATH"));
	assert_int_equal(vhu_target_start(c->target, &c->err), -ENOENT);
	assert_false(vhu_target_running(c->target));
	assert_int_equal(c->exits, 0);
}

static void a_program_that_is_none(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = {.how = VHU_TARGET_SPAWN, .command = "/dev/null"};

	target_new(c, &o);
	refuse(c, -EACCES, "cannot run '/dev/null'");
}

static void a_process_that_ends_at_once(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "echo starting; echo no such disk >&2; exit 3", "{socket}",
				    NULL};
	struct vhu_target_opts o = script(argv);
	const struct vhu_exit *x;

	target_new(c, &o);
	x = vhu_target_exit(c->target);
	refuse(c, -ECHILD, "no such disk");
	assert_non_null(strstr(c->err.text, "exited with status 3 before it listened"));
	assert_true(x->exited);
	assert_true(WIFEXITED(x->status));
	assert_false(x->expected);
	assert_string_equal(x->what, "exited with status 3");
	assert_string_equal(x->stderr_tail, "starting\nno such disk\n");
	assert_int_equal(c->exits, 1);
	assert_string_equal(vhu_target_name(c->target), "sh");
	vhu_target_clear_exit(c->target);
	assert_false(x->exited);
	assert_null(x->stderr_tail);
}

static void a_process_that_crashes_at_once(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "ulimit -c 0; kill -SEGV $$", NULL};
	struct vhu_target_opts o = script(argv);

	target_new(c, &o);
	refuse(c, -ECHILD, "killed by SIGSEGV");
	assert_false(vhu_target_exit(c->target)->expected);
	assert_true(WIFSIGNALED(vhu_target_exit(c->target)->status));
}

static void a_process_that_never_listens(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "exec sleep 1000", NULL};
	struct vhu_target_opts o = script(argv);

	o.start_ns = 200000000;
	target_new(c, &o);
	refuse(c, -ETIME, "does not listen");
	assert_non_null(strstr(c->err.text, "neither {socket}"));
	assert_false(vhu_target_running(c->target));
	assert_true(vhu_target_exit(c->target)->expected);
}

static void our_signal_mask_is_not_the_childs(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "kill -TERM $$; exit 5", NULL};
	struct vhu_target_opts o = script(argv);
	sigset_t term, before;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	signal(SIGCHLD, SIG_IGN);
	target_new(c, &o);
	refuse(c, -ECHILD, "killed by SIGTERM");
	/* Nobody asked it to. */
	assert_false(vhu_target_exit(c->target)->expected);
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGCHLD, SIG_DFL);
}

static void nothing_is_read_from_our_terminal(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "read x && exit 1; exit 4", NULL};
	struct vhu_target_opts o = script(argv);

	target_new(c, &o);
	refuse(c, -ECHILD, "status 4");
}

static void a_signal_interrupts_a_start(void **state)
{
	static const int watched[] = {SIGUSR1};
	struct ctx *c = *state;
	const char *const argv[] = {"sleep", "1000", NULL};
	struct vhu_target_opts o = script(argv);

	assert_int_equal(vhu_loop_watch_signals(c->loop, watched, 1, NULL), 0);
	kill(getpid(), SIGUSR1);
	target_new(c, &o);
	refuse(c, -EINTR, "signal");
	assert_false(vhu_target_running(c->target));
}

/* --- after-start --------------------------------------------------------------------------- */

static void after_start_runs_before_we_connect(void **state)
{
	struct ctx *c = *state;
	struct place p = place("made"), log = place("log");
	const char *const argv[] = {
		"sh",	"-c", "until [ -e \"$2\" ]; do :; done; exec \"$0\" serve \"$1\"", self, "{socket}",
		p.path, NULL};
	struct vhu_target_opts o = script(argv);
	char command[300];
	struct stat st;

	snprintf(command, sizeof(command), "test -n \"$VHU_SOCKET\" && echo once >>%s && : >%s", log.path,
		 p.path);
	o.after_start = command;
	target_new(c, &o);
	close(connect_it(c));
	close(connect_it(c));
	assert_int_equal(stat(log.path, &st), 0);
	assert_int_equal(st.st_size, 5);
	unlink(p.path);
	/* And again for each new process. */
	vhu_target_stop(c->target);
	close(connect_it(c));
	assert_int_equal(stat(log.path, &st), 0);
	assert_int_equal(st.st_size, 10);
	place_done(&p);
	place_done(&log);
}

static void after_start_that_fails(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");

	o.after_start = "echo rpc refused >&2; exit 7";
	target_new(c, &o);
	refuse(c, -EIO, "rpc refused");
	assert_non_null(strstr(c->err.text, "after-start command exited with status 7"));
	assert_false(vhu_target_running(c->target));
}

static void after_start_that_hangs(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");

	o.after_start = "exec sleep 1000";
	o.start_ns = 100000000;
	target_new(c, &o);
	refuse(c, -ETIME, "after-start command did not end");
	assert_false(vhu_target_running(c->target));
}

static void a_death_during_after_start(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c", "echo broken; exit 2", NULL};
	struct vhu_target_opts o = script(argv);

	o.after_start = "exec sleep 1000";
	target_new(c, &o);
	refuse(c, -ECHILD, "while the after-start command ran");
	assert_non_null(strstr(c->err.text, "broken"));
}

/* --- freeing ------------------------------------------------------------------------------- */

static void freeing_at_any_time(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");

	target_new(c, &o);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	/* Ready, its connection not taken; the callback is not for this end. */
	vhu_target_free(c->target);
	assert_int_equal(c->exits, 0);
	target_new(c, &o);
	vhu_target_free(c->target);
	target_new(c, &o);
	close(connect_it(c));
	assert_int_equal(vhu_target_signal(c->target, SIGKILL, true, NULL), 0);
}

static int run_all(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_process_is_started_and_kept),
		TEST(the_socket_by_environment),
		TEST(the_socket_by_descriptor),
		TEST(the_descriptor_has_died_with_its_process),
		TEST(the_image),
		TEST(the_image_has_a_size_by_default),
		TEST(a_program_that_is_missing),
		TEST(a_program_that_is_none),
		TEST(a_process_that_ends_at_once),
		TEST(a_process_that_crashes_at_once),
		TEST(a_process_that_never_listens),
		TEST(our_signal_mask_is_not_the_childs),
		TEST(nothing_is_read_from_our_terminal),
		TEST(a_signal_interrupts_a_start),
		TEST(after_start_runs_before_we_connect),
		TEST(after_start_that_fails),
		TEST(after_start_that_hangs),
		TEST(a_death_during_after_start),
		TEST(freeing_at_any_time),
	};

	return cmocka_run_group_tests_name("channel_spawn", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return target_main(argc, argv, run_all);
}
