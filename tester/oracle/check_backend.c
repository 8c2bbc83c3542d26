/* Rules about requests of the back-end, on its own channel. */
#include <stdio.h>

#include "internal.h"

/* No host has larger ones. */
enum { PAGE_MAX = 65536 };

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

static bool uuid_size(struct vhu_judgement *j)
{
	return !j->f->defects && j->f->len != VHU_UUID_SIZE &&
	       vhu_differs(j, "a UUID of 16 bytes", "%zu bytes", j->f->len);
}

static bool uuid_version(uint8_t byte)
{
	return byte >> 4 >= 1 && byte >> 4 <= 8;
}

/* Where the version of a UUID stands tells the byte order of its third part. */
static bool uuid_order(struct vhu_judgement *j)
{
	enum { TIME_HIGH = 6, VARIANT = 8, VARIANT_MASK = 0xc0, VARIANT_USUAL = 0x80 };
	const uint8_t *u;
	size_t len;

	if (!vhu_frame_bytes(j->f, VHU_PL_SHARED, "uuid", &u, &len) || len != VHU_UUID_SIZE ||
	    (u[VARIANT] & VARIANT_MASK) != VARIANT_USUAL)
		return false;
	if (uuid_version(u[TIME_HIGH]) || !uuid_version(u[TIME_HIGH + 1]))
		return false;
	return vhu_differs(j, "the first three parts big endian: the version in byte 6",
			   "a version in byte 7 only");
}

static bool inband_num(struct vhu_judgement *j)
{
	return VHU_NUMBER(j->f, VRING_STATE, num) &&
	       vhu_differs(j, "num 0", "num %llu", (unsigned long long)VHU_NUMBER(j->f, VRING_STATE, num));
}

static bool iotlb_unnegotiated(struct vhu_judgement *j)
{
	return !(vhu_session_features(j->s) & VHU_V(VIRTIO_F_ACCESS_PLATFORM)) &&
	       vhu_differs(j, "no IOTLB message without VIRTIO_F_ACCESS_PLATFORM", "this request");
}

static bool iotlb_type(struct vhu_judgement *j)
{
	uint64_t type = VHU_NUMBER(j->f, IOTLB, type);

	return type != VHU_C_IOTLB_MISS && type != VHU_C_IOTLB_ACCESS_FAIL &&
	       vhu_differs(j, "type 1 (miss)\ntype 4 (access fail)", "type %llu", (unsigned long long)type);
}

static bool iotlb_permission(struct vhu_judgement *j)
{
	uint64_t perm = VHU_NUMBER(j->f, IOTLB, perm);

	return perm > 3 && vhu_differs(j, "a permission of 0 to 3", "%llu", (unsigned long long)perm);
}

/* Without a descriptor in service a signal is a message; with one it goes there. */
static bool call_besides_fd(struct vhu_judgement *j)
{
	uint32_t index = (uint32_t)VHU_NUMBER(j->f, VRING_STATE, index);
	const struct vhu_ring_state *r = vhu_session_ring(j->s, index);

	return r && r->call_fd &&
	       vhu_differs(j, "a signal on the call descriptor, which was given", "this message");
}

static bool inband_unanswered(struct vhu_judgement *j)
{
	return !(j->f->flags & VHU_C_HEADER_NEED_REPLY) &&
	       vhu_differs(j, "flags 0x9: the sender waits for the answer", "flags 0x%x", j->f->flags);
}

/* --- host notifiers ------------------------------------------------------------------------------- */

static bool page_size(uint64_t size)
{
	return size >= VHU_C_LOG_PAGE && size <= PAGE_MAX && !(size & (size - 1));
}

static bool notifier_form(struct vhu_judgement *j)
{
	uint64_t index = VHU_NUMBER(j->f, VRING_AREA, index), size = VHU_NUMBER(j->f, VRING_AREA, size);

	if (index >= VHU_SESSION_RINGS || (j->s->queues && index >= j->s->queues))
		return vhu_differs(j, "a ring of the device", "ring %llu", (unsigned long long)index);
	if (VHU_NUMBER(j->f, VRING_AREA, no_fd) && !j->f->n_fds)
		return false; /* takes the notifier away */
	if (j->f->n_fds > 1)
		return vhu_differs(j, "one descriptor", "%zu", j->f->n_fds);
	return j->f->n_fds && !page_size(size) &&
	       vhu_differs(j, "the size of a host page", "%llu bytes", (unsigned long long)size);
}

/* --- shared memory -------------------------------------------------------------------------------- */

static bool shm_map_form(struct vhu_judgement *j)
{
	const struct vhu_shm_map m = vhu_session_shm_range(j->f);

	if (j->f->n_fds != 1)
		return vhu_differs(j, "one descriptor", "%zu", j->f->n_fds);
	if (!vhu_session_shm_valid(j->s, &m))
		return vhu_differs(j, "a range of a region that GET_SHMEM_CONFIG tells",
				   "region %u (0x%llx bytes), 0x%llx bytes at 0x%llx", m.shmid,
				   (unsigned long long)j->s->shm_size[m.shmid], (unsigned long long)m.len,
				   (unsigned long long)m.offset);
	return !vhu_session_shm_free(j->s, &m) &&
	       vhu_differs(j, "a free range", "region %u, 0x%llx bytes at 0x%llx", m.shmid,
			   (unsigned long long)m.len, (unsigned long long)m.offset);
}

static bool shm_map_flags(struct vhu_judgement *j)
{
	uint64_t flags = VHU_NUMBER(j->f, MMAP, flags);

	return flags > 1 && vhu_differs(j, "flags 0 or 1", "flags 0x%llx", (unsigned long long)flags);
}

static bool shm_map_unaligned(struct vhu_judgement *j)
{
	const struct {
		const char *name;
		uint64_t value;
	} fields[] = {
		{"fd_offset", VHU_NUMBER(j->f, MMAP, fd_offset)},
		{"shm_offset", VHU_NUMBER(j->f, MMAP, shm_offset)},
		{"len", VHU_NUMBER(j->f, MMAP, len)},
	};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(fields); i++)
		if (fields[i].value % VHU_C_LOG_PAGE)
			return vhu_differs(j, "whole pages", "%s 0x%llx", fields[i].name,
					   (unsigned long long)fields[i].value);
	return false;
}

static bool shm_unmap_unknown(struct vhu_judgement *j)
{
	const struct vhu_shm_map m = vhu_session_shm_range(j->f);

	return !vhu_session_shm_mapped(j->s, &m) &&
	       vhu_differs(j, "the whole of a mapped range", "region %u, 0x%llx bytes at 0x%llx", m.shmid,
			   (unsigned long long)m.len, (unsigned long long)m.offset);
}

static bool shm_unmap_wrong(struct vhu_judgement *j)
{
	return !j->s->shm_reset && shm_unmap_unknown(j);
}

static bool shm_unmap_after_reset(struct vhu_judgement *j)
{
	return j->s->shm_reset && shm_unmap_unknown(j);
}

/*
 * All rings that ever ran are stopped, and the answers to that were seen: the device is suspended. Whoever
 * observes takes what waits on this channel before such an answer.
 */
static bool while_suspended(struct vhu_judgement *j)
{
	bool ran = false;

	for (size_t i = 0; i < j->s->n_rings; i++) {
		const struct vhu_ring_state *r = &j->s->ring[i];

		if (r->started || (r->ran && !r->suspended))
			return false;
		ran |= r->ran;
	}
	return ran && vhu_differs(j, "no message while all rings are stopped", "this request");
}

#define OBJECT_RULE(req, kind, msg, check, summary)                                                          \
	{                                                                                                    \
		VHU_REQ_##req, VHU_FINDING_##kind, VHU_MSG_BACKEND_SHARED_OBJECT_##msg, check, summary       \
	}
#define OBJECT_RULES(req, kind, check, summary)                                                              \
	OBJECT_RULE(req, kind, ADD, check, summary), OBJECT_RULE(req, kind, REMOVE, check, summary),         \
		OBJECT_RULE(req, kind, LOOKUP, check, summary)

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
	OBJECT_RULES(SHOBJ_03, RULE, gate_missing, "shared objects come without SHARED_OBJECT"),
	OBJECT_RULES(SHOBJ_07, RULE, uuid_size, "a UUID has not 16 bytes"),
	OBJECT_RULES(SHOBJ_07, QUIRK, uuid_order, "a UUID seems to be in the host's byte order"),
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
	{VHU_REQ_INBAND_14, VHU_FINDING_RULE, VHU_MSG_BACKEND_VRING_CALL, inband_unanswered,
	 "an in-band message does not ask for an answer"},
	{VHU_REQ_INBAND_14, VHU_FINDING_RULE, VHU_MSG_BACKEND_VRING_ERR, inband_unanswered,
	 "an in-band message does not ask for an answer"},
	{VHU_REQ_INBAND_05, VHU_FINDING_QUIRK, VHU_MSG_BACKEND_VRING_CALL, call_besides_fd,
	 "a call comes by message although there is a call descriptor"},
	{VHU_REQ_BACKENDREQ_10, VHU_FINDING_RULE, VHU_MSG_BACKEND_VRING_HOST_NOTIFIER_MSG, notifier_form,
	 "a host notifier has a wrong form"},
	{VHU_REQ_SHMEM_06, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_MAP, gate_missing,
	 "a mapping is asked for without SHMEM_MAP"},
	{VHU_REQ_SHMEM_06, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_UNMAP, gate_missing,
	 "a mapping is taken back without SHMEM_MAP"},
	{VHU_REQ_SHMEM_05, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_MAP, shm_map_form,
	 "a mapping is asked for that cannot be made"},
	{VHU_REQ_SHMEM_10, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_MAP, shm_map_flags,
	 "the flags of a mapping are undefined"},
	{VHU_REQ_SHMEM_12, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_MAP, shm_map_unaligned,
	 "a mapping is not aligned to pages"},
	{VHU_REQ_SHMEM_07, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_UNMAP, shm_unmap_wrong,
	 "what is unmapped was not mapped"},
	{VHU_REQ_SHMEM_14, VHU_FINDING_RULE, VHU_MSG_BACKEND_SHMEM_UNMAP, shm_unmap_after_reset,
	 "what is unmapped went with the reset"},
	/* Whether a request may still be under way at the stop is left open, so this is told, not judged. */
	{VHU_REQ_STATE_19, VHU_FINDING_QUIRK, -1, while_suspended,
	 "a request comes while the device is suspended"},
	{.broken = NULL},
};
