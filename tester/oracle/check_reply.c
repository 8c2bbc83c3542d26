/* Rules about what a reply on the main channel says, message by message. */
#include <stdio.h>

#include "internal.h"

/* Whether a reply of the message's own is due, not the acknowledgement. */
static bool own_reply(const struct vhu_judgement *j)
{
	return j->row && (j->row->answer == VHU_ANSWER_ALWAYS || j->to->due == VHU_DUE_REPLY);
}

/* What replies that are one word say, each under its layout. */
static uint64_t features(const struct vhu_judgement *j)
{
	return VHU_NUMBER(j->f, FEATURES, u64);
}

static uint64_t pfeatures(const struct vhu_judgement *j)
{
	return VHU_NUMBER(j->f, PROTOCOL_FEATURES, u64);
}

static uint64_t number(const struct vhu_judgement *j)
{
	return VHU_NUMBER(j->f, U64, u64);
}

static uint64_t state_result(const struct vhu_judgement *j)
{
	return VHU_NUMBER(j->f, STATE_RESULT, u64);
}

/* --- size and descriptors ---------------------------------------------------------------------- */

static bool size_fits(const struct vhu_judgement *j, enum vhu_payload pl)
{
	return vhu_payload_size_ok(pl, j->f->payload, j->f->len);
}

/* An error is told by an empty payload, or by a config head that says 0 bytes. */
static bool config_error(const struct vhu_frame *f)
{
	uint64_t size = 1;

	return f->len == 0 || (vhu_frame_load(f, VHU_SLOT(CONFIG, size), &size) && size == 0);
}

static bool bad_reply_size(struct vhu_judgement *j)
{
	const struct vhu_payload_row *pl;
	char accepted[64];

	if (!own_reply(j) || j->row->msg == VHU_MSG_GET_CONFIG)
		return false;
	if (size_fits(j, j->row->reply) || size_fits(j, j->row->reply_alt))
		return false;
	if (j->row->msg == VHU_MSG_SET_LOG_BASE && j->f->len == sizeof(uint64_t))
		return false;
	/* A failure is told by a u64. */
	if (j->row->msg == VHU_MSG_POSTCOPY_ADVISE && j->f->len == sizeof(uint64_t) && !j->f->n_fds)
		return false;
	pl = vhu_payload_row(j->row->reply);
	snprintf(accepted, sizeof(accepted), "%zu bytes of payload", pl->min);
	return vhu_differs(j, accepted, "%zu bytes", j->f->len);
}

static bool bad_ack_size(struct vhu_judgement *j)
{
	if (own_reply(j) || j->f->len == sizeof(uint64_t))
		return false;
	/* In postcopy listen mode it is the table of the addresses that the back-end uses. */
	if (j->s->postcopy_listening && j->row && size_fits(j, j->row->reply_alt))
		return false;
	return vhu_differs(j, "8 bytes of payload", "%zu bytes", j->f->len);
}

static bool bad_fds(struct vhu_judgement *j)
{
	unsigned max = own_reply(j) ? j->row->reply_fds_max : 0;
	char accepted[64];

	if (j->f->n_fds <= max)
		return false;
	snprintf(accepted, sizeof(accepted), max ? "at most %u descriptors" : "no descriptor", max);
	return vhu_differs(j, accepted, "%zu", j->f->n_fds);
}

/* The document counts 20 bytes, every front-end waits for the padded structure. */
static bool inflight_unpadded(struct vhu_judgement *j)
{
	const struct vhu_payload_row *pl = vhu_payload_row(VHU_PL_INFLIGHT);

	return own_reply(j) && j->f->len != pl->max &&
	       vhu_differs(j, "24 bytes of payload", "%zu bytes", j->f->len);
}

/* --- features ------------------------------------------------------------------------------------ */

static bool features_changed(struct vhu_judgement *j)
{
	if (!j->s->features_known || features(j) == j->s->features_offered)
		return false;
	return vhu_differs(j, "the value given first on this connection", "0x%llx after 0x%llx",
			   (unsigned long long)features(j), (unsigned long long)j->s->features_offered);
}

static bool no_version_1(struct vhu_judgement *j)
{
	return !(features(j) & VHU_V(VIRTIO_F_VERSION_1)) &&
	       vhu_differs(j, "bit 32 set", "0x%llx", (unsigned long long)features(j));
}

static bool foreign_bits(struct vhu_judgement *j)
{
	uint64_t v = features(j);

	if (j->s->device == VHU_DEV_ANY)
		return false;
	for (unsigned bit = 0; bit < 24; bit++)
		if ((v >> bit & 1) && !vhu_feature_by_bit(VHU_NS_VIRTIO, bit, j->s->device))
			return vhu_differs(j, "bits that the device type defines", "bit %u (0x%llx)", bit,
					   (unsigned long long)v);
	return false;
}

static bool wce_without_flush(struct vhu_judgement *j)
{
	uint64_t v = features(j);

	if (j->s->device != VHU_DEV_BLK || !(v & VHU_V(VIRTIO_BLK_F_CONFIG_WCE)) ||
	    (v & VHU_V(VIRTIO_BLK_F_FLUSH)))
		return false;
	return vhu_differs(j, "FLUSH beside CONFIG_WCE", "0x%llx", (unsigned long long)v);
}

/* --- protocol features ------------------------------------------------------------------------- */

static bool pfeatures_changed(struct vhu_judgement *j)
{
	if (!j->s->pfeatures_known || pfeatures(j) == j->s->pfeatures_offered)
		return false;
	return vhu_differs(j, "the value given first on this connection", "0x%llx after 0x%llx",
			   (unsigned long long)pfeatures(j), (unsigned long long)j->s->pfeatures_offered);
}

static bool pfeatures_undefined(struct vhu_judgement *j)
{
	for (unsigned bit = 0; bit < 64; bit++)
		if ((pfeatures(j) >> bit & 1) && !vhu_feature_by_bit(VHU_NS_PROTOCOL, bit, VHU_DEV_ANY))
			return vhu_differs(j, "bits that the specification defines", "bit %u (0x%llx)", bit,
					   (unsigned long long)pfeatures(j));
	return false;
}

static bool no_mq(struct vhu_judgement *j)
{
	return !(pfeatures(j) & VHU_P(MQ)) &&
	       vhu_differs(j, "bit 0 (MQ) set", "0x%llx", (unsigned long long)pfeatures(j));
}

static bool lacks(struct vhu_judgement *j, uint64_t bit, uint64_t needs, const char *accepted)
{
	if (!(pfeatures(j) & bit) || (pfeatures(j) & needs) == needs)
		return false;
	return vhu_differs(j, accepted, "0x%llx", (unsigned long long)pfeatures(j));
}

static bool notifier_alone(struct vhu_judgement *j)
{
	return lacks(j, VHU_P(HOST_NOTIFIER), VHU_P(BACKEND_REQ) | VHU_P(BACKEND_SEND_FD),
		     "BACKEND_REQ and BACKEND_SEND_FD beside it");
}

static bool send_fd_alone(struct vhu_judgement *j)
{
	return lacks(j, VHU_P(BACKEND_SEND_FD), VHU_P(BACKEND_REQ), "BACKEND_REQ beside it");
}

static bool shmem_alone(struct vhu_judgement *j)
{
	return lacks(j, VHU_P(SHMEM_MAP), VHU_P(BACKEND_REQ) | VHU_P(BACKEND_SEND_FD),
		     "BACKEND_REQ and BACKEND_SEND_FD beside it");
}

static bool inband_alone(struct vhu_judgement *j)
{
	return lacks(j, VHU_P(INBAND_NOTIFICATIONS), VHU_P(BACKEND_REQ) | VHU_P(REPLY_ACK),
		     "BACKEND_REQ and REPLY_ACK beside it");
}

static bool log_without_log_all(struct vhu_judgement *j)
{
	if (!j->s->features_known || !(pfeatures(j) & VHU_P(LOG_SHMFD)) ||
	    (j->s->features_offered & VHU_V(VHOST_F_LOG_ALL)))
		return false;
	return vhu_differs(j, "VHOST_F_LOG_ALL offered beside LOG_SHMFD", "features 0x%llx",
			   (unsigned long long)j->s->features_offered);
}

/* QEMU refuses a device that offers an IOMMU without the means to ask for translations. */
static bool iommu_alone(struct vhu_judgement *j)
{
	const uint64_t needs = VHU_P(BACKEND_REQ) | VHU_P(REPLY_ACK);

	if (!j->s->features_known || !(j->s->features_offered & VHU_V(VIRTIO_F_ACCESS_PLATFORM)) ||
	    (pfeatures(j) & needs) == needs)
		return false;
	return vhu_differs(j, "BACKEND_REQ and REPLY_ACK beside VIRTIO_F_ACCESS_PLATFORM", "0x%llx",
			   (unsigned long long)pfeatures(j));
}

/* --- counts -------------------------------------------------------------------------------------- */

static bool queue_num_changed(struct vhu_judgement *j)
{
	if (!j->s->queue_num || number(j) == j->s->queue_num)
		return false;
	return vhu_differs(j, "the number given first on this connection", "%llu after %llu",
			   (unsigned long long)number(j), (unsigned long long)j->s->queue_num);
}

static bool queue_num_zero(struct vhu_judgement *j)
{
	return number(j) == 0 && vhu_differs(j, "at least 1", "0");
}

static bool queue_num_huge(struct vhu_judgement *j)
{
	return number(j) > VHU_C_VRING_INDEX_MAX + 1 &&
	       vhu_differs(j, "at most 256", "%llu", (unsigned long long)number(j));
}

static bool no_slots(struct vhu_judgement *j)
{
	return number(j) == 0 && vhu_differs(j, "at least 1", "0");
}

/* --- rings --------------------------------------------------------------------------------------- */

static bool base_index(struct vhu_judgement *j)
{
	uint64_t index = VHU_NUMBER(j->f, VRING_BASE, index);

	if (index == j->to->index)
		return false;
	return vhu_differs(j, "the index of the request", "%llu for %u", (unsigned long long)index,
			   j->to->index);
}

static bool base_high_bits(struct vhu_judgement *j)
{
	uint64_t num = VHU_NUMBER(j->f, VRING_BASE, num);

	if (vhu_session_packed(j->s) || num <= UINT16_MAX)
		return false;
	return vhu_differs(j, "a value below 65536", "0x%llx", (unsigned long long)num);
}

/* --- config and status --------------------------------------------------------------------------- */

static bool config_size(struct vhu_judgement *j)
{
	char accepted[80];

	if (j->f->len == j->to->size || config_error(j->f))
		return false;
	snprintf(accepted, sizeof(accepted), "%u bytes as in the request\nan empty payload (an error)",
		 j->to->size);
	return vhu_differs(j, accepted, "%zu bytes", j->f->len);
}

static bool config_offset(struct vhu_judgement *j)
{
	uint64_t offset;

	if (config_error(j->f) || !vhu_frame_load(j->f, VHU_SLOT(CONFIG, offset), &offset) ||
	    offset == j->to->offset)
		return false;
	return vhu_differs(j, "the offset of the request", "%llu for %u", (unsigned long long)offset,
			   j->to->offset);
}

/* Behind the device's last field: other bytes than 0 are the back-end's own memory. */
static bool config_foreign(struct vhu_judgement *j)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	const struct vhu_config_row *row;
	size_t end = 0;

	if (j->s->device == VHU_DEV_ANY || j->to->offset != 0)
		return false;
	for (size_t i = 0; (row = vhu_config_row(j->s->device, i)); i++)
		end = VHU_MAX(end, row->offset + row->size);
	for (size_t i = head + end; end && i < j->f->len; i++)
		if (j->f->payload[i])
			return vhu_differs(j, "0 behind the fields of the device", "0x%02x at %zu",
					   j->f->payload[i], i - head);
	return false;
}

static bool status_high_bits(struct vhu_judgement *j)
{
	uint64_t status = VHU_NUMBER(j->f, STATUS, u64);

	return status > UINT8_MAX &&
	       vhu_differs(j, "a value below 256", "0x%llx", (unsigned long long)status);
}

/* --- inflight ------------------------------------------------------------------------------------ */

static bool inflight_echo(struct vhu_judgement *j)
{
	uint64_t size = VHU_NUMBER(j->f, INFLIGHT, mmap_size);

	if (size && !j->f->n_fds)
		return vhu_differs(j, "one descriptor with a buffer", "mmap_size %llu and none",
				   (unsigned long long)size);
	return false;
}

/* --- shared memory regions ----------------------------------------------------------------------- */

static uint64_t shm_size(const struct vhu_frame *f, size_t id)
{
	size_t at = VHU_AT_SHMEM_CONFIG_mem_size + id * sizeof(uint64_t);

	return at + sizeof(uint64_t) <= f->len ? vhu_ne_get(f->payload + at, sizeof(uint64_t)) : 0;
}

/* Sizes left out are those of ids that are not there, which is told, not judged. */
static bool shm_form(struct vhu_judgement *j)
{
	return j->f->len != vhu_payload_row(VHU_PL_SHMEM_CONFIG)->max &&
	       vhu_differs(j, "2056 bytes: a number and 256 sizes", "%zu bytes", j->f->len);
}

static bool shm_changed(struct vhu_judgement *j)
{
	for (size_t i = 0; j->s->shm_known && i < VHU_SESSION_SHM_IDS; i++)
		if (shm_size(j->f, i) != j->s->shm_size[i])
			return vhu_differs(j, "the sizes as they were", "region %zu: 0x%llx for 0x%llx", i,
					   (unsigned long long)shm_size(j->f, i),
					   (unsigned long long)j->s->shm_size[i]);
	return false;
}

static bool shm_unaligned(struct vhu_judgement *j)
{
	for (size_t i = 0; i < VHU_SESSION_SHM_IDS; i++)
		if (shm_size(j->f, i) % VHU_C_LOG_PAGE)
			return vhu_differs(j, "a multiple of the page size", "region %zu: 0x%llx bytes", i,
					   (unsigned long long)shm_size(j->f, i));
	return false;
}

static bool shm_count(struct vhu_judgement *j)
{
	uint64_t told = VHU_NUMBER(j->f, SHMEM_CONFIG, num_regions), n = 0;

	for (size_t i = 0; i < VHU_SESSION_SHM_IDS; i++)
		n += shm_size(j->f, i) != 0;
	return told != n && vhu_differs(j, "as many as have a size", "num_regions %llu, %llu sizes not 0",
					(unsigned long long)told, (unsigned long long)n);
}

/* --- postcopy ------------------------------------------------------------------------------------ */

static bool no_userfaultfd(struct vhu_judgement *j)
{
	enum vhu_fd_kind kind = j->f->n_fds ? vhu_fd_kind(j->f->fds[0]) : VHU_FDK_UNKNOWN;

	if (kind == VHU_FDK_UNKNOWN || kind == VHU_FDK_USERFAULT)
		return false;
	return vhu_differs(j, "a userfaultfd", "%s", vhu_fd_kind_name(kind));
}

/* The table of bases holds the regions of ours, each with another user address. */
static bool table_of_bases(struct vhu_judgement *j)
{
	uint64_t n = 0;

	if (j->to->due != VHU_DUE_REPLY)
		return false;
	if (!vhu_frame_load(j->f, VHU_SLOT(MEM_TABLE, num_regions), &n) || n != j->s->n_regions)
		return vhu_differs(j, "the regions of the request", "%llu of %zu", (unsigned long long)n,
				   j->s->n_regions);
	for (size_t i = 0; i < n; i++) {
		const struct vhu_region_state *want = &j->s->region[i];
		struct vhu_region_state got = {0};

		vhu_session_read_region(j->f, VHU_PL_MEM_TABLE, i, &got);
		if (got.gpa != want->gpa || got.size != want->size)
			return vhu_differs(j, "guest addresses and sizes of the request",
					   "region %zu: 0x%llx bytes at 0x%llx", i,
					   (unsigned long long)got.size, (unsigned long long)got.gpa);
		if (!got.uaddr)
			return vhu_differs(j, "where the back-end has mapped the region",
					   "region %zu: address 0", i);
	}
	return false;
}

/* --- device state, shared objects ---------------------------------------------------------------- */

static bool state_fd_flag(struct vhu_judgement *j)
{
	bool no_fd = VHU_NUMBER(j->f, STATE_RESULT, no_fd);

	if (no_fd == !j->f->n_fds)
		return false;
	return vhu_differs(j, "bit 8 set and no descriptor\nbit 8 clear and one descriptor",
			   "0x%llx with %zu descriptors", (unsigned long long)state_result(j), j->f->n_fds);
}

static bool state_error_with_fd(struct vhu_judgement *j)
{
	if (!VHU_NUMBER(j->f, STATE_RESULT, error) || !j->f->n_fds)
		return false;
	return vhu_differs(j, "an error without descriptor\n0 with one", "0x%llx with %zu descriptors",
			   (unsigned long long)state_result(j), j->f->n_fds);
}

/* The object was announced before the request, and is still: the back-end has its descriptor. */
static bool object_lost(struct vhu_judgement *j)
{
	if (!j->to->announced || !vhu_session_announced(j->s, j->to->uuid) || j->f->n_fds)
		return false;
	return vhu_differs(j, "the descriptor of an object that was announced", "none");
}

#define SIZE_RULE(req) RULE(req, bad_reply_size, "the reply has a wrong size")
#define RULE(req, check, summary)                                                                            \
	{                                                                                                    \
		VHU_REQ_##req, VHU_FINDING_RULE, -1, check, summary                                          \
	}

const struct vhu_rule vhu_rules_reply[] = {
	{VHU_REQ_HDR_06, VHU_FINDING_RULE, -1, bad_reply_size, "the reply's size is not that of its payload"},
	{VHU_REQ_REPLY_02, VHU_FINDING_RULE, -1, bad_ack_size, "the acknowledgement is not a u64"},
	{VHU_REQ_HDR_39, VHU_FINDING_RULE, -1, bad_fds,
	 "a reply carries descriptors that it does not define"},
	{.broken = NULL},
};

static const struct vhu_rule get_features[] = {
	SIZE_RULE(FEAT_01),
	RULE(FEAT_09, features_changed, "the offered features changed"),
	RULE(FEAT_20, no_version_1, "VIRTIO_F_VERSION_1 is not offered"),
	RULE(FEAT_27, foreign_bits, "a bit is offered that the device type does not have"),
	RULE(CFG_16, wce_without_flush, "CONFIG_WCE is offered without FLUSH"),
	{.broken = NULL},
};

static const struct vhu_rule get_protocol_features[] = {
	SIZE_RULE(PROTO_01),
	RULE(PROTO_13, pfeatures_changed, "the offered protocol features changed"),
	RULE(PROTO_14, pfeatures_undefined, "an undefined protocol feature is offered"),
	RULE(PROTO_11, no_mq, "MQ is not offered"),
	RULE(PROTO_22, notifier_alone, "HOST_NOTIFIER is offered without what it needs"),
	RULE(PROTO_23, send_fd_alone, "BACKEND_SEND_FD is offered without BACKEND_REQ"),
	RULE(PROTO_24, shmem_alone, "SHMEM_MAP is offered without what it needs"),
	RULE(PROTO_25, inband_alone, "INBAND_NOTIFICATIONS is offered without what it needs"),
	RULE(FEAT_19, log_without_log_all, "LOG_SHMFD is offered without VHOST_F_LOG_ALL"),
	RULE(FEAT_21, iommu_alone, "VIRTIO_F_ACCESS_PLATFORM is offered without what it needs"),
	{.broken = NULL},
};

static const struct vhu_rule get_queue_num[] = {
	SIZE_RULE(MQ_01),
	RULE(MQ_01, queue_num_zero, "the back-end says that it supports no queue"),
	RULE(MQ_06, queue_num_changed, "the number of queues changed"),
	RULE(MQ_08, queue_num_huge, "more queues than a ring index can name"),
	{.broken = NULL},
};

static const struct vhu_rule get_max_mem_slots[] = {
	SIZE_RULE(MEMSLOT_01),
	RULE(MEMSLOT_01, no_slots, "the back-end takes no memory region"),
	{.broken = NULL},
};

static const struct vhu_rule get_vring_base[] = {
	SIZE_RULE(VRING_08),
	RULE(VRING_11, base_index, "the reply names another ring"),
	RULE(VRING_09, base_high_bits, "bits 16 to 31 of a split ring's index are set"),
	{.broken = NULL},
};

static const struct vhu_rule get_config[] = {
	RULE(CONFIG_02, config_size, "the reply has not the size of the request"),
	RULE(CONFIG_11, config_offset, "the reply has not the offset of the request"),
	RULE(CFG_05, config_foreign, "config space goes on behind its fields"),
	{.broken = NULL},
};

static const struct vhu_rule get_status[] = {
	SIZE_RULE(STATUS_02),
	RULE(STATUS_05, status_high_bits, "bits above 7 of the status are set"),
	{.broken = NULL},
};

static const struct vhu_rule iotlb_msg[] = {
	SIZE_RULE(IOTLB_03),
	{.broken = NULL},
};

static const struct vhu_rule get_inflight_fd[] = {
	RULE(INFLIGHT_19, inflight_unpadded, "the reply is not the structure of 24 bytes"),
	RULE(INFLIGHT_22, inflight_echo, "the inflight buffer has no descriptor"),
	{.broken = NULL},
};

static const struct vhu_rule get_shmem_config[] = {
	SIZE_RULE(SHMEM_01),
	{VHU_REQ_SHMEM_01, VHU_FINDING_QUIRK, -1, shm_form, "the reply does not have all 256 sizes"},
	RULE(SHMEM_02, shm_changed, "the sizes of the shared memory regions changed"),
	RULE(SHMEM_03, shm_unaligned, "a shared memory region is no whole number of pages"),
	RULE(SHMEM_13, shm_count, "the number of regions is not that of their sizes"),
	{.broken = NULL},
};

static const struct vhu_rule postcopy_advise[] = {
	RULE(POSTCOPY_01, no_userfaultfd, "the descriptor is no userfaultfd"),
	{.broken = NULL},
};

static const struct vhu_rule set_mem_table[] = {
	RULE(POSTCOPY_03, table_of_bases, "the reply is not the table of bases"),
	{.broken = NULL},
};

static const struct vhu_rule postcopy_end[] = {
	SIZE_RULE(POSTCOPY_08),
	{.broken = NULL},
};

static const struct vhu_rule set_device_state_fd[] = {
	SIZE_RULE(DEVSTATE_01),
	RULE(DEVSTATE_03, state_fd_flag, "bit 8 does not tell whether a descriptor came"),
	{.broken = NULL},
};

static const struct vhu_rule check_device_state[] = {
	SIZE_RULE(DEVSTATE_08),
	{.broken = NULL},
};

static const struct vhu_rule get_shared_object[] = {
	RULE(SHOBJ_04, object_lost, "an object that was announced is not given"),
	{.broken = NULL},
};

const struct vhu_rule *const vhu_rules_of_reply[VHU_MSG_MAX] = {
	[VHU_MSG_GET_FEATURES] = get_features,
	[VHU_MSG_GET_PROTOCOL_FEATURES] = get_protocol_features,
	[VHU_MSG_GET_QUEUE_NUM] = get_queue_num,
	[VHU_MSG_GET_MAX_MEM_SLOTS] = get_max_mem_slots,
	[VHU_MSG_GET_VRING_BASE] = get_vring_base,
	[VHU_MSG_GET_CONFIG] = get_config,
	[VHU_MSG_GET_STATUS] = get_status,
	[VHU_MSG_IOTLB_MSG] = iotlb_msg,
	[VHU_MSG_GET_INFLIGHT_FD] = get_inflight_fd,
	[VHU_MSG_GET_SHMEM_CONFIG] = get_shmem_config,
	[VHU_MSG_POSTCOPY_ADVISE] = postcopy_advise,
	[VHU_MSG_SET_MEM_TABLE] = set_mem_table,
	[VHU_MSG_POSTCOPY_END] = postcopy_end,
	[VHU_MSG_SET_DEVICE_STATE_FD] = set_device_state_fd,
	[VHU_MSG_CHECK_DEVICE_STATE] = check_device_state,
	[VHU_MSG_GET_SHARED_OBJECT] = get_shared_object,
};

/* Whatever the request was. */
static const struct vhu_rule set_device_state_fd_answer[] = {
	RULE(DEVSTATE_04, state_error_with_fd, "an error comes with a descriptor"),
	{.broken = NULL},
};

const struct vhu_rule *const vhu_rules_of_answer[VHU_MSG_MAX] = {
	[VHU_MSG_SET_DEVICE_STATE_FD] = set_device_state_fd_answer,
};
