/*
 * Packed rings: used descriptors, which are the device's to write and which are believed in nothing.
 * Every loop here is bounded by what is outstanding.
 */
#include "access.h"
#include "packed.h"

enum { LOOKS = 2000 }; /* at an id that is not there yet: some microseconds */

/* A used descriptor as it was read, once. */
struct mark {
	uint16_t id, flags;
	uint32_t len;
};

static const uint8_t *slot_at(const struct packed *p, uint16_t at)
{
	return p->desc + (size_t)at * VHU_C_DESC_SIZE;
}

static bool is_used(uint16_t flags)
{
	return (flags & DESC_F_MARKS) == 0 || (flags & DESC_F_MARKS) == DESC_F_MARKS;
}

static bool in_flight(const struct packed *p, uint32_t id)
{
	return id < p->size && p->buffer[id].state == BUFFER_OWNED;
}

/* The how-manieth of those in flight it is by order of submission, from 1; its slots and those before. */
static uint32_t position(const struct packed *p, uint16_t id, uint32_t *ret_slots)
{
	uint32_t k = 1;

	*ret_slots = p->buffer[id].slots;
	if (p->buffer[id].overtaken)
		return 1;
	for (uint16_t i = p->buffer[order_list(p)].next; i != id; i = p->buffer[i].next) {
		if (p->buffer[i].overtaken)
			continue;
		k++;
		*ret_slots += p->buffer[i].slots;
	}
	return k;
}

uint32_t vhu_packed_unseen(const struct packed *p, struct place *ret)
{
	uint32_t n = 0, seen = 0, left = slots_owned(p), slots;

	*ret = p->used;
	while (left > 0 && n < p->owned && vhu_packed_marks(p, ret->at) == used_marks(ret->wrap)) {
		uint16_t id = ring_load16(slot_at(p, ret->at) + DESC_ID);
		uint32_t k;

		if (!in_flight(p, id))
			break;
		k = p->v.in_order ? position(p, id, &slots) : 0;
		if (k <= n) { /* by itself */
			slots = p->buffer[id].slots;
			n++;
		} else { /* those before it were counted */
			slots -= seen;
			n = k;
		}
		if (slots > left)
			break;
		seen += slots;
		left -= slots;
		*ret = place_behind(p, *ret, slots);
	}
	return n;
}

static void read_mark(const struct packed *p, uint16_t at, struct mark *ret)
{
	const uint8_t *mem = slot_at(p, at);

	ret->id = ring_load16(mem + DESC_ID);
	ret->len = ring_load32(mem + DESC_LEN);
}

/* Nobody may change it from now on. */
static void keep(struct packed *p, uint16_t at, const struct mark *m)
{
	uint8_t *shadow = p->shadow + (size_t)at * VHU_C_DESC_SIZE;

	vhu_le_put(shadow + DESC_ADDR, 8, ring_load64(slot_at(p, at) + DESC_ADDR));
	vhu_le_put(shadow + DESC_LEN, 4, m->len);
	vhu_le_put(shadow + DESC_ID, 2, m->id);
	vhu_le_put(shadow + DESC_FLAGS, 2, m->flags);
	p->kind[at] = SLOT_USED;
}

static void complain(struct packed *p, const struct mark *m)
{
	struct vhu_ring_event event = {.head = m->id, .id = m->id, .len = m->len};
	const struct buffer *b;

	if (m->id >= p->size) {
		event.breach = VHU_BREACH_USED_ID_RANGE;
		event.head = 0;
		vhu_vring_report(&p->v, &event,
				 "used descriptor %u has id %u (len %u), the ring has %u entries", p->used.at,
				 m->id, m->len, p->size);
		return;
	}
	b = &p->buffer[m->id];
	event.breach =
		b->state == BUFFER_FREE && b->returned ? VHU_BREACH_USED_TWICE : VHU_BREACH_USED_ID_IDLE;
	vhu_vring_report(&p->v, &event, "used descriptor %u has id %u (len %u), which %s", p->used.at, m->id,
			 m->len,
			 event.breach == VHU_BREACH_USED_TWICE ? "had been returned already"
							       : "is not in flight");
}

/* Marked with the driver's own id of no buffer: the device has not written its id, or it took that one. */
static void await_id(struct packed *p, struct mark *m)
{
	uint16_t own = (uint16_t)vhu_le_get(p->shadow + (size_t)p->used.at * VHU_C_DESC_SIZE + DESC_ID, 2);

	if (m->id < p->size || m->id != own || p->v.reports == 0)
		return;
	for (int i = 0; i < LOOKS && m->id == own; i++)
		read_mark(p, p->used.at, m);
	if (m->id == own)
		return;
	vhu_vring_report(&p->v,
			 &(struct vhu_ring_event){VHU_BREACH_PACKED_MARK_FIRST, .head = m->id, .id = m->id,
						  .len = m->len,
						  .gpa = p->v.layout->desc +
							 (uint64_t)p->used.at * VHU_C_DESC_SIZE},
			 "descriptor %u was marked before its id was written; a moment later it was %u",
			 p->used.at, m->id);
}

static void judge_len(struct packed *p, const struct mark *m, const struct buffer *b)
{
	struct vhu_ring_event event = {.head = m->id, .id = m->id, .len = m->len};

	if (!(m->flags & VHU_C_DESC_F_WRITE))
		return;
	if (b->writable == 0) {
		event.breach = VHU_BREACH_PACKED_WRITE_FLAG;
		vhu_vring_report(&p->v, &event, "buffer %u: WRITE is set, nothing of it is writable", m->id);
	} else if (m->len > b->writable) {
		event.breach = VHU_BREACH_USED_LEN_LONG;
		vhu_vring_report(&p->v, &event, "buffer %u: used length %u, only %llu bytes are writable",
				 m->id, m->len, (unsigned long long)b->writable);
	}
}

/* The buffer comes back; `m` NULL: covered by a later one. */
static void give(struct packed *p, uint16_t id, const struct mark *m, struct vhu_used *out)
{
	struct buffer *b = &p->buffer[id];
	bool write = m && (m->flags & VHU_C_DESC_F_WRITE);

	if (m)
		judge_len(p, m, b);
	vhu_table_check(&p->v, id, &b->table);
	if (m)
		vhu_vring_saw(&p->v, id, write ? m->len : 0,
			      place_word(place_behind(p, p->used, p->batch_slots + b->slots)), true);
	*out = (struct vhu_used){.head = id, .cookie = b->cookie, .batch = !m, .unwritten = m && !write};
	if (write)
		out->len = m->len;
	else if (!m)
		out->len = (uint32_t)VHU_MIN(b->writable, (uint64_t)UINT32_MAX);
	vhu_packed_release(p, id);
	b->returned = true;
	p->n_used++;
}

/* All of it was looked at: the next used descriptor is due behind it. */
static void advance(struct packed *p, uint32_t slots, bool covered)
{
	slots = VHU_MIN(slots, slots_owned(p)); /* after a wrong id we may be out of step */
	vhu_packed_check_skipped(p, p->used, slots);
	for (uint32_t k = 1; covered && k < slots; k++)
		p->kind[place_behind(p, p->used, k).at] = SLOT_COVERED;
	p->used = place_behind(p, p->used, slots);
}

/* The oldest in flight. */
static uint16_t oldest(const struct packed *p)
{
	uint16_t i = p->buffer[order_list(p)].next;

	while (p->buffer[i].overtaken)
		i = p->buffer[i].next;
	return i;
}

static void overtake(struct packed *p, const struct mark *m)
{
	uint16_t first = oldest(p);

	vhu_vring_report(&p->v,
			 &(struct vhu_ring_event){VHU_BREACH_OUT_OF_ORDER, .head = m->id, .id = m->id,
						  .len = m->len},
			 "buffer %u was returned before buffer %u, which was made available earlier", m->id,
			 first);
	for (uint16_t i = first; i != m->id; i = p->buffer[i].next)
		p->buffer[i].overtaken = true;
}

/* A device that marked the place right behind returns buffers one by one: no batch. */
static bool one_by_one(const struct packed *p, uint16_t id)
{
	struct place next = place_behind(p, p->used, p->buffer[id].slots);

	return vhu_packed_marks(p, next.at) == used_marks(next.wrap);
}

/* IN_ORDER: a used descriptor stands for all buffers up to the one that it names. Returns how many came. */
static size_t reap_in_order(struct packed *p, const struct mark *m, struct vhu_used *out, size_t max)
{
	uint32_t slots, k = position(p, m->id, &slots);
	size_t n = 0;

	if (k > 1 && p->batch == 0 && one_by_one(p, m->id)) {
		overtake(p, m);
		k = 1;
	}
	for (; k > 1 && n < max; k--, p->batch++) {
		uint16_t i = oldest(p);

		p->batch_slots += p->buffer[i].slots;
		give(p, i, NULL, &out[n++]);
	}
	if (n == max)
		return n; /* the rest at the next call: the mark stays where it is */
	slots = p->batch_slots + p->buffer[m->id].slots;
	give(p, m->id, m, &out[n++]);
	keep(p, p->used.at, m);
	advance(p, slots, p->batch > 0);
	p->batch = p->batch_slots = 0;
	return n;
}

static size_t accept(struct packed *p, const struct mark *m, struct vhu_used *out, size_t max)
{
	uint16_t slots;

	if (!in_flight(p, m->id)) {
		complain(p, m);
		keep(p, p->used.at, m);
		/* As many as the list had that lay here: the device is believed to be at least in step. */
		slots = p->list[p->used.at] ? p->list[p->used.at] : 1;
		p->used = place_behind(p, p->used, VHU_MIN(slots, slots_owned(p)));
		vhu_vring_saw(&p->v, m->id, m->len, place_word(p->used), false);
		return 0;
	}
	if (p->v.in_order)
		return reap_in_order(p, m, out, max);
	slots = p->buffer[m->id].slots;
	give(p, m->id, m, out);
	keep(p, p->used.at, m);
	advance(p, slots, false);
	return 1;
}

/* Marks that no party would write there. They are told once: what is there counts as known from now on. */
static void judge_marks(struct packed *p, uint16_t flags)
{
	uint8_t *shadow = p->shadow + (size_t)p->used.at * VHU_C_DESC_SIZE + DESC_FLAGS;

	if (is_used(flags) ? (flags & DESC_F_MARKS) == used_marks(p->used.wrap)
			   : flags == vhu_le_get(shadow, 2))
		return;
	vhu_le_put(shadow, 2, flags);
	vhu_vring_report(&p->v,
			 &(struct vhu_ring_event){VHU_BREACH_PACKED_WRAP,
						  .gpa = p->v.layout->desc +
							 (uint64_t)p->used.at * VHU_C_DESC_SIZE},
			 "descriptor %u has flags 0x%04x, the used wrap counter is %d", p->used.at, flags,
			 p->used.wrap);
}

size_t vhu_packed_reap(struct vhu_vring *v, struct vhu_used *out, size_t max)
{
	struct packed *p = packed_of(v);
	size_t n = 0;

	vhu_packed_device_event(p);
	while (n < max && slots_owned(p) > 0) {
		struct mark m;

		m.flags = ring_load16_acquire(slot_at(p, p->used.at) + DESC_FLAGS);
		judge_marks(p, m.flags);
		if (!is_used(m.flags))
			break;
		read_mark(p, p->used.at, &m);
		await_id(p, &m);
		n += accept(p, &m, out + n, max - n);
	}
	return n;
}
