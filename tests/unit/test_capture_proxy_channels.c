/* Sockets that pass through the proxy, which become channels of it. */
#include "proxy_fixture.h"

/* --- the back-end's channel ------------------------------------------------------------------------- */

/* Hands a socket over with SET_BACKEND_REQ_FD (or another message): the front-end's end and the back-end's.
 */
static void hand_over(struct fixture *f, uint32_t id, size_t first, int *ret_fe, int *ret_be)
{
	int pair[2], fds[253];
	uint8_t bytes[64];
	size_t n_fds, len = message(bytes, id, PLAIN, 0);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	send_bytes(f->fe, bytes, first, &pair[1], 1);
	run(f);
	if (first < len)
		send_bytes(f->fe, bytes + first, len - first, NULL, 0);
	close(pair[1]);
	run(f);
	assert_int_equal(receive(f->be, bytes, sizeof(bytes), fds, &n_fds), first);
	assert_int_equal(n_fds, 1);
	if (first < len)
		receive_bytes(f->be, len - first);
	*ret_fe = pair[0];
	*ret_be = fds[0];
	assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
}

static void test_backend_channel(void **state)
{
	struct fixture *f = *state;
	int fe, be;

	connect_both(f);
	hand_over(f, 21, 12, &fe, &be);
	send_message(be, 2, NEED_REPLY, 0, NULL, 0);
	run(f);
	receive_bytes(fe, 12);
	send_message(fe, 2, REPLY, 8, NULL, 0);
	run(f);
	receive_bytes(be, 20);
	vhu_close(&be);
	run(f);
	assert_int_equal(reading(fe), 0);
	assert_int_equal(reading(f->fe), -EAGAIN);
	recorded(f, "1 fe connect; 1 fe main 12 socket; 1 be backend 12; 1 fe backend 20");
	close(fe);
}

/* The descriptor comes before the message can be told from others. */
static void test_backend_channel_split(void **state)
{
	struct fixture *f = *state;
	int fe, be;

	connect_both(f);
	hand_over(f, 21, 2, &fe, &be);
	send_message(be, 2, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(fe, 12);
	recorded(f, "1 fe connect; 1 fe main 12 socket 2+10; 1 be backend 12");
	close(fe);
	close(be);
}

/* Who has the answer has what was sent before it, on whichever channel. */
static void test_channels_keep_their_order(void **state)
{
	struct fixture *f = *state;
	int fe, be;

	connect_both(f);
	hand_over(f, 21, 12, &fe, &be);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->be, 12);
	send_message(be, 2, PLAIN, 0, NULL, 0);
	send_message(f->be, 1, REPLY, 8, NULL, 0);
	run(f);
	receive_bytes(f->fe, 20);
	receive_bytes(fe, 12);
	recorded(f, "1 fe connect; 1 fe main 12 socket; 1 fe main 12; 1 be backend 12; 1 be main 20");
	close(fe);
	close(be);
}

static void test_gpu_socket(void **state)
{
	struct fixture *f = *state;
	int fe, be;

	connect_both(f);
	hand_over(f, 33, 12, &fe, &be);
	send_message(be, 7, 0, 1000, NULL, 0);
	run(f);
	receive_bytes(fe, 1012);
	recorded(f, "1 fe connect; 1 fe main 12 socket; 1 be gpu 1012");
	close(fe);
	close(be);
}

/* Sockets of other messages, and what is no such socket, are passed on as they are. */
static void test_other_sockets(void **state)
{
	struct fixture *f = *state;
	int pair[2], fds[253], fe, be, dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat a, b;
	uint8_t bytes[64];
	size_t n_fds;

	connect_both(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	send_message(f->fe, 12, PLAIN, 8, pair, 1);
	run(f);
	assert_int_equal(receive(f->be, bytes, sizeof(bytes), fds, &n_fds), 20);
	assert_int_equal(fstat(pair[0], &a) | fstat(fds[0], &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fds[0]);
	send_message(f->fe, 21, PLAIN, 0, &dead, 1);
	run(f);
	assert_int_equal(receive(f->be, bytes, sizeof(bytes), fds, &n_fds), 12);
	assert_int_equal(fstat(dead, &a) | fstat(fds[0], &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fds[0]);
	close(dead);
	close(pair[0]);
	close(pair[1]);
	/* And one that is taken is closed when the session is. */
	hand_over(f, 21, 12, &fe, &be);
	close(fe);
	run(f);
	assert_int_equal(reading(be), 0);
	close(be);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_backend_channel),
		TEST(test_backend_channel_split),
		TEST(test_channels_keep_their_order),
		TEST(test_gpu_socket),
		TEST(test_other_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
