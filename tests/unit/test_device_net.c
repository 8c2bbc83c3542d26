/* Frames of a network device: sent, given back whole, cut, changed, merged, twice. */
#include "toy_disk.h"

#include "device/net.h"

enum { LEN = 100, BUFFER = 256, FIELD_NUM_BUFFERS = 10, HEADER = 12 };

static const uint64_t modern = VHU_V(VIRTIO_F_VERSION_1), merging = VHU_V(VIRTIO_F_VERSION_1) |
								    VHU_V(VIRTIO_NET_F_MRG_RXBUF);
static struct vhu_net *net;
static uint8_t packet[1024]; /* header and frame, as the device got them */

static void restart(uint64_t features)
{
	teardown(NULL);
	start(VHU_DEV_NET, features, 7);
	net = vhu_driver_net(driver);
	assert_non_null(net);
}

static void post(uint32_t segment, unsigned n)
{
	struct vhu_err err = {0};

	assert_int_equal(vhu_net_post(net, 0, &segment, 1, n, &err), n);
	assert_int_equal(vhu_net_posted(net, 0), n);
	vhu_vring_publish(vhu_driver_ring(driver, 0));
}

/* Sends one, which the device takes. Its number. */
static uint32_t transmit(uint32_t len)
{
	static const uint8_t header[VHU_NET_HEADER_MAX];
	const struct vhu_net_send spec = {.pair = 0, .len = len, .header = header};
	struct vhu_err err = {0};
	int64_t number = vhu_net_send(net, &spec, &err);
	struct request r;

	assert_true(number >= 0);
	vhu_vring_publish(vhu_driver_ring(driver, 1));
	r = take(1);
	assert_int_equal(r.out_len, HEADER + len);
	move(&r, false, 0, packet, r.out_len);
	packet[FIELD_NUM_BUFFERS] = 1;
	assert_int_equal(vhu_net_unsent(net, 0), 1);
	give_back(&r, 0);
	vhu_driver_poll(driver);
	assert_int_equal(vhu_net_unsent(net, 0), 0);
	return (uint32_t)number;
}

/* The guest gets these bytes in its next buffer. */
static void receive(const uint8_t *bytes, uint32_t len)
{
	struct request r = take(0);

	move(&r, true, 0, (uint8_t *)bytes, len);
	give_back(&r, len);
}

static void test_whole(void **state)
{
	const struct vhu_net_frame *f;
	uint32_t n;

	restart(modern);
	post(BUFFER, 4);
	n = transmit(LEN);
	packet[HEADER] ^= 0xff; /* peers exchange addresses */
	receive(packet, HEADER + LEN);
	vhu_driver_poll(driver);
	f = vhu_net_frame(net, n);
	assert_int_equal(f->came, 1);
	assert_string_equal(f->harm, "");
	assert_int_equal(vhu_net_received(net, 0), 1);
	assert_int_equal(vhu_net_posted(net, 0), 3);
	receive(packet, HEADER + LEN);
	vhu_driver_poll(driver);
	assert_int_equal(f->came, 2);
	expect_none();
	assert_null(vhu_net_frame(net, n + 1));
}

static void test_changed(void **state)
{
	uint32_t n;

	restart(modern);
	post(BUFFER, 4);
	n = transmit(LEN);
	packet[HEADER + 60] ^= 1;
	receive(packet, HEADER + LEN);
	vhu_driver_poll(driver);
	assert_non_null(strstr(vhu_net_frame(net, n)->harm, "byte 60"));
	assert_false(vhu_net_frame(net, n)->rewritten);
	n = transmit(LEN);
	packet[HEADER + 22] ^= 1; /* time to live */
	receive(packet, HEADER + LEN);
	vhu_driver_poll(driver);
	assert_true(vhu_net_frame(net, n)->rewritten);
	expect_none();
}

static void test_lengths(void **state)
{
	restart(modern);
	post(BUFFER, 4);
	transmit(LEN);
	receive(packet, HEADER + LEN - 1);
	vhu_driver_poll(driver);
	expect(VHU_BREACH_NET_USED_LEN, "99 bytes of a frame of 100");
	transmit(500);
	receive(packet, BUFFER);
	vhu_driver_poll(driver);
	expect(VHU_BREACH_NET_PART, "no room");
	receive(packet, HEADER - 1);
	vhu_driver_poll(driver);
	expect(VHU_BREACH_NET_USED_LEN, "less than the 12 bytes");
}

static void test_headers(void **state)
{
	static const struct {
		unsigned at, value;
		enum vhu_breach breach;
	} rows[] = {
		{0, 1, VHU_BREACH_NET_FLAGS},
		{0, 2, VHU_BREACH_NET_DATA_VALID},
		{0, 3, VHU_BREACH_NET_FLAGS},
		{1, 1, VHU_BREACH_NET_GSO},
		{FIELD_NUM_BUFFERS, 2, VHU_BREACH_NET_NUM_BUFFERS_ONE},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		restart(modern);
		post(BUFFER, 4);
		transmit(LEN);
		packet[rows[i].at] = (uint8_t)rows[i].value;
		receive(packet, HEADER + LEN);
		vhu_driver_poll(driver);
		expect(rows[i].breach, "");
	}
	restart(modern);
	post(BUFFER, 1);
	transmit(LEN);
	packet[HEADER] = 1; /* where the driver looks for num_buffers */
	packet[HEADER + 1] = 0;
	receive(packet + 2, HEADER + LEN - 2);
	vhu_driver_poll(driver);
	expect(VHU_BREACH_NET_OFFSET, "begins at byte 10");
}

static void test_merged(void **state)
{
	uint32_t n;

	restart(merging);
	post(BUFFER, 8);
	n = transmit(500);
	packet[FIELD_NUM_BUFFERS] = 2;
	receive(packet, BUFFER);
	receive(packet + BUFFER, HEADER + 500 - BUFFER);
	vhu_driver_poll(driver);
	assert_int_equal(vhu_net_frame(net, n)->came, 1);
	assert_string_equal(vhu_net_frame(net, n)->harm, "");
	expect_none();
	/* The second buffer comes later. */
	n = transmit(500);
	packet[FIELD_NUM_BUFFERS] = 2;
	receive(packet, BUFFER);
	vhu_driver_poll(driver);
	expect(VHU_BREACH_NET_MERGED_LATE, "1 of 2");
	receive(packet + BUFFER, HEADER + 500 - BUFFER);
	vhu_driver_poll(driver);
	assert_int_equal(vhu_net_frame(net, n)->came, 1);
	/* More buffers than there are. */
	transmit(LEN);
	packet[FIELD_NUM_BUFFERS] = 99;
	receive(packet, HEADER + LEN);
	vhu_driver_poll(driver);
	expect(VHU_BREACH_NET_NUM_BUFFERS, "num_buffers 99");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_whole),   TEST(test_changed), TEST(test_lengths),
		TEST(test_headers), TEST(test_merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
