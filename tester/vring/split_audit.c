/*
 * Split rings: whether the device kept its hands off what is the driver's. What is found is put
 * right, so that it is told once.
 */
#include "split.h"

#include <string.h>

#include "access.h"
#include "mem/mem.h"

static unsigned long long desc_at(const struct split *s, uint32_t i)
{
	return s->v.layout->desc + (uint64_t)i * VHU_C_DESC_SIZE;
}

static void check_desc(struct split *s)
{
	uint32_t n = 0, first = 0;
	char was[64], is[64];

	for (uint32_t i = 0; i < s->size; i++) {
		uint8_t *p = s->desc + (size_t)i * VHU_C_DESC_SIZE;
		const uint8_t *q = s->desc_shadow + (size_t)i * VHU_C_DESC_SIZE;

		if (memcmp(p, q, VHU_C_DESC_SIZE) == 0)
			continue;
		if (n++ == 0) {
			first = i;
			vhu_hex_format(q, VHU_C_DESC_SIZE, was, sizeof(was));
			vhu_hex_format(p, VHU_C_DESC_SIZE, is, sizeof(is));
		}
		memcpy(p, q, VHU_C_DESC_SIZE);
	}
	if (n > 0)
		vhu_vring_report(&s->v,
				 &(struct vhu_ring_event){VHU_BREACH_WROTE_DESC, .head = (uint16_t)first,
							  .gpa = desc_at(s, first)},
				 "%u descriptors were written, first number %u: %s, was %s", n, first, is,
				 was);
}

static void check_tables(struct split *s)
{
	for (uint16_t i = s->slot[order_list(s)].next; i != order_list(s); i = s->slot[i].next) {
		vhu_table_check(&s->v, i, &s->slot[i].table);
	}
}

/* The name of the word at that offset of the available ring. */
static void avail_name(const struct split *s, uint32_t at, char *out, size_t cap)
{
	if (at == VHU_AVAIL_FLAGS)
		snprintf(out, cap, "avail.flags");
	else if (at == VHU_AVAIL_IDX)
		snprintf(out, cap, "avail.idx");
	else if (at == used_event_at(s))
		snprintf(out, cap, "used_event");
	else
		snprintf(out, cap, "avail.ring[%u]", (at - VHU_AVAIL_RING) / 2);
}

static void check_avail(struct split *s)
{
	for (uint32_t at = 0; at <= used_event_at(s); at += 2) {
		uint16_t is = ring_load16(s->avail + at), was = (uint16_t)vhu_le_get(s->avail_shadow + at, 2);
		struct vhu_ring_event event = {.breach = VHU_BREACH_WROTE_AVAIL,
					       .gpa = s->v.layout->avail + at};
		char name[32];

		if (is == was)
			continue;
		if (at == used_event_at(s) && !s->v.event_idx)
			event.breach = VHU_BREACH_WROTE_EVENT_WORD;
		avail_name(s, at, name, sizeof(name));
		vhu_vring_report(&s->v, &event, "%s is 0x%x, was 0x%x", name, is, was);
		ring_store16(s->avail + at, was);
	}
}

static void check_avail_event(struct split *s)
{
	uint16_t is = ring_load16(s->used + avail_event_at(s));

	if (s->v.event_idx || is == s->avail_event)
		return;
	vhu_vring_report(&s->v,
			 &(struct vhu_ring_event){VHU_BREACH_WROTE_EVENT_WORD,
						  .gpa = s->v.layout->used + avail_event_at(s)},
			 "avail_event is 0x%x, was 0x%x; EVENT_IDX is off", is, s->avail_event);
	ring_store16(s->used + avail_event_at(s), s->avail_event);
}

/* Elements in slots that no index has reached yet. Those that were awaited have been told. */
static void check_slots(struct split *s)
{
	struct element e;
	uint32_t slot;

	for (size_t i = 0; i < s->n_late; i++)
		s->poisoned[s->late[i]] = false;
	s->n_late = 0;
	slot = vhu_split_misplaced(s);
	if (slot == s->size)
		return;
	vhu_split_element(s, slot, &e);
	vhu_vring_report(&s->v,
			 &(struct vhu_ring_event){VHU_BREACH_USED_SLOT, .id = e.id, .len = e.len,
						  .gpa = s->v.layout->used + VHU_USED_RING +
							 VHU_USED_ELEMENT * (uint64_t)slot},
			 "slot %u holds id %u, len %u, but used.idx is %u", slot, e.id, e.len, s->last_used);
	for (; slot < s->size; slot = vhu_split_misplaced(s))
		s->poisoned[slot] = false;
}

void vhu_split_audit(struct vhu_vring *v)
{
	struct split *s = split_of(v);

	vhu_split_flags(s);
	check_desc(s);
	check_tables(s);
	check_avail(s);
	check_avail_event(s);
	check_slots(s);
}
