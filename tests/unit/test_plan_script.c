/* What the plain persona says, and that every frame of it is legal when it comes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "oracle/oracle.h"
#include "plan/script.h"
#include "session/session.h"
#include "wire/frame.h"

#define BIT30 VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)
#define SMALL (BIT30 | VHU_V(VIRTIO_F_VERSION_1))

static const struct vhu_script_opts plain = {
	.profile = "plain",
	.from = VHU_STATE_CONNECTED,
	.to = VHU_STATE_RUNNING,
	.features_offered = SMALL,
	.features = SMALL,
	.pfeatures = VHU_P(MQ) | VHU_P(REPLY_ACK),
	.queues = 2,
	.regions = 1,
};

/* "GET_FEATURES SET_OWNER … SET_VRING_NUM:0*": ring or region behind the colon, * for need_reply. */
static char *told(const struct vhu_script_opts *o, char *out, size_t cap)
{
	struct vhu_script_item items[64];
	struct vhu_err err;
	long n = vhu_script(o, items, VHU_ARRAY_SIZE(items), &err);
	size_t len = 0;

	assert_true(n >= 0);
	out[0] = '\0';
	for (long i = 0; i < n; i++) {
		const struct vhu_msg_row *row = vhu_msg_row(items[i].msg);

		len += (size_t)snprintf(out + len, cap - len, "%s%s", i ? " " : "", row->name);
		if (row->scope == VHU_SCOPE_RING)
			len += (size_t)snprintf(out + len, cap - len, ":%u", items[i].queue);
		if (row->msg == VHU_MSG_ADD_MEM_REG)
			len += (size_t)snprintf(out + len, cap - len, ":%zu", items[i].region);
		if (row->msg == VHU_MSG_SET_STATUS)
			len += (size_t)snprintf(out + len, cap - len, ":%x", items[i].status);
		len += (size_t)snprintf(out + len, cap - len, "%s", items[i].need_reply ? "*" : "");
	}
	return out;
}

static void test_plain(void **state)
{
	struct vhu_script_opts o = plain;
	char text[2000];

	assert_string_equal(
		told(&o, text, sizeof(text)),
		"GET_FEATURES SET_OWNER GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM "
		"SET_FEATURES* "
		"SET_MEM_TABLE* "
		"SET_VRING_NUM:0* SET_VRING_BASE:0* SET_VRING_ADDR:0* SET_VRING_CALL:0* SET_VRING_KICK:0* "
		"SET_VRING_ENABLE:0* "
		"SET_VRING_NUM:1* SET_VRING_BASE:1* SET_VRING_ADDR:1* SET_VRING_CALL:1* SET_VRING_KICK:1* "
		"SET_VRING_ENABLE:1*");
	o.from = VHU_STATE_NEGOTIATED;
	o.to = VHU_STATE_MAPPED;
	assert_string_equal(told(&o, text, sizeof(text)), "SET_MEM_TABLE*");
	o.from = o.to;
	assert_string_equal(told(&o, text, sizeof(text)), "");
}

static void test_without_bit30(void **state)
{
	struct vhu_script_opts o = plain;
	char text[2000];

	/* Not offered, or offered to a front-end that knows nothing of it. */
	o.features_offered = o.features = VHU_V(VIRTIO_F_VERSION_1);
	o.pfeatures = 0;
	o.queues = 1;
	for (int i = 0; i < 2; i++) {
		assert_string_equal(
			told(&o, text, sizeof(text)),
			"GET_FEATURES SET_OWNER SET_FEATURES SET_MEM_TABLE SET_VRING_NUM:0 SET_VRING_BASE:0 "
			"SET_VRING_ADDR:0 SET_VRING_CALL:0 SET_VRING_KICK:0");
		o.features_offered |= BIT30;
	}
}

static void test_status_and_slots(void **state)
{
	struct vhu_script_opts o = plain;
	char text[2000];

	o.pfeatures = VHU_P(STATUS) | VHU_P(CONFIGURE_MEM_SLOTS) | VHU_P(BACKEND_REQ);
	o.regions = 9;
	o.queues = 0;
	assert_string_equal(
		told(&o, text, sizeof(text)),
		"GET_FEATURES SET_OWNER GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_MAX_MEM_SLOTS "
		"SET_BACKEND_REQ_FD SET_STATUS:3 SET_FEATURES SET_STATUS:b GET_STATUS ADD_MEM_REG:0 "
		"ADD_MEM_REG:1 "
		"ADD_MEM_REG:2 ADD_MEM_REG:3 ADD_MEM_REG:4 ADD_MEM_REG:5 ADD_MEM_REG:6 ADD_MEM_REG:7 "
		"ADD_MEM_REG:8 "
		"SET_STATUS:f");
	o.no_status = true;
	o.from = VHU_STATE_OWNED;
	o.regions = 8;
	assert_string_equal(told(&o, text, sizeof(text)),
			    "GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_MAX_MEM_SLOTS "
			    "SET_BACKEND_REQ_FD SET_FEATURES SET_MEM_TABLE");
}

static void test_one_ring(void **state)
{
	struct vhu_script_item items[8];
	struct vhu_err err;

	assert_int_equal(vhu_script_ring(&plain, 7, items, VHU_ARRAY_SIZE(items), &err), 6);
	assert_int_equal(items[0].msg, VHU_MSG_SET_VRING_NUM);
	assert_int_equal(items[5].msg, VHU_MSG_SET_VRING_ENABLE);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(items[i].queue, 7);
		assert_true(items[i].need_reply);
	}
	assert_int_equal(vhu_script_ring(&plain, 7, items, 5, &err), -ENOSPC);
}

static void test_names(void **state)
{
	struct vhu_script_opts o = plain;
	struct vhu_script_item items[4];
	struct vhu_err err;

	assert_true(vhu_profile_known("plain"));
	assert_false(vhu_profile_known("fancy"));
	o.profile = "fancy";
	assert_int_equal(vhu_script(&o, items, 4, &err), -ENOENT);
	assert_string_equal(err.text, "no profile 'fancy'");
	assert_int_equal(vhu_script(&plain, items, 4, &err), -ENOSPC);
	assert_true(vhu_profile_need_reply("plain", VHU_MSG_SET_FEATURES));
	assert_true(vhu_profile_need_reply("plain", VHU_MSG_NET_SET_MTU));
	assert_false(vhu_profile_need_reply("plain", VHU_MSG_GET_FEATURES));
	assert_false(vhu_profile_need_reply("fancy", VHU_MSG_SET_FEATURES));
}

/* --- moments
 * ------------------------------------------------------------------------------------------------ */

struct stage {
	struct vhu_layout layout;
	struct vhu_session session;
	struct vhu_moment m;
};

static void set_up(struct stage *s, size_t regions, uint64_t features, uint64_t pfeatures)
{
	const struct vhu_layout_opts o = {
		.size = 64 << 20, .regions = regions, .rings = 2, .queue_size = 128};
	struct vhu_err err;

	assert_int_equal(vhu_layout_make(&o, &s->layout, &err), 0);
	vhu_session_init(&s->session, VHU_DEV_BLK, 2);
	s->m = (struct vhu_moment){.layout = &s->layout,
				   .session = &s->session,
				   .features = features,
				   .pfeatures = pfeatures,
				   .config_size = 60};
}

static struct vhu_frame filled(const struct vhu_moment *m, enum vhu_msg msg)
{
	struct vhu_frame f;
	struct vhu_err err;

	assert_int_equal(vhu_frame_request(&f, msg, &err), 0);
	assert_int_equal(vhu_moment_fill(m, &f, &err), 0);
	return f;
}

static uint64_t field(const struct vhu_moment *m, enum vhu_msg msg, const char *name)
{
	struct vhu_frame f = filled(m, msg);
	uint64_t value = UINT64_MAX;

	assert_true(vhu_frame_get(&f, vhu_msg_row(msg)->request, name, &value));
	vhu_frame_done(&f);
	return value;
}

/* Which regions a phase tells of, with and without memory slots. */
static void test_plugged_memory(void **state)
{
	static struct stage s;
	struct vhu_script_opts o = plain;
	struct vhu_script_item items[8];
	struct vhu_err err;
	struct vhu_frame f;

	set_up(&s, 2, SMALL, VHU_P(CONFIGURE_MEM_SLOTS));
	o.profile = "qemu-10.0";
	o.pfeatures = VHU_P(CONFIGURE_MEM_SLOTS);
	s.session.pfeatures_set_known = true;
	s.session.pfeatures_set = o.pfeatures;
	vhu_script_regions(&o, VHU_DO_PHASE_START, &s.session, 3);
	assert_int_equal(o.first_region, 0);
	assert_int_equal(o.regions, 3);
	s.session.n_regions = 2;
	vhu_script_regions(&o, VHU_DO_PHASE_START, &s.session, 3);
	assert_int_equal(o.first_region, 2);
	assert_int_equal(o.regions, 1);
	vhu_script_regions(&o, VHU_DO_PHASE_PLUG, &s.session, 4);
	assert_int_equal(vhu_phase_script(VHU_DO_PHASE_PLUG, &o, items, 8, &err), 1);
	assert_int_equal(items[0].msg, VHU_MSG_ADD_MEM_REG);
	assert_int_equal(items[0].region, 3);
	vhu_script_regions(&o, VHU_DO_PHASE_UNPLUG, &s.session, 3);
	assert_int_equal(vhu_phase_script(VHU_DO_PHASE_UNPLUG, &o, items, 8, &err), 1);
	assert_int_equal(items[0].msg, VHU_MSG_REM_MEM_REG);
	assert_int_equal(items[0].region, 3);
	/* The whole table. */
	s.session.pfeatures_set = 0;
	vhu_script_regions(&o, VHU_DO_PHASE_START, &s.session, 3);
	assert_int_equal(o.regions, 3);
	s.m.plugged = 1;
	f = filled(&s.m, VHU_MSG_SET_MEM_TABLE);
	assert_int_equal(vhu_frame_u64(&f, "num_regions"), 3);
	vhu_frame_done(&f);
	assert_true(vhu_script_has_phase("plain", VHU_DO_PHASE_STOP));
	assert_false(vhu_script_has_phase("plain", VHU_DO_PHASE_PLUG));
}

/* What an item says of the moment of its message. */
static void test_moment_of_an_item(void **state)
{
	static struct stage s;
	struct vhu_script_item item = {.msg = VHU_MSG_SET_VRING_ENABLE, .queue = 1};

	set_up(&s, 1, SMALL, VHU_P(CONFIG));
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ENABLE, "num"), 1);
	vhu_moment_take(&s.m, &item);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ENABLE, "num"), 0);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ENABLE, "index"), 1);
	item = (struct vhu_script_item){.msg = VHU_MSG_GET_CONFIG, .config_size = 57};
	vhu_moment_take(&s.m, &item);
	assert_int_equal(field(&s.m, VHU_MSG_GET_CONFIG, "size"), 57);
	item = (struct vhu_script_item){.msg = VHU_MSG_SET_DEVICE_STATE_FD, .load = true};
	vhu_moment_take(&s.m, &item);
	assert_int_equal(field(&s.m, VHU_MSG_SET_DEVICE_STATE_FD, "direction"), 1);
}

static void test_moment(void **state)
{
	static struct stage s;
	struct vhu_frame f;
	uint64_t u;

	set_up(&s, 3, SMALL, VHU_P(MQ));
	assert_int_equal(field(&s.m, VHU_MSG_SET_FEATURES, "u64"), SMALL);
	s.m.logging = true;
	assert_int_equal(field(&s.m, VHU_MSG_SET_FEATURES, "u64"), SMALL | VHU_V(VHOST_F_LOG_ALL));
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ADDR, "log_flag"), 1);
	assert_int_equal(field(&s.m, VHU_MSG_SET_PROTOCOL_FEATURES, "u64"), VHU_P(MQ));
	s.m.queue = 1;
	s.m.base = 77;
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_NUM, "num"), 128);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_BASE, "num"), 77);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_KICK, "index"), 1);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_KICK, "no_fd"), 0);
	assert_int_equal(field(&s.m, VHU_MSG_GET_VRING_BASE, "num"), 0);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ADDR, "used"),
			 vhu_layout_uaddr(&s.layout, s.layout.ring[1].used));
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ADDR, "log"), s.layout.ring[1].used);
	assert_int_equal(field(&s.m, VHU_MSG_GET_CONFIG, "size"), 60);
	assert_int_equal(field(&s.m, VHU_MSG_GET_INFLIGHT_FD, "num_queues"), 2);
	assert_int_equal(field(&s.m, VHU_MSG_GET_INFLIGHT_FD, "queue_size"), 128);
	s.m.log_offset = 4096;
	assert_int_equal(field(&s.m, VHU_MSG_SET_LOG_BASE, "mmap_offset"), 4096);
	assert_true(field(&s.m, VHU_MSG_SET_LOG_BASE, "mmap_size") * 8 * 4096 >=
		    s.layout.region[2].gpa + s.layout.region[2].size);
	f = filled(&s.m, VHU_MSG_SET_MEM_TABLE);
	assert_int_equal(f.len, 8 + 3 * 32);
	assert_int_equal(vhu_moment_fds(&s.m, &f), 3);
	assert_true(vhu_frame_region(&f, VHU_PL_MEM_TABLE, 2, "userspace_addr", &u));
	assert_int_equal(u, s.layout.region[2].uaddr);
	vhu_frame_done(&f);
	/* With GPA_ADDRESSES all of them are guest addresses. */
	s.m.pfeatures |= VHU_P(GPA_ADDRESSES);
	assert_int_equal(field(&s.m, VHU_MSG_SET_VRING_ADDR, "used"), s.layout.ring[1].used);
	f = filled(&s.m, VHU_MSG_ADD_MEM_REG);
	assert_true(vhu_frame_region(&f, VHU_PL_MEM_REG, 0, "userspace_addr", &u));
	assert_int_equal(u, s.layout.region[0].gpa);
	vhu_frame_done(&f);
}

/* Regions beyond the layout overlap nothing. */
static void test_spare_regions(void **state)
{
	static struct stage s;

	set_up(&s, 4, SMALL, 0);
	for (size_t i = 0; i < 12; i++)
		for (size_t k = 0; k < i; k++) {
			struct vhu_region_layout a = vhu_moment_region(&s.m, k),
						 b = vhu_moment_region(&s.m, i);

			assert_true(a.gpa + a.size <= b.gpa);
			assert_true(a.uaddr + a.size <= b.uaddr);
		}
}

static struct vhu_frame built(const struct stage *s, const struct vhu_step_send *send, bool need_reply)
{
	struct vhu_frame f = {0};
	struct vhu_err err = {0};

	assert_int_equal(vhu_send_build(send, &s->m, NULL, NULL, need_reply, &f, &err), 0);
	return f;
}

#define U64(u64)                                                                                             \
	{                                                                                                    \
		(const struct vhu_term[]){{.u = (u64)}}, 1                                                   \
	}

static void test_send_build(void **state)
{
	static struct stage s;
	const uint8_t bytes[] = {1, 2, 3};
	const struct vhu_assign index[] = {{.field = "index", .value = U64(1)}},
				far[] = {{.field = "index", .value = U64(99)}};
	const struct vhu_assign size[] = {{.field = "size", .value = U64(4)}},
				huge[] = {{.field = "size", .value = U64(UINT32_MAX)}};
	const struct vhu_assign payload[] = {{.field = "payload", .bytes = bytes, .n_bytes = 3}};
	const struct vhu_assign u64[] = {{.field = "u64", .value = U64(0)}};
	const struct vhu_assign variable[] = {
		{.field = "num", .value = {(const struct vhu_term[]){{.is_var = true}}, 1}}};
	const struct vhu_region_assign regions[] = {{{0}}, {.gpa = U64(5)}};
	struct vhu_step_send send = {.row = vhu_msg_row(VHU_MSG_SET_VRING_ADDR), .with = index, .n_with = 1};
	struct vhu_frame f;
	struct vhu_err err;
	uint64_t u;

	set_up(&s, 1, SMALL, 0);
	/* The ring that is named is the one whose addresses go along, if there is such a ring. */
	f = built(&s, &send, true);
	assert_int_equal(vhu_frame_u64(&f, "descriptor"), vhu_layout_uaddr(&s.layout, s.layout.ring[1].desc));
	assert_int_equal(f.flags, VHU_C_HEADER_VERSION | VHU_C_HEADER_NEED_REPLY);
	vhu_frame_done(&f);
	send.with = far;
	f = built(&s, &send, false);
	assert_int_equal(vhu_frame_u64(&f, "index"), 99);
	assert_int_equal(vhu_frame_u64(&f, "descriptor"), vhu_layout_uaddr(&s.layout, s.layout.ring[0].desc));
	vhu_frame_done(&f);
	/* Config space: bytes follow the size, the size follows the bytes, a lie stays one. */
	send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_GET_CONFIG), .with = size, .n_with = 1};
	f = built(&s, &send, false);
	assert_int_equal(f.len, 16);
	vhu_frame_done(&f);
	send.with = huge;
	f = built(&s, &send, false);
	assert_int_equal(f.len, 72);
	assert_int_equal(vhu_frame_u64(&f, "size"), UINT32_MAX);
	vhu_frame_done(&f);
	send.with = payload;
	f = built(&s, &send, false);
	assert_int_equal(f.len, 15);
	assert_int_equal(vhu_frame_u64(&f, "size"), 3);
	assert_memory_equal(f.payload + 12, bytes, 3);
	vhu_frame_done(&f);
	/* Another layout of the same message. */
	send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_SET_MEM_TABLE), .with = u64, .n_with = 1};
	f = built(&s, &send, false);
	assert_int_equal(f.len, 8);
	vhu_frame_done(&f);
	/* Regions: what is not said is the layout's, or a spare one's. */
	send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_SET_MEM_TABLE),
				      .regions = regions,
				      .n_regions = 2,
				      .regions_given = true};
	f = built(&s, &send, false);
	assert_int_equal(f.len, 8 + 2 * 32);
	assert_true(vhu_frame_region(&f, VHU_PL_MEM_TABLE, 0, "guest_phys_addr", &u) &&
		    u == s.layout.region[0].gpa);
	assert_true(vhu_frame_region(&f, VHU_PL_MEM_TABLE, 1, "guest_phys_addr", &u) && u == 5);
	vhu_frame_done(&f);
	/* Bytes in place of fields, more behind them, and a header that lies. */
	send = (struct vhu_step_send){.row = vhu_msg_row(VHU_MSG_SET_FEATURES),
				      .payload = bytes,
				      .n_payload = 3,
				      .payload_given = true,
				      .tail = bytes,
				      .n_tail = 2,
				      .flags = U64(0x11),
				      .size = U64(1000)};
	f = built(&s, &send, true);
	assert_int_equal(f.len, 5);
	assert_int_equal(f.size, 1000);
	assert_int_equal(f.flags, 0x11);
	assert_memory_equal(f.payload, "\1\2\3\1\2", 5);
	vhu_frame_done(&f);
	/* A request that nobody knows. */
	send = (struct vhu_step_send){.request = 99, .payload = bytes, .n_payload = 1, .payload_given = true};
	f = built(&s, &send, false);
	assert_int_equal(f.request, 99);
	assert_int_equal(f.len, 1);
	vhu_frame_done(&f);
	/* What is not known yet. */
	send = (struct vhu_step_send){
		.row = vhu_msg_row(VHU_MSG_SET_VRING_NUM), .with = variable, .n_with = 1};
	assert_int_equal(
		vhu_send_build(&send, &s.m, (const uint64_t[]){7}, (const bool[]){false}, false, &f, &err),
		-ENODATA);
	assert_int_equal(
		vhu_send_build(&send, &s.m, (const uint64_t[]){7}, (const bool[]){true}, false, &f, &err), 0);
	assert_int_equal(vhu_frame_u64(&f, "num"), 7);
	vhu_frame_done(&f);
	assert_int_equal(vhu_send_build(&send, &s.m, (const uint64_t[]){UINT64_C(1) << 32},
					(const bool[]){true}, false, &f, &err),
			 -ERANGE);
}

/* An answer of ours on the back-end's channel. */
static void test_answer(void **state)
{
	static struct stage s;
	const struct vhu_assign u64[] = {{.field = "u64", .value = U64(1)}};
	const struct vhu_step_send send = {.row = vhu_msg_row(VHU_MSG_BACKEND_CONFIG_CHANGE_MSG),
					   .channel = VHU_CHAN_BACKEND,
					   .with = u64,
					   .n_with = 1};
	struct vhu_frame f;

	set_up(&s, 1, SMALL, 0);
	f = built(&s, &send, false);
	assert_int_equal(f.channel, VHU_CHAN_BACKEND);
	assert_int_equal(f.dir, VHU_DIR_FE);
	assert_int_equal(f.flags, VHU_C_HEADER_VERSION | VHU_C_HEADER_REPLY);
	assert_int_equal(f.len, 8);
	assert_int_equal(f.payload[0], 1);
	vhu_frame_done(&f);
}

/* --- legality
 * ------------------------------------------------------------------------------------------------ */

static void answer(struct vhu_session *s, enum vhu_msg msg, uint64_t value)
{
	struct vhu_frame f;
	struct vhu_err err;

	assert_int_equal(vhu_frame_request(&f, msg, &err), 0);
	f.dir = VHU_DIR_BE;
	f.flags |= VHU_C_HEADER_REPLY;
	assert_int_equal(vhu_frame_resize(&f, 8, &err), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_U64, "u64", value), 0);
	vhu_session_apply(s, &f, false);
	vhu_frame_done(&f);
}

static void say_all(uint64_t offered, uint64_t poffered, uint64_t features, uint64_t pfeatures,
		    size_t regions)
{
	static struct stage s;
	struct vhu_script_opts o = plain;
	struct vhu_script_item items[128];
	struct vhu_illegal illegal[4];
	struct vhu_err err;
	long n;

	set_up(&s, regions, features, pfeatures);
	o.features_offered = offered;
	o.features = features;
	o.pfeatures = pfeatures;
	o.regions = regions;
	n = vhu_script(&o, items, VHU_ARRAY_SIZE(items), &err);
	assert_true(n > 0);
	for (long i = 0; i < n; i++) {
		struct vhu_frame f;
		size_t fds;

		s.m.queue = items[i].queue;
		s.m.region = items[i].region;
		s.m.status = items[i].status;
		f = filled(&s.m, items[i].msg);
		if (items[i].need_reply)
			f.flags |= VHU_C_HEADER_NEED_REPLY;
		fds = vhu_moment_fds(&s.m, &f);
		for (size_t k = 0; k < fds; k++)
			assert_int_equal(vhu_frame_give_fd(&f, -1, &err), 0);
		if (vhu_oracle_illegal(&s.session, &f, illegal, VHU_ARRAY_SIZE(illegal)))
			fail_msg("%s: %s", vhu_msg_row(items[i].msg)->name, illegal[0].text);
		vhu_session_apply(&s.session, &f, false);
		if (items[i].msg == VHU_MSG_GET_FEATURES)
			answer(&s.session, items[i].msg, offered);
		if (items[i].msg == VHU_MSG_GET_PROTOCOL_FEATURES)
			answer(&s.session, items[i].msg, poffered);
		vhu_frame_done(&f);
	}
	assert_true(s.session.ring[1].started && s.session.ring[1].enabled);
}

static void test_legal(void **state)
{
	const uint64_t known = vhu_features_known(VHU_NS_PROTOCOL, VHU_DEV_ANY);

	say_all(SMALL, known, SMALL, known, 1);
	say_all(SMALL, known, SMALL, known, 8);
	say_all(SMALL, known, SMALL, known, 9);
	say_all(SMALL, known, SMALL, 0, 2);
	say_all(SMALL, known, SMALL & ~BIT30, 0, 1);
	say_all(SMALL & ~BIT30, 0, SMALL & ~BIT30, 0, 1);
	say_all(SMALL, known, SMALL, VHU_P(STATUS), 1);
	say_all(SMALL, known | VHU_P(GPA_ADDRESSES), SMALL, VHU_P(GPA_ADDRESSES), 2);
}

/* Descriptors of the wrong kind are seen, which the oracle alone can't. */
static void test_wrong_descriptors(void **state)
{
	static struct stage s;
	const struct vhu_fd_spec kinds[] = {
		{VHU_FD_SOCKET, {0}}, {VHU_FD_PIPE, {0}}, {VHU_FD_MEMFD, U64(4096)}};
	struct vhu_step_send send = {
		.row = vhu_msg_row(VHU_MSG_SET_VRING_CALL), .fds = &kinds[0], .n_fds = 1, .fds_given = true};
	struct vhu_illegal illegal[4];
	struct vhu_err err;
	struct vhu_frame f;

	set_up(&s, 1, SMALL, 0);
	f = built(&s, &send, false);
	assert_int_equal(vhu_frame_give_fd(&f, -1, &err), 0);
	assert_int_equal(vhu_send_illegal(&s.session, &send, &f, illegal, 4), 1);
	assert_int_equal(illegal[0].req, VHU_REQ_MAX);
	assert_int_equal(illegal[0].malformed, VHU_MALFORMED_FDS);
	assert_int_equal(vhu_send_illegal(&s.session, &send, &f, illegal, 0), 0);
	send.fds = &kinds[1];
	assert_int_equal(vhu_send_illegal(&s.session, &send, &f, illegal, 4), 0);
	vhu_frame_done(&f);
	send.row = vhu_msg_row(VHU_MSG_SET_MEM_TABLE);
	send.fds = &kinds[2];
	f = built(&s, &send, false);
	assert_int_equal(vhu_frame_give_fd(&f, -1, &err), 0);
	assert_int_equal(vhu_send_illegal(&s.session, &send, &f, illegal, 4), 1);
	assert_string_equal(illegal[0].text,
			    "the file of descriptor 0 is shorter than what SET_MEM_TABLE says");
	vhu_frame_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_without_bit30),
		cmocka_unit_test(test_status_and_slots),
		cmocka_unit_test(test_one_ring),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_plugged_memory),
		cmocka_unit_test(test_moment_of_an_item),
		cmocka_unit_test(test_moment),
		cmocka_unit_test(test_spare_regions),
		cmocka_unit_test(test_send_build),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_legal),
		cmocka_unit_test(test_wrong_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
