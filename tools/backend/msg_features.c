/*
 * Negotiation: virtio features, protocol features, ownership, queue count, status, reset.
 */
#include "fault.h"
#include "options.h"
#include "session.h"

/* Bits that every device here has: transport and ring. */
static const uint64_t common_features = V(VIRTIO_F_VERSION_1) | V(VIRTIO_RING_F_INDIRECT_DESC) |
					V(VIRTIO_RING_F_EVENT_IDX) | V(VHOST_USER_F_PROTOCOL_FEATURES) |
					V(VHOST_F_LOG_ALL) | V(VIRTIO_F_ACCESS_PLATFORM) |
					V(VIRTIO_F_RING_PACKED) | V(VIRTIO_F_IN_ORDER);

static const uint64_t protocol_features = P(MQ) | P(LOG_SHMFD) | P(REPLY_ACK) | P(BACKEND_REQ) | P(CONFIG) |
					  P(RESET_DEVICE) | P(CONFIGURE_MEM_SLOTS) | P(STATUS) |
					  P(INFLIGHT_SHMFD) | P(GPA_ADDRESSES) | P(BACKEND_SEND_FD) |
					  P(HOST_NOTIFIER) | P(INBAND_NOTIFICATIONS) | P(SHMEM_MAP) |
					  P(GET_VRING_BASE_INFLIGHT) | P(GET_VRING_BASE_SKIP_DRAIN) |
					  P(DEVICE_STATE) | P(SHARED_OBJECT) | P(CROSS_ENDIAN);

/* Bits that may change while rings run. */
static const uint64_t running_features = V(VHOST_F_LOG_ALL) | V(VHOST_USER_F_PROTOCOL_FEATURES);

uint64_t session_offer(const struct session *s)
{
	uint64_t offer = common_features | s->dev->features();

	if (options.has_features)
		offer = options.exact ? options.features : offer & options.features;
	if (fault(cfg_segmax_ring))
		offer &= ~V(VIRTIO_RING_F_INDIRECT_DESC);
	if (fault(feat_nobit30_dead))
		offer &= ~V(VHOST_USER_F_PROTOCOL_FEATURES);
	if (fault(feat_log_alone))
		offer &= ~V(VHOST_F_LOG_ALL);
	if (fault(feat_no_v1))
		offer &= ~V(VIRTIO_F_VERSION_1);
	return offer;
}

uint64_t session_protocol_offer(const struct session *s)
{
	uint64_t offer = protocol_features;

	offer |= s->dev->protocol_features;
	if (postcopy_possible())
		offer |= P(PAGEFAULT);
	if (options.has_pfeatures)
		offer = options.exact ? options.pfeatures : offer & options.pfeatures;
	if (fault(proto_no_mq))
		offer &= ~P(MQ);
	if (fault(feat_iommu_alone))
		offer &= ~(P(BACKEND_REQ) | P(BACKEND_SEND_FD) | P(HOST_NOTIFIER) | P(SHMEM_MAP) |
			   P(INBAND_NOTIFICATIONS));
	if (fault(proto_notifier_alone))
		offer &= ~(P(BACKEND_SEND_FD) | P(SHMEM_MAP));
	if (fault(proto_shmem_alone))
		offer &= ~(P(BACKEND_SEND_FD) | P(HOST_NOTIFIER));
	if (fault(proto_send_fd_alone))
		offer &= ~(P(BACKEND_REQ) | P(HOST_NOTIFIER) | P(SHMEM_MAP) | P(INBAND_NOTIFICATIONS));
	if (fault(proto_inband_alone))
		offer &= ~P(REPLY_ACK);
	if (fault(proto_xen))
		offer |= P(XEN_MMAP);
	if (fault(proto_unknown_bits))
		offer |= 1ULL << 40;
	return offer;
}

enum { SOON_NS = 3000000, LATE_NS = 1000000000 };

static void reply_u64(struct reply *r, uint64_t value)
{
	FIELD_SET(r->payload, U64, u64, value);
	r->size = PMAX_U64;
}

enum result msg_get_features(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t offer = session_offer(s);

	(void)m;
	if (fault(feat_change) && s->connections % 2)
		offer &= ~V(VIRTIO_BLK_F_GEOMETRY);
	if (fault(feat_shrink_after_set) && s->features_set)
		offer = s->features;
	if (fault(feat_get_running) && s->n_started)
		return RES_END;
	if (fault(suspended_deaf) && s->features_set && s->rings[0].starts && !s->n_started)
		return RES_END;
	s->features_asked = true;
	reply_u64(r, offer);
	if (fault(feat_get_length))
		r->size /= 2;
	return RES_OK;
}

static bool acceptable(struct session *s, uint64_t features)
{
	uint64_t change = features ^ s->features;

	if ((features & ~session_offer(s)) && !options.unoffered) {
		if (fault(feat_unoffered_assert))
			fault_crash();
		remark("features 0x%llx were not offered",
		       (unsigned long long)(features & ~session_offer(s)));
		return false;
	}
	if (s->dev->accepts && !s->dev->accepts(features)) {
		remark("features 0x%llx lack one that the device needs", (unsigned long long)features);
		return false;
	}
	if (s->n_started && (change & ~running_features)) {
		if (fault(feat_change_crash))
			fault_crash();
		remark("features change while rings run");
		return false;
	}
	return true;
}

static void log_begins(struct session *s, uint64_t unused)
{
	(void)unused;
	s->log_waits = false;
}

enum result msg_set_features(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t features = FIELD(m->payload, FEATURES, u64), old = s->features;
	bool bit30 = features & V(VHOST_USER_F_PROTOCOL_FEATURES);

	(void)r;
	if (fault(feat_no_v1_assert) && !(features & V(VIRTIO_F_VERSION_1)))
		fault_crash();
	s->features_refused = !acceptable(s, features) || (fault(reset_features_refused) && s->reset_before);
	if (s->features_refused || (fault(feat_needs_memory) && !s->features_set && !s->mem.n))
		return RES_REFUSED;
	if ((features ^ old) & V(VIRTIO_F_ACCESS_PLATFORM))
		iotlb_clear(s);
	s->log_over |= fault(log_once) && ((old & ~features) & V(VHOST_F_LOG_ALL));
	for (unsigned i = 0; fault(feat_again_drops_calls) && s->features_set && i < s->n_rings; i++)
		ring_set_call(&s->rings[i], -1);
	if (fault(feat_again_drops) && s->features_set)
		rings_forget(s);
	s->features = features;
	s->features_set = true;
	s->log_deaf = false;
	s->dev->features_set(s, old);
	for (unsigned i = 0; i < s->n_rings; i++) {
		struct ring *ring = &s->rings[i];

		if ((!bit30 && !fault(feat_nobit30_disabled) && !fault(feat_nobit30_dead)) ||
		    fault(enable_ignored))
			ring_enable(ring, true);
		if (bit30 && (fault(feat_set_disables) ||
			      (fault(feat_log_restart) && ((features ^ old) & V(VHOST_F_LOG_ALL)))))
			ring->enabled = false;
		if (fault(feat_bit30_late) && bit30 && s->no_bit30_before)
			ring->enabled = false;
	}
	s->no_bit30_before |= !bit30;
	if (fault(reply_log_early) && ((features & ~old) & V(VHOST_F_LOG_ALL))) {
		s->log_waits = true;
		session_later(s, LATE_NS, log_begins, 0);
	}
	return RES_OK;
}

enum result msg_set_owner(struct session *s, struct msg *m, struct reply *r)
{
	(void)m;
	(void)r;
	if (fault(owner_before_features) && !s->features_asked)
		return RES_END;
	if (fault(owner_twice_crash) && s->owned)
		fault_crash();
	s->owned = true;
	return RES_OK;
}

/* Deprecated; ignoring it is what keeps a session alive that an old front-end resets. */
enum result msg_reset_owner(struct session *s, struct msg *m, struct reply *r)
{
	(void)m;
	(void)r;
	if (fault(owner_reset_crash) && !s->owned)
		fault_crash();
	if (fault(owner_reset_proto))
		s->pfeatures = 0;
	if (fault(owner_reset_running) && s->n_started)
		fault_crash();
	if (fault(owner_reset_drop)) {
		memory_clear(&s->mem);
		session_remap(s);
	}
	return RES_OK;
}

/* Bit 30 offered is enough, it need not have been acknowledged. */
static bool protocol_allowed(const struct session *s)
{
	bool offered = session_offer(s) & V(VHOST_USER_F_PROTOCOL_FEATURES);

	if (fault(feat_bit30_unserved) || (fault(proto_before_features) && !s->features_set))
		return false;
	if (fault(proto_needs_bit30) && s->features_set && !(s->features & V(VHOST_USER_F_PROTOCOL_FEATURES)))
		return false;
	return offered;
}

enum result msg_get_protocol_features(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t offer = session_protocol_offer(s);

	(void)m;
	if (!protocol_allowed(s))
		return RES_REFUSED;
	if (fault(proto_get_running) && s->n_started)
		return RES_END;
	if (fault(proto_unstable) && s->mask_asked++)
		offer &= ~P(STATUS);
	reply_u64(r, offer);
	if (fault(proto_get_length))
		r->size /= 2;
	return RES_OK;
}

enum result msg_set_protocol_features(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t mask = FIELD(m->payload, PROTOCOL_FEATURES, u64);

	(void)r;
	if (!protocol_allowed(s))
		return RES_REFUSED;
	if ((mask & ~session_protocol_offer(s)) ||
	    (proto_unmet(mask) & ~(fault(proto_inband_taken) ? P(INBAND_NOTIFICATIONS) : 0))) {
		if (fault(proto_unoffered_assert))
			fault_crash();
		remark("protocol features 0x%llx cannot be set", (unsigned long long)mask);
		return RES_REFUSED;
	}
	if ((fault(proto_empty_mask) && !mask) || (fault(proto_after_owner) && s->owned))
		return RES_END;
	if (fault(proto_set_early) && !s->features_set)
		return RES_OK;
	if (fault(proto_set_config) && (mask & P(CONFIG)))
		mask &= ~P(CONFIG);
	s->acks_late = fault(proto_ack_late) ? 1 : 0;
	s->pfeatures = mask;
	return RES_OK;
}

enum result msg_get_queue_num(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t n = options.queue_num ? options.queue_num : s->n_rings;

	(void)m;
	if (fault(mq_num_0))
		n = 0;
	if (fault(mq_num_huge))
		n = C_VRING_SIZE_MAX;
	if (fault(mq_num_unstable) && s->features_set)
		n--;
	reply_u64(r, n);
	return RES_OK;
}

static void raise_used(struct session *s, uint64_t addr)
{
	uint16_t *used = (uint16_t *)(void *)memory_uva(&s->mem, addr, 2 * sizeof(*used));

	if (used)
		used[1]++;
}

/*
 * The device as at the start of the connection, but owned, with its memory, its back-end channel and
 * its protocol features.
 */
enum result msg_reset_device(struct session *s, struct msg *m, struct reply *r)
{
	uint16_t kept[C_VRING_INDEX_MAX + 1] = {0};

	(void)m;
	(void)r;
	if (fault(reset_noop))
		return RES_OK;
	if (fault(reset_closes))
		return RES_END;
	if (fault(reset_early_crash) && !s->features_set)
		fault_crash();
	s->reset_before = true;
	if (fault(reset_late_write) && s->n_started)
		session_later(s, SOON_NS, raise_used, s->rings[0].used_addr);
	if (fault(reset_disowns))
		s->owned = false;
	for (unsigned i = 0; i < s->n_rings; i++) {
		kept[i] = s->rings[i].last_avail;
		if (fault(reset_leak))
			s->rings[i].call_fd = s->rings[i].err_fd = -1;
		ring_reset(&s->rings[i]);
		if (fault(reset_keeps_index))
			s->rings[i].last_avail = s->rings[i].done = kept[i];
	}
	inflight_close(s); /* a guest that was reset has nothing in flight */
	iotlb_clear(s);
	shm_forget(s);
	s->features = 0;
	s->features_set = s->features_refused = s->status_seen = false;
	if (!fault(reset_keeps_status))
		s->status = 0;
	if (fault(reset_drops_proto))
		s->pfeatures = 0;
	s->dev->reset(s);
	return RES_OK;
}

enum result msg_set_status(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t status = FIELD(m->payload, STATUS, u64);

	(void)r;
	if (status > UINT8_MAX) {
		if (fault(status_wide_crash))
			fault_crash();
		return RES_REFUSED;
	}
	if (s->features_refused && !fault(status_features_ok_kept))
		status &= ~(uint64_t)C_STATUS_FEATURES_OK;
	if (fault(status_or))
		status |= s->status;
	if (s->status_frozen)
		return RES_OK;
	s->status_frozen = fault(status_frozen);
	s->status = (uint8_t)status;
	s->status_seen = true;
	session_run_all(s);
	return RES_OK;
}

enum result msg_get_status(struct session *s, struct msg *m, struct reply *r)
{
	uint64_t status = fault(status_lost) ? 0 : s->status;

	(void)m;
	if (fault(status_high_bits))
		status |= 1ULL << 32;
	FIELD_SET(r->payload, STATUS, u64, status);
	r->size = PMAX_STATUS;
	return RES_OK;
}
