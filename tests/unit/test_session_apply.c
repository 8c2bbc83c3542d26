/* The session as a function of frames: what is negotiated, what is owed, what a reply answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "session/session.h"
#include "wire/frame.h"

static struct vhu_frame request(enum vhu_msg msg, const char *field, uint64_t value, uint32_t flags)
{
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	f.flags = VHU_C_HEADER_VERSION | flags;
	if (field)
		assert_int_equal(vhu_frame_set(&f, vhu_frame_payload(&f), field, value), 0);
	return f;
}

static uint64_t send(struct vhu_session *s, enum vhu_msg msg, const char *field, uint64_t value,
		     uint32_t flags)
{
	struct vhu_frame f = request(msg, field, value, flags);
	uint64_t serial = vhu_session_apply(s, &f, false);

	vhu_frame_done(&f);
	return serial;
}

static struct vhu_frame reply_u64(enum vhu_msg msg, uint64_t value)
{
	struct vhu_frame f = {.channel = VHU_CHAN_MAIN, .dir = VHU_DIR_BE, .request = vhu_msg_row(msg)->id};

	f.flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
	assert_int_equal(vhu_frame_resize(&f, sizeof(value), NULL), 0);
	vhu_ne_put(f.payload, sizeof(value), value);
	return f;
}

static int answer(struct vhu_session *s, enum vhu_msg msg, uint64_t value)
{
	struct vhu_frame f = reply_u64(msg, value);
	int match = vhu_session_match(s, &f);

	vhu_session_apply(s, &f, false);
	vhu_frame_done(&f);
	return match;
}

static enum vhu_due due(const struct vhu_session *s, enum vhu_msg msg, uint32_t flags)
{
	struct vhu_frame f = request(msg, NULL, 0, flags);
	enum vhu_due d = vhu_session_due(s, &f);

	vhu_frame_done(&f);
	return d;
}

static struct vhu_session fresh(void)
{
	struct vhu_session s;

	vhu_session_init(&s, VHU_DEV_BLK, 0);
	return s;
}

static void negotiate(struct vhu_session *s, uint64_t pfeatures)
{
	send(s, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	answer(s, VHU_MSG_GET_FEATURES, VHU_V(VHOST_USER_F_PROTOCOL_FEATURES) | VHU_V(VIRTIO_F_VERSION_1));
	send(s, VHU_MSG_SET_PROTOCOL_FEATURES, "u64", pfeatures, 0);
}

static void test_features_are_those_offered_until_set(void **state)
{
	struct vhu_session s = fresh();

	assert_int_equal(vhu_session_features(&s), 0);
	send(&s, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	answer(&s, VHU_MSG_GET_FEATURES, 0x140000000);
	assert_int_equal(vhu_session_features(&s), 0x140000000);
	send(&s, VHU_MSG_SET_FEATURES, "u64", 0x100000000, 0);
	assert_int_equal(vhu_session_features(&s), 0x100000000);
	assert_int_equal(s.features_offered, 0x140000000);
}

static void test_acknowledgements_are_owed_with_reply_ack_only(void **state)
{
	struct vhu_session s = fresh();

	assert_int_equal(due(&s, VHU_MSG_SET_OWNER, 0), VHU_DUE_NOTHING);
	assert_int_equal(due(&s, VHU_MSG_SET_OWNER, VHU_C_HEADER_NEED_REPLY), VHU_DUE_MAYBE);
	negotiate(&s, VHU_P(REPLY_ACK));
	assert_int_equal(due(&s, VHU_MSG_SET_OWNER, 0), VHU_DUE_NOTHING);
	assert_int_equal(due(&s, VHU_MSG_SET_OWNER, VHU_C_HEADER_NEED_REPLY), VHU_DUE_ACK);
	assert_int_equal(due(&s, VHU_MSG_GET_FEATURES, 0), VHU_DUE_REPLY);
}

static void test_the_message_that_sets_reply_ack_may_be_acknowledged(void **state)
{
	struct vhu_session s = fresh();

	assert_int_equal(due(&s, VHU_MSG_SET_PROTOCOL_FEATURES, VHU_C_HEADER_NEED_REPLY), VHU_DUE_MAYBE);
}

static void test_messages_of_extensions_not_negotiated_owe_nothing_for_certain(void **state)
{
	struct vhu_session s = fresh();

	negotiate(&s, 0);
	assert_int_equal(due(&s, VHU_MSG_GET_QUEUE_NUM, 0), VHU_DUE_MAYBE);
	negotiate(&s, VHU_P(MQ));
	assert_int_equal(due(&s, VHU_MSG_GET_QUEUE_NUM, 0), VHU_DUE_REPLY);
}

static void test_set_log_base_is_answered_with_log_shmfd(void **state)
{
	struct vhu_session s = fresh();

	negotiate(&s, VHU_P(REPLY_ACK));
	assert_int_equal(due(&s, VHU_MSG_SET_LOG_BASE, 0), VHU_DUE_NOTHING);
	assert_int_equal(due(&s, VHU_MSG_SET_LOG_BASE, VHU_C_HEADER_NEED_REPLY), VHU_DUE_ACK);
	negotiate(&s, VHU_P(LOG_SHMFD));
	assert_int_equal(due(&s, VHU_MSG_SET_LOG_BASE, 0), VHU_DUE_REPLY);
}

static void test_replies_match_in_order_and_drop_what_they_pass_over(void **state)
{
	struct vhu_session s = fresh();
	uint64_t first, second;

	negotiate(&s, VHU_P(MQ));
	first = send(&s, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	second = send(&s, VHU_MSG_GET_QUEUE_NUM, NULL, 0, 0);
	assert_non_null(vhu_session_pending(&s, first));
	assert_int_equal(vhu_session_overdue(&s)->serial, first);
	assert_int_equal(answer(&s, VHU_MSG_GET_QUEUE_NUM, 4), 1);
	assert_null(vhu_session_pending(&s, first));
	assert_null(vhu_session_pending(&s, second));
	assert_int_equal(s.queue_num, 4);
	assert_int_equal(s.n_missed, 1);
	assert_int_equal(answer(&s, VHU_MSG_GET_FEATURES, 0), -1);
}

static void test_rings_start_with_kick_and_stop_with_get_vring_base(void **state)
{
	struct vhu_session s = fresh();

	send(&s, VHU_MSG_SET_FEATURES, "u64", VHU_V(VHOST_USER_F_PROTOCOL_FEATURES), 0);
	send(&s, VHU_MSG_SET_VRING_NUM, "num", 128, 0);
	assert_int_equal(s.ring[0].num, 128);
	send(&s, VHU_MSG_SET_VRING_KICK, "index", 3, 0);
	assert_true(s.ring[3].started);
	assert_false(s.ring[3].enabled);
	send(&s, VHU_MSG_SET_VRING_ENABLE, "num", 1, 0);
	assert_true(s.ring[0].enabled);
	send(&s, VHU_MSG_GET_VRING_BASE, "index", 3, 0);
	assert_false(s.ring[3].started);
}

static void test_all_rings_are_enabled_without_bit_30(void **state)
{
	struct vhu_session s = fresh();

	send(&s, VHU_MSG_SET_FEATURES, "u64", VHU_V(VIRTIO_F_VERSION_1), 0);
	assert_true(s.ring[0].enabled);
	assert_true(s.ring[VHU_SESSION_RINGS - 1].enabled);
}

static void test_what_was_meant_as_nonsense_changes_nothing(void **state)
{
	struct vhu_session s = fresh();
	struct vhu_frame f = request(VHU_MSG_SET_VRING_NUM, "num", 77, 0);

	vhu_session_apply(&s, &f, true);
	vhu_frame_done(&f);
	assert_false(s.ring[0].num_set);
	assert_true(s.tainted);
	assert_null(vhu_session_overdue(&s));
}

static void test_a_flood_of_requests_stays_bounded(void **state)
{
	struct vhu_session s = fresh();

	for (int i = 0; i < 3 * VHU_SESSION_PENDING; i++)
		send(&s, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	assert_int_equal(s.n_pending, VHU_SESSION_PENDING);
	assert_int_equal(s.pending[VHU_SESSION_PENDING - 1].serial, 3 * VHU_SESSION_PENDING);
}

static void test_an_index_beyond_all_rings_is_ignored(void **state)
{
	struct vhu_session s = fresh();

	send(&s, VHU_MSG_SET_VRING_NUM, "index", UINT32_MAX, 0);
	send(&s, VHU_MSG_SET_VRING_BASE, "index", VHU_SESSION_RINGS, 0);
	assert_null(vhu_session_ring(&s, VHU_SESSION_RINGS));
	for (int i = 0; i < VHU_SESSION_RINGS; i++)
		assert_false(s.ring[i].num_set || s.ring[i].base_set);
}

static void test_all_that_a_session_holds_lies_in_its_spans(void **state)
{
	struct vhu_session_span spans[VHU_SESSION_SPANS];
	struct vhu_session s, copy;
	size_t n, bytes = 0;

	vhu_session_init(&s, VHU_DEV_NET, 0);
	vhu_session_init(&copy, VHU_DEV_ANY, 0);
	n = vhu_session_spans(&s, spans);
	for (size_t i = 0; i < n; i++)
		bytes += spans[i].len;
	assert_true(bytes < 1024);
	send(&s, VHU_MSG_SET_OWNER, NULL, 0, 0);
	send(&s, VHU_MSG_ADD_MEM_REG, "memory_size", 4096, 0);
	send(&s, VHU_MSG_ADD_MEM_REG, "memory_size", 8192, 0);
	send(&s, VHU_MSG_SET_VRING_NUM, "index", 5, 0);
	send(&s, VHU_MSG_SET_VRING_ENABLE, "index", 200, 0);
	for (int i = 0; i < 2 * VHU_SESSION_PENDING; i++)
		send(&s, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	n = vhu_session_spans(&s, spans);
	for (size_t i = 0; i < n; i++)
		memcpy((char *)&copy + spans[i].at, (char *)&s + spans[i].at, spans[i].len);
	assert_memory_equal(&copy, &s, sizeof(s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features_are_those_offered_until_set),
		cmocka_unit_test(test_acknowledgements_are_owed_with_reply_ack_only),
		cmocka_unit_test(test_the_message_that_sets_reply_ack_may_be_acknowledged),
		cmocka_unit_test(test_messages_of_extensions_not_negotiated_owe_nothing_for_certain),
		cmocka_unit_test(test_set_log_base_is_answered_with_log_shmfd),
		cmocka_unit_test(test_replies_match_in_order_and_drop_what_they_pass_over),
		cmocka_unit_test(test_rings_start_with_kick_and_stop_with_get_vring_base),
		cmocka_unit_test(test_all_rings_are_enabled_without_bit_30),
		cmocka_unit_test(test_what_was_meant_as_nonsense_changes_nothing),
		cmocka_unit_test(test_a_flood_of_requests_stays_bounded),
		cmocka_unit_test(test_an_index_beyond_all_rings_is_ignored),
		cmocka_unit_test(test_all_that_a_session_holds_lies_in_its_spans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
