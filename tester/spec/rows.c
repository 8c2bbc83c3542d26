/* Look-ups of devices, requirements, breaches, faults and constants. */
#include "spec/spec.h"

#include <string.h>

#include "tables.h"

/* --- devices --------------------------------------------------------------------------------- */

const struct vhu_device_row *vhu_device_row(enum vhu_device device)
{
	return (unsigned)device < VHU_DEV_MAX ? &vhu_tab_device[device] : NULL;
}

const struct vhu_device_row *vhu_device_by_name(const char *name)
{
	for (size_t i = 0; i < VHU_DEV_MAX; i++)
		if (!strcmp(vhu_tab_device[i].name, name))
			return &vhu_tab_device[i];
	return NULL;
}

const struct vhu_config_row *vhu_config_row(enum vhu_device device, size_t i)
{
	for (const struct vhu_config_row *row = vhu_tab_config; row->field; row++)
		if (row->device == device && !i--)
			return row;
	return NULL;
}

const struct vhu_config_row *vhu_config_by_name(enum vhu_device device, const char *field)
{
	for (const struct vhu_config_row *row = vhu_tab_config; row->field; row++)
		if (row->device == device && !strcmp(row->field, field))
			return row;
	return NULL;
}

const struct vhu_layout_row *vhu_layout_field(const char *layout, size_t i)
{
	for (const struct vhu_layout_row *row = vhu_tab_layout; row->layout; row++)
		if (!strcmp(row->layout, layout) && !i--)
			return row;
	return NULL;
}

size_t vhu_layout_size(const char *layout)
{
	const struct vhu_layout_row *row;
	size_t size = 0;

	for (size_t i = 0; (row = vhu_layout_field(layout, i)); i++)
		size = VHU_MAX(size, row->offset + row->size);
	return size;
}

/* --- requirements ---------------------------------------------------------------------------- */

const struct vhu_req_row *vhu_req_row(enum vhu_req req)
{
	return (unsigned)req < VHU_REQ_MAX ? &vhu_tab_req[req] : NULL;
}

const struct vhu_req_row *vhu_req_by_id(const char *id)
{
	for (size_t i = 0; i < VHU_REQ_MAX; i++)
		if (!strcmp(vhu_tab_req[i].id, id))
			return &vhu_tab_req[i];
	return NULL;
}

const char *vhu_req_id_at(void *ctx, size_t i)
{
	return i < VHU_REQ_MAX ? vhu_tab_req[i].id : NULL;
}

const struct vhu_breach_row *vhu_breach_row(enum vhu_breach breach)
{
	return (unsigned)breach < VHU_BREACH_MAX ? &vhu_tab_breach[breach] : NULL;
}

enum vhu_req vhu_breach_req(enum vhu_breach breach, bool packed)
{
	enum vhu_req own = vhu_tab_breach_packed[breach];

	return packed && own ? own : vhu_tab_breach[breach].req;
}

const struct vhu_fault_row *vhu_fault_row(size_t i)
{
	return i < vhu_tab_faults ? &vhu_tab_fault[i] : NULL;
}

const struct vhu_fault_row *vhu_fault_by_id(const char *id)
{
	for (const struct vhu_fault_row *row = vhu_tab_fault; row->id; row++)
		if (!strcmp(row->id, id))
			return row;
	return NULL;
}

const struct vhu_bug_row *vhu_bug_row(size_t i)
{
	return i < vhu_tab_bugs ? &vhu_tab_bug[i] : NULL;
}

/* --- single names ---------------------------------------------------------------------------- */

bool vhu_constant_by_name(const char *name, uint64_t *ret)
{
	for (const struct vhu_constant_row *row = vhu_tab_constant; row->name; row++) {
		if (!strcmp(row->name, name)) {
			*ret = row->value;
			return true;
		}
	}
	return false;
}

const char *vhu_level_name(enum vhu_level level)
{
	switch (level) {
	case VHU_LEVEL_MUST:
		return "MUST";
	case VHU_LEVEL_SHOULD:
		return "SHOULD";
	case VHU_LEVEL_MAY:
		return "MAY";
	case VHU_LEVEL_IMPLIED:
		return "IMPLIED";
	case VHU_LEVEL_MAX:
		break;
	}
	return "?";
}

const char *vhu_channel_name(enum vhu_channel channel)
{
	switch (channel) {
	case VHU_CHAN_MAIN:
		return "main";
	case VHU_CHAN_BACKEND:
		return "backend";
	case VHU_CHAN_GPU:
		return "gpu";
	case VHU_CHAN_MAX:
		break;
	}
	return "?";
}
