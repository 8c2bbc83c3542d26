/* Rules about the form of a back-end's frames on the main channel: header, size, descriptors. */
#include <stdio.h>

#include "internal.h"

static bool bad_frame(struct vhu_judgement *j)
{
	if (j->f->defects & VHU_DEFECT_OVERSIZED)
		return vhu_differs(j, "a size field of the payload's size", "size %u", j->f->size);
	if (j->f->defects & VHU_DEFECT_TRUNCATED)
		return vhu_differs(j, "a header and size bytes of payload",
				   "%zu bytes of payload, then the end", j->f->len);
	return false;
}

/* The header's words read the other way round make sense: it was written in the wrong byte order. */
static bool swapped(const struct vhu_frame *f)
{
	return (__builtin_bswap32(f->flags) & VHU_C_HEADER_VERSION_MASK) == VHU_C_HEADER_VERSION &&
	       (f->flags & VHU_C_HEADER_VERSION_MASK) == 0 &&
	       vhu_msg_by_id(f->channel, __builtin_bswap32(f->request));
}

static bool bad_byte_order(struct vhu_judgement *j)
{
	return swapped(j->f) && vhu_differs(j, "the host's byte order", "request 0x%08x, flags 0x%08x",
					    j->f->request, j->f->flags);
}

static bool bad_version(struct vhu_judgement *j)
{
	uint32_t version = j->f->flags & VHU_C_HEADER_VERSION_MASK;

	if (version == VHU_C_HEADER_VERSION || swapped(j->f))
		return false;
	return vhu_differs(j, "version 1", "version %u (flags 0x%x)", version, j->f->flags);
}

static bool bad_reply_bit(struct vhu_judgement *j)
{
	if (j->f->flags & VHU_C_HEADER_REPLY)
		return false;
	return vhu_differs(j, "flags 0x5", "flags 0x%x", j->f->flags);
}

static bool bad_reserved_bits(struct vhu_judgement *j)
{
	const uint32_t defined = VHU_C_HEADER_VERSION_MASK | VHU_C_HEADER_REPLY | VHU_C_HEADER_NEED_REPLY;

	/* Bits that we set on purpose may come back. */
	if (!(j->f->flags & ~defined) || swapped(j->f) || (j->to && j->to->intended))
		return false;
	return vhu_differs(j, "flags 0x5", "flags 0x%x", j->f->flags);
}

static bool need_reply_unasked(struct vhu_judgement *j)
{
	if (!(j->f->flags & VHU_C_HEADER_NEED_REPLY) || (j->to && j->to->need_reply))
		return false;
	return vhu_differs(j, "flags 0x5", "flags 0x%x", j->f->flags);
}

static bool need_reply_echoed(struct vhu_judgement *j)
{
	if (!(j->f->flags & VHU_C_HEADER_NEED_REPLY) || !j->to || !j->to->need_reply)
		return false;
	return vhu_differs(j, "flags 0x5", "flags 0x%x: QEMU drops such a connection", j->f->flags);
}

static bool fds_lost(struct vhu_judgement *j)
{
	return (j->f->defects & VHU_DEFECT_FDS_LOST) &&
	       vhu_differs(j, "the descriptors of the message", "more than could be received");
}

const struct vhu_rule vhu_rules_form[] = {
	{VHU_REQ_HDR_04, VHU_FINDING_ROBUST, -1, bad_frame, "a frame is not a header and its payload"},
	{VHU_REQ_HDR_03, VHU_FINDING_RULE, -1, bad_byte_order, "the header is not in the host's byte order"},
	{VHU_REQ_HDR_02, VHU_FINDING_RULE, -1, bad_version, "the version is not 1"},
	{VHU_REQ_HDR_01, VHU_FINDING_RULE, -1, bad_reply_bit, "the reply flag is not set"},
	{VHU_REQ_HDR_11, VHU_FINDING_RULE, -1, bad_reserved_bits, "undefined flag bits are set"},
	{VHU_REQ_HDR_09, VHU_FINDING_RULE, -1, need_reply_unasked, "the need_reply flag is set in a reply"},
	{VHU_REQ_HDR_10, VHU_FINDING_QUIRK, -1, need_reply_echoed,
	 "the need_reply flag is echoed in a reply"},
	{VHU_REQ_HDR_39, VHU_FINDING_RULE, -1, fds_lost,
	 "a reply carries descriptors that it does not define"},
	{.broken = NULL},
};
