/* What a front-end may not send in migration: the exchange of postcopy, transfers of device state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "oracle/oracle.h"
#include "wire/frame.h"

enum { MOST = 8 };

static void negotiated(struct vhu_session *s)
{
	vhu_session_init(s, VHU_DEV_BLK, 4);
	s->features_known = s->features_set_known = s->owned = true;
	s->pfeatures_known = s->pfeatures_set_known = true;
	s->features_offered = s->features_set =
		VHU_V(VHOST_USER_F_PROTOCOL_FEATURES) | VHU_V(VIRTIO_F_VERSION_1);
	s->pfeatures_offered = s->pfeatures_set =
		VHU_P(REPLY_ACK) | VHU_P(PAGEFAULT) | VHU_P(DEVICE_STATE) | VHU_P(CONFIGURE_MEM_SLOTS);
}

/* What is wrong with a message without payload fields of its own. */
static size_t judge(const struct vhu_session *s, enum vhu_msg msg, struct vhu_illegal *out)
{
	struct vhu_frame f = {0};
	size_t n;

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	n = vhu_oracle_illegal(s, &f, out, MOST);
	vhu_frame_done(&f);
	return n;
}

static void assert_breaks(const struct vhu_illegal *out, size_t n, enum vhu_req req)
{
	assert_int_equal(n, 1);
	assert_int_equal(out[0].req, req);
}

static void assert_order(const struct vhu_illegal *out, size_t n)
{
	assert_int_equal(n, 1);
	assert_int_equal(out[0].malformed, VHU_MALFORMED_ORDER);
}

/* The table of bases waits for our acknowledgement, and nothing else is read before that. */
static void test_nothing_before_the_acknowledgement(void **state)
{
	struct vhu_illegal out[MOST];
	struct vhu_session s;
	struct vhu_frame f = {0};

	negotiated(&s);
	s.postcopy_advised = s.postcopy_listening = true;
	assert_int_equal(judge(&s, VHU_MSG_GET_FEATURES, out), 0);
	s.postcopy_ack_due = true;
	assert_breaks(out, judge(&s, VHU_MSG_GET_FEATURES, out), VHU_REQ_POSTCOPY_06);
	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_MEM_TABLE, NULL), 0);
	assert_int_equal(vhu_frame_resize(&f, sizeof(uint64_t), NULL), 0);
	assert_int_equal(vhu_oracle_illegal(&s, &f, out, MOST), 0);
	vhu_session_apply(&s, &f, false);
	assert_false(s.postcopy_ack_due);
	vhu_frame_done(&f);
}

static void test_the_end_of_what_never_began(void **state)
{
	struct vhu_illegal out[MOST];
	struct vhu_session s;

	negotiated(&s);
	assert_order(out, judge(&s, VHU_MSG_POSTCOPY_END, out));
	s.postcopy_listens = 1;
	assert_int_equal(judge(&s, VHU_MSG_POSTCOPY_END, out), 0);
	assert_order(out, judge(&s, VHU_MSG_CHECK_DEVICE_STATE, out));
	s.state_transfer = true;
	assert_int_equal(judge(&s, VHU_MSG_CHECK_DEVICE_STATE, out), 0);
}

static size_t transfer(const struct vhu_session *s, uint64_t direction, uint64_t phase,
		       struct vhu_illegal *out)
{
	struct vhu_frame f = {0};
	size_t n;

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_SET_DEVICE_STATE_FD, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, vhu_frame_payload(&f), "direction", direction), 0);
	assert_int_equal(vhu_frame_set(&f, vhu_frame_payload(&f), "phase", phase), 0);
	assert_int_equal(vhu_frame_give_fd(&f, dup(0), NULL), 0);
	n = vhu_oracle_illegal(s, &f, out, MOST);
	vhu_frame_done(&f);
	return n;
}

static void test_transfers(void **state)
{
	struct vhu_illegal out[MOST];
	struct vhu_session s;

	negotiated(&s);
	assert_int_equal(transfer(&s, 0, 0, out), 0);
	assert_int_equal(transfer(&s, 1, 0, out), 0);
	assert_breaks(out, transfer(&s, 2, 0, out), VHU_REQ_DEVSTATE_11);
	assert_breaks(out, transfer(&s, 0, 1, out), VHU_REQ_DEVSTATE_11);
	/* One ring that runs is enough, and told once. */
	s.n_rings = 4;
	s.ring[1].started = s.ring[3].started = true;
	assert_breaks(out, transfer(&s, 1, 0, out), VHU_REQ_DEVSTATE_11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_before_the_acknowledgement),
		cmocka_unit_test(test_the_end_of_what_never_began),
		cmocka_unit_test(test_transfers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
