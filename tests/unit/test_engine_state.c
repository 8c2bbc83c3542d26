/* The channel of device state, without a back-end: the test holds the other end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* What a case does with the channel is the engine's own affair, and no part of its interface. */
#include "internal.h"

static const uint64_t ms = 1000000;

static struct vhu_engine engine;
static struct vhu_result result;
static struct vhu_plan plan = {.id = "state", .profile = "plain"};
static struct vhu_conn conn;
static struct vhu_run run;
static const struct vhu_step at = {.where = "here", .requirement = VHU_REQ_DEVSTATE_07};

static int setup(void **state)
{
	struct vhu_err err = {0};

	engine = (struct vhu_engine){.opts = {.timeout_ns = 50 * ms, .seed = 7}};
	result = (struct vhu_result){0};
	conn = (struct vhu_conn){.r = &run};
	run = (struct vhu_run){
		.e = &engine, .plan = &plan, .res = &result, .phase = "test", .conns = &conn, .n_conns = 1};
	run.state.fd = -1;
	signal(SIGPIPE, SIG_IGN);
	return vhu_loop_new(&engine.loop, &err) < 0 || vhu_trace_log_new(4, &engine.trace, &err) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	vhu_run_state_release(&run);
	vhu_trace_log_free(engine.trace);
	vhu_loop_free(engine.loop);
	vhu_result_done(&result);
	return 0;
}

static void move(enum vhu_transfer_op op, uint64_t count)
{
	struct vhu_step s = at;

	s.verb = VHU_VERB_STATE;
	s.state = (struct vhu_step_state){.op = op, .count = count, .pieces = 1};
	vhu_do_state(&run, &s);
}

static void write_content(int content, uint64_t len, uint64_t pieces)
{
	struct vhu_step s = at;

	s.verb = VHU_VERB_STATE;
	s.state.op = VHU_TRANSFER_WRITE;
	s.state.content = content;
	s.state.len = len;
	s.state.pieces = pieces;
	vhu_do_state(&run, &s);
}

static void put(int fd, size_t len, uint8_t value)
{
	uint8_t bytes[256];

	memset(bytes, value, sizeof(bytes));
	assert_int_equal(write(fd, bytes, len), len);
}

/* Read in two steps: so many bytes, and then to the end, after which the channel is over. */
static void test_read(void **state)
{
	int fd = vhu_run_state_channel(&run, true, false);

	put(fd, 100, 1);
	put(fd, 50, 2);
	move(VHU_TRANSFER_READ, 100);
	assert_int_equal(run.state.n_saved, 100);
	assert_false(run.state.over);
	close(fd);
	move(VHU_TRANSFER_READ, 0);
	assert_int_equal(run.state.n_saved, 150);
	assert_int_equal(run.state.saved[99], 1);
	assert_int_equal(run.state.saved[100], 2);
	assert_true(run.state.over && run.state.fd < 0);
	/* What follows has nothing to move, which is no mistake of the case. */
	move(VHU_TRANSFER_READ, 0);
	assert_int_equal(result.n_findings, 0);
	assert_false(run.broken);
}

/* An end that comes early, and one that does not come. */
static void test_read_short(void **state)
{
	int fd = vhu_run_state_channel(&run, true, false);

	put(fd, 10, 1);
	close(fd);
	move(VHU_TRANSFER_READ, 20);
	assert_int_equal(result.n_findings, 1);
	assert_string_equal(result.findings[0].actual, "10 bytes and the end of the channel");
	assert_true(run.stop);

	run.stop = false;
	fd = vhu_run_state_channel(&run, true, false);
	assert_int_equal(run.state.n_saved, 0);
	put(fd, 10, 1);
	move(VHU_TRANSFER_READ, 0);
	assert_int_equal(result.n_findings, 2);
	assert_string_equal(result.findings[1].actual, "10 bytes and no more until the deadline");
	close(fd);
}

/* What is written is what was read, whole or half of it; random content is the seed's. */
static void test_write(void **state)
{
	uint8_t bytes[300], again[64];
	int fd = vhu_run_state_channel(&run, true, false);

	put(fd, 100, 1);
	put(fd, 100, 2);
	close(fd);
	move(VHU_TRANSFER_READ, 0);

	fd = vhu_run_state_channel(&run, false, false);
	write_content(VHU_CONTENT_SAVED, 0, 1);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 200);
	assert_true(bytes[0] == 1 && bytes[199] == 2);
	write_content(VHU_CONTENT_HALF, 0, 1);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 100);
	write_content(VHU_CONTENT_RANDOM, 64, 1);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 64);
	write_content(VHU_CONTENT_RANDOM, 64, 1);
	assert_int_equal(read(fd, again, sizeof(again)), 64);
	assert_memory_equal(bytes, again, 64);
	move(VHU_TRANSFER_CLOSE, 0);
	assert_int_equal(read(fd, bytes, 1), 0);
	close(fd);
	assert_int_equal(result.n_findings, 0);
}

/* A reader may leave in the middle of rubbish, not of the state; one that does not read is not waited for. */
static void test_write_unread(void **state)
{
	int fd = vhu_run_state_channel(&run, true, false);

	put(fd, 200, 3);
	close(fd);
	move(VHU_TRANSFER_READ, 0);
	close(vhu_run_state_channel(&run, false, false));
	write_content(VHU_CONTENT_RANDOM, 64, 1);
	assert_int_equal(result.n_findings, 0);
	assert_false(run.stop);
	write_content(VHU_CONTENT_SAVED, 0, 1);
	assert_int_equal(result.n_findings, 1);
	assert_true(run.stop);

	run.stop = false;
	fd = vhu_run_state_channel(&run, false, true);
	write_content(VHU_CONTENT_RANDOM, 65536, 1);
	assert_int_equal(result.n_findings, 2);
	close(fd);
}

/* Steps before SET_DEVICE_STATE_FD are the case's mistake; after a refusal there is nothing to do. */
static void test_no_channel(void **state)
{
	int fd = vhu_run_state_channel(&run, true, false);

	vhu_run_state_answered(&conn);
	assert_true(run.state.over);
	move(VHU_TRANSFER_READ, 0);
	assert_false(run.broken);
	close(fd);
	run.state.over = false;
	move(VHU_TRANSFER_READ, 0);
	assert_true(run.broken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_unread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_channel, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
