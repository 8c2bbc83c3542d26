/* Look-ups of messages, payloads, fields and bit fields. */
#include "spec/spec.h"

#include <string.h>

#include "tables.h"

/* --- messages -------------------------------------------------------------------------------- */

const struct vhu_msg_row *vhu_msg_row(enum vhu_msg msg)
{
	return (unsigned)msg < VHU_MSG_MAX ? &vhu_tab_msg[msg] : NULL;
}

const struct vhu_msg_row *vhu_msg_by_id(enum vhu_channel channel, uint32_t id)
{
	enum { IDS = 256 };
	/* Numbers of rows plus 1. Two rows with one id on a channel are one element twice: a warning, so an
	 * error. */
	static const uint8_t rows[VHU_CHAN_MAX][IDS] = {
#define VHU_MESSAGE(chan, name, number, ...) [VHU_CHAN_##chan][number] = VHU_MSG_##name + 1,
#include <vhu/messages.def>
	};

	_Static_assert(VHU_MSG_MAX < UINT8_MAX, "rows are counted in a byte");
	if ((unsigned)channel >= VHU_CHAN_MAX || id >= IDS || !rows[channel][id])
		return NULL;
	return &vhu_tab_msg[rows[channel][id] - 1];
}

static const struct vhu_alias_row *alias_by_name(const struct vhu_alias_row *aliases, const char *name)
{
	for (; aliases->name; aliases++)
		if (!strcmp(aliases->name, name))
			return aliases;
	return NULL;
}

const struct vhu_msg_row *vhu_msg_by_name(const char *name)
{
	for (size_t i = 0; i < VHU_MSG_MAX; i++)
		if (!strcmp(vhu_tab_msg[i].name, name))
			return &vhu_tab_msg[i];

	const struct vhu_alias_row *alias = alias_by_name(vhu_tab_msg_alias, name);
	return alias ? &vhu_tab_msg[alias->index] : NULL;
}

bool vhu_msg_by_chance(const struct vhu_msg_row *row)
{
	switch ((int)row->msg) {
	case VHU_MSG_BACKEND_CONFIG_CHANGE_MSG:
	case VHU_MSG_BACKEND_VRING_CALL:
	case VHU_MSG_BACKEND_VRING_ERR:
	case VHU_MSG_BACKEND_IOTLB_MSG:
	case VHU_MSG_BACKEND_VRING_HOST_NOTIFIER_MSG:
	case VHU_MSG_BACKEND_SHMEM_MAP:
	case VHU_MSG_BACKEND_SHMEM_UNMAP:
		return true;
	case VHU_MSG_GPU_GET_PROTOCOL_FEATURES:
	case VHU_MSG_GPU_SET_PROTOCOL_FEATURES:
		return false;
	default:
		return row->channel == VHU_CHAN_GPU;
	}
}

const char *vhu_msg_name_at(void *ctx, size_t i)
{
	if (i < VHU_MSG_MAX)
		return vhu_tab_msg[i].name;

	const struct vhu_alias_row *alias = vhu_tab_msg_alias;
	for (i -= VHU_MSG_MAX; alias->name && i; i--)
		alias++;
	return alias->name;
}

/* --- payloads -------------------------------------------------------------------------------- */

const struct vhu_payload_row *vhu_payload_row(enum vhu_payload payload)
{
	return (unsigned)payload < VHU_PL_MAX ? &vhu_tab_payload[payload] : NULL;
}

const struct vhu_field_row *vhu_payload_field(enum vhu_payload payload, size_t i)
{
	if ((unsigned)payload >= VHU_PL_MAX)
		return NULL;

	size_t first = vhu_tab_first_field[payload], end = vhu_tab_first_field[payload + 1];
	return i < end - first ? &vhu_tab_field[first + i] : NULL;
}

/*
 * Names are looked up several times for each message: equal literals are one string to the linker, and the
 * first letter tells most of the others apart.
 */
static bool same(const char *a, const char *b)
{
	return a == b || (a[0] == b[0] && !strcmp(a, b));
}

const struct vhu_field_row *vhu_field_by_name(enum vhu_payload payload, const char *name)
{
	if ((unsigned)payload >= VHU_PL_MAX)
		return NULL;

	const struct vhu_field_row *row = &vhu_tab_field[vhu_tab_first_field[payload]];
	const struct vhu_field_row *end = &vhu_tab_field[vhu_tab_first_field[payload + 1]];

	for (; row < end; row++)
		if (same(row->name, name))
			return row;
	return NULL;
}

const struct vhu_bits_row *vhu_payload_bits(enum vhu_payload payload, size_t i)
{
	if ((unsigned)payload >= VHU_PL_MAX)
		return NULL;

	size_t first = vhu_tab_first_bits[payload], end = vhu_tab_first_bits[payload + 1];
	return i < end - first ? &vhu_tab_bits[first + i] : NULL;
}

const struct vhu_bits_row *vhu_bits_by_name(enum vhu_payload payload, const char *name)
{
	if ((unsigned)payload >= VHU_PL_MAX)
		return NULL;

	const struct vhu_bits_row *row = &vhu_tab_bits[vhu_tab_first_bits[payload]];
	const struct vhu_bits_row *end = &vhu_tab_bits[vhu_tab_first_bits[payload + 1]];

	for (; row < end; row++)
		if (same(row->name, name))
			return row;
	return NULL;
}

const char *vhu_field_name_at(void *ctx, size_t i)
{
	enum vhu_payload payload = *(const enum vhu_payload *)ctx;
	size_t n_fields = 0;

	for (const struct vhu_field_row *field; (field = vhu_payload_field(payload, n_fields)); n_fields++)
		if (n_fields == i)
			return field->name;

	const struct vhu_bits_row *bits = vhu_payload_bits(payload, i - n_fields);
	return bits ? bits->name : NULL;
}

enum vhu_namespace vhu_field_namespace(enum vhu_payload payload, const char *field)
{
	for (const struct vhu_namespace_row *row = vhu_tab_namespace; row->field; row++)
		if (row->payload == payload && !strcmp(row->field, field))
			return row->ns;
	return VHU_NS_NONE;
}
