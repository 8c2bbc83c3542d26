/* What a front-end may not say of features, of config space, and of the device as a whole. */
#include "illegal.h"

static void check_features(struct vhu_trial *v)
{
	uint64_t bits = VHU_NUMBER(v->f, FEATURES, u64);
	uint64_t change = bits ^ v->s->features_set;

	if (v->s->features_known && (bits & ~v->s->features_offered))
		vhu_trial_breaks(v, VHU_REQ_RING_93, "features 0x%llx were not offered",
				 (unsigned long long)(bits & ~v->s->features_offered));
	if (!v->s->features_set_known || !(change & ~VHU_V(VHOST_F_LOG_ALL)))
		return;
	for (size_t i = 0; i < v->s->n_rings; i++) {
		if (!v->s->ring[i].started)
			continue;
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER,
				    "features other than LOG_ALL change while ring %zu is started", i);
		return;
	}
}

static void check_protocol_features(struct vhu_trial *v)
{
	uint64_t bits = VHU_NUMBER(v->f, PROTOCOL_FEATURES, u64);
	uint64_t inband = VHU_P(BACKEND_REQ) | VHU_P(REPLY_ACK);

	if (v->s->pfeatures_known && (bits & ~v->s->pfeatures_offered))
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "protocol features 0x%llx were not offered",
				    (unsigned long long)(bits & ~v->s->pfeatures_offered));
	if ((bits & VHU_P(INBAND_NOTIFICATIONS)) && (bits & inband) != inband)
		vhu_trial_breaks(v, VHU_REQ_PROTO_09,
				 "INBAND_NOTIFICATIONS without BACKEND_REQ and REPLY_ACK");
	if ((bits & VHU_P(GET_VRING_BASE_INFLIGHT)) && !(bits & VHU_P(INFLIGHT_SHMFD)))
		vhu_trial_breaks(v, VHU_REQ_PROTO_10, "GET_VRING_BASE_INFLIGHT without INFLIGHT_SHMFD");
}

static void check_config(struct vhu_trial *v)
{
	uint64_t flags = VHU_NUMBER(v->f, CONFIG, flags);
	uint64_t size = VHU_NUMBER(v->f, CONFIG, size);
	uint64_t offset = VHU_NUMBER(v->f, CONFIG, offset);

	if (flags > VHU_C_CONFIG_MIGRATION)
		vhu_trial_breaks(v, VHU_REQ_CONFIG_29, "config flags 0x%llx", (unsigned long long)flags);
	if (size == 0 || offset + size > VHU_C_CONFIG_SIZE_MAX)
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "%llu bytes of config space at %llu",
				    (unsigned long long)size, (unsigned long long)offset);
}

static void check_owner(struct vhu_trial *v)
{
	if (v->s->owned)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "a second SET_OWNER on the connection");
}

static void check_reset_owner(struct vhu_trial *v)
{
	vhu_trial_breaks(v, VHU_REQ_OWNER_04, "RESET_OWNER is not used any more");
}

static void check_status(struct vhu_trial *v)
{
	uint64_t status = VHU_NUMBER(v->f, STATUS, u64);

	if (status > UINT8_MAX)
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "status 0x%llx", (unsigned long long)status);
}

static void check_mtu(struct vhu_trial *v)
{
	uint64_t mtu = VHU_NUMBER(v->f, U64, u64);

	if (mtu < 68 || mtu > UINT16_MAX)
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "an MTU of %llu", (unsigned long long)mtu);
	if (!(vhu_session_features(v->s) & VHU_V(VIRTIO_NET_F_MTU)))
		vhu_trial_breaks(v, VHU_REQ_NET_05, "NET_SET_MTU without VIRTIO_NET_F_MTU");
}

static void check_log_base(struct vhu_trial *v)
{
	uint64_t size, offset;

	if (!vhu_frame_load(v->f, VHU_SLOT(LOG, mmap_size), &size) ||
	    !vhu_frame_load(v->f, VHU_SLOT(LOG, mmap_offset), &offset))
		return;
	if (size == 0 || size + offset < size)
		vhu_trial_malformed(v, VHU_MALFORMED_ADDRESS, "a log of %llu bytes at %llu",
				    (unsigned long long)size, (unsigned long long)offset);
}

static void check_inflight(struct vhu_trial *v)
{
	if (!VHU_NUMBER(v->f, INFLIGHT, num_queues) || !VHU_NUMBER(v->f, INFLIGHT, queue_size))
		vhu_trial_malformed(v, VHU_MALFORMED_PAYLOAD, "an inflight buffer for no queue or no entry");
}

static void check_postcopy_listen(struct vhu_trial *v)
{
	if (!v->s->postcopy_advised)
		vhu_trial_breaks(v, VHU_REQ_POSTCOPY_09, "POSTCOPY_LISTEN before POSTCOPY_ADVISE");
	if (v->s->n_regions)
		vhu_trial_malformed(v, VHU_MALFORMED_ORDER, "POSTCOPY_LISTEN after memory was set");
}

static void (*const on_message[VHU_MSG_MAX])(struct vhu_trial *v) = {
	[VHU_MSG_SET_FEATURES] = check_features,    [VHU_MSG_SET_PROTOCOL_FEATURES] = check_protocol_features,
	[VHU_MSG_SET_OWNER] = check_owner,	    [VHU_MSG_RESET_OWNER] = check_reset_owner,
	[VHU_MSG_GET_CONFIG] = check_config,	    [VHU_MSG_SET_CONFIG] = check_config,
	[VHU_MSG_SET_STATUS] = check_status,	    [VHU_MSG_NET_SET_MTU] = check_mtu,
	[VHU_MSG_SET_LOG_BASE] = check_log_base,    [VHU_MSG_GET_INFLIGHT_FD] = check_inflight,
	[VHU_MSG_SET_INFLIGHT_FD] = check_inflight, [VHU_MSG_POSTCOPY_LISTEN] = check_postcopy_listen,
};

void vhu_trial_features(struct vhu_trial *v)
{
	if (on_message[v->row->msg])
		on_message[v->row->msg](v);
}
