/*
 * What a front-end may not send, and when: the same rules judge the tester's own frames before
 * they go out, and a front-end that is a stranger in a capture.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "illegal.h"

static void VHU_PRINTF(3, 0) add(struct vhu_trial *v, struct vhu_illegal what, const char *format, va_list ap)
{
	struct vhu_illegal *i = v->n < v->max ? &v->out[v->n++] : &v->spill;

	*i = what;
	vsnprintf(i->text, sizeof(i->text), format, ap);
}

void vhu_trial_breaks(struct vhu_trial *v, enum vhu_req req, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(v, (struct vhu_illegal){req, VHU_MALFORMED_MAX, req}, format, ap);
	va_end(ap);
}

void vhu_trial_malformed(struct vhu_trial *v, enum vhu_malformed kind, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(v, (struct vhu_illegal){VHU_REQ_MAX, kind, VHU_REQ_MAX}, format, ap);
	va_end(ap);
}

void vhu_trial_malformed_by(struct vhu_trial *v, enum vhu_malformed kind, enum vhu_req req,
			    const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(v, (struct vhu_illegal){VHU_REQ_MAX, kind, req}, format, ap);
	va_end(ap);
}

/* --- header ---------------------------------------------------------------------------------------- */

static void check_header(struct vhu_trial *v)
{
	const struct vhu_frame *f = v->f;
	const uint32_t defined = VHU_C_HEADER_VERSION_MASK | VHU_C_HEADER_REPLY | VHU_C_HEADER_NEED_REPLY;

	if ((f->flags & VHU_C_HEADER_VERSION_MASK) != VHU_C_HEADER_VERSION)
		vhu_trial_malformed_by(v, VHU_MALFORMED_FLAGS, VHU_REQ_HDR_02,
				       "flags 0x%x are no version 1 request", f->flags);
	else if (f->flags & ~defined)
		vhu_trial_malformed(v, VHU_MALFORMED_FLAGS, "flags 0x%x have undefined bits", f->flags);
	if (f->flags & VHU_C_HEADER_REPLY)
		vhu_trial_breaks(v, VHU_REQ_HDR_07, "a request has the reply flag set");
	if (f->size != f->len)
		vhu_trial_malformed_by(v, VHU_MALFORMED_SIZE, VHU_REQ_HDR_06,
				       "the size field says %u, the payload has %zu bytes", f->size, f->len);
}

/* Messages that real front-ends send with need_reply before REPLY_ACK is agreed, or without it. */
static bool need_reply_is_custom(const struct vhu_msg_row *row)
{
	return row && (row->msg == VHU_MSG_IOTLB_MSG || row->msg == VHU_MSG_POSTCOPY_LISTEN ||
		       row->msg == VHU_MSG_POSTCOPY_END || row->msg == VHU_MSG_SET_PROTOCOL_FEATURES);
}

static void check_need_reply(struct vhu_trial *v)
{
	if (!(v->f->flags & VHU_C_HEADER_NEED_REPLY) || vhu_session_reply_ack(v->s) ||
	    need_reply_is_custom(v->row))
		return;
	vhu_trial_breaks(v, VHU_REQ_HDR_08, "need_reply is set without REPLY_ACK");
}

/* Whether the payload is the message's first one, whose fields can be looked at. */
static bool check_size(struct vhu_trial *v)
{
	const struct vhu_frame *f = v->f;

	if (vhu_payload_size_ok(v->row->request, f->payload, f->len))
		return true;
	if ((v->row->request_alt != v->row->request &&
	     vhu_payload_size_ok(v->row->request_alt, f->payload, f->len)))
		return false;
	vhu_trial_malformed_by(v, VHU_MALFORMED_SIZE, VHU_REQ_HDR_04, "%zu bytes are no legal payload of %s",
			       f->len, v->row->name);
	return false;
}

/* --- descriptors ----------------------------------------------------------------------------------- */

/* Messages whose count of descriptors has a requirement of its own. */
static const struct {
	enum vhu_msg msg;
	enum vhu_req few, many; /* VHU_REQ_MAX: malformed */
} fd_rules[] = {
	{VHU_MSG_SET_LOG_FD, VHU_REQ_HDR_49, VHU_REQ_MAX},
	{VHU_MSG_SET_BACKEND_REQ_FD, VHU_REQ_HDR_49, VHU_REQ_MAX},
	{VHU_MSG_SET_INFLIGHT_FD, VHU_REQ_HDR_49, VHU_REQ_MAX},
	{VHU_MSG_SET_DEVICE_STATE_FD, VHU_REQ_HDR_49, VHU_REQ_MAX},
	{VHU_MSG_GPU_SET_SOCKET, VHU_REQ_HDR_49, VHU_REQ_MAX},
	{VHU_MSG_ADD_MEM_REG, VHU_REQ_MEMSLOT_04, VHU_REQ_MEMSLOT_04},
	{VHU_MSG_REM_MEM_REG, VHU_REQ_MAX, VHU_REQ_MEMSLOT_07},
};

static enum vhu_req fd_req(const struct vhu_msg_row *row, bool few)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(fd_rules); i++)
		if (fd_rules[i].msg == row->msg)
			return few ? fd_rules[i].few : fd_rules[i].many;
	return VHU_REQ_MAX;
}

static void wrong_fds(struct vhu_trial *v, bool few)
{
	enum vhu_req req = fd_req(v->row, few);

	if (req == VHU_REQ_MAX)
		vhu_trial_malformed(v, VHU_MALFORMED_FDS, "%s with %zu descriptors", v->row->name,
				    v->f->n_fds);
	else
		vhu_trial_breaks(v, req, "%s with %zu descriptors", v->row->name, v->f->n_fds);
}

static void check_mem_table_fds(struct vhu_trial *v)
{
	uint64_t n = 0;

	if (vhu_frame_load(v->f, VHU_SLOT(MEM_TABLE, num_regions), &n) && n != v->f->n_fds &&
	    vhu_frame_payload(v->f) == VHU_PL_MEM_TABLE)
		vhu_trial_breaks(v, VHU_REQ_MEM_02, "%llu regions with %zu descriptors",
				 (unsigned long long)n, v->f->n_fds);
}

static void check_ring_fd(struct vhu_trial *v)
{
	bool no_fd = VHU_NUMBER(v->f, VRING_FD, no_fd);

	if (no_fd != (v->f->n_fds == 0))
		vhu_trial_breaks(v, VHU_REQ_VRING_80, "the no-fd bit is %d with %zu descriptors", no_fd,
				 v->f->n_fds);
	if (v->f->n_fds > 1)
		vhu_trial_malformed(v, VHU_MALFORMED_FDS, "%s with %zu descriptors", v->row->name,
				    v->f->n_fds);
	if (VHU_NUMBER(v->f, VRING_FD, u64) & ~(uint64_t)(VHU_C_VRING_INDEX_MAX | VHU_C_VRING_NO_FD))
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "bits above 8 are set");
}

static void check_fds(struct vhu_trial *v)
{
	if (v->row->msg == VHU_MSG_SET_MEM_TABLE) {
		check_mem_table_fds(v);
		return;
	}
	if (v->row->request == VHU_PL_VRING_FD) {
		check_ring_fd(v);
		return;
	}
	if (v->row->msg == VHU_MSG_SET_LOG_BASE && (vhu_session_pfeatures(v->s) & VHU_P(LOG_SHMFD)) &&
	    !v->f->n_fds) {
		vhu_trial_breaks(v, VHU_REQ_HDR_49, "SET_LOG_BASE without a descriptor");
		return;
	}
	/* After POSTCOPY_LISTEN an ADD_MEM_REG that acknowledges carries none. */
	if (v->f->n_fds < v->row->fds_min && !vhu_session_is_postcopy_ack(v->s, v->f))
		wrong_fds(v, true);
	else if (v->f->n_fds > v->row->fds_max)
		wrong_fds(v, false);
	else if (v->row->msg == VHU_MSG_REM_MEM_REG && v->f->n_fds)
		vhu_trial_breaks(v, VHU_REQ_MEMSLOT_07, "REM_MEM_REG with a descriptor");
}

/* --- what has to be negotiated --------------------------------------------------------------------- */

static const struct {
	enum vhu_msg msg;
	enum vhu_req req;
} gate_rules[] = {
	{VHU_MSG_GET_QUEUE_NUM, VHU_REQ_MQ_02},
	{VHU_MSG_SEND_RARP, VHU_REQ_NET_02},
	{VHU_MSG_NET_SET_MTU, VHU_REQ_NET_05},
	{VHU_MSG_SET_BACKEND_REQ_FD, VHU_REQ_BACKENDREQ_03},
	{VHU_MSG_SET_VRING_ENDIAN, VHU_REQ_VRING_26},
	{VHU_MSG_RESET_DEVICE, VHU_REQ_RESET_04},
	{VHU_MSG_GET_MAX_MEM_SLOTS, VHU_REQ_MEMSLOT_10},
	{VHU_MSG_ADD_MEM_REG, VHU_REQ_MEMSLOT_10},
	{VHU_MSG_REM_MEM_REG, VHU_REQ_MEMSLOT_10},
	{VHU_MSG_SET_STATUS, VHU_REQ_STATUS_03},
	{VHU_MSG_GET_STATUS, VHU_REQ_STATUS_03},
	{VHU_MSG_SET_DEVICE_STATE_FD, VHU_REQ_DEVSTATE_12},
	{VHU_MSG_CHECK_DEVICE_STATE, VHU_REQ_DEVSTATE_12},
	{VHU_MSG_GET_SHARED_OBJECT, VHU_REQ_SHOBJ_02},
	{VHU_MSG_CREATE_CRYPTO_SESSION, VHU_REQ_CRYPTO_03},
	{VHU_MSG_CLOSE_CRYPTO_SESSION, VHU_REQ_CRYPTO_03},
};

static void check_gate(struct vhu_trial *v)
{
	uint64_t missing = v->row->gate & ~vhu_session_pfeatures(v->s);

	/* These need the bit to be offered only; before the first SET_PROTOCOL_FEATURES that is all there is.
	 */
	if (missing && (v->row->msg == VHU_MSG_SET_BACKEND_REQ_FD || v->row->msg == VHU_MSG_GET_QUEUE_NUM))
		missing &= ~v->s->pfeatures_offered;
	if (!missing)
		return;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(gate_rules); i++) {
		if (gate_rules[i].msg == v->row->msg) {
			vhu_trial_breaks(v, gate_rules[i].req,
					 "%s without the protocol feature that it needs", v->row->name);
			return;
		}
	}
	vhu_trial_malformed_by(v, VHU_MALFORMED_ORDER, VHU_REQ_PROTO_07,
			       "%s without the protocol feature that it needs", v->row->name);
}

static void check_bit30(struct vhu_trial *v)
{
	bool have = vhu_session_features(v->s) & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);
	bool offered = v->s->features_offered & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);

	switch ((int)v->row->msg) {
	case VHU_MSG_GET_PROTOCOL_FEATURES:
	case VHU_MSG_SET_PROTOCOL_FEATURES:
		if (!offered)
			vhu_trial_breaks(v, VHU_REQ_PROTO_05, "%s without bit 30 offered", v->row->name);
		break;
	case VHU_MSG_SET_VRING_ENABLE:
		if (!have)
			vhu_trial_breaks(v, VHU_REQ_ENABLE_02, "SET_VRING_ENABLE without bit 30 negotiated");
		break;
	case VHU_MSG_SET_BACKEND_REQ_FD:
		if (!have)
			vhu_trial_breaks(v, VHU_REQ_BACKENDREQ_03,
					 "SET_BACKEND_REQ_FD without bit 30 negotiated");
		break;
	default:
		break;
	}
}

static void check_index(struct vhu_trial *v)
{
	uint64_t index;

	if (v->row->scope != VHU_SCOPE_RING || !vhu_frame_ring(v->f, &index))
		return;
	if (index >= VHU_SESSION_RINGS || (v->s->queues && index >= v->s->queues))
		vhu_trial_malformed(v, VHU_MALFORMED_INDEX, "ring %llu does not exist",
				    (unsigned long long)index);
}

/* Answers to the back-end's requests, on its channel. */
static void check_answer(struct vhu_trial *v)
{
	if (!(v->f->flags & VHU_C_HEADER_REPLY))
		vhu_trial_malformed(v, VHU_MALFORMED_FLAGS, "an answer without the reply flag");
	if (!v->s->n_pending_backend)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "an answer that the back-end did not ask for");
	else if (v->s->pending_backend[0].request != v->f->request)
		vhu_trial_malformed(v, VHU_MALFORMED_REQUEST, "an answer to another request");
}

size_t vhu_oracle_illegal(const struct vhu_session *s, const struct vhu_frame *f, struct vhu_illegal *out,
			  size_t max)
{
	struct vhu_trial v;

	/* Without the spill, which is never read: this runs for each of millions of messages of a capture. */
	v.s = s;
	v.f = f;
	v.row = vhu_frame_row(f);
	v.out = out;
	v.n = 0;
	v.max = max;

	if (f->channel == VHU_CHAN_BACKEND) {
		check_answer(&v);
		return v.n;
	}
	check_header(&v);
	check_need_reply(&v);
	if (!v.row) {
		vhu_trial_malformed(&v, VHU_MALFORMED_REQUEST, "no request has the id %u", f->request);
		return v.n;
	}
	check_gate(&v);
	check_bit30(&v);
	check_fds(&v);
	/* Fields are looked at only where the payload has room for them. */
	if (!check_size(&v))
		return v.n;
	check_index(&v);
	vhu_trial_features(&v);
	vhu_trial_memory(&v);
	vhu_trial_vring(&v);
	vhu_trial_state(&v);
	return v.n;
}
