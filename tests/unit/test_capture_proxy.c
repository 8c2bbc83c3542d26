/*
 * The proxy: what one side sends the other side gets, byte by byte, descriptors at their byte, ends as they
 * happen; and what is written of it.
 */
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
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { NEED_REPLY = 9, PLAIN = 1, REPLY = 5 };

struct fixture {
	char dir[32], listen[64], target[64];
	int target_fd, fe, be;
	void *proxy;
	struct vhu_buf text; /* "fe main 12 1fd; be main 20" */
	size_t n;
	int fds_before;
};

static int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int note(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	static const char *const dirs[] = {"-", "fe", "be"};
	struct fixture *f = ctx;

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

static void recorded(struct fixture *f, const char *text)
{
	assert_string_equal(vhu_buf_text(&f->text), text);
	vhu_buf_reset(&f->text);
	f->n = 0;
}

/* Everything that is ready, and what becomes ready by that. */
static void run(struct fixture *f)
{
	struct pollfd p = {.fd = vhu_source_proxy.poll_fd(f->proxy), .events = POLLIN};

	while (poll(&p, 1, 0) == 1)
		assert_int_equal(vhu_source_proxy.drain(f->proxy, NULL), 0);
}

static int setup(void **state)
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

static int teardown(void **state)
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

static void connect_both(struct fixture *f)
{
	f->fe = vhu_unix_connect(f->listen);
	assert_true(f->fe >= 0);
	run(f);
	f->be = accept4(f->target_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(f->be >= 0);
}

static void send_bytes(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)] = {0};
	struct cmsghdr *cmsg = (struct cmsghdr *)control;
	struct iovec iov = {(void *)bytes, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), len);
}

static size_t message(uint8_t *out, uint32_t id, uint32_t flags, uint32_t size)
{
	uint32_t header[3] = {id, flags, size};

	memcpy(out, header, sizeof(header));
	for (uint32_t i = 0; i < size; i++)
		out[sizeof(header) + i] = (uint8_t)(id * 7 + i);
	return sizeof(header) + size;
}

static void send_message(int fd, uint32_t id, uint32_t flags, uint32_t size, const int *fds, size_t n_fds)
{
	uint8_t bytes[4096];

	send_bytes(fd, bytes, message(bytes, id, flags, size), fds, n_fds);
}

/* One recvmsg: its length or -errno; descriptors are the caller's. */
static ssize_t receive(int fd, void *bytes, size_t len, int *fds, size_t *n_fds)
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
static void receive_bytes(int fd, size_t len)
{
	uint8_t bytes[4096];
	int fds[253];
	size_t n_fds;

	assert_int_equal(receive(fd, bytes, len, fds, &n_fds), len);
	assert_int_equal(n_fds, 0);
}

/* What reading gives: -EAGAIN, 0 at the end, other errors. */
static int reading(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n < 0 ? -errno : (int)n;
}

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

static void test_no_target(void **state)
{
	struct fixture *f = *state;

	vhu_close(&f->target_fd);
	f->fe = vhu_unix_connect(f->listen);
	run(f);
	assert_int_equal(reading(f->fe), 0);
	recorded(f, "1 fe connect; 1 be close ECONNREFUSED");
	/* It comes back, and the front-end tries again. */
	unlink(f->target);
	vhu_close(&f->fe);
	f->target_fd = vhu_unix_listen(f->target, NULL);
	connect_both(f);
	send_message(f->fe, 3, PLAIN, 0, NULL, 0);
	run(f);
	receive_bytes(f->be, 12);
	recorded(f, "2 fe connect; 2 fe main 12");
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
		TEST(test_reconnect_in_order),
		TEST(test_full_backlog),
		TEST(test_back_end_connects),
		TEST(test_stops_with_open_sessions),
		TEST(test_backend_channel),
		TEST(test_backend_channel_split),
		TEST(test_channels_keep_their_order),
		TEST(test_gpu_socket),
		TEST(test_other_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
