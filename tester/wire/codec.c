/* Numbers and bytes in a payload, by the names of its rows. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "wire/frame.h"

static bool is_number(const struct vhu_field_row *row)
{
	if (row->kind != VHU_FIELD_UINT && row->kind != VHU_FIELD_PAD)
		return false;
	return row->size == 1 || row->size == 2 || row->size == 4 || row->size == 8;
}

static bool whole_field(const struct vhu_field_row *row, size_t base, struct vhu_slot *ret)
{
	if (!is_number(row))
		return false;
	*ret = (struct vhu_slot){base + row->offset, row->size, 0, (unsigned)(8 * row->size)};
	return true;
}

/* A field of payload REGION inside the embedded region number i of `row`. */
static bool region_field(const struct vhu_field_row *row, size_t i, const char *name, struct vhu_slot *ret)
{
	const struct vhu_field_row *field = vhu_field_by_name(VHU_PL_REGION, name);

	return field && whole_field(field, row->offset + i * row->size, ret);
}

/* "NAME[i]" or "NAME[i].FIELD" */
static bool element(enum vhu_payload pl, const char *name, const char *bracket, struct vhu_slot *ret)
{
	char part[32];
	uint64_t i = 0;
	const char *close = strchr(bracket, ']');

	if (!close || (size_t)(bracket - name) >= sizeof(part) || (size_t)(close - bracket) > sizeof(part))
		return false;
	memcpy(part, name, (size_t)(bracket - name));
	part[bracket - name] = '\0';
	const struct vhu_field_row *row = vhu_field_by_name(pl, part);

	memcpy(part, bracket + 1, (size_t)(close - bracket - 1));
	part[close - bracket - 1] = '\0';
	if (!row || !row->count || vhu_u64_parse(part, &i) < 0 || i > UINT32_MAX)
		return false;
	if (row->kind == VHU_FIELD_REGION)
		return close[1] == '.' && region_field(row, i, close + 2, ret);
	return !close[1] && whole_field(row, i * row->size, ret);
}

static bool locate(enum vhu_payload pl, const char *name, struct vhu_slot *ret)
{
	const struct vhu_field_row *row = vhu_field_by_name(pl, name);
	const struct vhu_bits_row *bits;
	const char *bracket;

	if (row)
		return !row->count && whole_field(row, 0, ret);

	bits = vhu_bits_by_name(pl, name);
	if (bits) {
		row = vhu_field_by_name(pl, bits->field);
		*ret = (struct vhu_slot){row->offset, row->size, bits->first, bits->width};
		return true;
	}
	bracket = strchr(name, '[');
	if (bracket)
		return element(pl, name, bracket, ret);
	for (size_t i = 0; (row = vhu_payload_field(pl, i)); i++)
		if (row->kind == VHU_FIELD_REGION && !row->count)
			return region_field(row, 0, name, ret);
	return false;
}

static int store(struct vhu_frame *f, struct vhu_slot s, uint64_t value)
{
	if (value > vhu_slot_mask(s))
		return -ERANGE;
	if (!vhu_frame_has(f, s))
		return -ENOSPC;

	uint64_t word = vhu_ne_get(f->payload + s.offset, s.size);
	word &= ~(vhu_slot_mask(s) << s.shift);
	vhu_ne_put(f->payload + s.offset, s.size, word | value << s.shift);
	return 0;
}

bool vhu_frame_get(const struct vhu_frame *f, enum vhu_payload pl, const char *name, uint64_t *ret)
{
	struct vhu_slot s;

	return locate(pl, name, &s) && vhu_frame_load(f, s, ret);
}

int vhu_frame_set(struct vhu_frame *f, enum vhu_payload pl, const char *name, uint64_t value)
{
	struct vhu_slot s;

	return locate(pl, name, &s) ? store(f, s, value) : -ENOENT;
}

uint64_t vhu_frame_u64(const struct vhu_frame *f, const char *name)
{
	uint64_t value = 0;

	vhu_frame_get(f, vhu_frame_payload(f), name, &value);
	return value;
}

bool vhu_frame_config(const struct vhu_frame *f, enum vhu_device device, const char *name, uint64_t *ret)
{
	const size_t head = vhu_payload_row(VHU_PL_CONFIG)->min;
	const struct vhu_config_row *row = vhu_config_by_name(device, name);
	uint64_t offset;

	if (!row || !vhu_frame_get(f, VHU_PL_CONFIG, "offset", &offset) || row->offset < offset ||
	    f->len < head || row->offset - offset + row->size > f->len - head)
		return false;
	*ret = vhu_le_get(f->payload + head + (row->offset - offset), row->size);
	return true;
}

bool vhu_frame_ring(const struct vhu_frame *f, uint64_t *ret)
{
	static const struct vhu_slot slots[VHU_PL_MAX] = {
		[VHU_PL_VRING_STATE] = VHU_SLOT(VRING_STATE, index),
		[VHU_PL_VRING_BASE] = VHU_SLOT(VRING_BASE, index),
		[VHU_PL_VRING_ADDR] = VHU_SLOT(VRING_ADDR, index),
		[VHU_PL_VRING_FD] = VHU_SLOT(VRING_FD, index),
		[VHU_PL_VRING_AREA] = VHU_SLOT(VRING_AREA, index),
	};
	enum vhu_payload pl = vhu_frame_payload(f);

	*ret = 0;
	return pl < VHU_PL_MAX && slots[pl].size && vhu_frame_load(f, slots[pl], ret);
}

static bool locate_region(enum vhu_payload pl, size_t i, const char *name, struct vhu_slot *ret)
{
	const struct vhu_field_row *row;

	for (size_t n = 0; (row = vhu_payload_field(pl, n)); n++)
		if (row->kind == VHU_FIELD_REGION)
			return (row->count ? i <= UINT32_MAX : !i) && region_field(row, i, name, ret);
	return false;
}

bool vhu_frame_region(const struct vhu_frame *f, enum vhu_payload pl, size_t i, const char *field,
		      uint64_t *ret)
{
	struct vhu_slot s;

	return locate_region(pl, i, field, &s) && vhu_frame_load(f, s, ret);
}

uint64_t vhu_frame_end_in_file(const struct vhu_frame *f, size_t i)
{
	enum vhu_payload pl = vhu_frame_payload(f);
	uint64_t size = 0, offset = 0, end;

	if (pl == VHU_PL_MEM_TABLE || pl == VHU_PL_MEM_REG) {
		vhu_frame_region(f, pl, i, "memory_size", &size);
		vhu_frame_region(f, pl, i, "mmap_offset", &offset);
	} else if (i == 0 && pl < VHU_PL_MAX) {
		vhu_frame_get(f, pl, "mmap_size", &size);
		vhu_frame_get(f, pl, "mmap_offset", &offset);
	}
	return __builtin_add_overflow(size, offset, &end) ? 0 : end;
}

int vhu_frame_set_region(struct vhu_frame *f, enum vhu_payload pl, size_t i, const char *field,
			 uint64_t value)
{
	struct vhu_slot s;

	return locate_region(pl, i, field, &s) ? store(f, s, value) : -ENOENT;
}

static const struct vhu_field_row *bytes_row(enum vhu_payload pl, const char *name)
{
	const struct vhu_field_row *row = vhu_field_by_name(pl, name);

	return row && row->kind == VHU_FIELD_BYTES ? row : NULL;
}

bool vhu_frame_bytes(const struct vhu_frame *f, enum vhu_payload pl, const char *name, const uint8_t **ret,
		     size_t *ret_len)
{
	const struct vhu_field_row *row = bytes_row(pl, name);

	if (!row || row->offset >= f->len)
		return false;
	*ret = f->payload + row->offset;
	*ret_len = f->len - row->offset;
	if (row->size && *ret_len > row->size)
		*ret_len = row->size;
	return true;
}

int vhu_frame_set_bytes(struct vhu_frame *f, enum vhu_payload pl, const char *name, const uint8_t *bytes,
			size_t len)
{
	const struct vhu_field_row *row = bytes_row(pl, name);

	if (!row)
		return -ENOENT;
	if (row->size && len > row->size)
		return -ERANGE;
	if (row->size && (row->offset > f->len || row->size > f->len - row->offset))
		return -ENOSPC;
	if (!row->size) {
		if (len > VHU_FRAME_GPU_PAYLOAD_MAX)
			return -E2BIG;

		int r = vhu_frame_resize(f, row->offset + len, NULL);
		if (r < 0)
			return r;
	}
	if (len)
		memcpy(f->payload + row->offset, bytes, len);
	if (row->size > len)
		memset(f->payload + row->offset + len, 0, row->size - len);
	return 0;
}
