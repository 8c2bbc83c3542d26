/* Targets that we reach: words, options, connecting, listening. */
#include "target_fixture.h"

/* --- words --------------------------------------------------------------------------------- */

static void expect_words(const char *text, const char *const *expected)
{
	char **words = NULL;
	size_t n = 99, k = 0;

	assert_int_equal(vhu_words_split(text, &words, &n, NULL), 0);
	for (; expected[k]; k++) {
		assert_true(k < n);
		assert_string_equal(words[k], expected[k]);
	}
	assert_int_equal(n, k);
	assert_null(words[n]);
	vhu_words_free(words);
}

#define WORDS(text, ...) expect_words(text, (const char *const[]){__VA_ARGS__, NULL})

static void words_as_a_shell_splits_them(void **state)
{
	static const char *const none[] = {NULL};

	expect_words("", none);
	expect_words(" \t\n ", none);
	expect_words(" \\\n ", none);
	WORDS("a", "a");
	WORDS("  a  b\tc\nd ", "a", "b", "c", "d");
	WORDS("'a b' \"c d\"", "a b", "c d");
	WORDS("a'b'\"c\"d", "abcd");
	WORDS("'' \"\" x", "", "", "x");
	WORDS("a\\ b \\'c", "a b", "'c");
	WORDS("'a\\b' '\"'", "a\\b", "\"");
	WORDS("\"a\\\"b\\\\c\\$d\\`e\\f\"", "a\"b\\c$d`e\\f");
	WORDS("one \\\n two", "one", "two");
	WORDS("o\\\nne \"t\\\nwo\"", "one", "two");
	WORDS("$HOME * # ; | > ~ {a,b}", "$HOME", "*", "#", ";", "|", ">", "~", "{a,b}");
	WORDS("--opt='x y' --path={socket},n=1", "--opt=x y", "--path={socket},n=1");
	WORDS("ü\\ö", "üö");
}

static void words_that_do_not_end(void **state)
{
	static const char *const bad[] = {"a 'b c", "\"", "a \"b\\\"", "x\\", "'", "\"a\\"};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(bad); i++) {
		char **words = NULL;
		struct vhu_err err = {0};
		size_t n;

		assert_int_equal(vhu_words_split(bad[i], &words, &n, &err), -EINVAL);
		assert_null(words);
		assert_non_null(strstr(err.text, bad[i]));
	}
	struct vhu_err err = {0};
	assert_int_equal(vhu_words_split("ab 'c", &(char **){NULL}, &(size_t){0}, &err), -EINVAL);
	assert_non_null(strstr(err.text, "column 4"));
}

/* As many words as fit into a text, and none: the room is measured beforehand. */
static void words_fill_their_room(void **state)
{
	char text[64];

	for (size_t len = 0; len < sizeof(text); len++) {
		char **words;
		size_t n;

		for (size_t i = 0; i < len; i++)
			text[i] = i % 2 ? ' ' : 'w';
		text[len] = '\0';
		assert_int_equal(vhu_words_split(text, &words, &n, NULL), 0);
		assert_int_equal(n, (len + 1) / 2);
		for (size_t i = 0; i < n; i++)
			assert_string_equal(words[i], "w");
		vhu_words_free(words);
	}
}

/* --- options ------------------------------------------------------------------------------- */

static void refuse_options(struct ctx *c, const struct vhu_target_opts *opts, const char *text)
{
	struct vhu_target *t = NULL;

	c->err = (struct vhu_err){0};
	assert_int_equal(vhu_target_new(c->loop, opts, &t, &c->err), -EINVAL);
	assert_null(t);
	if (!strstr(c->err.text, text))
		fail_msg("no \"%s\" in: %s", text, c->err.text);
}

static void options_that_cannot_be(void **state)
{
	struct ctx *c = *state;
	const char *const nothing[] = {NULL};
	char path[200];
	struct vhu_target_opts o = {.how = VHU_TARGET_CONNECT};

	refuse_options(c, &o, "no socket to connect to");
	o.socket = "";
	refuse_options(c, &o, "empty");
	memset(path, 'p', sizeof(path) - 1);
	path[108] = '\0';
	o.socket = path;
	refuse_options(c, &o, "108 bytes, of at most 107");
	o.how = VHU_TARGET_LISTEN;
	refuse_options(c, &o, "108 bytes");
	o.socket = NULL;
	refuse_options(c, &o, "no socket to listen on");
	o = (struct vhu_target_opts){.how = VHU_TARGET_SPAWN};
	refuse_options(c, &o, "no command");
	o.command = "  ";
	refuse_options(c, &o, "empty");
	o.command = "a 'b";
	refuse_options(c, &o, "not closed");
	o.command = NULL;
	o.argv = nothing;
	refuse_options(c, &o, "empty");
}

static void a_tmpdir_that_is_too_long(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = {.how = VHU_TARGET_SPAWN, .command = "true"};
	char path[256];

	snprintf(path, sizeof(path), "%s/%080d", tmp, 0);
	assert_int_equal(mkdir(path, 0700), 0);
	setenv("TMPDIR", path, 1);
	refuse_options(c, &o, "TMPDIR");
	setenv("TMPDIR", "/nonexistent/place", 1);
	assert_int_equal(vhu_target_new(c->loop, &o, &c->target, &c->err), -ENOENT);
	assert_non_null(strstr(c->err.text, "/nonexistent/place"));
	assert_int_equal(rmdir(path), 0);
	vhu_target_free(NULL);
}

static void a_folder_that_was_given(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket} {image}");

	setenv("TMPDIR", "/nonexistent/place", 1);
	o.dir = tmp;
	target_new(c, &o);
	assert_memory_equal(vhu_target_image(c->target), tmp, strlen(tmp));
	close(connect_it(c));
}

static uint64_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

static void an_image_that_grows(void **state)
{
	enum { MADE = 8192, MORE = 512 };
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket} {image}");
	const char *image;
	int fd;

	o.image_size = MADE;
	target_new(c, &o);
	image = vhu_target_image(c->target);
	assert_int_equal(vhu_target_restore_image(c->target, &c->err), 0);
	fd = connect_it(c);
	assert_int_equal(vhu_target_grow_image(c->target, MORE, &c->err), 0);
	assert_int_equal(size_of(image), MADE + MORE);
	assert_int_equal(vhu_target_image_size(c->target), MADE);
	assert_true(vhu_target_running(c->target));
	assert_int_equal(vhu_target_grow_image(c->target, UINT64_MAX, &c->err), -EFBIG);
	assert_int_equal(vhu_target_grow_image(c->target, INT64_MAX, &c->err), -EFBIG);
	/* Who knows the other size has to go. */
	assert_int_equal(vhu_target_restore_image(c->target, &c->err), 0);
	assert_int_equal(size_of(image), MADE);
	assert_false(vhu_target_running(c->target));
	close(fd);
}

static void no_image_that_could_grow(void **state)
{
	struct ctx *c = *state;
	struct vhu_target_opts o = ourselves(c, "serve {socket}");

	target_new(c, &o);
	assert_int_equal(vhu_target_image_size(c->target), 0);
	assert_int_equal(vhu_target_grow_image(c->target, 512, &c->err), -ENOTSUP);
	assert_non_null(strstr(c->err.text, "no image of ours"));
}

/* --- connecting ---------------------------------------------------------------------------- */

static void nobody_is_there(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct vhu_target_opts o = {.how = VHU_TARGET_CONNECT, .socket = p.path, .timeout_ns = patience_ns};

	target_new(c, &o);
	refuse(c, -ENOENT, "start the back-end");
	assert_non_null(strstr(c->err.text, p.path));
	p.fd = open(p.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	refuse(c, -ECONNREFUSED, "no socket");
	place_done(&p);
	p.fd = listen_at(p.path);
	vhu_close(&p.fd);
	refuse(c, -ECONNREFUSED, "nobody listens");
	place_done(&p);
}

static void listen_now(void *fd, uint32_t events)
{
	listen(*(int *)fd, 1);
}

/* Who waits for its file may come before it is listened on. */
static void a_socket_that_is_not_listened_on_yet(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct sockaddr_un addr = address(p.path);
	struct vhu_target_opts o = {.how = VHU_TARGET_CONNECT, .socket = p.path, .timeout_ns = patience_ns};
	struct vhu_source *timer;
	int fd;

	p.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	target_new(c, &o);
	assert_int_equal(vhu_loop_add_timer(c->loop, 1, 0, listen_now, &p.fd, &timer, &c->err), 0);
	assert_int_equal(vhu_target_connect(c->target, &fd, &c->err), 0);
	close(fd);
	vhu_source_free(timer);
	place_done(&p);
}

static void another_kind_of_socket(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct sockaddr_un addr = address(p.path);
	struct vhu_target_opts o = {.how = VHU_TARGET_CONNECT, .socket = p.path, .timeout_ns = patience_ns};

	p.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p.fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(p.fd, 1), 0);
	target_new(c, &o);
	refuse(c, -EPROTOTYPE, "no stream socket");
	place_done(&p);
}

static void connections_to_a_listener(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct vhu_target_opts o = {.how = VHU_TARGET_CONNECT, .socket = p.path, .timeout_ns = patience_ns};
	int a, b, far;
	char byte;

	p.fd = listen_at(p.path);
	target_new(c, &o);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	a = connect_it(c);
	b = connect_it(c);
	far = accept4(p.fd, NULL, NULL, SOCK_CLOEXEC);
	tell(a, 'h');
	assert_int_equal(read(far, &byte, 1), 1);
	assert_int_equal(byte, 'h');
	assert_string_equal(vhu_target_name(c->target), p.path);
	assert_false(vhu_target_spawned(c->target));
	assert_false(vhu_target_running(c->target));
	assert_int_equal(vhu_target_pid(c->target), 0);
	assert_int_equal(vhu_target_fd_count(c->target), -1);
	assert_null(vhu_target_image(c->target));
	assert_int_equal(vhu_target_await_exit(c->target, 0, &c->err), -EINVAL);
	assert_int_equal(vhu_target_signal(c->target, SIGTERM, true, &c->err), -ESRCH);
	vhu_target_stop(c->target);
	close(far);
	close(a);
	close(b);
	place_done(&p);
}

static void listen_again(void *ctx, uint32_t events)
{
	struct place *p = ctx;

	p->fd = listen_at(p->path);
	vhu_source_free(p->timer);
	p->timer = NULL;
}

/* Some back-ends take their socket away with each session and come back with the next. */
static void a_listener_that_comes_back(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct vhu_target_opts o = {.how = VHU_TARGET_CONNECT, .socket = p.path, .timeout_ns = patience_ns};

	p.fd = listen_at(p.path);
	target_new(c, &o);
	close(connect_it(c));
	place_done(&p);
	assert_int_equal(vhu_loop_add_timer(c->loop, 3000000, 0, listen_again, &p, &p.timer, NULL), 0);
	close(connect_it(c));
	place_done(&p);
}

/* --- listening ----------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void connections_from_a_backend(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct vhu_target_opts o = {.how = VHU_TARGET_LISTEN, .socket = p.path, .timeout_ns = patience_ns};
	struct stat st;

	target_new(c, &o);
	assert_int_equal(stat(p.path, &st), -1);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	assert_int_equal(vhu_target_start(c->target, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		int far = connect_to(p.path), fd = connect_it(c);
		char byte;

		tell(far, 'y');
		assert_int_equal(read(fd, &byte, 1), 1);
		assert_int_equal(byte, 'y');
		close(fd);
		close(far);
	}
	vhu_target_free(c->target);
	c->target = NULL;
	assert_int_equal(stat(p.path, &st), -1);
}

static void nobody_comes(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct vhu_target_opts o = {.how = VHU_TARGET_LISTEN, .socket = p.path, .start_ns = 5000000};

	target_new(c, &o);
	refuse(c, -ETIME, "client mode");
	assert_non_null(strstr(c->err.text, p.path));
}

static void places_that_are_taken(void **state)
{
	struct ctx *c = *state;
	struct place p = place("s");
	struct vhu_target_opts o = {.how = VHU_TARGET_LISTEN, .socket = p.path, .timeout_ns = 5000000};
	struct stat st;

	target_new(c, &o);
	p.fd = open(p.path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(vhu_target_start(c->target, &c->err), -EEXIST);
	assert_int_equal(stat(p.path, &st), 0);
	place_done(&p);

	p.fd = listen_at(p.path);
	assert_int_equal(vhu_target_start(c->target, &c->err), -EADDRINUSE);
	assert_non_null(strstr(c->err.text, p.path));
	assert_int_equal(stat(p.path, &st), 0);
	/* Left over by one that died. */
	vhu_close(&p.fd);
	assert_int_equal(vhu_target_start(c->target, &c->err), 0);
	close(connect_to(p.path));
}

static int run_all(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_as_a_shell_splits_them),
		cmocka_unit_test(words_that_do_not_end),
		cmocka_unit_test(words_fill_their_room),
		TEST(options_that_cannot_be),
		TEST(a_tmpdir_that_is_too_long),
		TEST(a_folder_that_was_given),
		TEST(an_image_that_grows),
		TEST(no_image_that_could_grow),
		TEST(nobody_is_there),
		TEST(a_socket_that_is_not_listened_on_yet),
		TEST(another_kind_of_socket),
		TEST(connections_to_a_listener),
		TEST(a_listener_that_comes_back),
		TEST(connections_from_a_backend),
		TEST(nobody_comes),
		TEST(places_that_are_taken),
	};

	return cmocka_run_group_tests_name("channel_target", tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	return target_main(argc, argv, run_all);
}
