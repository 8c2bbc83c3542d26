/*
 * Packed rings: whether the device kept its hands off what is the driver's, and places by name. What is
 * found is put right, so that it is told once.
 */
#include <errno.h>
#include <string.h>

#include "access.h"
#include "packed.h"

enum { LOOKS = 2000 }; /* at a mark that may be the last of a batch */

static uint8_t *slot_at(const struct packed *p, uint16_t at)
{
	return p->desc + (size_t)at * VHU_C_DESC_SIZE;
}

static uint8_t *shadow_at(const struct packed *p, uint16_t at)
{
	return p->shadow + (size_t)at * VHU_C_DESC_SIZE;
}

static bool differs(const struct packed *p, uint16_t at)
{
	return memcmp(slot_at(p, at), shadow_at(p, at), VHU_C_DESC_SIZE) != 0;
}

static void tell_slot(struct packed *p, uint16_t at, enum vhu_breach breach, const char *what)
{
	struct vhu_ring_event event = {
		.breach = breach, .gpa = p->v.layout->desc + (uint64_t)at * VHU_C_DESC_SIZE};
	char was[64], is[64];

	vhu_hex_format(shadow_at(p, at), VHU_C_DESC_SIZE, was, sizeof(was));
	vhu_hex_format(slot_at(p, at), VHU_C_DESC_SIZE, is, sizeof(is));
	vhu_vring_report(&p->v, &event, "descriptor %u, %s, was written: %s, was %s", at, what, is, was);
	memcpy(slot_at(p, at), shadow_at(p, at), VHU_C_DESC_SIZE);
}

void vhu_packed_check_skipped(struct packed *p, struct place from, uint32_t slots)
{
	for (uint32_t k = 1; k < slots; k++) {
		uint16_t at = place_behind(p, from, k).at;

		if (!differs(p, at))
			continue;
		tell_slot(p, at, VHU_BREACH_PACKED_SKIPPED, "inside a list that was returned");
		return;
	}
}

/* Slots that are the driver's: before any buffer in flight, or behind the last. */
static void check_slots(struct packed *p)
{
	uint32_t in_flight = slots_owned(p);

	for (uint32_t k = in_flight; k < p->size; k++) {
		struct place at = place_behind(p, p->used, k);

		if (!differs(p, at.at))
			continue;
		if (p->kind[at.at] == SLOT_USED)
			tell_slot(p, at.at, VHU_BREACH_PACKED_CHANGED, "seen as used");
		else if (p->kind[at.at] == SLOT_COVERED)
			tell_slot(p, at.at, VHU_BREACH_OUT_OF_ORDER,
				  "of a buffer that an earlier used descriptor covered");
		else if (vhu_packed_marks(p, at.at) == used_marks(at.wrap))
			tell_slot(p, at.at, VHU_BREACH_PACKED_NOT_AVAILABLE, "which was not available");
		else
			tell_slot(p, at.at, VHU_BREACH_WROTE_DESC, "which is the driver's");
	}
}

/* A mark behind the place where one is due. The first of a batch may be the last to be set. */
static void check_hole(struct packed *p)
{
	uint32_t in_flight = slots_owned(p);

	for (uint32_t k = 1; k < in_flight; k++) {
		struct place at = place_behind(p, p->used, k);
		bool came = false;

		if (vhu_packed_marks(p, at.at) != used_marks(at.wrap))
			continue;
		for (int i = 0; i < LOOKS && !came; i++)
			came = vhu_packed_marks(p, p->used.at) == used_marks(p->used.wrap);
		if (!came)
			vhu_vring_report(
				&p->v,
				&(struct vhu_ring_event){p->v.in_order ? VHU_BREACH_IN_ORDER_BATCH
								       : VHU_BREACH_PACKED_HOLE,
							 .gpa = p->v.layout->desc +
								(uint64_t)at.at * VHU_C_DESC_SIZE},
				"descriptor %u is marked as used, but the next one is due at %u", at.at,
				p->used.at);
		return;
	}
}

static void check_tables(struct packed *p)
{
	for (uint16_t i = p->buffer[order_list(p)].next; i != order_list(p); i = p->buffer[i].next)
		vhu_table_check(&p->v, i, &p->buffer[i].table);
}

static void check_driver_event(struct packed *p)
{
	uint32_t is = ring_load32(p->driver), was = (uint32_t)vhu_le_get(p->driver_shadow, EVENT_SIZE);

	if (is == was)
		return;
	vhu_vring_report(
		&p->v, &(struct vhu_ring_event){VHU_BREACH_PACKED_DRIVER_EVENT, .gpa = p->v.layout->avail},
		"the driver event structure is 0x%08x, was 0x%08x", is, was);
	ring_store32(p->driver, was);
}

void vhu_packed_audit(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);

	vhu_packed_device_event(p);
	check_slots(p);
	check_hole(p);
	check_tables(p);
	check_driver_event(p);
}

/* --- places by name ----------------------------------------------------------------------------------- */

enum part { PART_DESC, PART_DRIVER, PART_DEVICE };

static const struct vhu_place_row places[] = {
	{"desc[#].addr", PART_DESC, DESC_ADDR, VHU_C_DESC_SIZE, 8},
	{"desc[#].len", PART_DESC, DESC_LEN, VHU_C_DESC_SIZE, 4},
	{"desc[#].id", PART_DESC, DESC_ID, VHU_C_DESC_SIZE, 2},
	{"desc[#].flags", PART_DESC, DESC_FLAGS, VHU_C_DESC_SIZE, 2},
	{"driver.offset", PART_DRIVER, EVENT_PLACE, 0, 2},
	{"driver.flags", PART_DRIVER, EVENT_FLAGS, 0, 2},
	{"device.offset", PART_DEVICE, EVENT_PLACE, 0, 2},
	{"device.flags", PART_DEVICE, EVENT_FLAGS, 0, 2},
};

static const struct vhu_places table = {
	.row = places,
	.n = VHU_ARRAY_SIZE(places),
	.all = "a packed ring: there are desc[I].addr|len|id|flags, driver.offset|flags, device.offset|flags",
};

static uint8_t *memory_of(const struct packed *p, const struct vhu_place *place)
{
	switch ((enum part)place->row->part) {
	case PART_DESC:
		return p->desc + place->offset;
	case PART_DRIVER:
		return p->driver + place->offset;
	case PART_DEVICE:
		break;
	}
	return p->device + place->offset;
}

void vhu_packed_acknowledge(struct vhu_vring *v, const struct vhu_place *place, uint64_t value)
{
	struct packed *p = packed_of(v);
	uint64_t known = p->device_known;

	switch ((enum part)place->row->part) {
	case PART_DESC:
		vhu_le_put(p->shadow + place->offset, place->row->size, value);
		return;
	case PART_DRIVER:
		vhu_le_put(p->driver_shadow + place->offset, place->row->size, value);
		p->hands_off = true;
		return;
	case PART_DEVICE:
		break;
	}
	known &= place->offset == EVENT_PLACE ? UINT64_C(0xffff0000) : UINT64_C(0xffff);
	p->device_known = (uint32_t)(known | value << (place->offset == EVENT_PLACE ? 0 : 16));
}

int vhu_packed_find(const struct vhu_vring *v, const char *at, struct vhu_place *ret, struct vhu_err *err)
{
	const struct packed *p = packed_of_const(v);
	int r = vhu_place_find(&table, p->size, at, ret, err);

	if (r == 0)
		ret->mem = memory_of(p, ret);
	return r;
}
