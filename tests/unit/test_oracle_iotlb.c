/* Messages about translations: what a front-end may say, what a back-end may ask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "oracle/oracle.h"
#include "wire/frame.h"

#define UADDR UINT64_C(0x7f0000000000)
#define SIZE  UINT64_C(0x200000)

static struct vhu_session *session(uint64_t features)
{
	static struct vhu_session s;

	vhu_session_init(&s, VHU_DEV_BLK, 4);
	s.features_known = s.features_set_known = s.pfeatures_known = s.pfeatures_set_known = true;
	s.features_offered = s.features_set = features | VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);
	s.pfeatures_offered = s.pfeatures_set = VHU_P(REPLY_ACK) | VHU_P(BACKEND_REQ);
	s.memory_set = s.owned = true;
	s.n_regions = 1;
	s.region[0] = (struct vhu_region_state){.gpa = 0x100000000, .size = SIZE, .uaddr = UADDR};
	return &s;
}

static const struct row {
	uint64_t iova, size, uaddr, perm, type;
	bool legal;
	enum vhu_req req; /* MAX: malformed */
} rows[] = {
	{0x5000, 4096, UADDR, 3, VHU_C_IOTLB_UPDATE, true, VHU_REQ_MAX},
	{0x5000, SIZE, UADDR, 0, VHU_C_IOTLB_UPDATE, true, VHU_REQ_MAX},
	{UINT64_MAX - 4095, 4096, UADDR, 3, VHU_C_IOTLB_UPDATE, true, VHU_REQ_MAX},
	{0, UINT64_MAX, 0, 0, VHU_C_IOTLB_INVALIDATE, true, VHU_REQ_MAX},
	{0x5000, 4096, UADDR, 4, VHU_C_IOTLB_UPDATE, false, VHU_REQ_IOTLB_04},
	{0x5000, 4096, UADDR - 1, 3, VHU_C_IOTLB_UPDATE, false, VHU_REQ_IOTLB_04},
	{0x5000, SIZE + 1, UADDR, 3, VHU_C_IOTLB_UPDATE, false, VHU_REQ_IOTLB_04},
	{0x5000, 0, UADDR, 3, VHU_C_IOTLB_UPDATE, false, VHU_REQ_MAX},
	{UINT64_MAX - 4095, 4097, 0, 0, VHU_C_IOTLB_INVALIDATE, false, VHU_REQ_MAX},
	{0x5000, 4096, UADDR, 3, VHU_C_IOTLB_MISS, false, VHU_REQ_IOTLB_24},
	{0x5000, 4096, UADDR, 3, 0, false, VHU_REQ_IOTLB_24},
};

static struct vhu_frame iotlb(enum vhu_msg msg, const struct row *r)
{
	struct vhu_frame f = {0};

	assert_int_equal(vhu_frame_request(&f, msg, NULL), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_IOTLB, "iova", r->iova), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_IOTLB, "size", r->size), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_IOTLB, "uaddr", r->uaddr), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_IOTLB, "perm", r->perm), 0);
	assert_int_equal(vhu_frame_set(&f, VHU_PL_IOTLB, "type", r->type), 0);
	return f;
}

static void test_what_a_front_end_may_send(void **state)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++) {
		struct vhu_frame f = iotlb(VHU_MSG_IOTLB_MSG, &rows[i]);
		struct vhu_illegal out[4];
		size_t n = vhu_oracle_illegal(session(VHU_V(VIRTIO_F_ACCESS_PLATFORM)), &f, out,
					      VHU_ARRAY_SIZE(out));

		if (n != !rows[i].legal || (n && out[0].req != rows[i].req))
			fail_msg("row %zu: %zu findings: %s", i, n, n ? out[0].text : "");
		vhu_frame_done(&f);
	}
}

static void test_only_with_the_feature(void **state)
{
	struct vhu_frame f = iotlb(VHU_MSG_IOTLB_MSG, &rows[0]);
	struct vhu_illegal out[4];

	assert_int_equal(vhu_oracle_illegal(session(0), &f, out, VHU_ARRAY_SIZE(out)), 1);
	assert_int_equal(out[0].req, VHU_REQ_IOTLB_11);
	vhu_frame_done(&f);
}

struct bench {
	enum vhu_req found[8];
	size_t n;
};

static void keep(void *ctx, const struct vhu_finding *f)
{
	struct bench *b = ctx;

	assert_true(b->n < VHU_ARRAY_SIZE(b->found));
	b->found[b->n++] = f->req;
}

/* What is found of a request of the back-end with these fields. */
static struct bench judged(uint64_t features, uint64_t perm, uint64_t type)
{
	const struct row r = {.iova = 0x5000, .perm = perm, .type = type};
	struct vhu_frame f = iotlb(VHU_MSG_BACKEND_IOTLB_MSG, &r);
	struct vhu_obs obs = {.kind = VHU_OBS_FRAME, .frame = &f};
	static struct vhu_oracle o;
	struct bench b = {.n = 0};

	f.dir = VHU_DIR_BE;
	vhu_oracle_init(&o, VHU_DEV_BLK, 4, keep, &b);
	o.session = *session(features);
	o.session.backend_channel = true;
	vhu_oracle_observe(&o, &obs);
	vhu_frame_done(&f);
	return b;
}

static void test_what_a_back_end_may_ask(void **state)
{
	const uint64_t iommu = VHU_V(VIRTIO_F_ACCESS_PLATFORM);

	assert_int_equal(judged(iommu, 2, VHU_C_IOTLB_MISS).n, 0);
	assert_int_equal(judged(iommu, 1, VHU_C_IOTLB_ACCESS_FAIL).n, 0);
	assert_int_equal(judged(iommu, 1, VHU_C_IOTLB_UPDATE).found[0], VHU_REQ_IOTLB_25);
	assert_int_equal(judged(iommu, 4, VHU_C_IOTLB_MISS).found[0], VHU_REQ_IOTLB_25);
	assert_int_equal(judged(0, 1, VHU_C_IOTLB_MISS).found[0], VHU_REQ_IOTLB_11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_front_end_may_send),
		cmocka_unit_test(test_only_with_the_feature),
		cmocka_unit_test(test_what_a_back_end_may_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
