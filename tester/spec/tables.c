/* Messages, payloads, features, devices and constants: the rows of include/vhu/ as const tables. */
#include "spec/spec.h"

#include "charmap.h"
#include "tables.h"

/* How rows write masks of features. */
#define P(name) VHU_P(name)
#define V(name) VHU_V(name)

/* --- messages -------------------------------------------------------------------------------- */

const struct vhu_msg_row vhu_tab_msg[VHU_MSG_MAX] = {
#define VHU_MESSAGE(chan, id_name, number, scp, req, req_alt, rep, rep_alt, ans, fmin, fmax, rfmin, rfmax,   \
		    mask, stat, where, text)                                                                 \
	[VHU_MSG_##id_name] = {                                                                              \
		.msg = VHU_MSG_##id_name,                                                                    \
		.channel = VHU_CHAN_##chan,                                                                  \
		.name = #id_name,                                                                            \
		.id = (number),                                                                              \
		.scope = VHU_SCOPE_##scp,                                                                    \
		.request = VHU_PL_##req,                                                                     \
		.request_alt = VHU_PL_##req_alt,                                                             \
		.reply = VHU_PL_##rep,                                                                       \
		.reply_alt = VHU_PL_##rep_alt,                                                               \
		.answer = VHU_ANSWER_##ans,                                                                  \
		.fds_min = (fmin),                                                                           \
		.fds_max = (fmax),                                                                           \
		.reply_fds_min = (rfmin),                                                                    \
		.reply_fds_max = (rfmax),                                                                    \
		.gate = (mask),                                                                              \
		.status = VHU_STATUS_##stat,                                                                 \
		.section = (where),                                                                          \
		.note = (text),                                                                              \
	},
#include <vhu/messages.def>
};

/* The channel of an alias has to be the message's own. */
#define VHU_MESSAGE(chan, name, ...) enum { alias_channel_##name = VHU_CHAN_##chan };
#define VHU_MESSAGE_ALIAS(chan, old, name)                                                                   \
	_Static_assert((int)VHU_CHAN_##chan == (int)alias_channel_##name, "channel of alias " #old);
#include <vhu/messages.def>

const struct vhu_alias_row vhu_tab_msg_alias[] = {
#define VHU_MESSAGE_ALIAS(chan, old, name) {#old, VHU_MSG_##name},
#include <vhu/messages.def>
	{NULL, 0},
};

/* --- payloads -------------------------------------------------------------------------------- */

const struct vhu_payload_row vhu_tab_payload[VHU_PL_MAX] = {
#define VHU_PAYLOAD(id_name, least, most, where) {VHU_PL_##id_name, #id_name, (least), (most), (where)},
#include <vhu/payloads.def>
};

#define COUNT_FIELD(name) (__builtin_strcmp(#name, "NONE") ? #name : NULL)
const struct vhu_field_row vhu_tab_field[VHU_FIELD_COUNT] = {
#define VHU_FIELD(pl, id_name, at, bytes, what, counter, text)                                               \
	{VHU_PL_##pl, #id_name, (at), (bytes), VHU_FIELD_##what, COUNT_FIELD(counter), (text)},
#include <vhu/payloads.def>
};

const uint16_t vhu_tab_first_field[VHU_PL_MAX + 1] = {
#define VHU_PAYLOAD(name, ...) VHU_FIRST_FIELD_##name,
#include <vhu/payloads.def>
	VHU_FIELD_COUNT,
};

const struct vhu_bits_row vhu_tab_bits[VHU_BITS_COUNT] = {
#define VHU_BITS(pl, of, lowest, wide, id_name, text) {VHU_PL_##pl, #of, (lowest), (wide), #id_name, (text)},
#include <vhu/payloads.def>
};

const uint16_t vhu_tab_first_bits[VHU_PL_MAX + 1] = {
#define VHU_PAYLOAD(name, ...) VHU_FIRST_BITS_##name,
#include <vhu/payloads.def>
	VHU_BITS_COUNT,
};

const struct vhu_namespace_row vhu_tab_namespace[] = {
#define VHU_NAMESPACE(payload, field, space) {VHU_PL_##payload, #field, VHU_NS_##space},
#include <vhu/payloads.def>
	{VHU_PL_MAX, NULL, VHU_NS_NONE},
};

/* --- features -------------------------------------------------------------------------------- */

const struct vhu_feature_row vhu_tab_pfeature[VHU_PROW_COUNT] = {
#define VHU_PFEATURE(id_name, number, mask, opt, status, text)                                               \
	{#id_name, (number), VHU_DEV_ANY, (mask), (opt) != 0, (text)},
#include <vhu/protocol_features.def>
};

const struct vhu_alias_row vhu_tab_pfeature_alias[] = {
#define VHU_PFEATURE_ALIAS(old, name) {#old, VHU_PROW_##name},
#include <vhu/protocol_features.def>
	{NULL, 0},
};

const struct vhu_feature_row vhu_tab_vfeature[VHU_VROW_COUNT] = {
#define VHU_VFEATURE(id_name, number, dev, mask, opt, text)                                                  \
	{#id_name, (number), VHU_DEV_##dev, (mask), (opt) != 0, (text)},
#include <vhu/virtio_features.def>
};

const struct vhu_alias_row vhu_tab_vfeature_alias[] = {
#define VHU_VFEATURE_ALIAS(other, name) {#other, VHU_VROW_##name},
#include <vhu/virtio_features.def>
	{NULL, 0},
};

const struct vhu_feature_row vhu_tab_status[VHU_SROW_COUNT] = {
#define VHU_STATUS_BIT(upper, name, number, text) {#upper, (number), VHU_DEV_ANY, 0, false, (text)},
#include <vhu/payloads.def>
};

/* --- devices --------------------------------------------------------------------------------- */

#define VHU_DEVICE(name, ...)                                                                                \
	_Static_assert(sizeof(#name) <= VHU_MAPPED_SIZE, "name of device " #name);                           \
	static const char device_name_##name[VHU_MAPPED_SIZE] = VHU_MAPPED(VHU_MAP_LOWER, #name);
#include <vhu/devices.def>

const struct vhu_device_row vhu_tab_device[VHU_DEV_MAX] = {
#define VHU_DEVICE(id_name, number, bytes, where)                                                            \
	{VHU_DEV_##id_name, device_name_##id_name, (number), (bytes), (where)},
#include <vhu/devices.def>
};

const struct vhu_config_row vhu_tab_config[] = {
#define VHU_CONFIG(dev, name, at, bytes, mask) {VHU_DEV_##dev, #name, (at), (bytes), (mask)},
#include <vhu/devices.def>
	{VHU_DEV_MAX, NULL, 0, 0, 0},
};

const struct vhu_layout_row vhu_tab_layout[] = {
#define VHU_LAYOUT(dev, struct_name, name, at, bytes) {VHU_DEV_##dev, #struct_name, #name, (at), (bytes)},
#include <vhu/devices.def>
	{VHU_DEV_MAX, NULL, NULL, 0, 0},
};

/* --- constants ------------------------------------------------------------------------------- */

const struct vhu_constant_row vhu_tab_constant[] = {
#define VHU_CONSTANT(name, number, meaning) {#name, (number)},
#include <vhu/constants.def>
	{NULL, 0},
};
