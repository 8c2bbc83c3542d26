/* Split rings: places by name, for cases that look at a ring or break its rules. */
#include "split.h"

enum part { PART_DESC, PART_AVAIL, PART_USED };

static const struct vhu_place_row places[] = {
	{"desc[#].addr", PART_DESC, 0, VHU_C_DESC_SIZE, 8, false},
	{"desc[#].len", PART_DESC, 8, VHU_C_DESC_SIZE, 4, false},
	{"desc[#].flags", PART_DESC, 12, VHU_C_DESC_SIZE, 2, false},
	{"desc[#].next", PART_DESC, 14, VHU_C_DESC_SIZE, 2, false},
	{"avail.flags", PART_AVAIL, VHU_AVAIL_FLAGS, 0, 2, false},
	{"avail.idx", PART_AVAIL, VHU_AVAIL_IDX, 0, 2, false},
	{"avail.ring[#]", PART_AVAIL, VHU_AVAIL_RING, 2, 2, false},
	{"avail.used_event", PART_AVAIL, VHU_AVAIL_RING, 2, 2, true},
	{"used.flags", PART_USED, VHU_USED_FLAGS, 0, 2, false},
	{"used.idx", PART_USED, VHU_USED_IDX, 0, 2, false},
	{"used.ring[#].id", PART_USED, VHU_USED_RING, VHU_USED_ELEMENT, 4, false},
	{"used.ring[#].len", PART_USED, VHU_USED_RING + 4, VHU_USED_ELEMENT, 4, false},
	{"used.avail_event", PART_USED, VHU_USED_RING, VHU_USED_ELEMENT, 2, true},
};

static const struct vhu_places table = {
	.row = places,
	.n = VHU_ARRAY_SIZE(places),
	.all = "a split ring: there are desc[I].addr|len|flags|next, avail.flags|idx|ring[I]|used_event, "
	       "used.flags|idx|ring[I].id|ring[I].len|avail_event",
};

static uint8_t *memory_of(const struct split *s, const struct vhu_place *p)
{
	switch ((enum part)p->row->part) {
	case PART_DESC:
		return s->desc + p->offset;
	case PART_AVAIL:
		return s->avail + p->offset;
	case PART_USED:
		break;
	}
	return s->used + p->offset;
}

void vhu_split_acknowledge(struct vhu_vring *v, const struct vhu_place *p, uint64_t value)
{
	struct split *s = split_of(v);

	switch ((enum part)p->row->part) {
	case PART_DESC:
		vhu_le_put(s->desc_shadow + p->offset, p->row->size, value);
		return;
	case PART_AVAIL:
		vhu_le_put(s->avail_shadow + p->offset, p->row->size, value);
		/* Flags of 0 are what the driver writes: they are its own again. */
		if (p->row->behind)
			s->hands_off = true;
		else if (p->row->offset == VHU_AVAIL_FLAGS)
			s->hands_off = value != 0;
		return;
	case PART_USED:
		break;
	}
	if (p->row->behind)
		s->avail_event = (uint16_t)value;
	else if (p->row->stride)
		s->poisoned[p->index] = false;
	else if (p->row->offset == VHU_USED_FLAGS)
		s->flags_known = (uint16_t)value;
	else
		s->last_used = (uint16_t)value;
}

int vhu_split_find(const struct vhu_vring *v, const char *at, struct vhu_place *ret, struct vhu_err *err)
{
	const struct split *s = split_of_const(v);
	int r = vhu_place_find(&table, s->size, at, ret, err);

	if (r == 0)
		ret->mem = memory_of(s, ret);
	return r;
}
