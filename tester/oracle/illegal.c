/*
 * What a front-end may not send, and when: the same rules judge the tester's own frames before
 * they go out, and a front-end that is a stranger in a capture.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

struct verdicts {
	const struct vhu_session *s;
	const struct vhu_frame *f;
	const struct vhu_msg_row *row;
	struct vhu_illegal *out;
	size_t n, max;
	struct vhu_illegal spill; /* beyond max: written and never read */
};

static struct vhu_illegal *add(struct verdicts *v)
{
	return v->n < v->max ? &v->out[v->n++] : &v->spill;
}

static void VHU_PRINTF(3, 4) breaks(struct verdicts *v, enum vhu_req req, const char *format, ...)
{
	struct vhu_illegal *i = add(v);
	va_list ap;

	i->req = req;
	i->malformed = VHU_MALFORMED_MAX;
	va_start(ap, format);
	vsnprintf(i->text, sizeof(i->text), format, ap);
	va_end(ap);
}

static void VHU_PRINTF(3, 4) malformed(struct verdicts *v, enum vhu_malformed kind, const char *format, ...)
{
	struct vhu_illegal *i = add(v);
	va_list ap;

	i->req = VHU_REQ_MAX;
	i->malformed = kind;
	va_start(ap, format);
	vsnprintf(i->text, sizeof(i->text), format, ap);
	va_end(ap);
}

/* --- header ---------------------------------------------------------------------------------------- */

static void check_header(struct verdicts *v)
{
	const struct vhu_frame *f = v->f;
	const uint32_t defined = VHU_C_HEADER_VERSION_MASK | VHU_C_HEADER_REPLY | VHU_C_HEADER_NEED_REPLY;

	if ((f->flags & VHU_C_HEADER_VERSION_MASK) != VHU_C_HEADER_VERSION || (f->flags & ~defined))
		malformed(v, VHU_MALFORMED_FLAGS, "flags 0x%x are no version 1 request", f->flags);
	if (f->flags & VHU_C_HEADER_REPLY)
		breaks(v, VHU_REQ_HDR_07, "a request has the reply flag set");
	if (f->size != f->len)
		malformed(v, VHU_MALFORMED_SIZE, "the size field says %u, the payload has %zu bytes", f->size,
			  f->len);
}

/* Messages that real front-ends send with need_reply before REPLY_ACK is agreed, or without it. */
static bool need_reply_is_custom(const struct vhu_msg_row *row)
{
	return row && (row->msg == VHU_MSG_IOTLB_MSG || row->msg == VHU_MSG_POSTCOPY_LISTEN ||
		       row->msg == VHU_MSG_POSTCOPY_END || row->msg == VHU_MSG_SET_PROTOCOL_FEATURES);
}

static void check_need_reply(struct verdicts *v)
{
	if (!(v->f->flags & VHU_C_HEADER_NEED_REPLY) || vhu_session_reply_ack(v->s) ||
	    need_reply_is_custom(v->row))
		return;
	breaks(v, VHU_REQ_HDR_08, "need_reply is set without REPLY_ACK");
}

static void check_size(struct verdicts *v)
{
	const struct vhu_frame *f = v->f;

	if (vhu_payload_size_ok(v->row->request, f->payload, f->len) ||
	    (v->row->request_alt != v->row->request &&
	     vhu_payload_size_ok(v->row->request_alt, f->payload, f->len)))
		return;
	malformed(v, VHU_MALFORMED_SIZE, "%zu bytes are no legal payload of %s", f->len, v->row->name);
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

static void wrong_fds(struct verdicts *v, bool few)
{
	enum vhu_req req = fd_req(v->row, few);

	if (req == VHU_REQ_MAX)
		malformed(v, VHU_MALFORMED_FDS, "%s with %zu descriptors", v->row->name, v->f->n_fds);
	else
		breaks(v, req, "%s with %zu descriptors", v->row->name, v->f->n_fds);
}

static void check_mem_table_fds(struct verdicts *v)
{
	uint64_t n = 0;

	if (vhu_frame_get(v->f, VHU_PL_MEM_TABLE, "num_regions", &n) && n != v->f->n_fds &&
	    vhu_frame_payload(v->f) == VHU_PL_MEM_TABLE)
		breaks(v, VHU_REQ_MEM_02, "%llu regions with %zu descriptors", (unsigned long long)n,
		       v->f->n_fds);
}

static void check_ring_fd(struct verdicts *v)
{
	bool no_fd = vhu_frame_u64(v->f, "no_fd");

	if (no_fd != (v->f->n_fds == 0))
		breaks(v, VHU_REQ_VRING_80, "the no-fd bit is %d with %zu descriptors", no_fd, v->f->n_fds);
	if (v->f->n_fds > 1)
		malformed(v, VHU_MALFORMED_FDS, "%s with %zu descriptors", v->row->name, v->f->n_fds);
	if (vhu_frame_u64(v->f, "u64") & ~(uint64_t)(VHU_C_VRING_INDEX_MAX | VHU_C_VRING_NO_FD))
		malformed(v, VHU_MALFORMED_PAYLOAD, "bits above 8 are set");
}

static void check_fds(struct verdicts *v)
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
		breaks(v, VHU_REQ_HDR_49, "SET_LOG_BASE without a descriptor");
		return;
	}
	/* After POSTCOPY_LISTEN an ADD_MEM_REG that acknowledges carries none. */
	if (v->f->n_fds < v->row->fds_min && !(v->s->postcopy_listening && v->f->len == sizeof(uint64_t)))
		wrong_fds(v, true);
	else if (v->f->n_fds > v->row->fds_max)
		wrong_fds(v, false);
	else if (v->row->msg == VHU_MSG_REM_MEM_REG && v->f->n_fds)
		breaks(v, VHU_REQ_MEMSLOT_07, "REM_MEM_REG with a descriptor");
}

/* --- what has to be negotiated --------------------------------------------------------------------- */

static const struct {
	enum vhu_msg msg;
	enum vhu_req req;
} gate_rules[] = {
	{VHU_MSG_GET_QUEUE_NUM, VHU_REQ_MQ_02},		 {VHU_MSG_SEND_RARP, VHU_REQ_NET_02},
	{VHU_MSG_NET_SET_MTU, VHU_REQ_NET_05},		 {VHU_MSG_SET_BACKEND_REQ_FD, VHU_REQ_BACKENDREQ_03},
	{VHU_MSG_SET_VRING_ENDIAN, VHU_REQ_VRING_26},	 {VHU_MSG_RESET_DEVICE, VHU_REQ_RESET_04},
	{VHU_MSG_GET_MAX_MEM_SLOTS, VHU_REQ_MEMSLOT_10}, {VHU_MSG_ADD_MEM_REG, VHU_REQ_MEMSLOT_10},
	{VHU_MSG_REM_MEM_REG, VHU_REQ_MEMSLOT_10},	 {VHU_MSG_SET_STATUS, VHU_REQ_STATUS_03},
	{VHU_MSG_GET_STATUS, VHU_REQ_STATUS_03},
};

static void check_gate(struct verdicts *v)
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
			breaks(v, gate_rules[i].req, "%s without the protocol feature that it needs",
			       v->row->name);
			return;
		}
	}
	malformed(v, VHU_MALFORMED_ORDER, "%s without the protocol feature that it needs", v->row->name);
}

static void check_bit30(struct verdicts *v)
{
	bool have = vhu_session_features(v->s) & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);
	bool offered = v->s->features_offered & VHU_V(VHOST_USER_F_PROTOCOL_FEATURES);

	switch ((int)v->row->msg) {
	case VHU_MSG_GET_PROTOCOL_FEATURES:
	case VHU_MSG_SET_PROTOCOL_FEATURES:
		if (!offered)
			breaks(v, VHU_REQ_PROTO_05, "%s without bit 30 offered", v->row->name);
		break;
	case VHU_MSG_SET_VRING_ENABLE:
		if (!have)
			breaks(v, VHU_REQ_ENABLE_02, "SET_VRING_ENABLE without bit 30 negotiated");
		break;
	case VHU_MSG_SET_BACKEND_REQ_FD:
		if (!have)
			breaks(v, VHU_REQ_BACKENDREQ_03, "SET_BACKEND_REQ_FD without bit 30 negotiated");
		break;
	default:
		break;
	}
}

/* --- rings --------------------------------------------------------------------------------------- */

static void check_index(struct verdicts *v)
{
	uint64_t index;

	if (v->row->scope != VHU_SCOPE_RING || !vhu_frame_get(v->f, vhu_frame_payload(v->f), "index", &index))
		return;
	if (index >= VHU_SESSION_RINGS || (v->s->queues && index >= v->s->queues))
		malformed(v, VHU_MALFORMED_INDEX, "ring %llu does not exist", (unsigned long long)index);
}

static const struct vhu_ring_state *ring_of(const struct verdicts *v)
{
	return vhu_session_ring(v->s, (uint32_t)VHU_MIN(vhu_frame_u64(v->f, "index"), (uint64_t)UINT32_MAX));
}

static bool packed(const struct vhu_session *s)
{
	return vhu_session_features(s) & VHU_V(VIRTIO_F_RING_PACKED);
}

static void while_running(struct verdicts *v)
{
	const struct vhu_ring_state *r = ring_of(v);

	if (r && r->started)
		malformed(v, VHU_MALFORMED_ORDER, "%s on a ring that is started", v->row->name);
}

static void check_num(struct verdicts *v)
{
	uint64_t num = vhu_frame_u64(v->f, "num");

	if (num == 0 || num > VHU_C_VRING_SIZE_MAX || (!packed(v->s) && (num & (num - 1))))
		malformed(v, VHU_MALFORMED_RING_SIZE, "no ring has %llu entries", (unsigned long long)num);
	while_running(v);
}

static void check_base(struct verdicts *v)
{
	uint64_t num = vhu_frame_u64(v->f, "num");

	if (!packed(v->s) && num > UINT16_MAX)
		breaks(v, VHU_REQ_VRING_78, "bits 16 to 31 of a split ring's index are set");
	while_running(v);
}

static void check_get_base(struct verdicts *v)
{
	if (vhu_frame_u64(v->f, "num"))
		breaks(v, VHU_REQ_VRING_12, "num in the request of GET_VRING_BASE is not 0");
}

static void check_enable(struct verdicts *v)
{
	uint64_t num = vhu_frame_u64(v->f, "num");

	if (num > 1)
		malformed(v, VHU_MALFORMED_PAYLOAD, "SET_VRING_ENABLE with %llu", (unsigned long long)num);
}

static void check_endian(struct verdicts *v)
{
	if (vhu_frame_u64(v->f, "num") > 1)
		breaks(v, VHU_REQ_VRING_79, "SET_VRING_ENDIAN with %llu",
		       (unsigned long long)vhu_frame_u64(v->f, "num"));
	while_running(v);
}

static void check_kick_message(struct verdicts *v)
{
	if (vhu_frame_u64(v->f, "num"))
		breaks(v, VHU_REQ_INBAND_07, "num of VRING_KICK is not 0");
}

/* Whether [at, at+len) lies in the address space that ring addresses are given in. */
static bool in_regions(const struct vhu_session *s, uint64_t at, uint64_t len)
{
	bool gpa = vhu_session_pfeatures(s) & VHU_P(GPA_ADDRESSES);

	for (size_t i = 0; i < s->n_regions; i++) {
		uint64_t start = gpa ? s->region[i].gpa : s->region[i].uaddr;

		if (at >= start && at - start < s->region[i].size && len <= s->region[i].size - (at - start))
			return true;
	}
	return false;
}

static void check_ring_part(struct verdicts *v, const char *field, uint64_t align, uint64_t len)
{
	uint64_t at = vhu_frame_u64(v->f, field);

	if (at % align)
		malformed(v, VHU_MALFORMED_ADDRESS, "%s address 0x%llx is not aligned", field,
			  (unsigned long long)at);
	/* With an IOMMU the address is an IOVA, which no region tells. */
	if (vhu_session_features(v->s) & VHU_V(VIRTIO_F_ACCESS_PLATFORM))
		return;
	if (v->s->memory_set && !in_regions(v->s, at, len))
		malformed(v, VHU_MALFORMED_ADDRESS, "%s address 0x%llx is in no region", field,
			  (unsigned long long)at);
}

/* A running ring keeps its addresses; only its log flag may change. */
static bool moves(const struct vhu_ring_state *r, const struct vhu_frame *f)
{
	return r->desc != vhu_frame_u64(f, "descriptor") || r->avail != vhu_frame_u64(f, "available") ||
	       r->used != vhu_frame_u64(f, "used");
}

static void check_addr(struct verdicts *v)
{
	const struct vhu_ring_state *r = ring_of(v);
	uint64_t flags = vhu_frame_u64(v->f, "flags");
	/* Lengths are known once the size is; a page is what every part has at least in practice. */
	uint64_t num = r && r->num_set && r->num <= VHU_C_VRING_SIZE_MAX ? r->num : 1;

	if (flags & ~(uint64_t)VHU_C_VRING_F_LOG)
		malformed(v, VHU_MALFORMED_PAYLOAD, "undefined flags 0x%llx", (unsigned long long)flags);
	check_ring_part(v, "descriptor", VHU_C_DESC_ALIGN, num * VHU_C_DESC_SIZE);
	check_ring_part(v, "available", packed(v->s) ? 4 : VHU_C_AVAIL_ALIGN, packed(v->s) ? 4 : 6 + 2 * num);
	check_ring_part(v, "used", VHU_C_USED_ALIGN, packed(v->s) ? 4 : 6 + 8 * num);
	if (!v->s->memory_set)
		malformed(v, VHU_MALFORMED_ORDER, "SET_VRING_ADDR before any memory");
	if (r && r->started && moves(r, v->f))
		malformed(v, VHU_MALFORMED_ORDER, "SET_VRING_ADDR moves a ring that is started");
}

static void check_kick(struct verdicts *v)
{
	const struct vhu_ring_state *r = ring_of(v);

	if (r && (!r->num_set || !r->addr_set))
		malformed(v, VHU_MALFORMED_ORDER, "SET_VRING_KICK before the ring is set up");
}

/* --- memory -------------------------------------------------------------------------------------- */

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

static void check_region(struct verdicts *v, const struct vhu_region_state *r)
{
	if (r->size == 0)
		malformed(v, VHU_MALFORMED_ADDRESS, "a region of size 0");
	if (r->gpa + r->size < r->gpa || r->uaddr + r->size < r->uaddr || r->offset + r->size < r->offset)
		malformed(v, VHU_MALFORMED_ADDRESS, "a region that wraps");
	if (r->offset % 4096)
		malformed(v, VHU_MALFORMED_ADDRESS, "an offset of 0x%llx is not page aligned",
			  (unsigned long long)r->offset);
	if ((vhu_session_pfeatures(v->s) & VHU_P(GPA_ADDRESSES)) && r->uaddr != r->gpa)
		breaks(v, VHU_REQ_MEM_48,
		       "the user address is not the guest address although GPA_ADDRESSES is negotiated");
}

static void check_overlap(struct verdicts *v, const struct vhu_region_state *a,
			  const struct vhu_region_state *b)
{
	if (overlap(a->gpa, a->size, b->gpa, b->size))
		breaks(v, VHU_REQ_MEM_09, "regions overlap in guest addresses");
	if (overlap(a->uaddr, a->size, b->uaddr, b->size))
		breaks(v, VHU_REQ_MEM_10, "regions overlap in user addresses");
}

static void check_mem_table(struct verdicts *v)
{
	struct vhu_region_state r[VHU_C_MEM_TABLE_REGIONS] = {0};
	uint64_t n = 0;

	if (vhu_frame_payload(v->f) != VHU_PL_MEM_TABLE ||
	    !vhu_frame_get(v->f, VHU_PL_MEM_TABLE, "num_regions", &n))
		return;
	if (n > VHU_C_MEM_TABLE_REGIONS)
		breaks(v, VHU_REQ_MEM_49, "a table of %llu regions", (unsigned long long)n);
	if (n == 0)
		malformed(v, VHU_MALFORMED_PAYLOAD, "a table without regions");
	if (vhu_frame_u64(v->f, "padding"))
		malformed(v, VHU_MALFORMED_PAYLOAD, "padding that is not 0");
	n = VHU_MIN(n, (uint64_t)VHU_C_MEM_TABLE_REGIONS);
	for (size_t i = 0; i < n; i++) {
		vhu_session_read_region(v->f, VHU_PL_MEM_TABLE, i, &r[i]);
		check_region(v, &r[i]);
		for (size_t k = 0; k < i; k++)
			check_overlap(v, &r[k], &r[i]);
	}
}

static void check_add_region(struct verdicts *v)
{
	struct vhu_region_state r = {0};

	if (v->f->len == sizeof(uint64_t) && v->s->postcopy_listening)
		return;
	vhu_session_read_region(v->f, VHU_PL_MEM_REG, 0, &r);
	check_region(v, &r);
	for (size_t i = 0; i < v->s->n_regions; i++)
		check_overlap(v, &v->s->region[i], &r);
	if (v->s->mem_slots && v->s->n_regions >= v->s->mem_slots)
		malformed(v, VHU_MALFORMED_ORDER, "one region more than GET_MAX_MEM_SLOTS allows");
}

static void check_remove_region(struct verdicts *v)
{
	struct vhu_region_state r = {0};

	vhu_session_read_region(v->f, VHU_PL_MEM_REG, 0, &r);
	for (size_t i = 0; i < v->s->n_regions; i++)
		if (v->s->region[i].gpa == r.gpa && v->s->region[i].uaddr == r.uaddr &&
		    v->s->region[i].size == r.size)
			return;
	malformed(v, VHU_MALFORMED_ADDRESS, "no such region is mapped");
}

/* --- features, config and the rest --------------------------------------------------------------- */

static void check_features(struct verdicts *v)
{
	uint64_t bits = vhu_frame_u64(v->f, "u64");
	uint64_t change = bits ^ v->s->features_set;

	if (v->s->features_known && (bits & ~v->s->features_offered))
		breaks(v, VHU_REQ_RING_93, "features 0x%llx were not offered",
		       (unsigned long long)(bits & ~v->s->features_offered));
	if (!v->s->features_set_known || !(change & ~VHU_V(VHOST_F_LOG_ALL)))
		return;
	for (size_t i = 0; i < VHU_SESSION_RINGS; i++) {
		if (!v->s->ring[i].started)
			continue;
		malformed(v, VHU_MALFORMED_ORDER,
			  "features other than LOG_ALL change while ring %zu is started", i);
		return;
	}
}

static void check_protocol_features(struct verdicts *v)
{
	uint64_t bits = vhu_frame_u64(v->f, "u64");
	uint64_t inband = VHU_P(BACKEND_REQ) | VHU_P(REPLY_ACK);

	if (v->s->pfeatures_known && (bits & ~v->s->pfeatures_offered))
		malformed(v, VHU_MALFORMED_PAYLOAD, "protocol features 0x%llx were not offered",
			  (unsigned long long)(bits & ~v->s->pfeatures_offered));
	if ((bits & VHU_P(INBAND_NOTIFICATIONS)) && (bits & inband) != inband)
		breaks(v, VHU_REQ_PROTO_09, "INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK");
	if ((bits & VHU_P(GET_VRING_BASE_INFLIGHT)) && !(bits & VHU_P(INFLIGHT_SHMFD)))
		breaks(v, VHU_REQ_PROTO_10, "GET_VRING_BASE_INFLIGHT without INFLIGHT_SHMFD");
}

static void check_config(struct verdicts *v)
{
	uint64_t flags = vhu_frame_u64(v->f, "flags");
	uint64_t size = vhu_frame_u64(v->f, "size");
	uint64_t offset = vhu_frame_u64(v->f, "offset");

	if (flags > VHU_C_CONFIG_MIGRATION)
		breaks(v, VHU_REQ_CONFIG_29, "config flags 0x%llx", (unsigned long long)flags);
	if (size == 0 || offset + size > VHU_C_CONFIG_SIZE_MAX)
		malformed(v, VHU_MALFORMED_PAYLOAD, "%llu bytes of config space at %llu",
			  (unsigned long long)size, (unsigned long long)offset);
}

static void check_owner(struct verdicts *v)
{
	if (v->s->owned)
		malformed(v, VHU_MALFORMED_ORDER, "a second SET_OWNER on the connection");
}

static void check_reset_owner(struct verdicts *v)
{
	breaks(v, VHU_REQ_OWNER_04, "RESET_OWNER is not used any more");
}

static void check_status(struct verdicts *v)
{
	uint64_t status = vhu_frame_u64(v->f, "u64");

	if (status > UINT8_MAX)
		malformed(v, VHU_MALFORMED_PAYLOAD, "status 0x%llx", (unsigned long long)status);
}

static void check_mtu(struct verdicts *v)
{
	uint64_t mtu = vhu_frame_u64(v->f, "u64");

	if (mtu < 68 || mtu > UINT16_MAX)
		malformed(v, VHU_MALFORMED_PAYLOAD, "an MTU of %llu", (unsigned long long)mtu);
	if (!(vhu_session_features(v->s) & VHU_V(VIRTIO_NET_F_MTU)))
		breaks(v, VHU_REQ_NET_05, "NET_SET_MTU without VIRTIO_NET_F_MTU");
}

static void check_log_base(struct verdicts *v)
{
	uint64_t size, offset;

	if (!vhu_frame_get(v->f, VHU_PL_LOG, "mmap_size", &size) ||
	    !vhu_frame_get(v->f, VHU_PL_LOG, "mmap_offset", &offset))
		return;
	if (size == 0 || size + offset < size)
		malformed(v, VHU_MALFORMED_ADDRESS, "a log of %llu bytes at %llu", (unsigned long long)size,
			  (unsigned long long)offset);
}

static void check_inflight(struct verdicts *v)
{
	if (!vhu_frame_u64(v->f, "num_queues") || !vhu_frame_u64(v->f, "queue_size"))
		malformed(v, VHU_MALFORMED_PAYLOAD, "an inflight buffer for no queue or no entry");
}

static void check_postcopy_listen(struct verdicts *v)
{
	if (v->s->n_regions)
		malformed(v, VHU_MALFORMED_ORDER, "POSTCOPY_LISTEN after memory was set");
}

static void (*const on_message[VHU_MSG_MAX])(struct verdicts *v) = {
	[VHU_MSG_SET_FEATURES] = check_features,
	[VHU_MSG_SET_PROTOCOL_FEATURES] = check_protocol_features,
	[VHU_MSG_SET_OWNER] = check_owner,
	[VHU_MSG_RESET_OWNER] = check_reset_owner,
	[VHU_MSG_SET_MEM_TABLE] = check_mem_table,
	[VHU_MSG_ADD_MEM_REG] = check_add_region,
	[VHU_MSG_REM_MEM_REG] = check_remove_region,
	[VHU_MSG_SET_VRING_NUM] = check_num,
	[VHU_MSG_SET_VRING_BASE] = check_base,
	[VHU_MSG_SET_VRING_ADDR] = check_addr,
	[VHU_MSG_SET_VRING_KICK] = check_kick,
	[VHU_MSG_SET_VRING_ENABLE] = check_enable,
	[VHU_MSG_SET_VRING_ENDIAN] = check_endian,
	[VHU_MSG_GET_VRING_BASE] = check_get_base,
	[VHU_MSG_VRING_KICK] = check_kick_message,
	[VHU_MSG_GET_CONFIG] = check_config,
	[VHU_MSG_SET_CONFIG] = check_config,
	[VHU_MSG_SET_STATUS] = check_status,
	[VHU_MSG_NET_SET_MTU] = check_mtu,
	[VHU_MSG_SET_LOG_BASE] = check_log_base,
	[VHU_MSG_GET_INFLIGHT_FD] = check_inflight,
	[VHU_MSG_SET_INFLIGHT_FD] = check_inflight,
	[VHU_MSG_POSTCOPY_LISTEN] = check_postcopy_listen,
};

/* Answers to the back-end's requests, on its channel. */
static void check_answer(struct verdicts *v)
{
	if (!(v->f->flags & VHU_C_HEADER_REPLY))
		malformed(v, VHU_MALFORMED_FLAGS, "an answer without the reply flag");
	if (!v->s->n_pending_backend)
		malformed(v, VHU_MALFORMED_ORDER, "an answer that the back-end did not ask for");
	else if (v->s->pending_backend[0].request != v->f->request)
		malformed(v, VHU_MALFORMED_REQUEST, "an answer to another request");
}

size_t vhu_oracle_illegal(const struct vhu_session *s, const struct vhu_frame *f, struct vhu_illegal *out,
			  size_t max)
{
	struct verdicts v = {.s = s, .f = f, .row = vhu_frame_row(f), .out = out, .max = max};

	if (f->channel == VHU_CHAN_BACKEND) {
		check_answer(&v);
		return v.n;
	}
	check_header(&v);
	check_need_reply(&v);
	if (!v.row) {
		malformed(&v, VHU_MALFORMED_REQUEST, "no request has the id %u", f->request);
		return v.n;
	}
	check_gate(&v);
	check_bit30(&v);
	check_fds(&v);
	check_size(&v);
	/* Fields are looked at only where the payload has room for them. */
	if (!vhu_payload_size_ok(v.row->request, f->payload, f->len))
		return v.n;
	check_index(&v);
	if (on_message[v.row->msg])
		on_message[v.row->msg](&v);
	return v.n;
}
