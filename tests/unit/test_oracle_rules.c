/* The judge: each rule about the back-end's frames broken once, and kept once; grades of findings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "oracle/oracle.h"
#include "wire/frame.h"

struct bench {
	struct vhu_oracle o;
	struct vhu_finding found[16];
	size_t n;
};

static void keep(void *ctx, const struct vhu_finding *f)
{
	struct bench *b = ctx;

	assert_true(b->n < VHU_ARRAY_SIZE(b->found));
	b->found[b->n++] = *f;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	vhu_oracle_init(&b->o, VHU_DEV_BLK, 4, keep, b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void observe(struct bench *b, struct vhu_frame *f, bool intended)
{
	struct vhu_obs obs = {.kind = VHU_OBS_FRAME, .frame = f, .intended = intended};

	vhu_oracle_observe(&b->o, &obs);
	vhu_frame_done(f);
}

static void ask(struct bench *b, enum vhu_msg msg, const char *field, uint64_t value, uint32_t flags)
{
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	f.flags |= flags;
	if (field)
		assert_int_equal(vhu_frame_set(&f, vhu_frame_payload(&f), field, value), 0);
	observe(b, &f, false);
}

static struct vhu_frame reply(enum vhu_msg msg, uint64_t value)
{
	struct vhu_frame f = {.channel = VHU_CHAN_MAIN, .dir = VHU_DIR_BE, .request = vhu_msg_row(msg)->id};

	f.flags = VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY;
	assert_int_equal(vhu_frame_resize(&f, sizeof(value), NULL), 0);
	vhu_ne_put(f.payload, sizeof(value), value);
	return f;
}

static void say(struct bench *b, enum vhu_msg msg, uint64_t value)
{
	struct vhu_frame f = reply(msg, value);

	observe(b, &f, false);
}

#define OFFER (VHU_V(VHOST_USER_F_PROTOCOL_FEATURES) | VHU_V(VIRTIO_F_VERSION_1))

static void negotiate(struct bench *b, uint64_t pfeatures)
{
	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_FEATURES, OFFER);
	ask(b, VHU_MSG_GET_PROTOCOL_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_PROTOCOL_FEATURES, pfeatures | VHU_P(MQ));
	ask(b, VHU_MSG_SET_PROTOCOL_FEATURES, "u64", pfeatures | VHU_P(MQ), 0);
	assert_int_equal(b->n, 0);
}

static void assert_found(struct bench *b, enum vhu_req req)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->found[i].req == req)
			return;
	fail_msg("no finding of %s; %zu others, first %s", vhu_req_row(req)->id, b->n,
		 b->n ? vhu_req_row(b->found[0].req)->id : "none");
}

static void test_a_good_session_has_no_finding(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_SET_OWNER, NULL, 0, VHU_C_HEADER_NEED_REPLY);
	say(b, VHU_MSG_SET_OWNER, 0);
	ask(b, VHU_MSG_GET_QUEUE_NUM, NULL, 0, 0);
	say(b, VHU_MSG_GET_QUEUE_NUM, 4);
	ask(b, VHU_MSG_SET_FEATURES, "u64", OFFER, VHU_C_HEADER_NEED_REPLY);
	say(b, VHU_MSG_SET_FEATURES, 0);
	assert_int_equal(b->n, 0);
}

/* A reply to GET_FEATURES whose header is spoilt, and the row that this breaks. */
static void spoilt(struct bench *b, uint32_t flags, enum vhu_req req)
{
	struct vhu_frame f;

	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	f = reply(VHU_MSG_GET_FEATURES, OFFER);
	f.flags = flags;
	observe(b, &f, false);
	assert_found(b, req);
}

static void test_header_flags(void **state)
{
	struct bench *b = *state;

	spoilt(b, VHU_C_HEADER_REPLY, VHU_REQ_HDR_02);
	spoilt(b, VHU_C_HEADER_VERSION, VHU_REQ_HDR_01);
	spoilt(b, 0x85, VHU_REQ_HDR_11);
	spoilt(b, 0xd, VHU_REQ_HDR_09);
}

static void test_an_echoed_need_reply_is_a_quirk(void **state)
{
	struct bench *b = *state;
	struct vhu_frame f;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, VHU_C_HEADER_NEED_REPLY);
	f = reply(VHU_MSG_GET_FEATURES, OFFER);
	f.flags |= VHU_C_HEADER_NEED_REPLY;
	observe(b, &f, false);
	assert_found(b, VHU_REQ_HDR_10);
	assert_int_equal(b->n, 1);
	assert_int_equal(b->found[0].kind, VHU_FINDING_QUIRK);
}

static void test_sizes(void **state)
{
	struct bench *b = *state;
	struct vhu_frame f;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	f = reply(VHU_MSG_GET_FEATURES, OFFER);
	assert_int_equal(vhu_frame_resize(&f, 4, NULL), 0);
	observe(b, &f, false);
	assert_found(b, VHU_REQ_HDR_06);
	b->n = 0;
	ask(b, VHU_MSG_SET_OWNER, NULL, 0, VHU_C_HEADER_NEED_REPLY);
	f = reply(VHU_MSG_SET_OWNER, 0);
	assert_int_equal(vhu_frame_resize(&f, 16, NULL), 0);
	observe(b, &f, false);
	assert_found(b, VHU_REQ_REPLY_02);
}

static void test_answers_that_nobody_asked_for(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_SET_OWNER, NULL, 0, 0);
	say(b, VHU_MSG_SET_OWNER, 0);
	assert_found(b, VHU_REQ_HDR_37);
	b->n = 0;
	ask(b, VHU_MSG_GET_QUEUE_NUM, NULL, 0, 0);
	say(b, VHU_MSG_GET_QUEUE_NUM, 4);
	say(b, VHU_MSG_GET_QUEUE_NUM, 4);
	assert_found(b, VHU_REQ_REPLY_04);
}

static void test_another_id_stands_for_the_answer(void **state)
{
	struct bench *b = *state;

	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_QUEUE_NUM, OFFER);
	assert_found(b, VHU_REQ_HDR_05);
	assert_null(vhu_session_overdue(&b->o.session));
}

/* The id of the request before: no second answer to that, which had asked for none. */
static void test_the_id_of_the_request_before(void **state)
{
	struct bench *b = *state;

	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_FEATURES, OFFER);
	ask(b, VHU_MSG_GET_PROTOCOL_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_FEATURES, VHU_P(MQ));
	assert_found(b, VHU_REQ_HDR_05);
	assert_null(vhu_session_overdue(&b->o.session));
}

static void test_a_back_end_request_on_the_main_channel(void **state)
{
	struct bench *b = *state;
	struct vhu_frame f = {.channel = VHU_CHAN_MAIN,
			      .dir = VHU_DIR_BE,
			      .request = vhu_msg_row(VHU_MSG_BACKEND_CONFIG_CHANGE_MSG)->id,
			      .flags = VHU_C_HEADER_VERSION};

	negotiate(b, VHU_P(BACKEND_REQ) | VHU_P(CONFIG));
	ask(b, VHU_MSG_SET_BACKEND_REQ_FD, NULL, 0, 0);
	observe(b, &f, false);
	assert_found(b, VHU_REQ_BACKENDREQ_04);
}

static void test_passed_over_then_late(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_SET_OWNER, NULL, 0, VHU_C_HEADER_NEED_REPLY);
	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_FEATURES, OFFER);
	assert_found(b, VHU_REQ_REPLY_01);
	say(b, VHU_MSG_SET_OWNER, 0);
	assert_found(b, VHU_REQ_HDR_36);
}

static void test_offers_do_not_change(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_FEATURES, OFFER | VHU_V(VIRTIO_RING_F_EVENT_IDX));
	assert_found(b, VHU_REQ_FEAT_09);
	ask(b, VHU_MSG_GET_PROTOCOL_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_PROTOCOL_FEATURES, VHU_P(MQ));
	assert_found(b, VHU_REQ_PROTO_13);
}

static void test_offers_depend_on_each_other(void **state)
{
	struct bench *b = *state;

	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_FEATURES,
	    VHU_V(VHOST_USER_F_PROTOCOL_FEATURES) | VHU_V(VIRTIO_BLK_F_CONFIG_WCE) | 1 << 3);
	assert_found(b, VHU_REQ_FEAT_20);
	assert_found(b, VHU_REQ_FEAT_27);
	b->n = 0;
	ask(b, VHU_MSG_GET_PROTOCOL_FEATURES, NULL, 0, 0);
	say(b, VHU_MSG_GET_PROTOCOL_FEATURES,
	    VHU_P(HOST_NOTIFIER) | VHU_P(INBAND_NOTIFICATIONS) | UINT64_C(1) << 60);
	assert_found(b, VHU_REQ_PROTO_11);
	assert_found(b, VHU_REQ_PROTO_14);
	assert_found(b, VHU_REQ_PROTO_22);
	assert_found(b, VHU_REQ_PROTO_25);
}

static void test_vring_base(void **state)
{
	struct bench *b = *state;
	struct vhu_frame f;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_GET_VRING_BASE, "index", 2, 0);
	f = reply(VHU_MSG_GET_VRING_BASE, 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_BASE, "index", 1), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_VRING_BASE, "num", 0x10000), 0);
	observe(b, &f, false);
	assert_found(b, VHU_REQ_VRING_11);
	assert_found(b, VHU_REQ_VRING_09);
}

/* Answers a GET_CONFIG of the whole payload, with one byte set. */
static void say_config(struct bench *b, uint64_t offset, size_t at)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, VHU_MSG_GET_CONFIG, NULL), 0);
	assert_int_equal(vhu_frame_resize(&f, head + VHU_C_CONFIG_SIZE_MAX, NULL), 0);
	f.size = (uint32_t)f.len;
	assert_int_equal(vhu_frame_set(&f, VHU_PL_CONFIG, "offset", offset), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_CONFIG, "size", VHU_C_CONFIG_SIZE_MAX - offset), 0);
	observe(b, &f, false);
	f = reply(VHU_MSG_GET_CONFIG, 0);
	assert_int_equal(vhu_frame_resize(&f, head + VHU_C_CONFIG_SIZE_MAX, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_CONFIG, "offset", offset), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_CONFIG, "size", VHU_C_CONFIG_SIZE_MAX - offset), 0);
	f.payload[head + at] = 0xa7;
	observe(b, &f, false);
}

static void test_config_behind_its_fields(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(CONFIG));
	b->n = 0;
	say_config(b, 0, 95); /* the last byte of a field */
	say_config(b, 8, 200); /* who ignores the offset is told otherwise */
	for (size_t i = 0; i < b->n; i++)
		assert_int_not_equal(b->found[i].req, VHU_REQ_CFG_05);
	say_config(b, 0, 96);
	assert_found(b, VHU_REQ_CFG_05);
}

static void test_queue_num(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(REPLY_ACK));
	ask(b, VHU_MSG_GET_QUEUE_NUM, NULL, 0, 0);
	say(b, VHU_MSG_GET_QUEUE_NUM, 257);
	assert_found(b, VHU_REQ_MQ_08);
	ask(b, VHU_MSG_GET_QUEUE_NUM, NULL, 0, 0);
	say(b, VHU_MSG_GET_QUEUE_NUM, 0);
	assert_found(b, VHU_REQ_MQ_01);
	assert_found(b, VHU_REQ_MQ_06);
}

static void backend_request(struct bench *b, uint32_t id, uint32_t flags, size_t len)
{
	struct vhu_frame f = {.channel = VHU_CHAN_BACKEND, .dir = VHU_DIR_BE, .request = id, .flags = flags};

	assert_int_equal(vhu_frame_resize(&f, len, NULL), 0);
	observe(b, &f, false);
}

static void test_backend_requests(void **state)
{
	struct bench *b = *state;

	negotiate(b, VHU_P(BACKEND_REQ));
	backend_request(b, VHU_ID_BACKEND_CONFIG_CHANGE_MSG, 0x1, 0);
	assert_found(b, VHU_REQ_BACKENDREQ_07);
	backend_request(b, 200, 0x1, 0);
	assert_found(b, VHU_REQ_BACKENDREQ_16);
	backend_request(b, VHU_ID_BACKEND_CONFIG_CHANGE_MSG, 0x9, 0);
	assert_found(b, VHU_REQ_BACKENDREQ_13);
	backend_request(b, VHU_ID_BACKEND_CONFIG_CHANGE_MSG, 0x5, 3);
	assert_found(b, VHU_REQ_BACKENDREQ_14);
}

static void test_deadline_and_end_name_what_was_owed(void **state)
{
	struct bench *b = *state;
	struct vhu_obs late = {.kind = VHU_OBS_DEADLINE},
		       eof = {.kind = VHU_OBS_EOF, .channel = VHU_CHAN_MAIN};

	ask(b, VHU_MSG_GET_FEATURES, NULL, 0, 0);
	vhu_oracle_observe(&b->o, &late);
	assert_found(b, VHU_REQ_REPLY_05);
	assert_int_equal(b->found[0].kind, VHU_FINDING_ROBUST);
	vhu_oracle_observe(&b->o, &eof);
	assert_found(b, VHU_REQ_REPLY_12);
}

static void test_each_breach_has_its_requirement(void **state)
{
	struct bench *b = *state;

	for (int i = 0; i < VHU_BREACH_MAX; i++) {
		struct vhu_obs obs = {.kind = VHU_OBS_BREACH, .breach = (enum vhu_breach)i, .text = "seen"};

		b->n = 0;
		vhu_oracle_observe(&b->o, &obs);
		assert_int_equal(b->n, 1);
		assert_int_equal(b->found[0].req, vhu_breach_row((enum vhu_breach)i)->req);
		assert_string_equal(b->found[0].actual, "seen");
	}
}

static enum vhu_verdict grade(enum vhu_req req, enum vhu_finding_kind kind, bool strict, enum vhu_since spec)
{
	struct vhu_finding f = {.req = req, .kind = kind};
	struct vhu_judge_opts opts = {.strict = strict, .spec = spec};

	return vhu_finding_grade(&f, &opts);
}

static void test_grades(void **state)
{
	const enum vhu_since now = VHU_SINCE_V11_1;

	assert_int_equal(grade(VHU_REQ_HDR_01, VHU_FINDING_RULE, false, now), VHU_FAIL);
	assert_int_equal(grade(VHU_REQ_HDR_05, VHU_FINDING_RULE, false, now), VHU_WARN);
	assert_int_equal(grade(VHU_REQ_HDR_05, VHU_FINDING_RULE, true, now), VHU_FAIL);
	assert_int_equal(grade(VHU_REQ_HDR_05, VHU_FINDING_ROBUST, false, now), VHU_FAIL);
	assert_int_equal(grade(VHU_REQ_HDR_01, VHU_FINDING_QUIRK, true, now), VHU_WARN);
	/* VRING-13 came with 11.1. */
	assert_int_equal(grade(VHU_REQ_VRING_13, VHU_FINDING_RULE, true, VHU_SINCE_V10_2), VHU_WARN);
}

/* What QEMU does is no failure of a capture; that a back-end does it is. */
static void test_deviations(void **state)
{
	static const enum vhu_req rows[] = {VHU_REQ_HDR_08,    VHU_REQ_OWNER_01, VHU_REQ_PROTO_07,
					    VHU_REQ_MEMSLOT_10, VHU_REQ_STATUS_03, VHU_REQ_RESET_04,
					    VHU_REQ_RING_93};
	const struct vhu_judge_opts lenient = {.spec = VHU_SINCE_V11_1}, strict = {true, VHU_SINCE_V11_1};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_finding f = {.req = rows[i], .front = true};

		assert_non_null(strstr(vhu_known_gap(f.req, f.front), "QEMU"));
		assert_int_equal(vhu_finding_grade(&f, &lenient), VHU_WARN);
		assert_int_equal(vhu_finding_grade(&f, &strict), VHU_FAIL);
		f.front = false;
		assert_null(vhu_known_gap(f.req, f.front));
		assert_int_equal(vhu_finding_grade(&f, &lenient), VHU_FAIL);
	}
}

/* What a device does with a spoilt ring is told; what it does to memory that it was not given is judged. */
static void test_spoilt_rings(void **state)
{
	static const struct {
		enum vhu_breach breach;
		enum vhu_finding_kind kind;
	} rows[] = {
		{VHU_BREACH_USED_TWICE, VHU_FINDING_QUIRK},
		{VHU_BREACH_WROTE_AFTER_USED, VHU_FINDING_QUIRK},
		{VHU_BREACH_WROTE_OUTSIDE, VHU_FINDING_ROBUST},
		{VHU_BREACH_WROTE_READABLE, VHU_FINDING_ROBUST},
		{VHU_BREACH_WROTE_AVAIL, VHU_FINDING_ROBUST},
		{VHU_BREACH_WROTE_DESC, VHU_FINDING_ROBUST},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_obs obs = {
			.kind = VHU_OBS_BREACH, .breach = rows[i].breach, .intended = true, .text = "so"};

		b->n = 0;
		vhu_oracle_observe(&b->o, &obs);
		assert_int_equal(b->n, 1);
		assert_int_equal(b->found[0].kind, rows[i].kind);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_spoilt_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_good_session_has_no_finding, setup, teardown),
		cmocka_unit_test_setup_teardown(test_header_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_echoed_need_reply_is_a_quirk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers_that_nobody_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_id_stands_for_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_id_of_the_request_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_back_end_request_on_the_main_channel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_passed_over_then_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offers_do_not_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offers_depend_on_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vring_base, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queue_num, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config_behind_its_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(test_backend_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deadline_and_end_name_what_was_owed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_breach_has_its_requirement, setup, teardown),
		cmocka_unit_test(test_grades),
		cmocka_unit_test(test_deviations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
