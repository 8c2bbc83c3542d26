/* Rules about requests of the back-end, on its own channel. */
#include <stdio.h>

#include "internal.h"

static bool bad_header(struct vhu_judgement *j)
{
	const struct vhu_frame *f = j->f;

	if (f->defects & (VHU_DEFECT_OVERSIZED | VHU_DEFECT_TRUNCATED))
		return vhu_differs(j, "a header and its payload", "size %u, %zu bytes of payload", f->size,
				   f->len);
	if ((f->flags & VHU_C_HEADER_VERSION_MASK) != VHU_C_HEADER_VERSION || (f->flags & VHU_C_HEADER_REPLY))
		return vhu_differs(j, "flags 0x1\nflags 0x9 with REPLY_ACK", "flags 0x%x", f->flags);
	if (j->row && !vhu_payload_size_ok(j->row->request, f->payload, f->len))
		return vhu_differs(j, "the size of its payload", "%zu bytes", f->len);
	return false;
}

static bool unknown_request(struct vhu_judgement *j)
{
	return !j->row && !j->f->defects && vhu_differs(j, "a known request", "request id %u", j->f->request);
}

static bool too_many_fds(struct vhu_judgement *j)
{
	return j->f->n_fds > VHU_C_BACKEND_REQUEST_FDS &&
	       vhu_differs(j, "at most 8 descriptors", "%zu", j->f->n_fds);
}

static bool fds_unnegotiated(struct vhu_judgement *j)
{
	if (!j->f->n_fds || (vhu_session_pfeatures(j->s) & VHU_P(BACKEND_SEND_FD)))
		return false;
	return vhu_differs(j, "no descriptor without BACKEND_SEND_FD", "%zu", j->f->n_fds);
}

static bool need_reply_unnegotiated(struct vhu_judgement *j)
{
	if (!(j->f->flags & VHU_C_HEADER_NEED_REPLY) || vhu_session_reply_ack(j->s))
		return false;
	return vhu_differs(j, "flags 0x1 without REPLY_ACK", "flags 0x%x", j->f->flags);
}

static bool gate_missing(struct vhu_judgement *j)
{
	/* BACKEND_SEND_FD is judged by the descriptors that really come. */
	uint64_t needs = j->row ? j->row->gate & ~VHU_P(BACKEND_SEND_FD) : 0;

	if (!(needs & ~vhu_session_pfeatures(j->s)))
		return false;
	return vhu_differs(j, "only requests whose protocol feature was negotiated",
			   "protocol features 0x%llx", (unsigned long long)vhu_session_pfeatures(j->s));
}

static bool inband_num(struct vhu_judgement *j)
{
	return vhu_frame_u64(j->f, "num") &&
	       vhu_differs(j, "num 0", "num %llu", (unsigned long long)vhu_frame_u64(j->f, "num"));
}

static bool iotlb_unnegotiated(struct vhu_judgement *j)
{
	return !(vhu_session_features(j->s) & VHU_V(VIRTIO_F_ACCESS_PLATFORM)) &&
	       vhu_differs(j, "no IOTLB message without VIRTIO_F_ACCESS_PLATFORM", "this request");
}

static bool iotlb_type(struct vhu_judgement *j)
{
	uint64_t type = vhu_frame_u64(j->f, "type");

	return type != VHU_C_IOTLB_MISS && type != VHU_C_IOTLB_ACCESS_FAIL &&
	       vhu_differs(j, "type 1 (miss)\ntype 4 (access fail)", "type %llu", (unsigned long long)type);
}

static bool iotlb_permission(struct vhu_judgement *j)
{
	uint64_t perm = vhu_frame_u64(j->f, "perm");

	return perm > 3 && vhu_differs(j, "a permission of 0 to 3", "%llu", (unsigned long long)perm);
}

/* All rings that ever ran are stopped: the device is suspended. */
static bool while_suspended(struct vhu_judgement *j)
{
	bool ran = false;

	for (size_t i = 0; i < VHU_SESSION_RINGS; i++) {
		if (j->s->ring[i].started)
			return false;
		ran |= j->s->ring[i].kick_set;
	}
	return ran && vhu_differs(j, "no message while all rings are stopped", "this request");
}

const struct vhu_rule vhu_rules_backend[] = {
	{VHU_REQ_BACKENDREQ_14, VHU_FINDING_RULE, -1, bad_header, "a back-end request has a wrong form"},
	{VHU_REQ_BACKENDREQ_16, VHU_FINDING_RULE, -1, unknown_request, "a back-end request is unknown"},
	{VHU_REQ_BACKENDREQ_05, VHU_FINDING_RULE, -1, too_many_fds,
	 "a back-end request carries too many descriptors"},
	{VHU_REQ_BACKENDREQ_06, VHU_FINDING_RULE, -1, fds_unnegotiated,
	 "descriptors come without BACKEND_SEND_FD"},
	{VHU_REQ_BACKENDREQ_13, VHU_FINDING_RULE, -1, need_reply_unnegotiated,
	 "need_reply is set without REPLY_ACK"},
	{VHU_REQ_BACKENDREQ_07, VHU_FINDING_RULE, VHU_MSG_BACKEND_CONFIG_CHANGE_MSG, gate_missing,
	 "a config change is told without CONFIG"},
	{VHU_REQ_BACKENDREQ_09, VHU_FINDING_RULE, VHU_MSG_BACKEND_VRING_HOST_NOTIFIER_MSG, gate_missing,
	 "a host notifier comes without HOST_NOTIFIER"},
	{VHU_REQ_PROTO_07, VHU_FINDING_RULE, -1, gate_missing,
	 "an extension is used that was not negotiated"},
	{VHU_REQ_INBAND_06, VHU_FINDING_RULE, VHU_MSG_BACKEND_VRING_CALL, inband_num,
	 "num of an in-band message is not 0"},
	{VHU_REQ_INBAND_06, VHU_FINDING_RULE, VHU_MSG_BACKEND_VRING_ERR, inband_num,
	 "num of an in-band message is not 0"},
	{VHU_REQ_IOTLB_11, VHU_FINDING_RULE, VHU_MSG_BACKEND_IOTLB_MSG, iotlb_unnegotiated,
	 "a translation is asked for although there is no IOMMU"},
	{VHU_REQ_IOTLB_25, VHU_FINDING_RULE, VHU_MSG_BACKEND_IOTLB_MSG, iotlb_type,
	 "an IOTLB message has a type that back-ends do not send"},
	{VHU_REQ_IOTLB_25, VHU_FINDING_RULE, VHU_MSG_BACKEND_IOTLB_MSG, iotlb_permission,
	 "an IOTLB message has an undefined permission"},
	/* Whether a request may still be under way at the stop is left open, so this is told, not judged. */
	{VHU_REQ_STATE_19, VHU_FINDING_QUIRK, -1, while_suspended,
	 "a request comes while the device is suspended"},
	{.broken = NULL},
};
