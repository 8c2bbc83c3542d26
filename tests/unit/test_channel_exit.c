/* Targets that end: by crash, by us, as one-shot; what they leave behind, and nothing else. */
#include "target_fixture.h"

/* --- ends ---------------------------------------------------------------------------------- */

static void a_crash_is_seen_and_mended(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");
	const struct vhu_exit *x;
	pid_t pid;
	int fd;

	target_new(c, &o);
	x = vhu_target_exit(c->target);
	fd = connect_it(c);
	pid = vhu_target_pid(c->target);
	tell(fd, 'a');
	await_exit(c);
	assert_int_equal(c->exits, 1);
	assert_false(x->expected);
	assert_string_equal(x->what, "killed by SIGABRT");
	assert_non_null(strstr(x->stderr_tail, "told to abort\n"));
	close(fd);
	fd = connect_it(c);
	assert_int_not_equal(vhu_target_pid(c->target), pid);
	assert_false(x->exited);
	assert_int_equal(ask(fd, 'n'), '1');
	tell(fd, 'x');
	await_exit(c);
	assert_string_equal(x->what, "exited with status 3");
	assert_int_equal(c->exits, 2);
	close(fd);
	/* Once more without anybody having looked. */
	fd = connect_it(c);
	tell(fd, 'x');
	assert_int_equal(read(fd, &(char){0}, 1), 0);
	close(fd);
	close(connect_it(c));
}

static void killing_is_expected(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");
	const struct vhu_exit *x;
	int fd;

	target_new(c, &o);
	x = vhu_target_exit(c->target);
	fd = connect_it(c);
	assert_int_equal(vhu_target_signal(c->target, SIGKILL, true, NULL), 0);
	await_exit(c);
	assert_true(x->expected);
	assert_string_equal(x->what, "killed by SIGKILL");
	assert_int_equal(vhu_target_signal(c->target, SIGKILL, true, &c->err), -ESRCH);
	close(fd);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	assert_true(vhu_target_running(c->target));
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	/* Another signal than the one that was sent ends it. */
	assert_int_equal(vhu_target_signal(c->target, SIGCONT, true, NULL), 0);
	assert_int_equal(vhu_target_signal(c->target, SIGABRT, false, NULL), 0);
	await_exit(c);
	assert_false(x->expected);
}

static void a_socket_for_each_session(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "anew {socket}");
	struct stat first, now;
	char socket[PATH_MAX];
	int fd;

	target_new(c, &o);
	fd = connect_it(c);
	snprintf(socket, sizeof(socket), "%s", vhu_target_socket(c->target));
	assert_int_equal(stat(socket, &first), 0);
	close(fd);
	vhu_target_left(c->target);
	/* It is seen once; from then on it is waited for. */
	do
		usleep(1000);
	while (stat(socket, &now) < 0 || now.st_ctim.tv_nsec == first.st_ctim.tv_nsec);
	for (char n = '2'; n <= '5'; n++) {
		fd = connect_it(c);
		assert_int_equal(ask(fd, 'n'), n);
		close(fd);
		vhu_target_left(c->target);
	}
}

static void stopping(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");

	target_new(c, &o);
	vhu_target_stop(c->target);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	/* It cannot hear TERM while it is stopped. */
	assert_int_equal(vhu_target_signal(c->target, SIGSTOP, false, NULL), 0);
	vhu_target_stop(c->target);
	assert_false(vhu_target_running(c->target));
	assert_true(vhu_target_exit(c->target)->expected);
	assert_string_equal(vhu_target_exit(c->target)->what, "killed by SIGTERM");
	assert_int_equal(c->exits, 1);
	vhu_target_stop(c->target);
	assert_int_equal(c->exits, 1);
	assert_int_equal(vhu_target_await_exit(c->target, 0, NULL), 0);
}

/* A crash that nobody has noticed yet does not become our doing. */
static void stopping_what_has_crashed(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");
	int fd;

	target_new(c, &o);
	fd = connect_it(c);
	tell(fd, 'x');
	assert_int_equal(read(fd, &(char){0}, 1), 0);
	assert_int_equal(waitid(P_PID, (id_t)vhu_target_pid(c->target), &(siginfo_t){0}, WEXITED | WNOWAIT),
			 0);
	vhu_target_stop(c->target);
	assert_false(vhu_target_exit(c->target)->expected);
	assert_string_equal(vhu_target_exit(c->target)->what, "exited with status 3");
	close(fd);
}

static void what_ignores_term_is_killed(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh", "-c",	      "trap '' TERM; exec \"$0\" serve \"$1\"",
				    self, "{socket}", NULL};
	struct vhu_target_opts o = script(argv);

	target_new(c, &o);
	close(connect_it(c));
	vhu_target_stop(c->target);
	assert_string_equal(vhu_target_exit(c->target)->what, "killed by SIGKILL");
	assert_true(vhu_target_exit(c->target)->expected);
}

static void one_that_lives_on(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");

	target_new(c, &o);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	assert_int_equal(vhu_target_await_exit(c->target, vhu_now_ns() + 1000000, &c->err), -ETIME);
	assert_non_null(strstr(c->err.text, "did not end"));
}

/* --- no child outlives us ------------------------------------------------------------------ */

static pid_t read_pid(const char *path)
{
	FILE *f = fopen(path, "re");
	int pid = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	unlink(path);
	return pid;
}

/* A grandchild comes to us when its parent is gone; its status says what became of it. */
static void expect_killed(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_true(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
}

static void the_whole_group_ends(void **state)
{
	struct ctx *c = *state;
	struct place p = place("pid");
	const char *const argv[] = {
		"sh",	"-c", "sleep 1000 & echo $! >\"$2\"; exec \"$0\" serve \"$1\"", self, "{socket}",
		p.path, NULL};
	struct vhu_target_opts o = script(argv);
	int fd;

	target_new(c, &o);
	close(connect_it(c));
	vhu_target_stop(c->target);
	expect_killed(read_pid(p.path));
	/* Also when the process ends by itself. */
	fd = connect_it(c);
	tell(fd, 'x');
	await_exit(c);
	close(fd);
	expect_killed(read_pid(p.path));
}

static void the_process_dies_with_us(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");
	int report[2], status = 0;
	pid_t tester, pid = 0;

	target_new(c, &o);
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	tester = fork();
	if (!tester) {
		/* Leaves without a word. */
		if (vhu_target_start(c->target, NULL) == 0)
			pid = vhu_target_pid(c->target);
		_exit(write(report[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
	}
	assert_int_equal(read(report[0], &pid, sizeof(pid)), sizeof(pid));
	assert_true(pid > 0);
	assert_int_equal(waitpid(tester, &status, 0), tester);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(report[0]);
	close(report[1]);
}

/* --- one-shot ------------------------------------------------------------------------------ */

static void one_shot_targets_are_started_for_each_connection(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "once {socket}");
	pid_t pid = 0;

	o.one_shot = true;
	target_new(c, &o);
	assert_true(vhu_target_one_shot(c->target));
	for (unsigned i = 0; i < 3; i++) {
		int fd = connect_it(c);

		assert_int_equal(ask(fd, 'n'), '1');
		assert_int_not_equal(vhu_target_pid(c->target), pid);
		pid = vhu_target_pid(c->target);
		close(fd);
		assert_int_equal(c->exits, i);
	}
	await_exit(c);
	assert_true(vhu_target_exit(c->target)->expected);
	assert_string_equal(vhu_target_exit(c->target)->what, "exited with status 0");
}

static void one_shot_is_found_out(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "once {socket}");

	target_new(c, &o);
	close(connect_it(c));
	await_exit(c);
	assert_false(vhu_target_exit(c->target)->expected);
	vhu_target_set_one_shot(c->target);
	assert_true(vhu_target_exit(c->target)->expected);
	close(connect_it(c));
	close(connect_it(c));
	await_exit(c);
	assert_true(vhu_target_exit(c->target)->expected);
}

/* An end after one session had another reason, where one process has answered on two. */
static void what_answers_on_two_connections_is_no_one_shot(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");
	pid_t pid;

	target_new(c, &o);
	close(connect_it(c));
	vhu_target_answered(c->target);
	pid = vhu_target_pid(c->target);
	close(connect_it(c));
	vhu_target_answered(c->target);
	vhu_target_set_one_shot(c->target);
	assert_false(vhu_target_one_shot(c->target));
	close(connect_it(c));
	assert_int_equal(vhu_target_pid(c->target), pid);
}

static void a_one_shot_that_crashes_is_no_better(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "once {socket}");
	int fd;

	o.one_shot = true;
	target_new(c, &o);
	fd = connect_it(c);
	tell(fd, 'a');
	await_exit(c);
	assert_false(vhu_target_exit(c->target)->expected);
	close(fd);
}

/* --- output -------------------------------------------------------------------------------- */

/* Runs a script to its end. */
static const struct vhu_exit *run_script(struct ctx *c, const char *text)
{
	const char *const argv[] = {"sh", "-c", text, NULL};
	struct vhu_target_opts o = script(argv);

	target_new(c, &o);
	assert_int_equal(vhu_target_start(c->target, &c->err), -ECHILD);
	return vhu_target_exit(c->target);
}

static void the_last_lines_are_kept(void **state)
{
	struct ctx *c = *state;
	const struct vhu_exit *x =
		run_script(c, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; "
			      "printf unfinished");
	unsigned lines = 0;

	for (const char *p = x->stderr_tail; *p; p++)
		lines += *p == '\n';
	assert_int_equal(lines, 40);
	assert_memory_equal(x->stderr_tail, "line 2961\n", 10);
	assert_non_null(strstr(x->stderr_tail, "line 2999\nunfinished\n"));
	assert_non_null(strstr(c->err.text, "its last line was: unfinished"));
}

static void long_lines_and_odd_bytes(void **state)
{
	struct ctx *c = *state;
	const struct vhu_exit *x = run_script(c, "head -c 100000 /dev/zero; echo; echo end");
	size_t len = strlen(x->stderr_tail);

	assert_in_range(len, 1000, 8192);
	assert_string_equal(x->stderr_tail + len - 5, "\nend\n");
	assert_int_equal(x->stderr_tail[0], '?');
}

static void no_output_at_all(void **state)
{
	struct ctx *c = *state;
	const struct vhu_exit *x = run_script(c, "exit 0");

	assert_string_equal(x->stderr_tail, "");
	assert_string_equal(x->what, "exited with status 0");
	assert_null(strstr(c->err.text, "last line"));
}

static void reports_of_sanitizers(void **state)
{
	static const struct {
		const char *line, *what;
	} rows[] = {
		{"==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x1 at pc 0x2",
		 "exited with status 1 (ASan: heap-use-after-free)"},
		{"==7==ERROR: AddressSanitizer: SEGV on unknown address 0x0",
		 "exited with status 1 (ASan: SEGV)"},
		{"==7==ERROR: LeakSanitizer: detected memory leaks",
		 "exited with status 1 (LSan: detected memory leaks)"},
		{"WARNING: ThreadSanitizer: data race (pid=7)", "exited with status 1 (TSan: data race)"},
		{"==7==WARNING: MemorySanitizer: use-of-uninitialized-value",
		 "exited with status 1 (MSan: use-of-uninitialized-value)"},
		{"a.c:5:3: runtime error: division by zero",
		 "exited with status 1 (UBSan: division by zero)"},
		{"==7== Invalid read of size 4", "exited with status 1 (valgrind: Invalid read of size 4)"},
		{"Invalid read of size 4", "exited with status 1"},
		{"all is well", "exited with status 1"},
	};
	struct ctx *c = *state;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		char text[600];

		/* What follows is more than what is kept, and a second report does not replace the first. */
		snprintf(text, sizeof(text),
			 "echo '%s'; i=0; while [ $i -lt 1500 ]; do echo '    #1 0x5 in frame'; i=$((i+1)); "
			 "done; "
			 "exit 1",
			 rows[i].line);
		assert_string_equal(run_script(c, text)->what, rows[i].what);
		vhu_target_free(c->target);
		c->target = NULL;
	}
}

/* An orderly end is none when a sanitizer had something to say. */
static void a_report_is_never_expected(void **state)
{
	struct ctx *c = *state;
	const struct vhu_exit *x = run_script(c, "echo 'x.c:1:1: runtime error: too much'; exit 0");

	vhu_target_set_one_shot(c->target);
	assert_false(x->expected);
	assert_string_equal(x->what, "exited with status 0 (UBSan: too much)");
}

/* More than a pipe holds, while nobody runs the loop: stopping empties it. */
static void a_process_that_blocks_on_its_output_ends(void **state)
{
	struct ctx *c = *state;
	const char *const argv[] = {"sh",
				    "-c",
				    "trap 'head -c 300000 /dev/zero; exit 6' TERM; \"$0\" serve \"$1\" & "
				    "while :; do wait; done",
				    self,
				    "{socket}",
				    NULL};
	struct vhu_target_opts o = script(argv);

	target_new(c, &o);
	close(connect_it(c));
	vhu_target_stop(c->target);
	assert_string_equal(vhu_target_exit(c->target)->what, "exited with status 6");
	assert_true(vhu_target_exit(c->target)->expected);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static int run_all(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_crash_is_seen_and_mended),
		TEST(killing_is_expected),
		TEST(a_socket_for_each_session),
		TEST(stopping),
		TEST(stopping_what_has_crashed),
		TEST(what_ignores_term_is_killed),
		TEST(one_that_lives_on),
		TEST(the_whole_group_ends),
		TEST(the_process_dies_with_us),
		TEST(one_shot_targets_are_started_for_each_connection),
		TEST(one_shot_is_found_out),
		TEST(what_answers_on_two_connections_is_no_one_shot),
		TEST(a_one_shot_that_crashes_is_no_better),
		TEST(the_last_lines_are_kept),
		TEST(long_lines_and_odd_bytes),
		TEST(no_output_at_all),
		TEST(reports_of_sanitizers),
		TEST(a_report_is_never_expected),
		TEST(a_process_that_blocks_on_its_output_ends),
	};

	return cmocka_run_group_tests_name("channel_exit", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return target_main(argc, argv, run_all);
}
