/*
 * The proxy: what one side sends the other side gets, byte by byte, descriptors at their byte, ends as they
 * happen; and what is written of it.
 */
#include <base/rng.h>

#include "proxy_fixture.h"

/* --- descriptors ------------------------------------------------------------------------------------ */

/* With bytes queued before and behind: they arrive with the very byte. */
static void test_descriptors_keep_their_byte(void **state)
{
	struct fixture *f = *state;
	int event = eventfd(5, EFD_CLOEXEC), fds[253];
	uint8_t bytes[64];
	size_t n_fds;
	uint64_t value;

	connect_both(f);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	send_message(f->fe, 12, PLAIN, 8, &event, 1);
	send_message(f->fe, 2, PLAIN, 8, NULL, 0);
	run(f);
	receive_bytes(f->be, 24);
	assert_int_equal(receive(f->be, bytes, 1, fds, &n_fds), 1);
	assert_int_equal(n_fds, 1);
	assert_int_equal(read(fds[0], &value, 8), 8);
	assert_int_equal(value, 5);
	close(fds[0]);
	receive_bytes(f->be, 39);
	recorded(f, "1 fe connect; 1 fe main 12; 1 fe main 12; 1 fe main 20 eventfd; 1 fe main 20");
	close(event);
}

static void test_as_many_as_there_can_be(void **state)
{
	struct fixture *f = *state;
	int events[253], fds[253];
	uint8_t bytes[64];
	size_t n_fds;

	connect_both(f);
	for (size_t i = 0; i < 253; i++)
		events[i] = eventfd(0, EFD_CLOEXEC);
	send_message(f->fe, 5, PLAIN, 8, events, 253);
	for (size_t i = 0; i < 253; i++)
		close(events[i]);
	run(f);
	assert_int_equal(receive(f->be, bytes, sizeof(bytes), fds, &n_fds), 20);
	assert_int_equal(n_fds, 253);
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]);
}

/* Random messages in random pieces with random descriptors: what arrives is what was sent. */
static void test_anything(void **state)
{
	struct fixture *f = *state;
	struct vhu_rng rng;
	struct vhu_buf sent = {0}, got = {0};
	unsigned sent_fds = 0, got_fds = 0;
	uint64_t place[4096], at = 0;

	vhu_rng_init(&rng, 7);
	connect_both(f);
	for (unsigned round = 0; round < 3000; round++) {
		uint8_t bytes[400];
		size_t len = 1 + vhu_rng_below(&rng, sizeof(bytes));
		int event = vhu_rng_below(&rng, 4) ? -1 : eventfd(sent_fds + 1, EFD_CLOEXEC);

		vhu_rng_fill(&rng, bytes, len);
		send_bytes(f->fe, bytes, len, &event, event >= 0);
		vhu_buf_add(&sent, bytes, len);
		if (event >= 0)
			place[sent_fds++] = sent.len - len;
		vhu_close(&event);
		if (vhu_rng_below(&rng, 5))
			continue;
		for (run(f);;) {
			int fds[253];
			uint64_t value = 0;
			size_t n_fds;
			ssize_t n = receive(f->be, bytes, 1 + vhu_rng_below(&rng, 300), fds, &n_fds);

			if (n < 0)
				break;
			vhu_buf_add(&got, bytes, (size_t)n);
			assert_true(n_fds <= 1);
			if (n_fds) {
				/* The kernel may join bytes that came before, none that come after. */
				assert_in_range(place[got_fds], at, at + (size_t)n - 1);
				assert_int_equal(read(fds[0], &value, 8), 8);
				assert_int_equal(value, ++got_fds);
				close(fds[0]);
			}
			at += (size_t)n;
		}
		run(f);
	}
	assert_int_equal(got.len, sent.len);
	assert_memory_equal(got.data, sent.data, sent.len);
	assert_int_equal(got_fds, sent_fds);
	vhu_buf_done(&sent);
	vhu_buf_done(&got);
}

/* --- streams ---------------------------------------------------------------------------------------- */

static void test_pieces_are_not_waited_for(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];
	size_t len = message(bytes, 2, NEED_REPLY, 8);

	connect_both(f);
	send_bytes(f->fe, bytes, 3, NULL, 0);
	run(f);
	receive_bytes(f->be, 3);
	send_bytes(f->fe, bytes + 3, len - 3, NULL, 0);
	run(f);
	receive_bytes(f->be, len - 3);
	send_message(f->be, 2, REPLY, 8, NULL, 0);
	run(f);
	receive_bytes(f->fe, 20);
	recorded(f, "1 fe connect; 1 fe main 20 3+17; 1 be main 20");
}

static void test_nonsense_goes_on(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[100];

	memset(bytes, 0xff, sizeof(bytes));
	connect_both(f);
	send_bytes(f->fe, bytes, sizeof(bytes), NULL, 0);
	send_bytes(f->be, bytes, sizeof(bytes), NULL, 0);
	run(f);
	receive_bytes(f->be, sizeof(bytes));
	receive_bytes(f->fe, sizeof(bytes));
}

static void test_back_pressure(void **state)
{
	struct fixture *f = *state;
	static uint8_t bytes[8192], back[8192];
	size_t sent = 0, got = 0, n_fds;
	int fds[253];
	ssize_t n = 1;

	connect_both(f);
	while (n > 0) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)((sent + i) % 251);
		n = send(f->fe, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n > 0)
			sent += (size_t)n;
		run(f);
	}
	/* Two sockets' buffers, and one read of the proxy. */
	assert_true(sent < 2 << 20);
	while (got < sent) {
		n = receive(f->be, back, sizeof(back), fds, &n_fds);
		if (n < 0) {
			assert_int_equal(n, -EAGAIN);
			run(f);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(back[i], (got + (size_t)i) % 251);
		got += (size_t)n;
	}
	assert_int_equal(reading(f->be), -EAGAIN);
}

/* --- ends ------------------------------------------------------------------------------------------- */

static void test_front_end_closes(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	vhu_close(&f->fe);
	run(f);
	receive_bytes(f->be, 12);
	assert_int_equal(reading(f->be), 0);
	assert_int_equal(send(f->be, "x", 1, MSG_NOSIGNAL), -1);
	recorded(f, "1 fe connect; 1 fe main 12; 1 fe close");
}

static void test_back_end_closes(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->be, 12);
	send_message(f->be, 1, REPLY, 8, NULL, 0);
	vhu_close(&f->be);
	run(f);
	receive_bytes(f->fe, 20);
	assert_int_equal(reading(f->fe), 0);
	recorded(f, "1 fe connect; 1 fe main 12; 1 be main 20; 1 be close");
}

/* It closed without reading: what was underway is told, and so is the reset. */
static void test_back_end_closes_unread(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	run(f);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	vhu_close(&f->be);
	send_message(f->fe, 2, PLAIN, 8, NULL, 0);
	run(f);
	assert_true(reading(f->fe) == 0 || reading(f->fe) == -ECONNRESET);
	assert_int_equal(send(f->fe, "x", 1, MSG_NOSIGNAL), -1);
	assert_non_null(strstr(vhu_buf_text(&f->text), "1 fe main 12; 1 fe main 20; 1 be close ECONNRESET"));
}

static void test_half_close(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	shutdown(f->fe, SHUT_WR);
	run(f);
	receive_bytes(f->be, 12);
	assert_int_equal(reading(f->be), 0);
	send_message(f->be, 1, REPLY, 8, NULL, 0);
	run(f);
	receive_bytes(f->fe, 20);
	assert_int_equal(reading(f->fe), -EAGAIN);
	vhu_close(&f->be);
	run(f);
	assert_int_equal(reading(f->fe), 0);
	recorded(f, "1 fe connect; 1 fe main 12; 1 be main 20; 1 fe close");
}

/* Half-closed, then gone for good: nothing else wakes us. */
static void test_half_close_then_close(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	shutdown(f->fe, SHUT_WR);
	run(f);
	vhu_close(&f->fe);
	run(f);
	receive_bytes(f->be, 12);
	assert_int_equal(reading(f->be), 0);
	assert_int_equal(send(f->be, "x", 1, MSG_NOSIGNAL), -1);
}

static void test_reader_stops_reading(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	shutdown(f->be, SHUT_RD);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	run(f);
	assert_int_equal(send(f->fe, "x", 1, MSG_NOSIGNAL), -1);
	send_message(f->be, 1, REPLY, 8, NULL, 0);
	run(f);
	receive_bytes(f->fe, 20);
}

static void test_ends_inside_a_message(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64];

	connect_both(f);
	message(bytes, 2, PLAIN, 8);
	send_bytes(f->fe, bytes, 15, NULL, 0);
	vhu_close(&f->fe);
	run(f);
	receive_bytes(f->be, 15);
	assert_int_equal(reading(f->be), 0);
	recorded(f, "1 fe connect; 1 fe main 15 partial; 1 fe close");
}

/* --- connections ------------------------------------------------------------------------------------ */

/* Tries until somebody is there. */
static int connect_soon(struct fixture *f)
{
	struct pollfd p = {.fd = vhu_source_proxy.poll_fd(f->proxy), .events = POLLIN};
	int fd;

	while ((fd = vhu_unix_connect(f->listen)) < 0) {
		assert_int_equal(fd, -ECONNREFUSED);
		assert_int_equal(poll(&p, 1, 20000), 1);
		run(f);
	}
	return fd;
}

static void come_back(struct fixture *f)
{
	unlink(f->target);
	f->target_fd = vhu_unix_listen(f->target, NULL);
	vhu_close(&f->fe);
	vhu_close(&f->be);
	f->fe = connect_soon(f);
	run(f);
	f->be = accept4(f->target_fd, NULL, NULL, SOCK_CLOEXEC);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->be, 12);
}

/* Some sandboxes do not show who listens. */
static void need_sight(struct fixture *f)
{
	if (!vhu_unix_listens(f->target))
		skip();
}

/* Its socket is there, itself is not. */
static void test_no_target(void **state)
{
	struct fixture *f = *state;

	need_sight(f);
	vhu_close(&f->target_fd);
	f->fe = vhu_unix_connect(f->listen);
	run(f);
	assert_int_equal(reading(f->fe), 0);
	assert_int_equal(vhu_unix_connect(f->listen), -ECONNREFUSED);
	recorded(f, "1 fe connect; 1 be close ECONNREFUSED");
	come_back(f);
	recorded(f, "2 fe connect; 2 fe main 12");
}

/* Who has seen the back-end's end finds nobody there, until it is back. */
static void test_target_dies(void **state)
{
	struct fixture *f = *state;

	need_sight(f);
	connect_both(f);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->be, 12);
	vhu_close(&f->target_fd);
	vhu_close(&f->be);
	run(f);
	assert_int_equal(reading(f->fe), 0);
	assert_int_equal(vhu_unix_connect(f->listen), -ECONNREFUSED);
	recorded(f, "1 fe connect; 1 fe main 12; 1 be close");
	come_back(f);
	recorded(f, "2 fe connect; 2 fe main 12");
}

/* The proxy is there before the back-end is. */
static void test_target_comes_late(void **state)
{
	struct fixture *f = *state;
	struct vhu_source_opts opts = {.listen = f->listen, .target = f->target};

	assert_int_equal(vhu_source_proxy.close(f->proxy, NULL), 0);
	vhu_close(&f->target_fd);
	unlink(f->target);
	assert_int_equal(vhu_source_proxy.open(&opts, note, f, &f->proxy, NULL), 0);
	assert_int_equal(vhu_unix_connect(f->listen), -ECONNREFUSED);
	come_back(f);
	recorded(f, "1 fe connect; 1 fe main 12");
}

/* The old connection's end is there before the new connection. */
static void test_reconnect_in_order(void **state)
{
	struct fixture *f = *state;
	int again;

	connect_both(f);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	vhu_close(&f->fe);
	f->fe = vhu_unix_connect(f->listen);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->be, 12);
	assert_int_equal(reading(f->be), 0);
	again = accept4(f->target_fd, NULL, NULL, SOCK_CLOEXEC);
	receive_bytes(again, 12);
	recorded(f, "1 fe connect; 1 fe main 12; 1 fe close; 2 fe connect; 2 fe main 12");
	close(again);
}

/* A target that accepts slowly: connections wait, in their order. */
static void test_full_backlog(void **state)
{
	enum { N = 12 };
	struct fixture *f = *state;
	int fe[N];

	for (unsigned i = 0; i < N; i++) {
		fe[i] = vhu_unix_connect(f->listen);
		assert_true(fe[i] >= 0);
		send_bytes(fe[i], &(uint8_t){(uint8_t)i}, 1, NULL, 0);
		run(f);
	}
	for (unsigned i = 0; i < N; i++) {
		struct pollfd p[2] = {{.fd = f->target_fd, .events = POLLIN},
				      {.fd = vhu_source_proxy.poll_fd(f->proxy), .events = POLLIN}};
		uint8_t byte;
		int be;

		while (poll(p, 2, -1) > 0 && !p[0].revents)
			run(f);
		be = accept4(f->target_fd, NULL, NULL, SOCK_CLOEXEC);
		run(f);
		assert_int_equal(recv(be, &byte, 1, MSG_DONTWAIT), 1);
		assert_int_equal(byte, i);
		close(be);
		close(fe[i]);
	}
	run(f);
}

/* QEMU with server=on listens, and the back-end connects: who speaks first is the front-end. */
static void test_back_end_connects(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->be, 1, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->fe, 12);
	send_message(f->fe, 1, REPLY, 8, NULL, 0);
	run(f);
	receive_bytes(f->be, 20);
	vhu_close(&f->fe);
	run(f);
	recorded(f, "1 be connect; 1 fe main 12; 1 be main 20; 1 be close");
}

/* The disk is full: that is no reason to end anything but the recording. */
static void test_goes_on_unrecorded(void **state)
{
	struct fixture *f = *state;
	struct vhu_err err;

	f->full = 2;
	connect_both(f);
	for (unsigned i = 0; i < 3; i++) {
		send_message(f->fe, 1, PLAIN, 0, NULL, 0);
		run(f);
		receive_bytes(f->be, 12);
		send_message(f->be, 1, REPLY, 8, NULL, 0);
		run(f);
		receive_bytes(f->fe, 20);
	}
	assert_int_equal(vhu_source_proxy.close(f->proxy, &err), -ENOSPC);
	assert_string_equal(err.text, "full");
	f->proxy = NULL;
	recorded(f, "1 fe connect; 1 fe main 12");
}

static void test_stops_with_open_sessions(void **state)
{
	struct fixture *f = *state;

	connect_both(f);
	send_message(f->fe, 1, PLAIN, 0, NULL, 0);
	assert_int_equal(vhu_source_proxy.close(f->proxy, NULL), 0);
	f->proxy = NULL;
	receive_bytes(f->be, 12);
	assert_int_equal(reading(f->be), 0);
	assert_int_equal(reading(f->fe), 0);
	recorded(f, "1 fe connect; 1 fe main 12; 1 - stop");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_descriptors_keep_their_byte),
		TEST(test_as_many_as_there_can_be),
		TEST(test_anything),
		TEST(test_pieces_are_not_waited_for),
		TEST(test_nonsense_goes_on),
		TEST(test_back_pressure),
		TEST(test_front_end_closes),
		TEST(test_back_end_closes),
		TEST(test_back_end_closes_unread),
		TEST(test_half_close),
		TEST(test_half_close_then_close),
		TEST(test_reader_stops_reading),
		TEST(test_ends_inside_a_message),
		TEST(test_no_target),
		TEST(test_target_dies),
		TEST(test_target_comes_late),
		TEST(test_reconnect_in_order),
		TEST(test_full_backlog),
		TEST(test_back_end_connects),
		TEST(test_goes_on_unrecorded),
		TEST(test_stops_with_open_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
