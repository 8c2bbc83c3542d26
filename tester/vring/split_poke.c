/* Split rings: places by name, for cases that look at a ring or break its rules. */
#include "split.h"

#include <errno.h>

#include "access.h"

enum part { PART_DESC, PART_AVAIL, PART_USED };

/* '#' stands for an index; the place is at offset + index * stride of the part. */
static const struct place_row {
	const char *name;
	enum part part;
	uint32_t offset, stride;
	uint8_t size;
	bool behind; /* the offset counts from the end of the array */
} places[] = {
	{"desc[#].addr", PART_DESC, 0, VHU_C_DESC_SIZE, 8, false},
	{"desc[#].len", PART_DESC, 8, VHU_C_DESC_SIZE, 4, false},
	{"desc[#].flags", PART_DESC, 12, VHU_C_DESC_SIZE, 2, false},
	{"desc[#].next", PART_DESC, 14, VHU_C_DESC_SIZE, 2, false},
	{"avail.flags", PART_AVAIL, AVAIL_FLAGS, 0, 2, false},
	{"avail.idx", PART_AVAIL, AVAIL_IDX, 0, 2, false},
	{"avail.ring[#]", PART_AVAIL, AVAIL_RING, 2, 2, false},
	{"avail.used_event", PART_AVAIL, AVAIL_RING, 2, 2, true},
	{"used.flags", PART_USED, USED_FLAGS, 0, 2, false},
	{"used.idx", PART_USED, USED_IDX, 0, 2, false},
	{"used.ring[#].id", PART_USED, USED_RING, USED_ELEMENT, 4, false},
	{"used.ring[#].len", PART_USED, USED_RING + 4, USED_ELEMENT, 4, false},
	{"used.avail_event", PART_USED, USED_RING, USED_ELEMENT, 2, true},
};

struct place {
	const struct place_row *row;
	uint64_t index;
	uint32_t offset;
};

static bool name_matches(const char *pattern, const char *at, uint64_t *ret_index)
{
	*ret_index = 0;
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*at++ != *pattern)
				return false;
			continue;
		}
		if (*at < '0' || *at > '9')
			return false;
		for (; *at >= '0' && *at <= '9'; at++) {
			if (*ret_index > UINT32_MAX)
				return false;
			*ret_index = *ret_index * 10 + (uint64_t)(*at - '0');
		}
	}
	return *at == '\0';
}

static int find_place(const struct split *s, const char *at, struct place *ret, struct vhu_err *err)
{
	for (size_t i = 0; i < VHU_ARRAY_SIZE(places); i++) {
		const struct place_row *row = &places[i];

		if (!name_matches(row->name, at, &ret->index))
			continue;
		if (ret->index >= s->size)
			return vhu_err_set(err, -ENOENT, "'%s': the ring has %u entries", at, s->size);
		ret->row = row;
		ret->offset = row->offset + row->stride * (row->behind ? s->size : (uint32_t)ret->index);
		return 0;
	}
	return vhu_err_set(
		err, -ENOENT,
		"no '%s' in a split ring: there are desc[I].addr|len|flags|next, "
		"avail.flags|idx|ring[I]|used_event, used.flags|idx|ring[I].id|ring[I].len|avail_event",
		at);
}

static uint8_t *memory_of(const struct split *s, const struct place *p)
{
	switch (p->row->part) {
	case PART_DESC:
		return s->desc + p->offset;
	case PART_AVAIL:
		return s->avail + p->offset;
	case PART_USED:
		break;
	}
	return s->used + p->offset;
}

/* What the driver itself wrote is no fault of the device. */
static void acknowledge(struct split *s, const struct place *p, uint64_t value)
{
	switch (p->row->part) {
	case PART_DESC:
		vhu_le_put(s->desc_shadow + p->offset, p->row->size, value);
		return;
	case PART_AVAIL:
		vhu_le_put(s->avail_shadow + p->offset, p->row->size, value);
		/* Flags of 0 are what the driver writes: they are its own again. */
		if (p->row->behind)
			s->hands_off = true;
		else if (p->row->offset == AVAIL_FLAGS)
			s->hands_off = value != 0;
		return;
	case PART_USED:
		break;
	}
	if (p->row->behind)
		s->avail_event = (uint16_t)value;
	else if (p->row->stride)
		s->poisoned[p->index] = false;
	else if (p->row->offset == USED_FLAGS)
		s->flags_known = (uint16_t)value;
	else
		s->last_used = (uint16_t)value;
}

int vhu_split_poke(struct vhu_vring *v, const char *at, uint64_t value, struct vhu_err *err)
{
	struct split *s = split_of(v);
	struct place p;
	int r = find_place(s, at, &p, err);
	uint8_t *mem;

	if (r < 0)
		return r;
	if (p.row->size < 8 && value >> (p.row->size * 8))
		return vhu_err_set(err, -EINVAL, "'%s' has %u bytes, 0x%llx does not fit", at, p.row->size,
				   (unsigned long long)value);
	mem = memory_of(s, &p);
	acknowledge(s, &p, value);
	if (p.row->size == 8)
		ring_store64(mem, value);
	else if (p.row->size == 4)
		ring_store32(mem, (uint32_t)value);
	else
		ring_store16_release(mem, (uint16_t)value);
	return 0;
}

int vhu_split_peek(const struct vhu_vring *v, const char *at, uint64_t *ret, struct vhu_err *err)
{
	const struct split *s = split_of_const(v);
	struct place p;
	int r = find_place(s, at, &p, err);
	const uint8_t *mem;

	if (r < 0)
		return r;
	mem = memory_of(s, &p);
	*ret = p.row->size == 8	  ? ring_load64(mem)
	       : p.row->size == 4 ? ring_load32(mem)
				  : ring_load16_acquire(mem);
	return 0;
}
