/* The target's program, started in ways of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <channel/program.h>
#include <channel/target.h>
#include <errno.h>
#include <event/loop.h>
#include <sys/wait.h>

/* Long enough that a test which gets there has failed. */
static const uint64_t patience_ns = UINT64_C(20000000000);

struct ctx {
	struct vhu_loop *loop;
	struct vhu_target *target;
	struct vhu_program *program;
	struct vhu_err err;
};

static uint64_t deadline(void)
{
	return vhu_now_ns() + patience_ns;
}

static int setup(void **state)
{
	struct ctx *c = calloc(1, sizeof(*c));

	*state = c;
	return vhu_loop_new(&c->loop, &c->err);
}

static int teardown(void **state)
{
	struct ctx *c = *state;

	vhu_program_free(c->program);
	vhu_target_free(c->target);
	vhu_loop_free(c->loop);
	free(c);
	return 0;
}

static void target_of(struct ctx *c, const char *command)
{
	struct vhu_target_opts o = {.how = VHU_TARGET_SPAWN, .command = command};

	assert_int_equal(vhu_target_new(c->loop, &o, &c->target, &c->err), 0);
}

/* The reference back-end, with more words behind it. */
static void reference(struct ctx *c, const char *words)
{
	char command[600];

	snprintf(command, sizeof(command), "'%s' %s", getenv("VHU_BACKEND"), words);
	target_of(c, command);
}

static int start(struct ctx *c, enum vhu_program_way way)
{
	struct vhu_program *last = c->program;

	c->program = NULL;
	return vhu_program_start(c->target, way, last, &c->program, &c->err);
}

static void started(struct ctx *c, enum vhu_program_way way)
{
	if (start(c, way) < 0 || vhu_program_await(c->program, deadline(), &c->err) < 0)
		fail_msg("%s", c->err.text);
}

static void every_way_serves_or_refuses(void **state)
{
	struct ctx *c = *state;

	reference(c, "--socket {socket} --image={image}");
	for (int way = VHU_PROGRAM_SOCKET_PATH; way < VHU_PROGRAM_WAYS; way++) {
		bool refused = way == VHU_PROGRAM_BOTH || way == VHU_PROGRAM_TOO_LONG ||
			       way == VHU_PROGRAM_NO_FOLDER || way == VHU_PROGRAM_NO_IMAGE;

		started(c, (enum vhu_program_way)way);
		/* Permissions are nothing to root. */
		if (way != VHU_PROGRAM_READ_ONLY_FOLDER)
			assert_int_equal(vhu_program_serves(c->program), !refused);
		assert_int_not_equal(vhu_program_serves(c->program), vhu_program_ended(c->program));
		assert_false(vhu_program_crashed(c->program));
	}
}

static void capabilities(void **state)
{
	struct ctx *c = *state;
	char *text;

	reference(c, "--queues 2 -s {socket}");
	started(c, VHU_PROGRAM_CAPABILITIES);
	text = vhu_program_output(c->program);
	assert_non_null(strstr(text, "\"type\""));
	free(text);
	assert_int_equal(vhu_program_status(c->program), 0);
	started(c, VHU_PROGRAM_CAPABILITIES_BESIDE);
	assert_false(vhu_program_made_socket(c->program));
}

static void an_end_and_a_second_start(void **state)
{
	struct ctx *c = *state;
	struct vhu_buf words = {0};
	char what[200];

	reference(c, "--socket={socket}");
	started(c, VHU_PROGRAM_SOCKET_PATH);
	vhu_program_command(c->program, &words);
	assert_non_null(strstr(vhu_buf_text(&words), "--socket-path=/"));
	assert_null(strstr(vhu_buf_text(&words), "--socket="));
	vhu_buf_done(&words);
	assert_int_equal(vhu_program_end(c->program, deadline(), &c->err), 0);
	assert_true(vhu_program_ended(c->program));
	assert_int_equal(vhu_program_left(c->program), 0);
	assert_string_equal(vhu_program_describe(c->program, what, sizeof(what)), "exited with status 0");
	started(c, VHU_PROGRAM_AGAIN);
	assert_true(vhu_program_serves(c->program));
}

static void who_stays_behind_is_counted(void **state)
{
	struct ctx *c = *state;

	reference(c, "--socket {socket} --fault prog-child-stays");
	started(c, VHU_PROGRAM_SOCKET_PATH);
	assert_int_equal(vhu_program_end(c->program, vhu_now_ns() + UINT64_C(300000000), &c->err), 0);
	assert_int_equal(vhu_program_left(c->program), 1);
}

static void a_daemon_is_served_and_ended(void **state)
{
	struct ctx *c = *state;

	reference(c, "--socket {socket} --fault prog-daemon");
	started(c, VHU_PROGRAM_SOCKET_PATH);
	assert_true(vhu_program_serves(c->program));
	assert_true(vhu_program_ended(c->program));
	assert_int_equal(vhu_program_status(c->program), 0);
}

static void what_runs_on(void **state)
{
	struct ctx *c = *state;
	char what[200];

	target_of(c, "sleep 100");
	assert_int_equal(start(c, VHU_PROGRAM_QUIET), 0);
	vhu_program_await(c->program, deadline(), &c->err);
	assert_true(vhu_program_ended(c->program));
	vhu_target_free(c->target);
	c->target = NULL;
	vhu_program_free(c->program);
	c->program = NULL;
	target_of(c, "cat - {socket}");
	assert_int_equal(start(c, VHU_PROGRAM_FD_LISTENING), 0);
	vhu_program_await(c->program, deadline(), &c->err);
	assert_int_not_equal(vhu_program_status(c->program), 0);
	vhu_program_describe(c->program, what, sizeof(what));
	assert_non_null(strstr(what, "exited with status 1"));
}

static void commands_that_cannot_be_varied(void **state)
{
	static const struct {
		const char *command, *why;
		enum vhu_program_way way;
	} rows[] = {
		{"prog addr={socket},x=y", "inside", VHU_PROGRAM_SOCKET_PATH},
		{"--prog {socket}", "does not begin", VHU_PROGRAM_SOCKET_PATH},
		{"true {socket}", "names no {image}", VHU_PROGRAM_NO_IMAGE},
	};
	struct ctx *c = *state;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		target_of(c, rows[i].command);
		assert_int_equal(start(c, rows[i].way), -ENOTSUP);
		assert_non_null(strstr(c->err.text, rows[i].why));
		vhu_target_free(c->target);
		c->target = NULL;
	}
	target_of(c, "/nonexistent/program {socket}");
	assert_int_equal(start(c, VHU_PROGRAM_SOCKET_PATH), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_way_serves_or_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(an_end_and_a_second_start, setup, teardown),
		cmocka_unit_test_setup_teardown(who_stays_behind_is_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(a_daemon_is_served_and_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(what_runs_on, setup, teardown),
		cmocka_unit_test_setup_teardown(commands_that_cannot_be_varied, setup, teardown),
	};

	if (!getenv("VHU_BACKEND"))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
