/* Events of the kernel's tap to sessions: roles, channels, ends, and events that are nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/rng.h>
#include <capture/tap.h>
#include <capture/watch.h>
#include <fcntl.h>
#include <unistd.h>

struct fixture {
	struct vhu_watch *watch;
	struct vhu_buf text; /* a line a record */
	unsigned ignored;
};

static int note(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	struct fixture *f = ctx;

	vhu_buf_printf(&f->text, "%u %s", r->connection,
		       r->dir == VHU_CAP_DIR_FE	  ? ">"
		       : r->dir == VHU_CAP_DIR_BE ? "<"
						  : "-");
	if (r->channel == VHU_CAP_LIFE)
		vhu_buf_printf(&f->text, " %s", vhu_cap_life_name(r->kind));
	else
		vhu_buf_printf(&f->text, " %s %zu", vhu_cap_channel_name(r->channel), r->len);
	for (size_t i = 0; i < r->n_fds; i++)
		vhu_buf_printf(&f->text, " fd%d", (int)r->fds[i].number);
	if (r->flags)
		vhu_buf_printf(&f->text, " (%x)", (unsigned)r->flags);
	vhu_buf_puts(&f->text, "\n");
	assert_true(r->len <= r->orig_len || r->channel == VHU_CAP_LIFE);
	return 0;
}

static void ignore(void *ctx, uint64_t number)
{
	((struct fixture *)ctx)->ignored++;
}

static const uint64_t existing[] = {100, 200, 300};

static void start(struct fixture *f, const struct vhu_source_opts *o)
{
	struct vhu_watch_env env = {
		.numbers = true, .existing = existing, .n_existing = 3, .ignore = ignore, .ctx = f};

	*f = (struct fixture){0};
	assert_int_equal(vhu_watch_new(o, &env, note, f, &f->watch, NULL), 0);
}

static void expect(struct fixture *f, const char *text)
{
	assert_string_equal(vhu_buf_text(&f->text), text);
	vhu_buf_reset(&f->text);
}

static void done(struct fixture *f)
{
	vhu_watch_free(f->watch);
	vhu_buf_done(&f->text);
}

static void send_event(struct fixture *f, void *event, uint32_t kind, size_t len, uint64_t flow)
{
	struct vhu_tap_head *h = event;

	h->kind = kind;
	h->len = (uint32_t)len;
	h->flow = flow;
	assert_int_equal(vhu_watch_event(f->watch, event, len, NULL), 0);
}

/* A connection between sockets of the inodes a and b, over one that is bound to this path. */
static void open_named(struct fixture *f, uint64_t n, uint64_t a, uint64_t b, const char *path, bool named,
		       uint64_t t_ns)
{
	struct vhu_tap_open e = {.head.t_ns = t_ns};

	e.flow[0] = (struct vhu_tap_flow){
		.flow = 2 * n, .ino = a, .peer_ino = b, .sender = UINT64_C(7) << 32, .named = named};
	e.flow[1] = (struct vhu_tap_flow){
		.flow = 2 * n + 1, .ino = b, .peer_ino = a, .sender = UINT64_C(8) << 32};
	if (path) {
		e.path_len = (uint32_t)strlen(path);
		memcpy(e.path, path, e.path_len);
	}
	send_event(f, &e, VHU_TAP_OPEN, sizeof(e), 2 * n);
}

/* Connection n. */
static void open_connection(struct fixture *f, uint64_t n, uint64_t a, uint64_t b, const char *path)
{
	open_named(f, n, a, b, path, false, 0);
}

static void put_header(uint8_t *bytes, uint32_t request, uint32_t flags, uint32_t size)
{
	vhu_ne_put(bytes, 4, request);
	vhu_ne_put(bytes + 4, 4, flags);
	vhu_ne_put(bytes + 8, 4, size);
}

static void data(struct fixture *f, uint64_t flow, uint64_t off, uint32_t request, uint32_t flags,
		 uint32_t size, uint32_t n_fds)
{
	union {
		struct vhu_tap_data d;
		uint8_t room[sizeof(struct vhu_tap_data) + 300];
	} e = {.d = {.off = off, .kept = 12 + size, .n_fds = n_fds}};

	e.d.sender = (uint64_t)(7 + (flow & 1)) << 32;
	e.d.reader = (uint64_t)(8 - (flow & 1)) << 32;
	put_header(e.d.bytes, request, flags, size);
	send_event(f, &e, VHU_TAP_DATA, sizeof(e.d) + 12 + size, flow);
}

static void fd(struct fixture *f, uint64_t flow, enum vhu_fd_kind kind, uint64_t ino)
{
	struct vhu_tap_fd e = {.object = 0xffff888800001000, .ino = ino, .kind = (uint8_t)kind};

	send_event(f, &e, VHU_TAP_FD, sizeof(e), flow);
}

static void numbers(struct fixture *f, uint64_t flow, int number)
{
	struct vhu_tap_numbers e = {.n = 1, .number = {number}};

	send_event(f, &e, VHU_TAP_NUMBERS, sizeof(e), flow);
}

static void end(struct fixture *f, uint64_t flow, uint32_t kind)
{
	struct vhu_tap_end e = {0};

	send_event(f, &e, kind, sizeof(e), flow);
}

static const struct vhu_source_opts all = {.all = true};
static const struct vhu_source_opts socket_x = {.sockets = {"/nowhere/x"}, .n_sockets = 1};

static void a_session_from_its_start_to_its_end(void **state)
{
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 1, 2, "/nowhere/x");
	expect(&f, "");
	data(&f, 2, 0, VHU_ID_GET_FEATURES, 1, 0, 0);
	data(&f, 3, 0, VHU_ID_GET_FEATURES, 5, 8, 0);
	end(&f, 2, VHU_TAP_END);
	expect(&f, "1 > connect\n1 > main 12\n1 < main 20\n1 > close\n");
	end(&f, 2, VHU_TAP_CLOSED);
	end(&f, 3, VHU_TAP_CLOSED);
	assert_int_equal(vhu_watch_settle(f.watch, 0, NULL), 0);
	assert_int_equal(vhu_watch_settle(f.watch, 0, NULL), 0);
	assert_int_equal(vhu_watch_stop(f.watch, 0, NULL), 0);
	expect(&f, "");
	done(&f);
}

static void a_reply_first_means_that_the_sender_is_the_back_end(void **state)
{
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 100, 5, NULL); /* older than the capture */
	data(&f, 2, 0, VHU_ID_GET_CONFIG, 5, 12, 0);
	data(&f, 3, 0, VHU_ID_SET_OWNER, 1, 0, 0);
	assert_int_equal(vhu_watch_stop(f.watch, 0, NULL), 0);
	expect(&f, "1 > connect\n1 < main 24 (2)\n1 > main 12 (2)\n1 - stop\n");
	done(&f);
}

static void only_what_was_asked_for(void **state)
{
	static const struct vhu_source_opts by_pid = {.pids = {8}, .n_pids = 1};
	struct fixture f;

	start(&f, &socket_x);
	open_connection(&f, 1, 1, 2, "/nowhere/y");
	data(&f, 2, 0, VHU_ID_GET_FEATURES, 1, 0, 0);
	open_connection(&f, 2, 3, 4, "/nowhere/x");
	data(&f, 4, 0, 0x20544547, 1, 0, 0); /* nonsense, but there */
	expect(&f, "1 > connect\n1 > main 12\n");
	assert_int_equal(f.ignored, 1);
	done(&f);

	start(&f, &by_pid);
	open_connection(&f, 1, 1, 2, NULL);
	data(&f, 3, 0, VHU_ID_GET_FEATURES, 1, 0, 0);
	expect(&f, "1 > connect\n1 > main 12\n");
	done(&f);
}

static void what_speaks_otherwise_is_refused(void **state)
{
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 1, 2, NULL);
	data(&f, 2, 0, VHU_ID_GET_FEATURES, 1, 4, 0); /* a size that it never has */
	data(&f, 2, 16, VHU_ID_GET_FEATURES, 1, 0, 0);
	expect(&f, "");
	assert_int_equal(f.ignored, 1);
	done(&f);
}

static void descriptors_wait_for_their_numbers(void **state)
{
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 1, 2, NULL);
	fd(&f, 2, VHU_FDK_EVENTFD, 9);
	data(&f, 2, 0, VHU_ID_SET_VRING_KICK, 1, 8, 1);
	data(&f, 3, 0, VHU_ID_SET_VRING_KICK, 5, 8, 0);
	expect(&f, "");
	numbers(&f, 2, 31);
	expect(&f, "1 > connect\n1 > main 20 fd31\n1 < main 20\n");
	numbers(&f, 2, 32); /* told before the data */
	fd(&f, 2, VHU_FDK_EVENTFD, 9);
	data(&f, 2, 20, VHU_ID_SET_VRING_KICK, 1, 8, 1);
	expect(&f, "1 > main 20 fd32\n");
	/* Never told: after a while it goes on, with a number that no descriptor has. */
	fd(&f, 2, VHU_FDK_EVENTFD, 9);
	data(&f, 2, 40, VHU_ID_SET_VRING_KICK, 1, 8, 1);
	expect(&f, "");
	assert_int_equal(vhu_watch_settle(f.watch, UINT64_C(210000000), NULL), 0);
	assert_non_null(strstr(vhu_buf_text(&f.text), "1 > main 20 fd-"));
	/* Or too late: then they are not those of the next. */
	vhu_buf_reset(&f.text);
	numbers(&f, 2, 33);
	fd(&f, 2, VHU_FDK_EVENTFD, 9);
	data(&f, 2, 60, VHU_ID_SET_VRING_KICK, 1, 8, 1);
	numbers(&f, 2, 34);
	expect(&f, "1 > main 20 fd34\n");
	/* One of two was lost in the ring. */
	numbers(&f, 2, 35);
	data(&f, 2, 80, VHU_ID_SET_VRING_KICK, 1, 8, 1);
	expect(&f, "1 > main 20 (20)\n");
	done(&f);
}

static void a_passed_socket_is_a_channel_of_the_session(void **state)
{
	struct fixture f;

	start(&f, &socket_x);
	open_connection(&f, 1, 1, 2, "/nowhere/x");
	open_connection(&f, 2, 11, 12, NULL); /* the tap saw it being passed */
	fd(&f, 2, VHU_FDK_SOCKET, 12);
	numbers(&f, 2, 40);
	data(&f, 2, 0, VHU_ID_SET_BACKEND_REQ_FD, 1, 0, 1);
	data(&f, 5, 0, VHU_ID_BACKEND_CONFIG_CHANGE_MSG, 1, 0, 0);
	data(&f, 4, 0, VHU_ID_BACKEND_CONFIG_CHANGE_MSG, 5, 8, 0);
	/* One that is seen only when it speaks. */
	fd(&f, 2, VHU_FDK_SOCKET, 21);
	numbers(&f, 2, 41);
	data(&f, 2, 12, VHU_ID_GPU_SET_SOCKET, 1, 0, 1);
	open_connection(&f, 3, 21, 22, NULL);
	data(&f, 6, 0, VHU_ID_GPU_GET_PROTOCOL_FEATURES, 0, 0, 0);
	expect(&f, "1 > connect\n1 > main 12 fd40\n1 < backend 12\n1 > backend 20\n1 > main 12 fd41\n1 < gpu "
		   "12\n");
	done(&f);
}

static void what_the_ring_lost_is_told(void **state)
{
	struct fixture f;
	struct vhu_tap_end e = {.lost = 3};

	start(&f, &all);
	open_connection(&f, 1, 1, 2, NULL);
	data(&f, 2, 12, VHU_ID_SET_OWNER, 1, 0, 0); /* the first is not there */
	data(&f, 2, 44, VHU_ID_SET_OWNER, 1, 0, 0);
	send_event(&f, &e, VHU_TAP_END, sizeof(e), 2);
	expect(&f, "1 > connect\n1 > main 12 (2)\n1 > main 12 (2)\n1 > lost\n1 > close\n");
	done(&f);
}

static void a_header_that_waited_is_a_read_of_its_own(void **state)
{
	union {
		struct vhu_tap_data d;
		uint8_t room[sizeof(struct vhu_tap_data) + 20];
	} e = {.d = {.kept = 20, .before_read = 5, .read = 6}};
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 1, 2, NULL);
	put_header(e.d.bytes, VHU_ID_SET_FEATURES, 1, 8);
	send_event(&f, &e, VHU_TAP_DATA, sizeof(e.d) + 20, 2);
	expect(&f, "1 > connect\n1 > main 20 (80)\n");
	done(&f);
}

/* A header of 12 bytes, which came with read `before`, and 8 bytes behind it. */
static void next(struct fixture *f, uint64_t flow, uint32_t before, uint32_t read)
{
	union {
		struct vhu_tap_next n;
		uint8_t room[sizeof(struct vhu_tap_next) + 20];
	} e = {.n = {.before_read = before, .read = read}};

	put_header(e.n.bytes, VHU_ID_SET_FEATURES, 1, 8);
	send_event(f, &e, VHU_TAP_NEXT, sizeof(e.n) + 20, flow);
}

static void what_comes_next_goes_on_where_the_data_before_it_ended(void **state)
{
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 1, 2, NULL);
	data(&f, 2, 0, VHU_ID_SET_OWNER, 1, 0, 0);
	next(&f, 2, 0, 2);
	next(&f, 2, 0, 2); /* of the same read */
	next(&f, 2, 3, 4);
	data(&f, 2, 72, VHU_ID_SET_OWNER, 1, 0, 0);
	next(&f, 4, 0, 1);			     /* of nobody */
	data(&f, 2, 104, VHU_ID_SET_OWNER, 1, 0, 0); /* 20 bytes are lost */
	next(&f, 2, 0, 9);
	expect(&f, "1 > connect\n1 > main 12\n1 > main 20\n1 > main 20 (100)\n1 > main 20 (80)\n1 > main 12\n"
		   "1 > main 12 (2)\n1 > main 20\n");
	done(&f);
}

static void a_process_that_dies_is_named(void **state)
{
	struct vhu_tap_exit e = {.tgid = 8, .status = 9};
	struct fixture f;

	start(&f, &all);
	open_connection(&f, 1, 1, 2, NULL);
	data(&f, 2, 0, VHU_ID_GET_FEATURES, 1, 0, 0);
	send_event(&f, &e, VHU_TAP_EXIT, sizeof(e), 0);
	end(&f, 3, VHU_TAP_CLOSED);
	assert_int_equal(vhu_watch_settle(f.watch, 0, NULL), 0);
	expect(&f, "1 > connect\n1 > main 12\n1 < exit\n1 < close\n");
	done(&f);
}

/* Nobody could look at the file in time: its name and its folder's are what there is to go by. */
static void a_socket_whose_file_is_gone_is_still_the_one(void **state)
{
	char folder[] = "/tmp/vhu-watch-XXXXXX", path[64], elsewhere[64];
	struct vhu_source_opts o = {.sockets = {path}, .n_sockets = 1};
	struct fixture f;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(elsewhere, sizeof(elsewhere), "/proc/self/s");
	start(&f, &o);
	open_named(&f, 1, 1, 2, "s", true, 0);
	open_named(&f, 2, 3, 4, "s", false, 0);
	open_named(&f, 3, 5, 6, elsewhere, true, 0);
	/* Another file is there by now; it is older than the last connection. */
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	open_named(&f, 4, 7, 8, "x/s", true, 1);
	open_named(&f, 5, 9, 10, "x/s", true, UINT64_MAX / 2);
	for (uint64_t n = 1; n <= 5; n++)
		data(&f, 2 * n, 0, VHU_ID_GET_FEATURES, 1, 0, 0);
	expect(&f, "1 > connect\n1 > main 12\n2 > connect\n2 > main 12\n");
	done(&f);
	unlink(path);
	rmdir(folder);
}

/* The kernel would never: but what it says is checked like everything else. */
static void nonsense_does_no_harm(void **state)
{
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct vhu_rng rng;
		struct fixture f;

		vhu_rng_init(&rng, seed);
		start(&f, seed % 2 ? &all : &socket_x);
		for (int i = 0; i < 200; i++) {
			_Alignas(8) uint8_t bytes[1200];
			struct vhu_tap_head *h = (void *)bytes;
			size_t len = (size_t)vhu_rng_below(&rng, sizeof(bytes) + 1);

			vhu_rng_fill(&rng, bytes, sizeof(bytes));
			if (seed % 3)
				memset(bytes + sizeof(*h), 0,
				       (size_t)vhu_rng_below(&rng, sizeof(bytes) - sizeof(*h)));
			h->kind = (uint32_t)vhu_rng_below(&rng, 11);
			h->len = (uint32_t)vhu_rng_below(&rng, sizeof(bytes));
			h->flow = vhu_rng_below(&rng, 8);
			h->t_ns = (uint64_t)i << 20;
			if (h->kind == VHU_TAP_DATA && seed % 4)
				((struct vhu_tap_data *)bytes)->kept = (uint32_t)vhu_rng_below(&rng, 1000);
			assert_int_equal(vhu_watch_event(f.watch, bytes, len, NULL), 0);
			if (i % 16 == 0)
				assert_int_equal(vhu_watch_settle(f.watch, h->t_ns, NULL), 0);
		}
		assert_int_equal(vhu_watch_stop(f.watch, 0, NULL), 0);
		done(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_from_its_start_to_its_end),
		cmocka_unit_test(a_reply_first_means_that_the_sender_is_the_back_end),
		cmocka_unit_test(only_what_was_asked_for),
		cmocka_unit_test(what_speaks_otherwise_is_refused),
		cmocka_unit_test(descriptors_wait_for_their_numbers),
		cmocka_unit_test(a_passed_socket_is_a_channel_of_the_session),
		cmocka_unit_test(what_the_ring_lost_is_told),
		cmocka_unit_test(a_header_that_waited_is_a_read_of_its_own),
		cmocka_unit_test(what_comes_next_goes_on_where_the_data_before_it_ended),
		cmocka_unit_test(a_process_that_dies_is_named),
		cmocka_unit_test(a_socket_whose_file_is_gone_is_still_the_one),
		cmocka_unit_test(nonsense_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
