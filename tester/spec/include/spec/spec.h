/*
 * The rows of include/vhu/ as C tables, and look-ups in them. No state, no allocation; every
 * pointer returned is to constant data.
 */
#pragma once

#include "base/util.h"

/* --- enums made of the rows ---------------------------------------------------------------- */

enum vhu_channel { VHU_CHAN_MAIN, VHU_CHAN_BACKEND, VHU_CHAN_GPU, VHU_CHAN_MAX };
enum vhu_dir { VHU_DIR_FE, VHU_DIR_BE };	/* who sent it: front-end, back-end */
enum vhu_scope { VHU_SCOPE_DEVICE, VHU_SCOPE_RING, VHU_SCOPE_SCANOUT };
enum vhu_answer { VHU_ANSWER_ALWAYS, VHU_ANSWER_NEVER, VHU_ANSWER_ON_NEED_REPLY, VHU_ANSWER_WITH_LOG_SHMFD };
enum vhu_status { VHU_STATUS_RELEASED, VHU_STATUS_DEPRECATED, VHU_STATUS_PENDING };
enum vhu_level { VHU_LEVEL_MUST, VHU_LEVEL_SHOULD, VHU_LEVEL_MAY, VHU_LEVEL_IMPLIED, VHU_LEVEL_MAX };
enum vhu_party { VHU_PARTY_BACK, VHU_PARTY_FRONT, VHU_PARTY_BOTH, VHU_PARTY_DEVICE, VHU_PARTY_DRIVER };
enum vhu_seen { VHU_SEEN_YES, VHU_SEEN_PARTIAL, VHU_SEEN_NO };
/* ANY: implied, holds for every version. */
enum vhu_since { VHU_SINCE_ANY, VHU_SINCE_V7_2, VHU_SINCE_V10_2, VHU_SINCE_V11_1, VHU_SINCE_PENDING };

/* VHU_C_HEADER_SIZE … : the protocol's single numbers. */
enum {
#define VHU_CONSTANT(name, value, meaning) VHU_C_##name = (value),
#include <vhu/constants.def>
};

/* VHU_PF_MQ … : bit numbers; VHU_P(MQ): its mask. */
enum vhu_pfeature {
#define VHU_PFEATURE(name, bit, ...) VHU_PF_##name = (bit),
#include <vhu/protocol_features.def>
};
#define VHU_P(name) (UINT64_C(1) << VHU_PF_##name)

/* VHU_VF_VIRTIO_F_VERSION_1 … : bit numbers; VHU_V(VIRTIO_F_VERSION_1): its mask. */
enum vhu_vfeature {
#define VHU_VFEATURE(name, bit, ...) VHU_VF_##name = (bit),
#include <vhu/virtio_features.def>
};
#define VHU_V(name) (UINT64_C(1) << VHU_VF_##name)

/* VHU_DEV_BLK …, in table order; VHU_DEV_ANY for "any device". */
enum vhu_device {
#define VHU_DEVICE(name, ...) VHU_DEV_##name,
#include <vhu/devices.def>
	VHU_DEV_MAX,
	VHU_DEV_ANY = VHU_DEV_MAX
};

/* VHU_PL_VRING_STATE …, in table order. */
enum vhu_payload {
#define VHU_PAYLOAD(name, ...) VHU_PL_##name,
#include <vhu/payloads.def>
	VHU_PL_MAX
};

/*
 * VHU_AT_VRING_STATE_num …: where a field or a bit field stands in its payload, and how much of the bytes
 * there is its own; for code that knows both names.
 */
enum {
#define VHU_PLACE(pl, name, at, bytes, first, width)                                                         \
	VHU_AT_##pl##_##name = (at), VHU_BYTES_##pl##_##name = (bytes), VHU_SHIFT_##pl##_##name = (first),   \
	VHU_WIDTH_##pl##_##name = (width),
#define VHU_FIELD(pl, name, at, bytes, ...) VHU_PLACE(pl, name, at, bytes, 0, 8 * (bytes))
#define VHU_BITS(pl, field, first, width, name, ...)                                                         \
	VHU_PLACE(pl, name, VHU_AT_##pl##_##field, VHU_BYTES_##pl##_##field, first, width)
#include <vhu/payloads.def>
#undef VHU_PLACE
};

/* VHU_MSG_SET_FEATURES, VHU_MSG_BACKEND_CONFIG_CHANGE_MSG …: index in the table, not the id. */
enum vhu_msg {
#define VHU_MESSAGE(channel, name, ...) VHU_MSG_##name,
#include <vhu/messages.def>
	VHU_MSG_MAX
};

/* VHU_ID_SET_FEATURES …: the number on the wire. */
enum {
#define VHU_MESSAGE(channel, name, id, ...) VHU_ID_##name = (id),
#include <vhu/messages.def>
};

/* VHU_REQ_HDR_01 …, in table order. */
enum vhu_req {
#define VHU_REQUIREMENT(area, number, ...) VHU_REQ_##area##_##number,
#include <vhu/requirements.def>
	VHU_REQ_MAX
};

/* VHU_BREACH_USED_TWICE …: what a device can do wrong in rings and memory. */
enum vhu_breach {
#define VHU_BREACH(name, ...) VHU_BREACH_##name,
#include <vhu/breaches.def>
	VHU_BREACH_MAX
};

/* --- rows ------------------------------------------------------------------------------------ */

struct vhu_msg_row {
	enum vhu_msg msg;
	enum vhu_channel channel;
	const char *name;		/* without VHOST_USER_ */
	uint32_t id;
	enum vhu_scope scope;
	enum vhu_payload request, request_alt;
	enum vhu_payload reply, reply_alt;	/* NONE: empty, or only the u64 acknowledgement */
	enum vhu_answer answer;
	unsigned fds_min, fds_max;
	unsigned reply_fds_min, reply_fds_max;
	uint64_t gate;			/* protocol features that it needs */
	enum vhu_status status;
	const char *section;
	const char *note;
};

enum vhu_field_kind { VHU_FIELD_UINT, VHU_FIELD_BYTES, VHU_FIELD_PAD, VHU_FIELD_REGION };

struct vhu_field_row {
	enum vhu_payload payload;
	const char *name;
	size_t offset;
	size_t size;			/* of one element; 0: up to the payload's end */
	enum vhu_field_kind kind;
	const char *count;		/* an array: field that counts its elements, or "END"; else NULL */
	const char *meaning;
};

struct vhu_bits_row {
	enum vhu_payload payload;
	const char *field;
	unsigned first, width;
	const char *name;
	const char *meaning;
};

enum vhu_namespace { VHU_NS_NONE, VHU_NS_VIRTIO, VHU_NS_PROTOCOL, VHU_NS_STATUS };

struct vhu_payload_row {
	enum vhu_payload payload;
	const char *name;
	size_t min, max;		/* legal sizes in bytes, tail padding included */
	const char *section;
};

struct vhu_feature_row {
	const char *name;
	unsigned bit;
	enum vhu_device device;		/* VHU_DEV_ANY for transport and ring bits, and protocol features */
	uint64_t needs;			/* of the same word */
	bool opt_in;
	const char *summary;
};

struct vhu_device_row {
	enum vhu_device device;
	const char *name;		/* lower case: "blk" */
	unsigned virtio_id;
	size_t config_size;
	const char *section;
};

struct vhu_config_row {
	enum vhu_device device;
	const char *field;
	size_t offset, size;
	uint64_t feature;		/* mask of the bit that makes it meaningful, or 0 */
};

struct vhu_layout_row {
	enum vhu_device device;
	const char *layout;
	const char *field;
	size_t offset, size;
};

struct vhu_req_row {
	enum vhu_req req;
	const char *id;			/* "HDR-01" */
	const char *area;		/* "HDR" */
	enum vhu_level level;
	enum vhu_party party;
	enum vhu_seen seen;
	bool may_end;
	enum vhu_since since;
	uint64_t v_on, p_on, v_off, p_off, v_any;
	const char *section;
	const char *text;
	const char *how;
};

struct vhu_breach_row {
	enum vhu_breach breach;
	const char *name;
	enum vhu_req req;
	const char *summary;
};

struct vhu_fault_row {
	const char *id;			/* "hdr-reply-bit" */
	const enum vhu_req *reqs;	/* the rows that it breaks; n_reqs of them */
	size_t n_reqs;
	const char *area;
	const char *summary;
};

struct vhu_bug_row {
	unsigned number;		/* BUG-006 is 6 */
	const char *project;
	unsigned year;
	const char *area;
	const char *ref;
	const char *title;
	const char *case_id;		/* that triggers it, or NULL */
	const struct vhu_fault_row *fault;	/* that stands for it, or NULL */
	const char *why;		/* there is none, or NULL */
};

/* --- look-ups -------------------------------------------------------------------------------- */

const struct vhu_msg_row *vhu_msg_row(enum vhu_msg msg);
/* NULL if the channel has no such id. */
const struct vhu_msg_row *vhu_msg_by_id(enum vhu_channel channel, uint32_t id);
/* By name without VHOST_USER_ (older names too), on any channel; NULL if there is none. */
const struct vhu_msg_row *vhu_msg_by_name(const char *name);
/*
 * Whether the guest's traffic, the back-end's leisure, or somebody who operates it brings it about, so that
 * nothing which the front-end says makes it come again.
 */
bool vhu_msg_by_chance(const struct vhu_msg_row *row);

const struct vhu_payload_row *vhu_payload_row(enum vhu_payload payload);
/* Fields of a payload in order of offset: the i-th, or NULL. */
const struct vhu_field_row *vhu_payload_field(enum vhu_payload payload, size_t i);
const struct vhu_field_row *vhu_field_by_name(enum vhu_payload payload, const char *name);
/* Bit fields of a payload: the i-th, or NULL. */
const struct vhu_bits_row *vhu_payload_bits(enum vhu_payload payload, size_t i);
const struct vhu_bits_row *vhu_bits_by_name(enum vhu_payload payload, const char *name);
/* Where the bit names of a whole field come from. */
enum vhu_namespace vhu_field_namespace(enum vhu_payload payload, const char *field);

/* Feature rows of a namespace: the i-th, or NULL. Several virtio rows may share a bit (by device). */
const struct vhu_feature_row *vhu_feature_row(enum vhu_namespace ns, size_t i);
/* By name (protocol features with or without prefix, aliases too); NULL if there is none. */
const struct vhu_feature_row *vhu_feature_by_name(enum vhu_namespace ns, const char *name);
/* By bit, for a device (VHU_DEV_ANY: transport bits only); NULL if the bit has no name. */
const struct vhu_feature_row *vhu_feature_by_bit(enum vhu_namespace ns, unsigned bit, enum vhu_device device);
/* All bits with a row that are not opt-in: what the tester negotiates by default. */
uint64_t vhu_features_known(enum vhu_namespace ns, enum vhu_device device);
/* `bits` without those whose own needs are not all there. */
uint64_t vhu_features_with_needs(enum vhu_namespace ns, enum vhu_device device, uint64_t bits);
/* "EVENT_IDX | VERSION_1 | bit 50", "none" for 0, in out (cut at cap). Returns out. */
char *vhu_bit_names(enum vhu_namespace ns, enum vhu_device device, uint64_t value, char *out, size_t cap);

const struct vhu_device_row *vhu_device_row(enum vhu_device device);
const struct vhu_device_row *vhu_device_by_name(const char *name);
const struct vhu_config_row *vhu_config_row(enum vhu_device device, size_t i);
const struct vhu_config_row *vhu_config_by_name(enum vhu_device device, const char *field);
/* Fields of a request layout ("blk_outhdr"): the i-th, or NULL. */
const struct vhu_layout_row *vhu_layout_field(const char *layout, size_t i);
size_t vhu_layout_size(const char *layout);	/* 0 if there is none */

const struct vhu_req_row *vhu_req_row(enum vhu_req req);
/* By "HDR-01"; NULL if there is none. */
const struct vhu_req_row *vhu_req_by_id(const char *id);
const struct vhu_breach_row *vhu_breach_row(enum vhu_breach breach);
/* What the breach breaks, which on packed rings may be another rule. */
enum vhu_req vhu_breach_req(enum vhu_breach breach, bool packed);
/* Faults of the reference back-end: the i-th, or NULL. */
const struct vhu_fault_row *vhu_fault_row(size_t i);
const struct vhu_fault_row *vhu_fault_by_id(const char *id);
/* Bugs of real back-ends: the i-th, or NULL. */
const struct vhu_bug_row *vhu_bug_row(size_t i);

/* A single number by name ("HEADER_REPLY", "BLK_T_IN"): true and *ret, or false. */
bool vhu_constant_by_name(const char *name, uint64_t *ret);

const char *vhu_level_name(enum vhu_level level);	/* "MUST" … */
const char *vhu_channel_name(enum vhu_channel channel);	/* "main" … */

/* Candidates for vhu_nearest_name: ctx is unused. */
const char *vhu_msg_name_at(void *ctx, size_t i);
const char *vhu_req_id_at(void *ctx, size_t i);
/* ctx is enum vhu_namespace * and enum vhu_payload * respectively (fields, then bit fields). */
const char *vhu_feature_name_at(void *ctx, size_t i);
const char *vhu_field_name_at(void *ctx, size_t i);
