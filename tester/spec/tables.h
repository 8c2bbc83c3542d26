/*
 * The const tables that tables.c and tables_req.c make of include/vhu/, and the indexes that
 * lead into them. Private to this room.
 */
#pragma once

#include "spec/spec.h"

/* A second name of a row: index into the table that it belongs to. */
struct vhu_alias_row {
	const char *name;
	unsigned index;
};

struct vhu_namespace_row {
	enum vhu_payload payload;
	const char *field;
	enum vhu_namespace ns;
};

struct vhu_constant_row {
	const char *name;
	uint64_t value;
};

/*
 * Positions of fields and bit fields: each payload's rows follow its VHU_PAYLOAD row, so a
 * payload starts at the number that the enum has reached there. The second enumerator takes
 * the count back, because a payload itself has no place in the table. Two fields of one name
 * are one enumerator twice: a compile error.
 */
enum {
#define VHU_PAYLOAD(name, ...) VHU_FIRST_FIELD_##name, VHU_BEFORE_FIELD_##name = VHU_FIRST_FIELD_##name - 1,
#define VHU_FIELD(payload, name, ...) VHU_FIELD_##payload##_##name,
#include <vhu/payloads.def>
	VHU_FIELD_COUNT
};

enum {
#define VHU_PAYLOAD(name, ...) VHU_FIRST_BITS_##name, VHU_BEFORE_BITS_##name = VHU_FIRST_BITS_##name - 1,
#define VHU_BITS(payload, field, first, width, name, meaning) VHU_BITS_##payload##_##name,
#include <vhu/payloads.def>
	VHU_BITS_COUNT
};

enum {
#define VHU_PFEATURE(name, ...) VHU_PROW_##name,
#include <vhu/protocol_features.def>
	VHU_PROW_COUNT
};

enum {
#define VHU_VFEATURE(name, ...) VHU_VROW_##name,
#include <vhu/virtio_features.def>
	VHU_VROW_COUNT
};

enum {
#define VHU_STATUS_BIT(upper, ...) VHU_SROW_##upper,
#include <vhu/payloads.def>
	VHU_SROW_COUNT
};

/* Tables without a count end with a row whose name is NULL. */
extern const struct vhu_msg_row vhu_tab_msg[VHU_MSG_MAX];
extern const struct vhu_alias_row vhu_tab_msg_alias[];

extern const struct vhu_payload_row vhu_tab_payload[VHU_PL_MAX];
extern const struct vhu_field_row vhu_tab_field[VHU_FIELD_COUNT];
extern const uint16_t vhu_tab_first_field[VHU_PL_MAX + 1];
extern const struct vhu_bits_row vhu_tab_bits[VHU_BITS_COUNT];
extern const uint16_t vhu_tab_first_bits[VHU_PL_MAX + 1];
extern const struct vhu_namespace_row vhu_tab_namespace[];

extern const struct vhu_feature_row vhu_tab_pfeature[VHU_PROW_COUNT];
extern const struct vhu_feature_row vhu_tab_vfeature[VHU_VROW_COUNT];
extern const struct vhu_feature_row vhu_tab_status[VHU_SROW_COUNT];
extern const struct vhu_alias_row vhu_tab_pfeature_alias[];
extern const struct vhu_alias_row vhu_tab_vfeature_alias[];

extern const struct vhu_device_row vhu_tab_device[VHU_DEV_MAX];
extern const struct vhu_config_row vhu_tab_config[];
extern const struct vhu_layout_row vhu_tab_layout[];

extern const struct vhu_constant_row vhu_tab_constant[];

extern const struct vhu_req_row vhu_tab_req[VHU_REQ_MAX];
extern const struct vhu_breach_row vhu_tab_breach[VHU_BREACH_MAX];
extern const enum vhu_req vhu_tab_breach_packed[VHU_BREACH_MAX];	/* 0: the same as elsewhere */
extern const struct vhu_fault_row vhu_tab_fault[];
extern const size_t vhu_tab_faults;	/* rows without the last, empty one */
extern const struct vhu_bug_row vhu_tab_bug[];
extern const size_t vhu_tab_bugs;
