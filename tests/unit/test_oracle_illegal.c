/* What a front-end may not send: a table of messages in states, and what each breaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "oracle/oracle.h"
#include "wire/frame.h"

#define BIT30 VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)
#define OFFER (BIT30 | VHU_V(VIRTIO_F_VERSION_1))

enum state { BARE, NEGOTIATED, MAPPED, RUNNING };

static struct vhu_session session(enum state state)
{
	static struct vhu_session s;

	vhu_session_init(&s, VHU_DEV_BLK, 4);
	if (state >= NEGOTIATED) {
		s.features_known = s.features_set_known = s.pfeatures_known = s.pfeatures_set_known =
			s.owned = true;
		s.features_offered = s.features_set = OFFER;
		s.pfeatures_offered = s.pfeatures_set = VHU_P(REPLY_ACK) | VHU_P(MQ) | VHU_P(CONFIG) |
							VHU_P(CONFIGURE_MEM_SLOTS) | VHU_P(STATUS) |
							VHU_P(BACKEND_REQ);
	}
	if (state >= MAPPED) {
		s.memory_set = true;
		s.n_regions = 1;
		s.region[0] = (struct vhu_region_state){
			.gpa = 0x100000000, .size = 0x200000, .uaddr = 0x7f0000000000};
	}
	if (state >= RUNNING) {
		s.n_rings = 1;
		s.ring[0].started = s.ring[0].num_set = s.ring[0].addr_set = true;
		s.ring[0].num = 128;
		s.ring[0].desc = 0x7f0000000000;
		s.ring[0].avail = 0x7f0000001000;
		s.ring[0].used = 0x7f0000002000;
	}
	return s;
}

struct row {
	enum state state;
	enum vhu_msg msg;
	const char *field;
	uint64_t value;
	uint32_t flags; /* beside the version */
	size_t n_fds;
	enum vhu_req req; /* VHU_REQ_MAX: malformed; both MAX: legal */
	enum vhu_malformed malformed;
};

#define LEGAL		VHU_REQ_MAX, VHU_MALFORMED_MAX
#define BREAKS(id)	VHU_REQ_##id, VHU_MALFORMED_MAX
#define MALFORMED(kind) VHU_REQ_MAX, VHU_MALFORMED_##kind

static const struct row rows[] = {
	{BARE, VHU_MSG_GET_FEATURES, NULL, 0, 0, 0, LEGAL},
	{BARE, VHU_MSG_GET_FEATURES, NULL, 0, VHU_C_HEADER_REPLY, 0, BREAKS(HDR_07)},
	{BARE, VHU_MSG_GET_FEATURES, NULL, 0, 0x10, 0, MALFORMED(FLAGS)},
	{BARE, VHU_MSG_SET_OWNER, NULL, 0, VHU_C_HEADER_NEED_REPLY, 0, BREAKS(HDR_08)},
	{BARE, VHU_MSG_GET_FEATURES, NULL, 0, 0, 1, MALFORMED(FDS)},
	{BARE, VHU_MSG_GET_PROTOCOL_FEATURES, NULL, 0, 0, 0, BREAKS(PROTO_05)},
	{BARE, VHU_MSG_SET_VRING_ENABLE, "num", 1, 0, 0, BREAKS(ENABLE_02)},
	{BARE, VHU_MSG_GET_QUEUE_NUM, NULL, 0, 0, 0, BREAKS(MQ_02)},
	{BARE, VHU_MSG_ADD_MEM_REG, "memory_size", 4096, 0, 1, BREAKS(MEMSLOT_10)},
	{BARE, VHU_MSG_GET_STATUS, NULL, 0, 0, 0, BREAKS(STATUS_03)},
	{BARE, VHU_MSG_RESET_DEVICE, NULL, 0, 0, 0, BREAKS(RESET_04)},
	{BARE, VHU_MSG_SET_BACKEND_REQ_FD, NULL, 0, 0, 1, BREAKS(BACKENDREQ_03)},
	{BARE, VHU_MSG_SET_DEVICE_STATE_FD, NULL, 0, 0, 1, BREAKS(DEVSTATE_12)},
	{BARE, VHU_MSG_GET_SHARED_OBJECT, NULL, 0, 0, 0, BREAKS(SHOBJ_02)},
	{BARE, VHU_MSG_CLOSE_CRYPTO_SESSION, NULL, 0, 0, 0, BREAKS(CRYPTO_03)},
	{BARE, VHU_MSG_POSTCOPY_LISTEN, NULL, 0, 0, 0, BREAKS(POSTCOPY_09)},
	{BARE, VHU_MSG_SET_VRING_KICK, "index", 0, 0, 1, BREAKS(OWNER_01)},
	{NEGOTIATED, VHU_MSG_SET_OWNER, NULL, 0, 0, 0, MALFORMED(ORDER)},
	{NEGOTIATED, VHU_MSG_RESET_OWNER, NULL, 0, 0, 0, BREAKS(OWNER_04)},
	{NEGOTIATED, VHU_MSG_SET_FEATURES, "u64", OFFER, VHU_C_HEADER_NEED_REPLY, 0, LEGAL},
	{NEGOTIATED, VHU_MSG_SET_FEATURES, "u64", OFFER | 1, 0, 0, BREAKS(RING_93)},
	{NEGOTIATED, VHU_MSG_SET_PROTOCOL_FEATURES, "u64", UINT64_C(1) << 40, 0, 0, MALFORMED(PAYLOAD)},
	{NEGOTIATED, VHU_MSG_SET_PROTOCOL_FEATURES, "u64", VHU_P(INBAND_NOTIFICATIONS), 0, 0,
	 BREAKS(PROTO_09)},
	{NEGOTIATED, VHU_MSG_SET_BACKEND_REQ_FD, NULL, 0, 0, 1, LEGAL},
	{NEGOTIATED, VHU_MSG_SET_BACKEND_REQ_FD, NULL, 0, 0, 0, BREAKS(HDR_49)},
	{NEGOTIATED, VHU_MSG_SET_VRING_NUM, "num", 256, 0, 0, LEGAL},
	{NEGOTIATED, VHU_MSG_SET_VRING_NUM, "num", 0, 0, 0, MALFORMED(RING_SIZE)},
	{NEGOTIATED, VHU_MSG_SET_VRING_NUM, "num", 100, 0, 0, MALFORMED(RING_SIZE)},
	{NEGOTIATED, VHU_MSG_SET_VRING_NUM, "num", 65536, 0, 0, MALFORMED(RING_SIZE)},
	{NEGOTIATED, VHU_MSG_SET_VRING_BASE, "num", 65535, 0, 0, LEGAL},
	{NEGOTIATED, VHU_MSG_SET_VRING_BASE, "num", 65536, 0, 0, BREAKS(VRING_78)},
	{NEGOTIATED, VHU_MSG_SET_VRING_BASE, "index", 4, 0, 0, MALFORMED(INDEX)},
	{NEGOTIATED, VHU_MSG_GET_VRING_BASE, "num", 1, 0, 0, BREAKS(VRING_12)},
	{NEGOTIATED, VHU_MSG_SET_VRING_ENABLE, "num", 2, 0, 0, MALFORMED(PAYLOAD)},
	{NEGOTIATED, VHU_MSG_SET_VRING_CALL, "index", 1, 0, 1, LEGAL},
	{NEGOTIATED, VHU_MSG_SET_VRING_CALL, "index", 1, 0, 0, BREAKS(VRING_80)},
	{NEGOTIATED, VHU_MSG_SET_VRING_CALL, "no_fd", 1, 0, 1, BREAKS(VRING_80)},
	{NEGOTIATED, VHU_MSG_SET_VRING_CALL, "no_fd", 1, 0, 0, LEGAL},
	{NEGOTIATED, VHU_MSG_SET_VRING_CALL, "u64", 0x200, 0, 1, MALFORMED(PAYLOAD)},
	{NEGOTIATED, VHU_MSG_SET_VRING_KICK, "index", 0, 0, 1, MALFORMED(ORDER)},
	{NEGOTIATED, VHU_MSG_SET_VRING_ADDR, "index", 0, 0, 0, MALFORMED(ORDER)},
	{NEGOTIATED, VHU_MSG_SET_STATUS, "u64", 256, 0, 0, MALFORMED(PAYLOAD)},
	{NEGOTIATED, VHU_MSG_REM_MEM_REG, "memory_size", 4096, 0, 0, MALFORMED(ADDRESS)},
	{MAPPED, VHU_MSG_ADD_MEM_REG, "guest_phys_addr", 0x100000000, 0, 1, MALFORMED(ADDRESS)},
	{MAPPED, VHU_MSG_ADD_MEM_REG, "memory_size", 4096, 0, 1, LEGAL},
	{MAPPED, VHU_MSG_ADD_MEM_REG, "memory_size", 4096, 0, 2, BREAKS(MEMSLOT_04)},
	{RUNNING, VHU_MSG_SET_VRING_NUM, "num", 128, 0, 0, MALFORMED(ORDER)},
	{RUNNING, VHU_MSG_SET_FEATURES, "u64", BIT30, 0, 0, MALFORMED(ORDER)},
	{RUNNING, VHU_MSG_GET_VRING_BASE, "index", 0, 0, 0, LEGAL},
	{RUNNING, VHU_MSG_SET_VRING_CALL, "index", 0, 0, 1, LEGAL},
};

static bool names(const struct row *row, const struct vhu_illegal *i)
{
	return row->req != VHU_REQ_MAX ? i->req == row->req
				       : i->req == VHU_REQ_MAX && i->malformed == row->malformed;
}

static void test_table(void **state)
{
	for (size_t k = 0; k < VHU_ARRAY_SIZE(rows); k++) {
		const struct row *row = &rows[k];
		struct vhu_session s = session(row->state);
		struct vhu_illegal out[8];
		struct vhu_frame f = {0};
		bool named = false;
		size_t n;

		assert_int_equal(vhu_frame_request(&f, row->msg, NULL), 0);
		f.flags = VHU_C_HEADER_VERSION | row->flags;
		if (row->field)
			assert_int_equal(vhu_frame_set(&f, vhu_frame_payload(&f), row->field, row->value), 0);
		for (size_t i = 0; i < row->n_fds; i++)
			assert_int_equal(vhu_frame_give_fd(&f, dup(0), NULL), 0);
		n = vhu_oracle_illegal(&s, &f, out, VHU_ARRAY_SIZE(out));
		for (size_t i = 0; i < n; i++)
			named |= names(row, &out[i]);
		if (row->req == VHU_REQ_MAX && row->malformed == VHU_MALFORMED_MAX) {
			if (n)
				fail_msg("row %zu (%s) is legal, but: %s", k, vhu_msg_row(row->msg)->name,
					 out[0].text);
		} else if (!named) {
			fail_msg("row %zu (%s): %zu found, not the one", k, vhu_msg_row(row->msg)->name, n);
		}
		vhu_frame_done(&f);
	}
}

static void test_sizes_and_unknown_requests(void **state)
{
	struct vhu_session s = session(NEGOTIATED);
	struct vhu_illegal out[8];
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_NUM, NULL), 0);
	assert_int_equal(vhu_frame_resize(&f, 7, NULL), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	assert_int_equal(out[0].malformed, VHU_MALFORMED_SIZE);
	f.request = 99;
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	assert_int_equal(out[0].malformed, VHU_MALFORMED_REQUEST);
	vhu_frame_done(&f);
}

static void test_a_table_of_regions_that_overlap(void **state)
{
	struct vhu_session s = session(NEGOTIATED);
	struct vhu_illegal out[8];
	struct vhu_frame f = {0};
	bool guest = false, user = false;
	size_t n;

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_MEM_TABLE, NULL), 0);
	assert_int_equal(vhu_frame_resize(&f, 8 + 2 * 32, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_MEM_TABLE, "num_regions", 2), 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(vhu_frame_set_region(&f, VHU_PL_MEM_TABLE, i, "memory_size", 0x2000), 0);
		assert_int_equal(vhu_frame_set_region(&f, VHU_PL_MEM_TABLE, i, "guest_phys_addr", i * 0x1000),
				 0);
		assert_int_equal(vhu_frame_give_fd(&f, dup(0), NULL), 0);
	}
	n = vhu_oracle_illegal(&s, &f, out, 8);
	for (size_t i = 0; i < n; i++) {
		guest |= out[i].req == VHU_REQ_MEM_09;
		user |= out[i].req == VHU_REQ_MEM_10;
	}
	assert_true(guest && user);
	vhu_frame_done(&f);
}

/* What the tester calls a malformation is a stranger's breach of the row that says so, where one does. */
static void test_what_a_stranger_is_told(void **state)
{
	struct vhu_session s = session(NEGOTIATED);
	struct vhu_illegal out[8];
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_NUM, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_STATE, "num", 100), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	assert_int_equal(out[0].req, VHU_REQ_MAX);
	assert_int_equal(out[0].broken, VHU_REQ_RING_94);
	vhu_frame_done(&f);
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_GET_VRING_BASE, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_STATE, "num", 1), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	assert_int_equal(out[0].broken, VHU_REQ_VRING_12);
	vhu_frame_done(&f);
}

/* A used ring that is logged has its last bit in the log: 1 byte of log is 8 pages. */
static void test_the_log_address_of_a_ring(void **state)
{
	struct vhu_session s = session(RUNNING);
	struct vhu_illegal out[8];
	struct vhu_frame f = {0};

	s.log_size = 1;
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_VRING_ADDR, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_ADDR, "flags", VHU_C_VRING_F_LOG), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_ADDR, "descriptor", s.ring[0].desc), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_ADDR, "available", s.ring[0].avail), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_ADDR, "used", s.ring[0].used), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_ADDR, "log", 8 * 4096 - (6 + 8 * 128)), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_ADDR, "log", 8 * 4096 - (6 + 8 * 128) + 1), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	assert_int_equal(out[0].req, VHU_REQ_LOG_09);
	vhu_frame_done(&f);
}

/* 8 bytes of memory message acknowledge the addresses in postcopy listen mode; nothing is unmapped. */
static void test_the_postcopy_exchange(void **state)
{
	struct vhu_session s = session(MAPPED);
	struct vhu_illegal out[8];
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_MEM_TABLE, NULL), 0);
	assert_int_equal(vhu_frame_resize(&f, sizeof(uint64_t), NULL), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	s.postcopy_listening = true;
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 0);
	vhu_session_apply(&s, &f, false);
	assert_int_equal(s.n_regions, 1);
	f.flags |= VHU_C_HEADER_NEED_REPLY;
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, 8), 1);
	assert_int_equal(out[0].req, VHU_REQ_POSTCOPY_06);
	vhu_frame_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_sizes_and_unknown_requests),
		cmocka_unit_test(test_a_table_of_regions_that_overlap),
		cmocka_unit_test(test_what_a_stranger_is_told),
		cmocka_unit_test(test_the_log_address_of_a_ring),
		cmocka_unit_test(test_the_postcopy_exchange),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
