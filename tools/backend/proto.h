/*
 * The protocol's numbers, made from the tables: message rows, payload offsets, feature bits.
 */
#ifndef BACKEND_PROTO_H
#define BACKEND_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VHU_CONSTANT(name, value, meaning) C_##name = (value),
enum {
#include <vhu/constants.def>
};

#define VHU_VFEATURE(name, bit, ...) VBIT_##name = (bit),
enum {
#include <vhu/virtio_features.def>
};
#define V(name) (1ULL << VBIT_##name)

#define VHU_PFEATURE(name, bit, ...) PBIT_##name = (bit),
enum {
#include <vhu/protocol_features.def>
};
#define P(name) (1ULL << PBIT_##name)

#define VHU_MESSAGE(channel, name, id, ...) MSG_##channel##_##name = (id),
enum {
#include <vhu/messages.def>
};

/* PMIN_x and PMAX_x: legal sizes of a payload; OFF_x_f and LEN_x_f: where its field f lies. */
#define VHU_PAYLOAD(name, min, max, ...) PMIN_##name = (min), PMAX_##name = (max),
#define VHU_FIELD(payload, name, offset, size, ...)                                                          \
	OFF_##payload##_##name = (offset), LEN_##payload##_##name = (size),
enum {
#include <vhu/payloads.def>
};

/* CFG_x_f and CFGLEN_x_f: a field of config space; LAY_x_f and LAYLEN_x_f: one of a structure in a buffer. */
#define VHU_DEVICE(name, virtio_id, config_size, ...) CONFIG_SIZE_##name = (config_size),
#define VHU_CONFIG(name, field, offset, size, ...)                                                           \
	CFG_##name##_##field = (offset), CFGLEN_##name##_##field = (size),
#define VHU_LAYOUT(device, layout, field, offset, size)                                                      \
	LAY_##layout##_##field = (offset), LAYLEN_##layout##_##field = (size),
enum {
#include <vhu/devices.def>
};

enum answer {
	ANSWER_ALWAYS,
	ANSWER_NEVER,
	ANSWER_ON_NEED_REPLY,
	ANSWER_WITH_LOG_SHMFD,
};

struct msg_row {
	const char *name;
	uint32_t min, max, alt_min, alt_max; /* payload of the request */
	enum answer answer;
	unsigned fds_min, fds_max;
	uint64_t gate;
};

/* Row of a front-end request; NULL where the tables know no such id. */
const struct msg_row *proto_row(uint32_t id);

/* Most payload bytes that any front-end request or its reply has. */
#define PAYLOAD_MAX PMAX_CONFIG

/* Protocol features in mask whose companions (column needs) are missing from it. */
uint64_t proto_unmet(uint64_t mask);

static inline uint64_t field_get(const uint8_t *at, unsigned len)
{
	uint64_t v64;
	uint32_t v32;
	uint16_t v16;

	switch (len) {
	case sizeof(v64):
		memcpy(&v64, at, sizeof(v64));
		return v64;
	case sizeof(v32):
		memcpy(&v32, at, sizeof(v32));
		return v32;
	case sizeof(v16):
		memcpy(&v16, at, sizeof(v16));
		return v16;
	default:
		return *at;
	}
}

static inline void field_set(uint8_t *at, unsigned len, uint64_t value)
{
	uint32_t v32 = (uint32_t)value;
	uint16_t v16 = (uint16_t)value;

	switch (len) {
	case sizeof(value):
		memcpy(at, &value, sizeof(value));
		break;
	case sizeof(v32):
		memcpy(at, &v32, sizeof(v32));
		break;
	case sizeof(v16):
		memcpy(at, &v16, sizeof(v16));
		break;
	default:
		*at = (uint8_t)value;
	}
}

/* A field of a payload that lies at p, by names of payloads.def. */
#define FIELD(p, payload, field)	field_get((p) + OFF_##payload##_##field, LEN_##payload##_##field)
#define FIELD_SET(p, payload, field, v) field_set((p) + OFF_##payload##_##field, LEN_##payload##_##field, v)

#endif
