/* Logs of strace: what each way of writing says, and that no line hurts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <base/buf.h>
#include <base/rng.h>
#include <capture/import.h>
#include <errno.h>

/* What came out, as text: "1 fe connect; 1 fe main 12 [eventfd 7]". */
struct seen {
	struct vhu_buf text;
	size_t n;
};

static int note(void *ctx, const struct vhu_record *r, struct vhu_err *err)
{
	static const char *const dirs[] = {"-", "fe", "be"};
	struct seen *s = ctx;

	vhu_buf_printf(&s->text, "%s%u %s ", s->n++ ? "; " : "", r->connection, dirs[r->dir]);
	if (r->channel == VHU_CAP_LIFE)
		vhu_buf_printf(&s->text, "%s%s", vhu_cap_life_name(r->kind), r->len ? " 4" : "");
	else
		vhu_buf_printf(&s->text, "%s %u", vhu_cap_channel_name(r->channel), r->orig_len);
	if (r->orig_len != r->len)
		vhu_buf_printf(&s->text, "/%zu", r->len);
	for (size_t i = 0; i < r->n_fds; i++)
		vhu_buf_printf(&s->text, " %s:%u", vhu_fd_kind_name(r->fds[i].kind), r->fds[i].number);
	if (r->flags & VHU_CAP_PARTIAL)
		vhu_buf_puts(&s->text, " partial");
	if (r->has_errno)
		vhu_buf_printf(&s->text, " %s", strerrorname_np(r->errno_value));
	if (r->path)
		vhu_buf_printf(&s->text, " %s", r->path);
	assert_int_equal(r->tap, VHU_CAP_TAP_IMPORT);
	return 0;
}

/* Imports logs given as text; "" where one is missing. */
static void import(const char *const *texts, size_t n, struct seen *seen, struct vhu_import_stats *stats)
{
	char paths[4][64];
	const char *names[4];

	assert_true(n <= 4);
	for (size_t i = 0; i < n; i++) {
		FILE *f;

		snprintf(paths[i], sizeof(paths[i]), "/tmp/vhu-import-XXXXXX");
		names[i] = paths[i];
		f = fdopen(mkstemp(paths[i]), "w");
		assert_non_null(f);
		assert_int_equal(fwrite(texts[i], 1, strlen(texts[i]), f), strlen(texts[i]));
		fclose(f);
	}
	assert_int_equal(vhu_import_strace(names, n, note, seen, stats, NULL), 0);
	for (size_t i = 0; i < n; i++)
		unlink(paths[i]);
}

static void gives(const char *log, const char *expected)
{
	struct vhu_import_stats stats;
	struct seen seen = {0};

	import(&log, 1, &seen, &stats);
	assert_string_equal(vhu_buf_text(&seen.text), expected);
	vhu_buf_done(&seen.text);
}

#define GET_FEATURES "\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
#define FEATURES                                                                                             \
	"\\x01\\x00\\x00\\x00\\x05\\x00\\x00\\x00\\x08\\x00\\x00\\x00\\x00\\x00\\x00\\x40\\x01\\x00\\x00\\x" \
	"00"
#define SET_OWNER "\\x03\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
#define SET_CALL  "\\x0d\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x08\\x00\\x00\\x00"
#define NO_NAME	  "{msg_name=NULL, msg_namelen=0, "

static void test_front_end_alone(void **state)
{
	gives("socket(AF_UNIX, SOCK_STREAM, 0) = 7\n"
	      "connect(7, {sa_family=AF_UNIX, sun_path=\"\\x2f\\x73\"}, 110) = 0\n"
	      "sendmsg(7, " NO_NAME "msg_iov=[{iov_base=\"" GET_FEATURES "\", iov_len=12}], msg_iovlen=1, "
	      "msg_controllen=0, msg_flags=0}, 0) = 12\n"
	      "read(7, \"" FEATURES "\", 20) = 20\n"
	      "eventfd2(0, EFD_CLOEXEC|EFD_NONBLOCK) = 9\n"
	      "sendmsg(7, " NO_NAME "msg_iov=[{iov_base=\"" SET_CALL "\", iov_len=12}, "
	      "{iov_base=\"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\", iov_len=8}], msg_iovlen=2, "
	      "msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[9]}], "
	      "msg_controllen=24, msg_flags=0}, 0) = 20\n"
	      "close(7) = 0\n",
	      "1 fe connect /s; 1 fe main 12; 1 be main 20; 1 fe main 20 eventfd:9; 1 fe close");
}

/* As strace wrote before 4.10, with counts in parentheses and no names of members. */
static void test_old_spelling(void **state)
{
	gives("[pid 12] 10:00:00 sendmsg(7, {msg_name(0)=NULL, msg_iov(1)=[{\"" GET_FEATURES "\", 12}], "
	      "msg_controllen=0, msg_flags=0}, 0) = 12\n"
	      "[pid 12] 10:00:01 sendmsg(7, {msg_name(0)=NULL, msg_iov(1)=[{\"" SET_CALL
	      "\\0\\0\\0\\0\\0\\0\\0\\0\", 20}], msg_controllen=24, {cmsg_len=20, cmsg_level=SOL_SOCKET, "
	      "cmsg_type=SCM_RIGHTS, {9}}, msg_flags=0}, 0) = 20\n"
	      "[pid 12] 10:00:02 sendmsg(7, {msg_name(0)=NULL, msg_iov(1)=[{\"" SET_CALL
	      "\\0\\0\\0\\0\\0\\0\\0\\0\", 20}], msg_controllen=24, [{cmsg_len=20, cmsg_level=SOL_SOCKET, "
	      "cmsg_type=SCM_RIGHTS, [9]}], msg_flags=0}, 0) = 20\n",
	      "1 fe connect; 1 fe main 12; 1 fe main 20 unknown:9; 1 fe main 20 unknown:9");
}

static void test_unfinished(void **state)
{
	gives("10 connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "10 write(7, \"" GET_FEATURES "\", 12 <unfinished ...>\n"
	      "11 accept4(3,  <unfinished ...>\n"
	      "10 <... write resumed>) = 12\n"
	      "11 <... accept4 resumed>NULL, NULL, SOCK_CLOEXEC) = 5\n"
	      "11 recvmsg(5,  <unfinished ...>\n"
	      "10 read(7,  <unfinished ...>\n"
	      "11 <... recvmsg resumed>" NO_NAME "msg_iov=[{iov_base=\"" GET_FEATURES
	      "\", iov_len=12}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 12\n"
	      "11 write(5, \"" FEATURES "\", 20) = 20\n"
	      "10 <... read resumed>\"" FEATURES "\", 20) = 20\n"
	      "11 +++ killed by SIGKILL +++\n"
	      "10 read(7, \"\", 12) = 0\n"
	      "10 close(7) = 0\n",
	      "1 fe connect s; 1 fe main 12; 1 be main 20; 1 be exit 4; 1 be close");
}

/* The main thread connects, another one goes on; strace told nothing of threads. */
static void test_threads(void **state)
{
	gives("10 connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "10 write(7, \"" GET_FEATURES "\", 12) = 12\n"
	      "12 read(7, \"\\x7f\\x45\\x4c\\x46\", 4) = 4\n"
	      "10 read(7, \"" FEATURES "\", 20) = 20\n"
	      "11 write(7, \"" SET_OWNER "\", 12) = 12\n"
	      "11 close(7) = 0\n",
	      "1 fe connect s; 1 fe main 12; 1 be main 20; 1 fe main 12; 1 fe close");
}

/* The reply is there before the call that asked for it has returned. */
static void test_request_comes_first(void **state)
{
	gives("10 connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "11 accept4(3, NULL, NULL, SOCK_CLOEXEC) = 5\n"
	      "11 read(5,  <unfinished ...>\n"
	      "10 write(7, \"" GET_FEATURES "\", 12 <unfinished ...>\n"
	      "11 <... read resumed>\"" GET_FEATURES "\", 12) = 12\n"
	      "11 write(5, \"" FEATURES "\", 20) = 20\n"
	      "10 <... write resumed>) = 12\n"
	      "10 read(7, \"" FEATURES "\", 20) = 20\n",
	      "1 fe connect s; 1 fe main 12; 1 be main 20");
}

/* Copies of a socket are the socket, whichever number, thread or process uses it; it ends with the last of
 * them. */
static void test_copies(void **state)
{
	static const char *const ways[] = {
		"10 dup(5) = 6\n10 close(5) = 0\n10 read(6, ",
		"10 dup2(5, 6) = 6\n10 close_range(5, 5, 0) = 0\n10 read(6, ",
		"10 dup3(5, 6, O_CLOEXEC) = 6\n10 read(6, ",
		"10 fcntl(5, F_DUPFD_CLOEXEC, 6) = 6\n10 close(5) = 0\n10 read(6, ",
		"10 fcntl(5, 0x406, 6) = 6\n10 close(5) = 0\n10 read(6, ",
		"10 pidfd_open(10, 0) = 4\n10 pidfd_getfd(4, 5, 0) = 6\n10 close(5) = 0\n10 read(6, ",
		"10 fork() = 11\n10 close(5) = 0\n11 read(5, ",
		"10 clone(child_stack=NULL, flags=CLONE_FILES|SIGCHLD) = 11\n11 read(5, ",
		"10 clone(child_stack=NULL, flags=0x400) = 11\n11 read(5, ",
		/* The child is there before the call has returned. */
		"10 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>\n11 read(5, \"" SET_OWNER
		"\", 12) = 12\n10 <... clone resumed>) = 11\n10 close(5) = 0\n11 read(5, ",
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(ways); i++) {
		bool early = i + 1 == VHU_ARRAY_SIZE(ways);
		struct vhu_buf log = {0};

		vhu_buf_printf(&log,
			       "10 accept4(3, NULL, NULL, 0) = 5\n10 read(5, \"%s\", 12) = 12\n"
			       "%s\"%s\", 12) = 12\n"
			       "11 +++ exited with 0 +++\n10 +++ exited with 3 +++\n",
			       GET_FEATURES, ways[i], SET_OWNER);
		gives(vhu_buf_text(&log),
		      early ? "1 fe connect; 1 fe main 12; 1 fe main 12; 1 fe main 12; "
			      "1 be exit 4; 1 be close"
			    : "1 fe connect; 1 fe main 12; 1 fe main 12; 1 be exit 4; 1 be close");
		vhu_buf_done(&log);
	}
}

/* The child's number is another file by now, which nobody saw being opened. */
static void test_inherited_number(void **state)
{
	gives("10 connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "10 write(7, \"" GET_FEATURES "\", 12) = 12\n"
	      "10 vfork() = 11\n"
	      "11 read(7, \"\\x7f\\x45\\x4c\\x46\\x01\\x00\\x00\\x00\\0\\0\\0\\0\", 12) = 12\n"
	      "11 close(7) = 0\n"
	      "10 read(7, \"" FEATURES "\", 20) = 20\n"
	      "10 close(7) = 0\n"
	      "11 +++ exited with 0 +++\n",
	      "1 fe connect s; 1 fe main 12; 1 be main 20; 1 fe close");
}

static void test_many_messages(void **state)
{
	gives("10 connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "10 sendmmsg(7, [{msg_hdr=" NO_NAME "msg_iov=[{iov_base=\"" GET_FEATURES
	      "\", iov_len=12}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, msg_len=12}, "
	      "{msg_hdr=" NO_NAME "msg_iov=[{iov_base=\"" SET_CALL
	      "\\0\\0\\0\\0\\0\\0\\0\\0\", iov_len=20}], msg_iovlen=1, msg_control=[{cmsg_len=20, "
	      "cmsg_level=0x1, cmsg_type=0x1 /* SCM_RIGHTS */, cmsg_data=[9]}], msg_controllen=24, "
	      "msg_flags=0}, msg_len=20}], 2, 0) = 2\n"
	      "10 recvmmsg(7, [{msg_hdr=" NO_NAME "msg_iov=[{iov_base=\"" FEATURES
	      "\", iov_len=20}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, msg_len=20}], 4, 0, NULL) = 1 "
	      "(left {tv_sec=0, tv_nsec=1})\n",
	      "1 fe connect s; 1 fe main 12; 1 fe main 20 unknown:9; 1 be main 20");
}

/* Whatever else stands before and behind the calls. */
static void test_prefixes(void **state)
{
	gives("10<qemu> 1700000000.100000 (+     0.000100) [  42] [00007f0011223344] connect(7, "
	      "{sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0 <0.000010>\n"
	      "[pid    10<a b>] 10:00:01 (+     0.000100) write(7, \"" GET_FEATURES
	      "\", 12) = 12 <0.000010>\n",
	      "1 fe connect s; 1 fe main 12");
}

/* With strace -ff each line has the time at which the call began: what it read came when it was over. */
static void test_durations(void **state)
{
	const char *logs[] = {"1700000000.1 connect(7<UNIX-STREAM:[1->2]>, {sa_family=AF_UNIX, "
			      "sun_path=\"s\"}, 110) = 0 <0.001>\n"
			      "1700000000.2 read(7<UNIX-STREAM:[1->2]>, \"" FEATURES "\", 20) = 20 <0.2>\n",
			      "1700000000.3 write(7<UNIX-STREAM:[1->2]>, \"" GET_FEATURES
			      "\", 12) = 12 <0.001>\n"};
	struct vhu_import_stats stats;
	struct seen seen = {0};

	import(logs, 2, &seen, &stats);
	assert_string_equal(vhu_buf_text(&seen.text), "1 fe connect s; 1 fe main 12; 1 be main 20");
	vhu_buf_done(&seen.text);
}

static void test_broken_lines(void **state)
{
	const char *log = "connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
			  "write(7, \"" GET_FEATURES "\", 12) = 12\n"
			  "poll([{fd=7, eve\n"
			  "read(7, \"\\x01\\x0\n"
			  "read(7, <unfinished ...>) = ?\n"
			  "--- SIGTERM {si_signo=SIGTERM} ---\n"
			  "sendmmsg(7, [{msg_hdr=" NO_NAME "msg_iov=[{iov_base=\"" SET_OWNER
			  "\", iov_len=12}], msg_iovlen=1}, msg_len=12}, ...], 2, 0) = 2\n"
			  "sendmsg(7, " NO_NAME "msg_iov=[{iov_ba";
	struct vhu_import_stats stats;
	struct seen seen = {0};

	import(&log, 1, &seen, &stats);
	assert_string_equal(vhu_buf_text(&seen.text), "1 fe connect s; 1 fe main 12; 1 fe main 12");
	assert_int_equal(stats.broken, 2);
	assert_int_equal(stats.unread, 1);
	assert_non_null(strstr(stats.first_broken, ":4"));
	vhu_buf_done(&seen.text);
}

static void test_cut(void **state)
{
	gives("connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "write(7, \"" SET_CALL "\"..., 20) = 20\n"
	      "write(7, \"" SET_OWNER "\", 12) = 12\n"
	      "write(7, \"\\x0d\"..., 20) = 20\n"
	      "write(7, \"" SET_OWNER "\", 12) = 12\n",
	      "1 fe connect s; 1 fe main 20/12; 1 fe main 12; 1 fe main 12");
}

static void test_back_end_channel(void **state)
{
	gives("10 connect(7<socket:[100]>, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
	      "10 write(7<UNIX-STREAM:[100->200]>, \"" GET_FEATURES "\", 12) = 12\n"
	      "10 socketpair(AF_UNIX, SOCK_STREAM, 0, [8<UNIX-STREAM:[101->102]>, "
	      "9<UNIX-STREAM:[102->101]>]) = 0\n"
	      "10 sendmsg(7<UNIX-STREAM:[100->200]>, " NO_NAME
	      "msg_iov=[{iov_base=\"\\x15\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\", "
	      "iov_len=12}], "
	      "msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, "
	      "cmsg_data=[9<UNIX-STREAM:[102->101]>]}], msg_controllen=24, msg_flags=0}, 0) = 12\n"
	      "10 close(9<UNIX-STREAM:[102->101]>) = 0\n"
	      "10 read(8<UNIX-STREAM:[101->102]>, "
	      "\"\\x02\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\", "
	      "12) = 12\n",
	      "1 fe connect s; 1 fe main 12; 1 fe main 12 socket:9; 1 be backend 12");
}

/* strace -ff: a file a thread, put in order by time. */
static void test_two_logs(void **state)
{
	const char *logs[] = {
		"1700000000.1 connect(7, {sa_family=AF_UNIX, sun_path=\"s\"}, 110) = 0\n"
		"1700000000.2 write(7, \"" GET_FEATURES "\", 12) = 12\n"
		"1700000000.5 read(7, \"" FEATURES "\", 20) = 20\n",
		"1700000000.15 accept4(3, NULL, NULL, 0) = 5\n"
		"1700000000.3 read(5, \"" GET_FEATURES "\", 12) = 12\n"
		"1700000000.4 write(5, \"" FEATURES "\", 20) = 20\n",
	};
	struct vhu_import_stats stats;
	struct seen seen = {0};

	import(logs, 2, &seen, &stats);
	/* One thread each, of which nothing else is known; both may be told as one process. */
	assert_non_null(strstr(vhu_buf_text(&seen.text), "1 fe connect s; 1 fe main 12; 1 be main 20"));
	assert_int_equal(stats.sessions, 1);
	assert_true(stats.timed);
	vhu_buf_done(&seen.text);
}

static void test_attached_late(void **state)
{
	gives("sendmsg(7, " NO_NAME
	      "msg_iov=[{iov_base=\"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\", iov_len=8}], "
	      "msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 8\n"
	      "write(7, \"" SET_OWNER "\", 12) = 12\n",
	      "1 fe main 12");
}

static void test_nothing(void **state)
{
	gives("", "");
	gives("read(3, \"\\x7f\\x45\\x4c\\x46\"..., 832) = 832\n", "");
	gives("\n\n= 3\n)(\n\"\n<... read resumed>\n+++ +++\n", "");
}

/* Lines that are broken in every way. */
static void test_hostile(void **state)
{
	static const char seed[] =
		"10 1700000000.1 sendmsg(7<UNIX-STREAM:[100->200,\"\\x2f\"]>, " NO_NAME
		"msg_iov=[{iov_base=\"" SET_CALL
		"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"..., iov_len=20}], "
		"msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, "
		"cmsg_data=[9, 10<anon_inode:[eventfd]>]}], msg_controllen=24, msg_flags=MSG_CTRUNC}, 0) = "
		"20 <0.1>\n"
		"11 clone(child_stack=NULL, flags=CLONE_FILES|SIGCHLD) = 10\n"
		"10 accept4(3, {sa_family=AF_UNIX}, [110 => 2], SOCK_CLOEXEC) = 7\n"
		"10 socketpair(AF_UNIX, SOCK_STREAM, 0, [7, 8]) = 0\n"
		"12 recvmsg(7,  <unfinished ...>\n"
		"12 <... recvmsg resumed>" NO_NAME "msg_iov=[{iov_base=\"" GET_FEATURES
		"\", iov_len=12}]}, 0) = 12\n"
		"10 +++ exited with 3 +++\n";
	static const char bits[] = "\"[]{}<>(),=\\x09 .:+-/*\n";
	struct vhu_import_stats stats;
	struct vhu_rng rng;

	vhu_rng_init(&rng, 3);
	for (unsigned round = 0; round < 2000; round++) {
		char text[sizeof(seed)];
		const char *log = text;
		struct seen seen = {0};

		memcpy(text, seed, sizeof(seed));
		for (uint64_t i = vhu_rng_below(&rng, 12) + 1; i; i--) {
			size_t at = (size_t)vhu_rng_below(&rng, sizeof(seed) - 1), len;

			switch (vhu_rng_below(&rng, 3)) {
			case 0:
				text[at] = bits[vhu_rng_below(&rng, sizeof(bits) - 1)];
				break;
			case 1:
				text[at] = (char)(1 + vhu_rng_below(&rng, 255));
				break;
			default:
				len = (size_t)vhu_rng_below(&rng, 60);
				len = VHU_MIN(len, sizeof(seed) - 1 - at);
				memmove(text + at, text + vhu_rng_below(&rng, sizeof(seed) - len), len);
				break;
			}
		}
		text[sizeof(seed) - 1] = '\0';
		import(&log, 1, &seen, &stats);
		vhu_buf_done(&seen.text);
	}
}

static void test_deep(void **state)
{
	struct vhu_import_stats stats;
	struct vhu_buf b = {0};
	struct seen seen = {0};
	const char *log;

	vhu_buf_puts(&b, "write(");
	for (unsigned i = 0; i < 300000; i++)
		vhu_buf_puts(&b, i < 100000 ? "[" : i < 200000 ? "1," : "{a=");
	vhu_buf_puts(&b, "\n");
	log = vhu_buf_text(&b);
	import(&log, 1, &seen, &stats);
	assert_int_equal(stats.sessions, 0);
	vhu_buf_done(&b);
}

static void test_no_file(void **state)
{
	const char *path = "/nowhere/log";
	struct vhu_import_stats stats;
	struct vhu_err err = {0};

	assert_int_equal(vhu_import_strace(&path, 1, note, NULL, &stats, &err), -ENOENT);
	assert_string_equal(err.text, "/nowhere/log: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_front_end_alone),
		cmocka_unit_test(test_old_spelling),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_request_comes_first),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_inherited_number),
		cmocka_unit_test(test_many_messages),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_broken_lines),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_back_end_channel),
		cmocka_unit_test(test_two_logs),
		cmocka_unit_test(test_attached_late),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
