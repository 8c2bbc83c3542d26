/* What other personas than the plain one say. Recordings say more (docs/fidelity.md). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "plan/persona.h"

#define BIT30 VHU_V(VHOST_USER_F_PROTOCOL_FEATURES)

struct heard {
	char text[20000];
	size_t len, n;
	unsigned on, off; /* SET_VRING_ENABLE 1, 0 */
};

static int hear(void *ctx, const struct vhu_script_item *item)
{
	struct heard *h = ctx;
	const struct vhu_msg_row *row = vhu_msg_row(item->msg);

	h->n++;
	h->on += item->msg == VHU_MSG_SET_VRING_ENABLE && item->enable;
	h->off += item->msg == VHU_MSG_SET_VRING_ENABLE && !item->enable;
	h->len += (size_t)snprintf(h->text + h->len, sizeof(h->text) - h->len, "%s%s", h->n > 1 ? " " : "",
				   row->name);
	if (row->scope == VHU_SCOPE_RING)
		h->len += (size_t)snprintf(h->text + h->len, sizeof(h->text) - h->len, ":%u", item->queue);
	if (item->need_reply)
		h->len += (size_t)snprintf(h->text + h->len, sizeof(h->text) - h->len, "*");
	assert_true(h->len < sizeof(h->text));
	return 0;
}

static struct vhu_facts_of_front disk(const char *profile)
{
	return (struct vhu_facts_of_front){
		.profile = profile,
		.device = VHU_DEV_BLK,
		.features_offered = BIT30,
		.features = BIT30,
		.pfeatures = VHU_P(REPLY_ACK) | VHU_P(CONFIG) | VHU_P(INFLIGHT_SHMFD),
		.queues = 1,
		.regions = 1,
	};
}

static struct heard *walk(struct vhu_facts_of_front *f, enum vhu_phase from, enum vhu_phase to)
{
	static struct heard h;
	struct vhu_err err = {0};

	memset(&h, 0, sizeof(h));
	assert_int_equal(vhu_persona_walk(f, from, to, hear, &h, &err), 0);
	return &h;
}

static void test_disk_of_qemu(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-7.2");

	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED)->text,
			    "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_OWNER GET_FEATURES "
			    "SET_VRING_CALL:0 SET_VRING_ERR:0 GET_CONFIG");
	assert_string_equal(
		walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text,
		"SET_FEATURES GET_INFLIGHT_FD SET_INFLIGHT_FD SET_VRING_CALL:0 SET_FEATURES SET_MEM_TABLE* "
		"SET_VRING_NUM:0 SET_VRING_BASE:0 SET_VRING_ADDR:0 SET_VRING_KICK:0 SET_VRING_ENABLE:0");
	/* On a new connection, with the area at hand: nothing that is asked once. */
	f.reconnected = f.has_area = true;
	assert_null(strstr(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED)->text, "GET_CONFIG"));
	assert_null(strstr(walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text, "GET_INFLIGHT_FD"));
	f.profile = "qemu-11.1";
	assert_non_null(strstr(walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text,
			       "SET_VRING_KICK:0* SET_VRING_ENABLE:0*"));
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_STOP)->text,
			    "SET_VRING_ENABLE:0* GET_VRING_BASE:0");
}

/* 20 pairs, of which the guest uses one: 40 SET_VRING_ENABLE in a round, of which two carry 1. */
static void test_twenty_pairs(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-10.0");
	struct heard *h;

	f.device = VHU_DEV_NET;
	f.pfeatures = VHU_P(REPLY_ACK) | VHU_P(MQ) | VHU_P(STATUS);
	f.features |= VHU_V(VIRTIO_NET_F_MQ);
	f.queues = 40;
	f.pairs_on = 1;
	h = walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_RESET);
	assert_int_equal(h->on, 2);
	assert_int_equal(h->off, 38);
	h = walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED);
	/* 4 for the first pair's own list, 4 for each pair, CALL and ERR for each ring. */
	assert_int_equal(h->n, 2 + 20 * 4 + 2 * 40);
	h = walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING);
	assert_int_equal(h->on, 2);
	assert_int_equal(h->off, 0);
	assert_non_null(strstr(h->text, "SET_VRING_CALL:39 GET_STATUS SET_STATUS"));
	/* Half way it is the first pair that counts. */
	assert_null(strstr(walk(&f, VHU_PHASE_OWNED, VHU_PHASE_MAPPED)->text, "SET_VRING_NUM"));
}

/* A guest that knows of one pair only: all are set up, one is started, stopped and logged. */
static void test_guest_without_mq(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-10.0");
	struct heard *h;

	f.device = VHU_DEV_NET;
	f.pfeatures = VHU_P(REPLY_ACK) | VHU_P(MQ) | VHU_P(STATUS);
	f.queues = 8;
	f.pairs_on = 1;
	assert_non_null(strstr(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED)->text, "SET_VRING_ERR:7"));
	h = walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING);
	assert_non_null(strstr(h->text, "SET_VRING_CALL:1 GET_STATUS SET_STATUS"));
	assert_null(strstr(h->text, ":2"));
	assert_null(strstr(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_STOP)->text, ":2"));
	f.features |= VHU_V(VIRTIO_NET_F_MQ);
	assert_non_null(strstr(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_STOP)->text, "GET_VRING_BASE:7"));
}

/* Firmware sets up the first ring; all are enabled. */
static void test_rings_that_are_ready(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-7.2");
	const char *text;

	f.queues = 4;
	f.n_ready = 1;
	text = walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text;
	assert_non_null(strstr(text, "SET_VRING_KICK:0 SET_VRING_ENABLE:0 SET_VRING_ENABLE:1"));
	assert_null(strstr(text, "SET_VRING_NUM:1"));
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_STOP)->text,
			    "SET_VRING_ENABLE:0 SET_VRING_ENABLE:1 SET_VRING_ENABLE:2 SET_VRING_ENABLE:3 "
			    "GET_VRING_BASE:0");
}

/* What ran is stopped from the last to the first; since 10 it matters where used rings lie. */
static void test_start_that_fails(void **state)
{
	const bool running[] = {true, false, true};
	struct vhu_facts_of_front f = disk("qemu-10.0");

	f.queues = 3;
	f.ready = running;
	assert_string_equal(
		walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_FAIL)->text,
		"GET_VRING_BASE:2 GET_VRING_BASE:0 SET_VRING_CALL:0 SET_VRING_CALL:1 SET_VRING_CALL:2");
	f.enabled = true;
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_FAIL)->text,
			    "SET_VRING_ENABLE:0* SET_VRING_ENABLE:1* SET_VRING_ENABLE:2* GET_VRING_BASE:2 "
			    "GET_VRING_BASE:0 SET_VRING_CALL:0 SET_VRING_CALL:1 SET_VRING_CALL:2");
	assert_true(vhu_persona_heeds(&f, VHU_MSG_IOTLB_MSG));
	assert_false(vhu_persona_heeds(&f, VHU_MSG_SET_VRING_CALL));
	f.profile = "qemu-7.2";
	assert_false(vhu_persona_heeds(&f, VHU_MSG_IOTLB_MSG));
	assert_true(vhu_persona_heeds(&f, VHU_MSG_ADD_MEM_REG));
	f.profile = "fancy";
	assert_false(vhu_persona_heeds(&f, VHU_MSG_ADD_MEM_REG));
	assert_true(vhu_profile_hangs_up("qemu-10.0", VHU_DEV_BLK));
	assert_false(vhu_profile_hangs_up("qemu-10.0", VHU_DEV_VSOCK));
}

/* What the guest gave back while its device did not run goes out before what is new. */
static void test_memory_that_is_gone(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-7.2");

	f.pfeatures |= VHU_P(CONFIGURE_MEM_SLOTS);
	f.gone = 2;
	assert_string_equal(walk(&f, VHU_PHASE_NEGOTIATED, VHU_PHASE_MAPPED)->text,
			    "REM_MEM_REG* REM_MEM_REG* ADD_MEM_REG*");
	f.gone = 0;
	assert_string_equal(walk(&f, VHU_PHASE_NEGOTIATED, VHU_PHASE_MAPPED)->text, "ADD_MEM_REG*");
}

static int find(void *ctx, const struct vhu_script_item *item)
{
	struct vhu_script_item *wanted = ctx;

	if (item->msg == wanted->msg)
		*wanted = *item;
	return 0;
}

static struct vhu_script_item said(struct vhu_facts_of_front *f, enum vhu_msg msg)
{
	struct vhu_script_item item = {.msg = msg};
	struct vhu_err err;

	assert_int_equal(vhu_persona_walk(f, VHU_PHASE_CONNECTED, VHU_PHASE_RUNNING, find, &item, &err), 0);
	return item;
}

/* Beside order: sizes, descriptors, what is asked needlessly. */
static void test_what_goes_with_it(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-7.2");

	assert_int_equal(said(&f, VHU_MSG_GET_CONFIG).config_size, 57);
	assert_true(said(&f, VHU_MSG_SET_VRING_KICK).fresh);
	assert_true(said(&f, VHU_MSG_SET_VRING_CALL).fresh);
	assert_true(said(&f, VHU_MSG_SET_VRING_ENABLE).enable);
	f.profile = "cloud-hypervisor";
	assert_int_equal(said(&f, VHU_MSG_GET_CONFIG).config_size, 60);
	assert_false(said(&f, VHU_MSG_SET_VRING_KICK).fresh);
	assert_true(said(&f, VHU_MSG_GET_INFLIGHT_FD).needlessly);
	f.profile = "plain";
	assert_int_equal(said(&f, VHU_MSG_GET_CONFIG).config_size, 0);
	assert_false(said(&f, VHU_MSG_SET_VRING_KICK).fresh);
}

/* With Cloud Hypervisor everything is acknowledged, with crosvm and Firecracker nothing. */
static void test_rust_front_ends(void **state)
{
	struct vhu_facts_of_front f = disk("cloud-hypervisor");

	assert_string_equal(walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text,
			    "SET_FEATURES* SET_MEM_TABLE* SET_VRING_NUM:0* GET_INFLIGHT_FD* SET_INFLIGHT_FD* "
			    "SET_VRING_ADDR:0* SET_VRING_BASE:0* SET_VRING_CALL:0* SET_VRING_KICK:0* "
			    "SET_VRING_ENABLE:0*");
	f.queues = 2;
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_STOP)->text,
			    "SET_VRING_ENABLE:0* GET_VRING_BASE:0* SET_VRING_ENABLE:1* GET_VRING_BASE:1*");
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_PAUSE)->text,
			    "SET_VRING_ENABLE:0* SET_VRING_ENABLE:1*");
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED)->text,
			    "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_CONFIG*");
	f.reconnected = true;
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED)->text,
			    "SET_OWNER GET_FEATURES SET_PROTOCOL_FEATURES");
	f = disk("crosvm");
	assert_null(strchr(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_RUNNING)->text, '*'));
	assert_non_null(strstr(walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text,
			       "SET_FEATURES SET_FEATURES SET_MEM_TABLE"));
	f.queues = 2;
	assert_string_equal(
		walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_RESUME)->text,
		"SET_MEM_TABLE SET_VRING_NUM:0 SET_VRING_ADDR:0 SET_VRING_BASE:0 SET_VRING_CALL:0 "
		"SET_VRING_KICK:0 SET_VRING_ENABLE:0 SET_VRING_NUM:1 SET_VRING_ADDR:1 SET_VRING_BASE:1 "
		"SET_VRING_CALL:1 SET_VRING_KICK:1 SET_VRING_ENABLE:1");
	f = disk("firecracker");
	f.pfeatures = vhu_profile_takes(f.profile, f.device, f.pfeatures);
	assert_true(f.pfeatures == VHU_P(CONFIG));
	assert_string_equal(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_RUNNING)->text,
			    "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_CONFIG "
			    "SET_FEATURES SET_MEM_TABLE SET_VRING_NUM:0 SET_VRING_ADDR:0 SET_VRING_BASE:0 "
			    "SET_VRING_CALL:0 SET_VRING_KICK:0 SET_VRING_ENABLE:0");
	assert_int_equal(said(&f, VHU_MSG_GET_CONFIG).config_flags, 1);
	f.profile = "qemu-10.0";
	assert_int_equal(said(&f, VHU_MSG_GET_CONFIG).config_flags, 0);
}

/* Of what a back-end offers a front-end passes on what it knows, and keeps what is its own affair. */
static void test_features_passed_on(void **state)
{
	const uint64_t packed = VHU_V(VIRTIO_F_RING_PACKED), lifetime = VHU_V(VIRTIO_BLK_F_LIFETIME),
		       control = VHU_V(VIRTIO_NET_F_CTRL_VQ) | VHU_V(VIRTIO_NET_F_MAC);

	assert_true(vhu_profile_passes("plain", VHU_DEV_BLK, UINT64_MAX) == UINT64_MAX);
	assert_true(vhu_profile_passes("qemu-10.0", VHU_DEV_BLK, packed | lifetime) == packed);
	assert_true(vhu_profile_passes("qemu-2.10", VHU_DEV_BLK, packed | lifetime) == 0);
	assert_true(vhu_profile_passes("qemu-11.1", VHU_DEV_NET, control) == 0);
	assert_true(vhu_profile_passes("cloud-hypervisor", VHU_DEV_NET, control) ==
		    VHU_V(VIRTIO_NET_F_CTRL_VQ));
	assert_true(vhu_profile_passes("crosvm", VHU_DEV_BLK, packed | lifetime) == lifetime);
	assert_true(vhu_profile_passes("firecracker", VHU_DEV_BLK, UINT64_MAX) ==
		    (BIT30 | VHU_V(VIRTIO_F_VERSION_1) | VHU_V(VIRTIO_RING_F_EVENT_IDX) |
		     VHU_V(VIRTIO_BLK_F_RO) | VHU_V(VIRTIO_BLK_F_FLUSH)));
}

/* A guest that arrives by postcopy gets no further than its first pair: QEMU waits for ever. */
static void test_postcopy_of_many_pairs(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-10.0");
	const char *text;

	f.device = VHU_DEV_NET;
	f.pfeatures = VHU_P(REPLY_ACK) | VHU_P(MQ) | VHU_P(STATUS) | VHU_P(PAGEFAULT);
	f.features |= VHU_V(VIRTIO_NET_F_MQ);
	f.queues = 6;
	f.pairs_on = 3;
	f.postcopy = true;
	text = walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text;
	assert_non_null(strstr(text, "SET_VRING_ENABLE:2* SET_VRING_ENABLE:3* SET_FEATURES GET_STATUS"));
	assert_null(strstr(text, "SET_VRING_NUM:2"));
	assert_null(strstr(text, ":4"));
	assert_non_null(strstr(walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_POSTCOPY_END)->text, "POSTCOPY_END"));
	f.queues = 2;
	text = walk(&f, VHU_PHASE_OWNED, VHU_PHASE_RUNNING)->text;
	assert_non_null(strstr(text, "SET_VRING_CALL:1 GET_STATUS SET_STATUS"));
}

/* Who tells of a region with each pair tells it again. */
static void test_regions_told_again(void **state)
{
	struct vhu_facts_of_front f = disk("qemu-7.2");

	f.device = VHU_DEV_NET;
	f.pfeatures = VHU_P(REPLY_ACK) | VHU_P(MQ) | VHU_P(CONFIGURE_MEM_SLOTS);
	f.features |= VHU_V(VIRTIO_NET_F_MQ);
	f.queues = 4;
	assert_true(said(&f, VHU_MSG_ADD_MEM_REG).again);
	f.profile = "qemu-10.0";
	assert_false(said(&f, VHU_MSG_ADD_MEM_REG).again);
}

static void test_look_ups(void **state)
{
	struct vhu_facts_of_front f = disk("fancy");
	struct heard h = {0};
	struct vhu_err err;

	assert_int_equal(vhu_persona_walk(&f, VHU_PHASE_CONNECTED, VHU_PHASE_OWNED, hear, &h, &err), -ENOENT);
	assert_string_equal(vhu_profile_of_version("qemu", "7.2.22"), "qemu-7.2");
	assert_string_equal(vhu_profile_of_version("qemu", "9.1"), "qemu-7.2");
	assert_string_equal(vhu_profile_of_version("qemu", "12.0"), "qemu-11.1");
	assert_null(vhu_profile_of_version("qemu", "1.7"));
	assert_null(vhu_profile_of_version("qemu", "new"));
	assert_true(vhu_profile_is_deaf("qemu-7.2", VHU_DEV_BLK, false));
	assert_false(vhu_profile_is_deaf("qemu-10.0", VHU_DEV_BLK, false));
	assert_true(vhu_profile_takes("qemu-7.2", VHU_DEV_FS, UINT64_MAX) == (0x1ffff & ~VHU_P(CONFIG)));
	assert_false(vhu_profile_says_driver_ok("qemu-10.0", VHU_DEV_FS));
	assert_true(vhu_profile_says_driver_ok("qemu-10.0", VHU_DEV_NET));
	assert_true(vhu_profile_has_phase("cloud-hypervisor", VHU_PHASE_RESUME));
	assert_false(vhu_profile_has_phase("qemu-10.0", VHU_PHASE_RESUME));
	assert_false(vhu_profile_has_phase("fancy", VHU_PHASE_STOP));
	assert_true(vhu_profile_is_real("crosvm"));
	assert_false(vhu_profile_is_real("inband"));
	assert_false(vhu_profile_is_real("fancy"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_disk_of_qemu),	       cmocka_unit_test(test_twenty_pairs),
		cmocka_unit_test(test_guest_without_mq),       cmocka_unit_test(test_rings_that_are_ready),
		cmocka_unit_test(test_start_that_fails),       cmocka_unit_test(test_memory_that_is_gone),
		cmocka_unit_test(test_what_goes_with_it),      cmocka_unit_test(test_rust_front_ends),
		cmocka_unit_test(test_features_passed_on),     cmocka_unit_test(test_regions_told_again),
		cmocka_unit_test(test_postcopy_of_many_pairs), cmocka_unit_test(test_look_ups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
