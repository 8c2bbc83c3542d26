#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/resources.h"

static struct vhu_resources take(void)
{
	struct vhu_resources r = {0};

	assert_int_equal(vhu_resources_take(&r), 0);
	assert_true(r.known);
	return r;
}

/* Compares with now. */
static void assert_leaks(struct vhu_resources *before, const struct vhu_resources *idle, const char *want)
{
	struct vhu_resources after = take();
	struct vhu_buf out = {0};

	vhu_resources_compare(before, &after, idle, &out);
	assert_string_equal(vhu_buf_text(&out), want);
	vhu_buf_done(&out);
	vhu_resources_done(&after);
}

static void test_nothing(void **state)
{
	struct vhu_resources before = take();
	int fd = eventfd(0, EFD_CLOEXEC);

	close(fd);
	assert_leaks(&before, NULL, "");
	vhu_resources_done(&before);
	assert_int_equal(before.n, 0);
}

static void test_leaks_by_kind(void **state)
{
	struct vhu_resources before = take();
	int a = eventfd(0, EFD_CLOEXEC), b = eventfd(0, EFD_CLOEXEC), pair[2];
	struct vhu_resources middle;

	assert_leaks(&before, NULL, "2 more of anon_inode:[eventfd]");
	middle = take();
	close(a);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	/* One kind less does not make up for another. */
	assert_leaks(&middle, NULL, "2 more of socket");
	close(b);
	close(pair[0]);
	close(pair[1]);
	assert_leaks(&before, NULL, "");
	vhu_resources_done(&middle);
	vhu_resources_done(&before);
}

static void test_mapping(void **state)
{
	struct vhu_resources before = take();
	int fd = memfd_create("guest", MFD_CLOEXEC);
	void *p;

	assert_int_equal(ftruncate(fd, 4096), 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	close(fd);
	assert_leaks(&before, NULL, "1 more shared mappings");
	munmap(p, 4096);
	assert_leaks(&before, NULL, "");
	vhu_resources_done(&before);
}

/* A spawned target may come up within a case, once. */
static void test_target(void **state)
{
	struct vhu_resources idle = take();
	int out[2], listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), second = -1;

	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	close(out[1]);
	if (pidfd >= 0)
		second = dup(pidfd);
	close(second);
	assert_leaks(&idle, &idle, "");
	if (pidfd >= 0) {
		second = dup(pidfd);
		assert_leaks(&idle, &idle, "1 more of anon_inode:[pidfd]");
		close(second);
	}
	second = dup(out[0]);
	assert_leaks(&idle, &idle, "1 more of pipe");
	close(second);
	close(out[0]);
	close(listener);
	if (pidfd >= 0)
		close(pidfd);
	vhu_resources_done(&idle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_leaks_by_kind),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test(test_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
