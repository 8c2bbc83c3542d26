/* The text form of frames, character by character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <wire/frame.h>

/* Describes f, frees it and compares. */
static void says(struct vhu_frame *f, const char *expected)
{
	struct vhu_buf text = {0};

	vhu_frame_describe(f, VHU_DEV_BLK, &text);
	assert_string_equal(vhu_buf_text(&text), expected);
	vhu_buf_done(&text);
	vhu_frame_done(f);
}

static struct vhu_frame request(enum vhu_msg msg)
{
	struct vhu_frame f;

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	return f;
}

static struct vhu_frame reply(enum vhu_msg msg, size_t len)
{
	struct vhu_frame f = request(msg);

	f.dir = f.dir == VHU_DIR_FE ? VHU_DIR_BE : VHU_DIR_FE;
	f.flags |= VHU_C_HEADER_REPLY;
	assert_int_equal(vhu_frame_resize(&f, len, NULL), 0);
	return f;
}

static void set(struct vhu_frame *f, const char *name, uint64_t value)
{
	assert_int_equal(vhu_frame_set(f, vhu_frame_payload(f), name, value), 0);
}

static void requests(void **state)
{
	struct vhu_frame f = request(VHU_MSG_GET_FEATURES);

	says(&f, "> GET_FEATURES");

	f = request(VHU_MSG_SET_VRING_NUM);
	set(&f, "num", 128);
	f.flags |= VHU_C_HEADER_NEED_REPLY;
	says(&f, "> SET_VRING_NUM index=0 num=128 [need_reply]");

	f = request(VHU_MSG_SET_VRING_ADDR);
	set(&f, "index", 1);
	set(&f, "flags", 1);
	set(&f, "descriptor", 0x7f0011223000);
	set(&f, "used", 0x7f0011225000);
	set(&f, "available", 0x7f0011224000);
	set(&f, "log", 0x5000);
	says(&f, "> SET_VRING_ADDR index=1 flags=1 descriptor=0x7f0011223000 used=0x7f0011225000 "
		 "available=0x7f0011224000 log=0x5000");

	f = request(VHU_MSG_BACKEND_CONFIG_CHANGE_MSG);
	says(&f, "< BACKEND_CONFIG_CHANGE_MSG");
}

static void sets_of_bits(void **state)
{
	struct vhu_frame f = reply(VHU_MSG_GET_FEATURES, 8);

	set(&f, "u64", 0x140000220);
	says(&f, "< GET_FEATURES reply u64=0x140000220 (RO | FLUSH | PROTOCOL_FEATURES | VERSION_1)");

	f = request(VHU_MSG_SET_PROTOCOL_FEATURES);
	set(&f, "u64", 0x9);
	says(&f, "> SET_PROTOCOL_FEATURES u64=0x9 (MQ | REPLY_ACK)");

	f = request(VHU_MSG_SET_STATUS);
	says(&f, "> SET_STATUS u64=0x0");

	f = request(VHU_MSG_SET_STATUS);
	set(&f, "driver", 1);
	set(&f, "failed", 1);
	says(&f, "> SET_STATUS u64=0x82 (DRIVER | FAILED)");
}

static void answers(void **state)
{
	struct vhu_frame f = reply(VHU_MSG_SET_VRING_ENABLE, 8);

	says(&f, "< SET_VRING_ENABLE reply u64=0");

	f = reply(VHU_MSG_GET_QUEUE_NUM, 8);
	set(&f, "u64", 128);
	says(&f, "< GET_QUEUE_NUM reply u64=128");

	f = reply(VHU_MSG_BACKEND_IOTLB_MSG, 8);
	set(&f, "u64", 1);
	says(&f, "> BACKEND_IOTLB_MSG reply u64=1");

	f = reply(VHU_MSG_SET_DEVICE_STATE_FD, 8);
	set(&f, "u64", 0x105);
	says(&f, "< SET_DEVICE_STATE_FD reply error=5 no_fd");
}

static void ring_descriptors(void **state)
{
	struct vhu_frame f = request(VHU_MSG_SET_VRING_CALL);

	set(&f, "index", 3);
	assert_int_equal(vhu_frame_give_fd(&f, eventfd(0, EFD_CLOEXEC), NULL), 0);
	says(&f, "> SET_VRING_CALL index=3 fds=eventfd");

	f = request(VHU_MSG_SET_VRING_CALL);
	set(&f, "no_fd", 1);
	says(&f, "> SET_VRING_CALL index=0 no_fd");

	/* Bits that mean nothing are not hidden. */
	f = request(VHU_MSG_SET_VRING_CALL);
	set(&f, "u64", 0x10205);
	says(&f, "> SET_VRING_CALL index=5 u64=0x10205");
}

static void regions(void **state)
{
	struct vhu_frame f = request(VHU_MSG_SET_MEM_TABLE);

	assert_int_equal(vhu_frame_resize(&f, 72, NULL), 0);
	set(&f, "num_regions", 2);
	for (size_t i = 0; i < 2; i++) {
		vhu_frame_set_region(&f, VHU_PL_MEM_TABLE, i, "guest_phys_addr", 0x100000000 + i * 0x200000);
		vhu_frame_set_region(&f, VHU_PL_MEM_TABLE, i, "memory_size", 0x200000);
		vhu_frame_set_region(&f, VHU_PL_MEM_TABLE, i, "userspace_addr", 0x710000005000);
		assert_int_equal(vhu_frame_give_fd(&f, memfd_create("m", MFD_CLOEXEC), NULL), 0);
	}
	says(&f, "> SET_MEM_TABLE num_regions=2 region[0]={guest_phys_addr=0x100000000 memory_size=0x200000 "
		 "userspace_addr=0x710000005000 mmap_offset=0x0} region[1]={guest_phys_addr=0x100200000 "
		 "memory_size=0x200000 userspace_addr=0x710000005000 mmap_offset=0x0} fds=memfd,memfd");

	f = request(VHU_MSG_REM_MEM_REG);
	set(&f, "padding", 7);
	set(&f, "memory_size", 0x1000);
	says(&f, "> REM_MEM_REG padding=0x7 guest_phys_addr=0x0 memory_size=0x1000 userspace_addr=0x0 "
		 "mmap_offset=0x0");
}

static void other_payloads(void **state)
{
	static const uint8_t data[40] = {0xde, 0xad};
	struct vhu_frame f = request(VHU_MSG_SET_CONFIG);

	set(&f, "offset", 32);
	set(&f, "size", 2);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_CONFIG, "payload", data, 2), 0);
	says(&f, "> SET_CONFIG offset=32 size=2 flags=0 payload=de ad");

	f = request(VHU_MSG_SET_CONFIG);
	assert_int_equal(vhu_frame_set_bytes(&f, VHU_PL_CONFIG, "payload", data, 40), 0);
	says(&f, "> SET_CONFIG offset=0 size=0 flags=0 payload=de ad 00 00 00 00 00 00 00 00 00 00 00 00 00 "
		 "00 00 00 "
		 "00 00 00 00 00 00 00 00 00 00 00 00 00 00 …");

	f = request(VHU_MSG_IOTLB_MSG);
	set(&f, "iova", 0xffff9000);
	set(&f, "perm", 3);
	set(&f, "type", 2);
	says(&f, "> IOTLB_MSG iova=0xffff9000 size=0x0 uaddr=0x0 perm=3 type=2");

	f = request(VHU_MSG_GET_INFLIGHT_FD);
	set(&f, "num_queues", 4);
	set(&f, "queue_size", 128);
	says(&f, "> GET_INFLIGHT_FD mmap_size=0x0 mmap_offset=0x0 num_queues=4 queue_size=128");

	f = reply(VHU_MSG_GET_SHMEM_CONFIG, 2056);
	set(&f, "num_regions", 1);
	set(&f, "mem_size[255]", 0x1000);
	says(&f, "< GET_SHMEM_CONFIG reply num_regions=1 mem_size[255]=0x1000");

	f = request(VHU_MSG_GPU_SCANOUT);
	set(&f, "width", 1280);
	says(&f, "< GPU_SCANOUT scanout_id=0 width=1280 height=0");
}

static void what_is_odd_is_shown(void **state)
{
	struct vhu_frame f = request(VHU_MSG_GET_FEATURES);

	f.flags = 3;
	says(&f, "> GET_FEATURES [flags=0x3]");

	f = reply(VHU_MSG_SET_OWNER, 8);
	f.flags = 1;
	says(&f, "< SET_OWNER reply u64=0 [flags=0x1]");

	f = request(VHU_MSG_GPU_SCANOUT);
	f.flags = 1;
	says(&f, "< GPU_SCANOUT scanout_id=0 width=0 height=0 [flags=0x1]");

	f = request(VHU_MSG_SET_OWNER);
	f.size = 40;
	says(&f, "> SET_OWNER size=40 (0 here)");

	f = request(VHU_MSG_SET_VRING_NUM);
	assert_int_equal(vhu_frame_resize(&f, 4, NULL), 0);
	says(&f, "> SET_VRING_NUM size=4 00 00 00 00");

	f = (struct vhu_frame){.request = 99, .flags = 1};
	assert_int_equal(vhu_frame_resize(&f, 8, NULL), 0);
	f.payload[1] = 0x11;
	says(&f, "> request 99 size=8 00 11 00 00 00 00 00 00");

	f = (struct vhu_frame){.request = 99, .flags = 1};
	says(&f, "> request 99 size=0");
}

static void defects_have_names(void **state)
{
	struct vhu_frame f = request(VHU_MSG_SET_OWNER);

	f.size = 70000;
	f.defects = VHU_DEFECT_OVERSIZED;
	says(&f, "> SET_OWNER size=70000 (0 here) [oversized]");

	f = request(VHU_MSG_SET_FEATURES);
	assert_int_equal(vhu_frame_resize(&f, 2, NULL), 0);
	f.size = 8;
	f.defects = VHU_DEFECT_TRUNCATED | VHU_DEFECT_FDS_LOST;
	says(&f, "> SET_FEATURES size=8 (2 here) 00 00 [truncated] [fds lost]");

	f = (struct vhu_frame){.dir = VHU_DIR_BE, .defects = VHU_DEFECT_TRUNCATED | VHU_DEFECT_HEADER_CUT};
	assert_int_equal(vhu_frame_resize(&f, 3, NULL), 0);
	f.payload[0] = 5;
	says(&f, "< incomplete header 05 00 00 [truncated]");
}

static void long_lists_are_cut(void **state)
{
	struct vhu_frame f = request(VHU_MSG_SET_OWNER);
	struct vhu_buf text = {0};

	for (int i = 0; i < 17; i++)
		assert_int_equal(vhu_frame_give_fd(&f, -1, NULL), 0);
	says(&f,
	     "> SET_OWNER fds=taken,taken,taken,taken,taken,taken,taken,taken,taken,taken,taken,taken,taken,"
	     "taken,taken,taken,… (17)");

	/* Appended, not replaced. */
	f = reply(VHU_MSG_GET_SHMEM_CONFIG, 2056);
	memset(f.payload + 8, 0xff, 2048);
	vhu_buf_puts(&text, "12.5 ");
	vhu_frame_describe(&f, VHU_DEV_ANY, &text);
	assert_int_equal(strncmp(text.data, "12.5 < GET_SHMEM_CONFIG", 23), 0);
	assert_string_equal(strstr(text.data, "mem_size[15]"), "mem_size[15]=0xffffffffffffffff …");
	vhu_buf_done(&text);
	vhu_frame_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(sets_of_bits),
		cmocka_unit_test(answers),
		cmocka_unit_test(ring_descriptors),
		cmocka_unit_test(regions),
		cmocka_unit_test(other_payloads),
		cmocka_unit_test(what_is_odd_is_shown),
		cmocka_unit_test(defects_have_names),
		cmocka_unit_test(long_lists_are_cut),
	};

	return cmocka_run_group_tests_name("wire_describe", tests, NULL, NULL);
}
