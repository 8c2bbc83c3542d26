#include "trace/ring_record.h"

/* Every number has its place; what of a record of each kind is there at least. */
enum {
	QUEUE = 0,
	EVENT_VALUE = 8,
	AVAIL_HEAD = 4, AVAIL_N = 6, AVAIL_INDEX = 8, AVAIL_BYTES = 12,
	USED_ID = 4, USED_LEN = 8, USED_INDEX = 12, USED_HASH = 16, USED_BYTES = 24,
	LAYOUT_SIZE = 4, LAYOUT_TYPE = 6, LAYOUT_PARTS = 8, LAYOUT_BASE = 32,
};

static const size_t head_len[VHU_CAP_RING_MAX] = {
	[VHU_CAP_RING_KICK] = VHU_CAP_EVENT_LEN,   [VHU_CAP_RING_CALL] = VHU_CAP_EVENT_LEN,
	[VHU_CAP_RING_ERR] = VHU_CAP_EVENT_LEN,	   [VHU_CAP_RING_AVAIL] = VHU_CAP_AVAIL_HEAD,
	[VHU_CAP_RING_USED] = VHU_CAP_USED_HEAD,   [VHU_CAP_RING_LAYOUT] = VHU_CAP_LAYOUT_LEN,
};

enum vhu_cap_direction vhu_ring_record_dir(enum vhu_cap_ring kind)
{
	return kind == VHU_CAP_RING_CALL || kind == VHU_CAP_RING_ERR || kind == VHU_CAP_RING_USED
		       ? VHU_CAP_DIR_BE
		       : VHU_CAP_DIR_FE;
}

/* --- reading ---------------------------------------------------------------------------------------- */

static uint64_t part(const struct vhu_record *r, size_t at, unsigned size)
{
	return vhu_le_get(r->payload + at, size);
}

static bool parse_avail(const struct vhu_record *r, struct vhu_ring_record *ret)
{
	size_t left = r->len - VHU_CAP_AVAIL_HEAD, table;

	ret->head = (uint16_t)part(r, AVAIL_HEAD, 2);
	ret->n_desc = (uint16_t)part(r, AVAIL_N, 2);
	ret->index = (uint32_t)part(r, AVAIL_INDEX, 4);
	ret->n_data = (size_t)part(r, AVAIL_BYTES, 4);
	ret->desc = r->payload + VHU_CAP_AVAIL_HEAD;
	table = ret->n_desc * (size_t)VHU_CAP_AVAIL_ENTRY;
	ret->data = ret->desc + table;
	return table <= left && ret->n_data <= left - table;
}

static bool parse_used(const struct vhu_record *r, struct vhu_ring_record *ret)
{
	ret->id = (uint32_t)part(r, USED_ID, 4);
	ret->len = (uint32_t)part(r, USED_LEN, 4);
	ret->index = (uint32_t)part(r, USED_INDEX, 4);
	ret->hash = part(r, USED_HASH, 8);
	ret->n_data = (size_t)part(r, USED_BYTES, 4);
	ret->data = r->payload + VHU_CAP_USED_HEAD;
	return ret->n_data <= r->len - VHU_CAP_USED_HEAD;
}

static bool parse_layout(const struct vhu_record *r, struct vhu_ring_record *ret)
{
	ret->size = (uint16_t)part(r, LAYOUT_SIZE, 2);
	ret->packed = part(r, LAYOUT_TYPE, 2) != 0;
	for (size_t i = 0; i < VHU_ARRAY_SIZE(ret->part); i++)
		ret->part[i] = part(r, LAYOUT_PARTS + 8 * i, 8);
	ret->base = (uint32_t)part(r, LAYOUT_BASE, 4);
	return part(r, LAYOUT_TYPE, 2) <= 1;
}

bool vhu_ring_record_parse(const struct vhu_record *r, struct vhu_ring_record *ret)
{
	*ret = (struct vhu_ring_record){0};
	if (r->kind >= VHU_CAP_RING_MAX || !head_len[r->kind] || r->len < head_len[r->kind])
		return false;
	ret->kind = (enum vhu_cap_ring)r->kind;
	ret->queue = (uint32_t)part(r, QUEUE, 4);
	switch (ret->kind) {
	case VHU_CAP_RING_AVAIL:
		return parse_avail(r, ret);
	case VHU_CAP_RING_USED:
		return parse_used(r, ret);
	case VHU_CAP_RING_LAYOUT:
		return parse_layout(r, ret);
	default:
		ret->value = part(r, EVENT_VALUE, 8);
		return true;
	}
}

struct vhu_ring_desc vhu_ring_record_desc(const struct vhu_ring_record *r, size_t i)
{
	const uint8_t *at = r->desc + i * VHU_CAP_AVAIL_ENTRY;

	return (struct vhu_ring_desc){.addr = vhu_le_get(at, 8),
				      .len = (uint32_t)vhu_le_get(at + 8, 4),
				      .flags = (uint16_t)vhu_le_get(at + 12, 2),
				      .id = (uint16_t)vhu_le_get(at + 14, 2)};
}

/* --- writing ---------------------------------------------------------------------------------------- */

void vhu_ring_desc_put(struct vhu_buf *out, const struct vhu_ring_desc *d)
{
	uint8_t *at = vhu_buf_more(out, VHU_CAP_AVAIL_ENTRY);

	if (!at)
		return;
	vhu_le_put(at, 8, d->addr);
	vhu_le_put(at + 8, 4, d->len);
	vhu_le_put(at + 12, 2, d->flags);
	vhu_le_put(at + 14, 2, d->id);
}

/* How much of the contents goes with a record. */
static size_t fitting(const struct vhu_ring_record *r)
{
	size_t before = VHU_CAP_HEADER_SOFT + head_len[r->kind] + r->n_desc * (size_t)VHU_CAP_AVAIL_ENTRY;

	return before < VHU_CAP_RECORD_MAX ? VHU_MIN(r->n_data, VHU_CAP_RECORD_MAX - before) : 0;
}

static void put_head(const struct vhu_ring_record *r, size_t n_data, uint8_t *at)
{
	switch (r->kind) {
	case VHU_CAP_RING_AVAIL:
		vhu_le_put(at + AVAIL_HEAD, 2, r->head);
		vhu_le_put(at + AVAIL_N, 2, r->n_desc);
		vhu_le_put(at + AVAIL_INDEX, 4, r->index);
		vhu_le_put(at + AVAIL_BYTES, 4, n_data);
		break;
	case VHU_CAP_RING_USED:
		vhu_le_put(at + USED_ID, 4, r->id);
		vhu_le_put(at + USED_LEN, 4, r->len);
		vhu_le_put(at + USED_INDEX, 4, r->index);
		vhu_le_put(at + USED_HASH, 8, r->hash);
		vhu_le_put(at + USED_BYTES, 4, n_data);
		break;
	case VHU_CAP_RING_LAYOUT:
		vhu_le_put(at + LAYOUT_SIZE, 2, r->size);
		vhu_le_put(at + LAYOUT_TYPE, 2, r->packed);
		for (size_t i = 0; i < VHU_ARRAY_SIZE(r->part); i++)
			vhu_le_put(at + LAYOUT_PARTS + 8 * i, 8, r->part[i]);
		vhu_le_put(at + LAYOUT_BASE, 4, r->base);
		break;
	default:
		vhu_le_put(at + EVENT_VALUE, 8, r->value);
		break;
	}
}

void vhu_ring_record_put(const struct vhu_ring_record *r, struct vhu_buf *out)
{
	size_t n_data = fitting(r);
	uint8_t *at = vhu_buf_more(out, head_len[r->kind]);

	if (!at)
		return;
	memset(at, 0, head_len[r->kind]);
	vhu_le_put(at + QUEUE, 4, r->queue);
	put_head(r, n_data, at);
	if (r->n_desc)
		vhu_buf_add(out, r->desc, r->n_desc * (size_t)VHU_CAP_AVAIL_ENTRY);
	if (n_data)
		vhu_buf_add(out, r->data, n_data);
}
