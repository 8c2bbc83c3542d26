/* Frames as things: made, copied, resized, given and robbed of descriptors; and what a descriptor is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <wire/frame.h>

static void requests_are_ready_to_send(void **state)
{
	for (int i = 0; i < VHU_MSG_MAX; i++) {
		const struct vhu_msg_row *row = vhu_msg_row((enum vhu_msg)i);
		struct vhu_frame f;

		memset(&f, 0x5a, sizeof(f));
		assert_int_equal(vhu_frame_request(&f, row->msg, NULL), 0);
		assert_int_equal(f.channel, row->channel);
		assert_int_equal(f.dir, row->channel == VHU_CHAN_MAIN ? VHU_DIR_FE : VHU_DIR_BE);
		assert_int_equal(f.request, row->id);
		assert_int_equal(f.flags, row->channel == VHU_CHAN_GPU ? 0 : 1);
		assert_int_equal(f.len, vhu_payload_row(row->request)->min);
		assert_int_equal(f.size, f.len);
		assert_int_equal(f.n_fds, 0);
		assert_int_equal(f.defects, 0);
		assert_false(vhu_frame_is_reply(&f));
		for (size_t n = 0; n < f.len; n++)
			assert_int_equal(f.payload[n], 0);
		assert_true(vhu_payload_size_ok(row->request, f.payload, f.len));
		vhu_frame_done(&f);
	}
}

static void a_message_that_is_none(void **state)
{
	struct vhu_frame f;
	struct vhu_err err = {0};

	memset(&f, 0x5a, sizeof(f));
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_MAX, &err), -EINVAL);
	assert_true(err.text[0]);
	vhu_frame_done(&f);
}

static void resizing_keeps_what_stays(void **state)
{
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_resize(&f, 4, NULL), 0);
	memcpy(f.payload, "abcd", 4);
	assert_int_equal(vhu_frame_resize(&f, 8, NULL), 0);
	assert_memory_equal(f.payload, "abcd\0\0\0\0", 8);
	assert_int_equal(vhu_frame_resize(&f, 2, NULL), 0);
	assert_int_equal(f.size, 2);
	assert_int_equal(vhu_frame_resize(&f, 4, NULL), 0);
	assert_memory_equal(f.payload, "ab\0\0", 4);
	assert_int_equal(vhu_frame_resize(&f, (64 << 20) + 1, NULL), -E2BIG);
	assert_int_equal(f.len, 4);
	assert_int_equal(vhu_frame_resize(&f, 0, NULL), 0);
	assert_null(f.payload);
	assert_int_equal(vhu_frame_resize(&f, 0, NULL), 0);
	vhu_frame_done(&f);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void descriptors_have_one_owner(void **state)
{
	struct vhu_frame f = {0};
	int a = eventfd(0, EFD_CLOEXEC), b = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(vhu_frame_give_fd(&f, a, NULL), 0);
	assert_int_equal(vhu_frame_give_fd(&f, b, NULL), 0);
	assert_int_equal(f.n_fds, 2);
	assert_int_equal(vhu_frame_take_fd(&f, 0), a);
	assert_int_equal(vhu_frame_take_fd(&f, 0), -1);
	assert_int_equal(vhu_frame_take_fd(&f, 2), -1);
	assert_int_equal(f.n_fds, 2);
	vhu_frame_done(&f);
	assert_true(is_open(a));
	assert_false(is_open(b));
	close(a);
	/* Once more is fine, and so is nothing. */
	vhu_frame_done(&f);
	vhu_frame_done(NULL);
}

static void a_frame_takes_so_many_descriptors(void **state)
{
	struct vhu_frame f = {0};
	int fd = eventfd(0, EFD_CLOEXEC);

	for (int i = 0; i < VHU_FRAME_FDS_MAX; i++)
		assert_int_equal(vhu_frame_give_fd(&f, -1, NULL), 0);
	assert_int_equal(vhu_frame_give_fd(&f, fd, NULL), -E2BIG);
	vhu_frame_done(&f);
	assert_true(is_open(fd));
	close(fd);
}

static void a_copy_stands_alone(void **state)
{
	struct vhu_frame f, copy;
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_KICK, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_FD, "index", 3), 0);
	assert_int_equal(vhu_frame_give_fd(&f, fd, NULL), 0);
	f.defects = VHU_DEFECT_FDS_LOST;
	assert_int_equal(vhu_frame_copy(&f, &copy, NULL), 0);
	vhu_frame_done(&f);
	assert_false(is_open(fd));
	assert_int_equal(copy.n_fds, 0);
	assert_null(copy.fds);
	assert_int_equal(copy.defects, VHU_DEFECT_FDS_LOST);
	assert_int_equal(vhu_frame_u64(&copy, "index"), 3);
	vhu_frame_done(&copy);

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_OWNER, NULL), 0);
	assert_int_equal(vhu_frame_copy(&f, &copy, NULL), 0);
	assert_null(copy.payload);
	vhu_frame_done(&copy);
}

static void encoding_appends(void **state)
{
	static const uint32_t words[] = {8, 0x9, 8, 2, 256, 3, 1, 0};
	struct vhu_frame f;
	struct vhu_buf wire = {0};

	/* Numbers are in the order of the host. */
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_NUM, NULL), 0);
	f.flags |= VHU_C_HEADER_NEED_REPLY;
	vhu_frame_set(&f, VHU_PL_VRING_STATE, "index", 2);
	vhu_frame_set(&f, VHU_PL_VRING_STATE, "num", 256);
	assert_int_equal(vhu_frame_encode(&f, &wire, NULL), 0);
	vhu_frame_done(&f);
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_OWNER, NULL), 0);
	assert_int_equal(vhu_frame_encode(&f, &wire, NULL), 0);
	assert_int_equal(wire.len, sizeof(words));
	assert_memory_equal(wire.data, words, sizeof(words));
	/* A size that lies goes out as it is. */
	f.size = 77;
	vhu_buf_reset(&wire);
	assert_int_equal(vhu_frame_encode(&f, &wire, NULL), 0);
	assert_int_equal(wire.len, 12);
	assert_int_equal(wire.data[8], 77);
	vhu_buf_done(&wire);

	struct vhu_buf failed = {.failed = true};
	assert_int_equal(vhu_frame_encode(&f, &failed, NULL), -ENOMEM);
	vhu_frame_done(&f);
}

static void kinds_of_descriptors(void **state)
{
	char path[] = "/tmp/vhu-frame-XXXXXX";
	int pair[2], ends[2];
	int file = mkostemp(path, O_CLOEXEC), memfd = memfd_create("x", MFD_CLOEXEC);
	int event = eventfd(0, EFD_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int huge = memfd_create("x", MFD_CLOEXEC | MFD_HUGETLB);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(vhu_fd_kind(file), VHU_FDK_FILE);
	assert_int_equal(vhu_fd_kind(memfd), VHU_FDK_MEMFD);
	assert_int_equal(vhu_fd_kind(event), VHU_FDK_EVENTFD);
	assert_int_equal(vhu_fd_kind(pair[0]), VHU_FDK_SOCKET);
	assert_int_equal(vhu_fd_kind(ends[1]), VHU_FDK_PIPE);
	assert_int_equal(vhu_fd_kind(null), VHU_FDK_DEVICE);
	/* A kernel without huge pages gives none. */
	if (huge >= 0)
		assert_int_equal(vhu_fd_kind(huge), VHU_FDK_HUGETLB);
	unlink(path);
	close(file);
	assert_int_equal(vhu_fd_kind(file), VHU_FDK_UNKNOWN);
	assert_int_equal(vhu_fd_kind(-1), VHU_FDK_UNKNOWN);
	vhu_close(&huge);
	close(memfd);
	close(event);
	close(null);
	close(pair[0]);
	close(pair[1]);
	close(ends[0]);
	close(ends[1]);
}

static void kinds_have_names(void **state)
{
	for (int i = 0; i < VHU_FDK_MAX; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(vhu_fd_kind_name((enum vhu_fd_kind)i),
						vhu_fd_kind_name((enum vhu_fd_kind)j));
	assert_string_equal(vhu_fd_kind_name(VHU_FDK_MEMFD), "memfd");
	assert_string_equal(vhu_fd_kind_name(VHU_FDK_USERFAULT), "userfaultfd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_ready_to_send),
		cmocka_unit_test(a_message_that_is_none),
		cmocka_unit_test(resizing_keeps_what_stays),
		cmocka_unit_test(descriptors_have_one_owner),
		cmocka_unit_test(a_frame_takes_so_many_descriptors),
		cmocka_unit_test(a_copy_stands_alone),
		cmocka_unit_test(encoding_appends),
		cmocka_unit_test(kinds_of_descriptors),
		cmocka_unit_test(kinds_have_names),
	};

	return cmocka_run_group_tests_name("wire_frame", tests, NULL, NULL);
}
