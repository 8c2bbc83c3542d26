#include "session/session.h"

#include <stddef.h>
#include <string.h>

#include "wire/frame.h"

void vhu_session_init(struct vhu_session *s, enum vhu_device device, unsigned queues)
{
	memset(s, 0, sizeof(*s));
	s->device = device;
	s->queues = queues;
}

size_t vhu_session_spans(const struct vhu_session *s, struct vhu_session_span ret[VHU_SESSION_SPANS])
{
#define FROM_TO(first, last) offsetof(struct vhu_session, first), offsetof(struct vhu_session, last)
#define LIST(list, n)                                                                                        \
	offsetof(struct vhu_session, list),                                                                  \
		offsetof(struct vhu_session, list) +                                                         \
			VHU_MIN((size_t)(n), VHU_ARRAY_SIZE(s->list)) * sizeof(*s->list)
	/* From where to where. */
	const size_t rows[][2] = {
		{FROM_TO(device, object)},
		{LIST(object, s->n_objects)},
		{FROM_TO(n_regions, region)},
		{LIST(region, s->n_regions)},
		{FROM_TO(n_rings, ring)},
		{LIST(ring, s->n_rings)},
		{FROM_TO(shm_known, shm_size)},
		{LIST(shm_size, s->shm_known ? VHU_SESSION_SHM_IDS : 0)},
		{FROM_TO(n_shm, shm)},
		{LIST(shm, s->n_shm)},
		{FROM_TO(shm_lost, pending)},
		{LIST(pending, s->n_pending)},
		{FROM_TO(n_pending_backend, pending_backend)},
		{LIST(pending_backend, s->n_pending_backend)},
		{FROM_TO(answered, quiet)},
		{LIST(quiet, s->n_quiet)},
		{FROM_TO(n_quiet, missed)},
		{LIST(missed, s->n_missed)},
		{offsetof(struct vhu_session, n_missed), sizeof(*s)},
	};
#undef FROM_TO
#undef LIST
	size_t n = 0;

	_Static_assert(VHU_ARRAY_SIZE(rows) == VHU_SESSION_SPANS, "one for each");
	for (size_t i = 0; i < VHU_ARRAY_SIZE(rows); i++)
		if (rows[i][1] > rows[i][0])
			ret[n++] = (struct vhu_session_span){rows[i][0], rows[i][1] - rows[i][0]};
	return n;
}

bool vhu_session_is_postcopy_ack(const struct vhu_session *s, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);

	return row && (row->msg == VHU_MSG_SET_MEM_TABLE || row->msg == VHU_MSG_ADD_MEM_REG) &&
	       s->postcopy_listening && f->len == sizeof(uint64_t);
}

const struct vhu_ring_state *vhu_session_ring(const struct vhu_session *s, uint32_t index)
{
	return index < VHU_SESSION_RINGS ? &s->ring[index] : NULL;
}

/*
 * Requests whose answer the field leaves open although their row says "always": IOTLB messages
 * without need_reply, and whatever belongs to an extension that was not negotiated.
 */
static bool answer_is_open(const struct vhu_session *s, const struct vhu_msg_row *row, bool need_reply)
{
	if (row->msg == VHU_MSG_IOTLB_MSG && !need_reply)
		return true;
	if (row->msg == VHU_MSG_GET_PROTOCOL_FEATURES)
		return s->features_known && !(s->features_offered & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES));
	return (row->gate & ~vhu_session_pfeatures(s)) != 0;
}

/* What a message without a reply of its own has to be acknowledged with. */
static enum vhu_due acknowledgement_due(const struct vhu_session *s, const struct vhu_msg_row *row,
					bool need_reply)
{
	if (!need_reply)
		return VHU_DUE_NOTHING;
	/* The very message that negotiates REPLY_ACK may count itself in or not. */
	if (row->msg == VHU_MSG_SET_PROTOCOL_FEATURES && !vhu_session_reply_ack(s))
		return VHU_DUE_MAYBE;
	if (!vhu_session_reply_ack(s) || (row->gate & ~vhu_session_pfeatures(s)))
		return VHU_DUE_MAYBE;
	return VHU_DUE_ACK;
}

enum vhu_due vhu_session_due(const struct vhu_session *s, const struct vhu_frame *f)
{
	const struct vhu_msg_row *row = vhu_frame_row(f);
	bool need_reply = f->flags & VHU_C_HEADER_NEED_REPLY;

	if (!row)
		return VHU_DUE_MAYBE;
	switch (row->answer) {
	case VHU_ANSWER_ALWAYS:
		return answer_is_open(s, row, need_reply) ? VHU_DUE_MAYBE : VHU_DUE_REPLY;
	case VHU_ANSWER_WITH_LOG_SHMFD:
		if (vhu_session_pfeatures(s) & VHU_P(LOG_SHMFD))
			return VHU_DUE_REPLY;
		return acknowledgement_due(s, row, need_reply);
	case VHU_ANSWER_ON_NEED_REPLY:
		/* While listening for postcopy, memory messages are answered with a table of bases. */
		if (s->postcopy_listening && row->msg == VHU_MSG_SET_MEM_TABLE)
			return s->postcopy_ack_due ? VHU_DUE_NOTHING : VHU_DUE_REPLY;
		if (s->postcopy_listening && row->reply_alt != row->reply)
			return VHU_DUE_MAYBE;
		if (row->msg == VHU_MSG_POSTCOPY_LISTEN && !need_reply)
			return VHU_DUE_MAYBE;
		return acknowledgement_due(s, row, need_reply);
	case VHU_ANSWER_NEVER:
		return VHU_DUE_NOTHING;
	}
	return VHU_DUE_MAYBE;
}

/* Whether a frame of the back-end can be the answer to this request, by its id. */
static bool answers(const struct vhu_pending *p, const struct vhu_frame *f)
{
	return p->request == f->request;
}

int vhu_session_match(const struct vhu_session *s, const struct vhu_frame *f)
{
	for (size_t i = 0; i < s->n_pending; i++)
		if (answers(&s->pending[i], f))
			return (int)i;
	return -1;
}

const struct vhu_pending *vhu_session_overdue(const struct vhu_session *s)
{
	for (size_t i = 0; i < s->n_pending; i++)
		if (s->pending[i].due >= VHU_DUE_ACK && !s->pending[i].intended)
			return &s->pending[i];
	return NULL;
}

const struct vhu_pending *vhu_session_pending(const struct vhu_session *s, uint64_t serial)
{
	for (size_t i = 0; i < s->n_pending; i++)
		if (s->pending[i].serial == serial)
			return &s->pending[i];
	return NULL;
}
