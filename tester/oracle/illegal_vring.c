/* What a front-end may not say of a ring, and when. */
#include "illegal.h"

static const struct vhu_ring_state *ring_of(const struct vhu_trial *v)
{
	uint64_t index;

	vhu_frame_ring(v->f, &index);
	return vhu_session_ring(v->s, (uint32_t)VHU_MIN(index, (uint64_t)UINT32_MAX));
}

static void while_running(struct vhu_trial *v)
{
	const struct vhu_ring_state *r = ring_of(v);

	if (r && r->started)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "%s on a ring that is started", v->row->name);
}

static void check_num(struct vhu_trial *v)
{
	uint64_t num = VHU_NUMBER(v->f, VRING_STATE, num);

	if (num == 0 || num > VHU_C_VRING_SIZE_MAX || (!vhu_session_packed(v->s) && (num & (num - 1))))
		vhu_trial_malformed_by(v, VHU_MALFORMED_RING_SIZE,
				       vhu_session_packed(v->s) ? VHU_REQ_MAX : VHU_REQ_RING_94,
				       "no ring has %llu entries", (unsigned long long)num);
	while_running(v);
}

static void check_base(struct vhu_trial *v)
{
	uint64_t num = VHU_NUMBER(v->f, VRING_BASE, num);

	if (!vhu_session_packed(v->s) && num > UINT16_MAX)
		vhu_trial_breaks(v, VHU_REQ_VRING_78, "bits 16 to 31 of a split ring's index are set");
	while_running(v);
}

static void check_get_base(struct vhu_trial *v)
{
	if (VHU_NUMBER(v->f, VRING_STATE, num))
		vhu_trial_breaks(v, VHU_REQ_VRING_12, "num in the request of GET_VRING_BASE is not 0");
}

static void check_enable(struct vhu_trial *v)
{
	uint64_t num = VHU_NUMBER(v->f, VRING_STATE, num);

	if (num > 1)
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "SET_VRING_ENABLE with %llu",
				    (unsigned long long)num);
}

static void check_endian(struct vhu_trial *v)
{
	if (VHU_NUMBER(v->f, VRING_STATE, num) > 1)
		vhu_trial_breaks(v, VHU_REQ_VRING_79, "SET_VRING_ENDIAN with %llu",
				 (unsigned long long)VHU_NUMBER(v->f, VRING_STATE, num));
	while_running(v);
}

static void check_ring_part(struct vhu_trial *v, const char *field, uint64_t at, uint64_t align, uint64_t len)
{
	if (at % align)
		vhu_trial_malformed_by(v, VHU_MALFORMED_ADDRESS,
				       vhu_session_packed(v->s) ? VHU_REQ_MAX : VHU_REQ_RING_77,
				       "%s address 0x%llx is not aligned", field, (unsigned long long)at);
	/* With an IOMMU the address is an IOVA, which no region tells. */
	if (vhu_session_features(v->s) & VHU_V(VIRTIO_F_ACCESS_PLATFORM))
		return;
	if (v->s->memory_set && !vhu_trial_in_regions(v->s, at, len))
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "%s address 0x%llx is in no region", field,
				    (unsigned long long)at);
}

struct part {
	uint64_t at, len;
};

static bool overlap(struct part a, struct part b)
{
	return a.at < b.at ? b.at - a.at < a.len : a.at - b.at < b.len;
}

/* Without the event words, which not every driver has. */
static void check_overlap(struct vhu_trial *v, uint64_t num)
{
	bool p = vhu_session_packed(v->s);
	struct part desc = {VHU_NUMBER(v->f, VRING_ADDR, descriptor), VHU_C_DESC_SIZE * num},
		    avail = {VHU_NUMBER(v->f, VRING_ADDR, available), p ? 4 : 4 + 2 * num},
		    used = {VHU_NUMBER(v->f, VRING_ADDR, used), p ? 4 : 4 + 8 * num};

	if (overlap(desc, avail) || overlap(avail, used) || overlap(used, desc))
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "parts of the ring overlap");
}

/* A running ring keeps its addresses; only its log flag may change. */
static bool moves(const struct vhu_ring_state *r, const struct vhu_frame *f)
{
	return r->desc != VHU_NUMBER(f, VRING_ADDR, descriptor) ||
	       r->avail != VHU_NUMBER(f, VRING_ADDR, available) ||
	       r->used != VHU_NUMBER(f, VRING_ADDR, used);
}

/* The pages of a used ring that is logged have their bits in the log. */
static void check_log_address(struct vhu_trial *v, uint64_t num)
{
	uint64_t log = VHU_NUMBER(v->f, VRING_ADDR, log), end;

	if (!(VHU_NUMBER(v->f, VRING_ADDR, flags) & VHU_C_VRING_F_LOG) || !v->s->log_size ||
	    vhu_session_packed(v->s))
		return;
	if (__builtin_add_overflow(log, 6 + 8 * num, &end) ||
	    (end - 1) / VHU_C_LOG_PAGE / 8 >= v->s->log_size)
		vhu_trial_breaks(v, VHU_REQ_LOG_09, "log address 0x%llx is beyond the log",
				 (unsigned long long)log);
}

static void check_addr(struct vhu_trial *v)
{
	const struct vhu_ring_state *r = ring_of(v);
	const bool packed = vhu_session_packed(v->s);
	uint64_t flags = VHU_NUMBER(v->f, VRING_ADDR, flags);
	/* Lengths are known once the size is; a page is what every part has at least in practice. */
	uint64_t num = r && r->num_set && r->num <= VHU_C_VRING_SIZE_MAX ? r->num : 1;

	if (flags & ~(uint64_t)VHU_C_VRING_F_LOG)
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "undefined flags 0x%llx",
				    (unsigned long long)flags);
	check_ring_part(v, "descriptor", VHU_NUMBER(v->f, VRING_ADDR, descriptor), VHU_C_DESC_ALIGN,
			num * VHU_C_DESC_SIZE);
	check_ring_part(v, "available", VHU_NUMBER(v->f, VRING_ADDR, available),
			packed ? 4 : VHU_C_AVAIL_ALIGN, packed ? 4 : 6 + 2 * num);
	check_ring_part(v, "used", VHU_NUMBER(v->f, VRING_ADDR, used), VHU_C_USED_ALIGN,
			packed ? 4 : 6 + 8 * num);
	check_overlap(v, num);
	check_log_address(v, num);
	if (!v->s->memory_set)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "SET_VRING_ADDR before any memory");
	if (r && r->started && moves(r, v->f))
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "SET_VRING_ADDR moves a ring that is started");
}

static void check_kick(struct vhu_trial *v)
{
	const struct vhu_ring_state *r = ring_of(v);

	if (!v->s->owned)
		vhu_trial_breaks(v, VHU_REQ_OWNER_01, "%s on a connection without SET_OWNER", v->row->name);
	if (r && (!r->num_set || !r->addr_set))
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "%s before the ring is set up", v->row->name);
}

static void check_kick_message(struct vhu_trial *v)
{
	if (VHU_NUMBER(v->f, VRING_STATE, num))
		vhu_trial_breaks(v, VHU_REQ_INBAND_07, "num of VRING_KICK is not 0");
	check_kick(v);
}

static void (*const on_message[VHU_MSG_MAX])(struct vhu_trial *v) = {
	[VHU_MSG_SET_VRING_NUM] = check_num,	   [VHU_MSG_SET_VRING_BASE] = check_base,
	[VHU_MSG_SET_VRING_ADDR] = check_addr,	   [VHU_MSG_SET_VRING_KICK] = check_kick,
	[VHU_MSG_SET_VRING_ENABLE] = check_enable, [VHU_MSG_SET_VRING_ENDIAN] = check_endian,
	[VHU_MSG_GET_VRING_BASE] = check_get_base, [VHU_MSG_VRING_KICK] = check_kick_message,
};

void vhu_trial_vring(struct vhu_trial *v)
{
	if (on_message[v->row->msg])
		on_message[v->row->msg](v);
}
