/*
 * Split rings: the used ring, which is the device's to write and which is believed in nothing.
 * Every loop here is bounded by the ring's size, whatever the index says.
 */
#include "split.h"

#include "access.h"
#include "mem/mem.h"

enum { LOOKS = 2000 }; /* at an element that is not there yet: some microseconds */

bool vhu_split_element(const struct split *s, uint32_t slot, struct element *ret)
{
	const uint8_t *p = s->used + VHU_USED_RING + VHU_USED_ELEMENT * (size_t)slot;

	ret->id = ring_load32(p);
	ret->len = ring_load32(p + 4);
	return !s->poisoned[slot] || (ret->id != POISON_ID && ret->len != POISON_LEN);
}

static uint32_t slot_at(const struct split *s, uint16_t idx)
{
	return idx & (s->size - 1);
}

static void consume(struct split *s, uint32_t n)
{
	s->last_used = (uint16_t)(s->last_used + n);
	s->consumed = VHU_MIN(s->consumed + n, s->size);
	s->untouched = false;
}

/* Says what is wrong with an element that is not the head of a chain in flight. */
static void complain(struct split *s, struct element e)
{
	struct vhu_ring_event event = {.head = (uint16_t)e.id, .id = e.id, .len = e.len};
	const struct slot *h;

	if (s->quiet)
		return;
	if (e.id >= s->size) {
		event.breach = VHU_BREACH_USED_ID_RANGE;
		event.head = 0;
		vhu_vring_report(&s->v, &event, "used id %u (len %u), the ring has %u descriptors", e.id,
				 e.len, s->size);
		return;
	}
	h = &s->slot[e.id];
	if (h->state == SLOT_INNER) {
		event.breach = VHU_BREACH_USED_ID_INNER;
		vhu_vring_report(&s->v, &event, "used id %u (len %u) is inside a chain, not its head", e.id,
				 e.len);
	} else if (h->state == SLOT_FREE && h->returned) {
		event.breach = VHU_BREACH_USED_TWICE;
		vhu_vring_report(&s->v, &event, "used id %u (len %u) had been returned already", e.id, e.len);
	} else {
		event.breach = VHU_BREACH_USED_ID_IDLE;
		vhu_vring_report(&s->v, &event, "used id %u (len %u) is not in flight", e.id, e.len);
	}
}

static bool in_flight(const struct split *s, uint32_t id)
{
	return id < s->size && s->slot[id].state == SLOT_OWNED;
}

/* The chain comes back, with the used index `index` behind it. */
static void give(struct split *s, struct element e, bool batch, uint16_t index, struct vhu_used *out)
{
	uint16_t head = (uint16_t)e.id;
	struct slot *h = &s->slot[head];

	if (!batch && e.len > h->writable)
		vhu_vring_report(&s->v,
				 &(struct vhu_ring_event){VHU_BREACH_USED_LEN_LONG, .head = head, .id = e.id,
							  .len = e.len},
				 "chain %u: used length %u, only %llu bytes are writable", head, e.len,
				 (unsigned long long)h->writable);
	vhu_table_check(&s->v, head, &h->table);
	if (!batch)
		vhu_vring_saw(&s->v, e.id, e.len, index, true);
	*out = (struct vhu_used){.head = head, .len = e.len, .cookie = h->cookie, .batch = batch};
	vhu_split_release(s, head);
	h->returned = true;
}

/* No chain in flight is the element's. */
static void refuse(struct split *s, struct element e, uint16_t index)
{
	complain(s, e);
	if (!s->quiet)
		vhu_vring_saw(&s->v, e.id, e.len, index, false);
}

static bool accept(struct split *s, struct element e, uint16_t index, struct vhu_used *out)
{
	if (!in_flight(s, e.id)) {
		refuse(s, e, index);
		return false;
	}
	give(s, e, false, index, out);
	return true;
}

/* A slot beyond those that may be written by now, which holds no poison any more; size if there is none. */
uint32_t vhu_split_misplaced(const struct split *s)
{
	struct element e;

	for (uint32_t slot = 0; slot < s->size; slot++) {
		uint32_t ahead = slot_at(s, (uint16_t)(slot - s->last_used));

		if (s->poisoned[slot] && ahead >= s->owned && vhu_split_element(s, slot, &e))
			return slot;
	}
	return s->size;
}

/* Whether the element for index idx lies where a device puts it that forgets the modulo. */
static bool beyond_ring(const struct split *s, uint16_t idx)
{
	const uint8_t *p = NULL;

	if (idx >= s->size)
		p = vhu_mem_at(s->v.mem, s->v.layout->used + VHU_USED_RING + VHU_USED_ELEMENT * (uint64_t)idx,
			       VHU_USED_ELEMENT);
	return p && in_flight(s, ring_load32(p));
}

/* The index has passed an element that is not there. True if it came after all; looked for only while that is
 * news. */
static bool await_element(struct split *s, struct element *e)
{
	uint32_t slot = slot_at(s, s->last_used), other;
	struct vhu_ring_event event = {.breach = VHU_BREACH_USED_ELEMENT_LATE};
	bool came = false;

	if (s->quiet || s->v.reports == 0)
		return false;
	for (int i = 0; i < LOOKS && !came; i++)
		came = vhu_split_element(s, slot, e);
	event.gpa = s->v.layout->used + VHU_USED_RING + VHU_USED_ELEMENT * (uint64_t)slot;
	other = came ? s->size : vhu_split_misplaced(s);
	if (!came && beyond_ring(s, s->last_used)) {
		event.breach = VHU_BREACH_USED_SLOT;
		vhu_vring_report(&s->v, &event,
				 "the element for index %u lies behind the ring: it belongs into slot %u",
				 s->last_used, slot);
	} else if (other < s->size) {
		event.breach = VHU_BREACH_USED_SLOT;
		vhu_vring_report(&s->v, &event, "used.idx passed %u, slot %u was not written, slot %u was",
				 s->last_used, slot, other);
	} else if (!came && s->v.in_order) {
		event.breach = VHU_BREACH_IN_ORDER_BATCH;
		vhu_vring_report(
			&s->v, &event,
			"used.idx passed %u, but slot %u was not written and no element before covers it",
			s->last_used, slot);
	} else {
		vhu_vring_report(&s->v, &event, "used.idx passed %u before slot %u was written%s",
				 s->last_used, slot, came ? "; it was a moment later" : "");
	}
	return came;
}

/* Elements that were missing when the index passed them. */
static size_t reap_late(struct split *s, struct vhu_used *out, size_t max)
{
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < s->n_late; i++) {
		uint16_t slot = s->late[i];
		struct element e;

		if (n == max || !vhu_split_element(s, slot, &e)) {
			s->late[kept++] = slot;
			continue;
		}
		s->poisoned[slot] = false;
		n += accept(s, e, s->last_used, &out[n]);
	}
	s->n_late = kept;
	return n;
}

/* A device that counts from 0 whatever index memory held at its start. */
static bool started_at_zero(const struct split *s, uint16_t idx)
{
	struct element e;

	return s->untouched && s->base != 0 && idx <= s->owned &&
	       !vhu_split_element(s, slot_at(s, s->base), &e) && (idx == 0 || vhu_split_element(s, 0, &e));
}

/* Whether every element up to the index was written: then the elements tell what is wrong. */
static bool elements_tell(const struct split *s, uint16_t pending)
{
	struct element e;

	if (pending > s->size)
		return false;
	for (uint32_t i = 0; i < pending; i++) {
		uint32_t slot = slot_at(s, (uint16_t)(s->last_used + i));

		if (!s->poisoned[slot] || !vhu_split_element(s, slot, &e))
			return false;
	}
	return true;
}

/* The index is more than what is outstanding ahead. Afterwards at most size elements are to be looked at. */
static void resync(struct split *s, uint16_t idx)
{
	uint16_t pending = (uint16_t)(idx - s->last_used);
	struct vhu_ring_event event = {.breach = VHU_BREACH_USED_IDX_JUMP,
				       .gpa = s->v.layout->used + VHU_USED_IDX};

	if (s->jump_told && s->jump_idx == idx) {
		s->quiet = true; /* the rest of what was told about */
		return;
	}
	if (elements_tell(s, pending))
		return;
	s->jump_told = s->quiet = true;
	s->jump_idx = idx;
	vhu_vring_saw(&s->v, VHU_USED_NONE, 0, idx, false);
	if (pending > 0x7fff) {
		event.breach = VHU_BREACH_USED_IDX_BACK;
		vhu_vring_report(&s->v, &event, "used.idx went back from %u to %u", s->last_used, idx);
		s->last_used = idx;
		s->consumed = s->size;
		return;
	}
	vhu_vring_report(&s->v, &event, "used.idx went from %u to %u, %u chains are outstanding",
			 s->last_used, idx, s->owned);
	if (pending > s->size)
		consume(s, pending - s->size);
}

static void check_index(struct split *s, uint16_t idx)
{
	s->quiet = false;
	if (started_at_zero(s, idx)) {
		vhu_vring_report(&s->v,
				 &(struct vhu_ring_event){VHU_BREACH_USED_IDX_START,
							  .gpa = s->v.layout->used + VHU_USED_IDX},
				 "used.idx is %u, the ring was started at %u", idx, s->base);
		s->last_used = 0;
		s->untouched = false;
	} else if ((uint16_t)(idx - s->last_used) - s->batch > s->owned) {
		resync(s, idx);
	}
}

static size_t reap_any_order(struct split *s, uint16_t idx, struct vhu_used *out, size_t max)
{
	size_t n = 0;

	while (s->last_used != idx && n < max) {
		uint32_t slot = slot_at(s, s->last_used);
		struct element e;

		if (vhu_split_element(s, slot, &e) || await_element(s, &e)) {
			s->poisoned[slot] = false;
			n += accept(s, e, (uint16_t)(s->last_used + 1), &out[n]);
		} else if (!s->quiet && s->n_late < LATE_MAX) {
			s->late[s->n_late++] = (uint16_t)slot;
		}
		consume(s, 1);
	}
	return n;
}

/* The how-manieth of those in flight it is by order of submission, from 1. */
static uint32_t position(const struct split *s, uint16_t head)
{
	uint32_t k = 1;

	if (s->slot[head].overtaken)
		return 1;
	for (uint16_t i = s->slot[order_list(s)].next; i != head; i = s->slot[i].next)
		k += !s->slot[i].overtaken;
	return k;
}

/* The oldest in flight. */
static uint16_t oldest(const struct split *s)
{
	uint16_t i = s->slot[order_list(s)].next;

	while (s->slot[i].overtaken)
		i = s->slot[i].next;
	return i;
}

/* Slots that an element for k chains skips: a device that wrote them returns chains one by one. */
static bool one_by_one(const struct split *s, uint32_t k)
{
	struct element e;

	for (uint32_t i = 1; i < k; i++) {
		uint32_t slot = slot_at(s, (uint16_t)(s->last_used + i));

		if (s->poisoned[slot] && vhu_split_element(s, slot, &e))
			return true;
	}
	return false;
}

static void overtake(struct split *s, struct element e)
{
	uint16_t first = oldest(s);

	vhu_vring_report(&s->v,
			 &(struct vhu_ring_event){VHU_BREACH_OUT_OF_ORDER, .head = (uint16_t)e.id, .id = e.id,
						  .len = e.len},
			 "chain %u was returned before chain %u, which was made available earlier", e.id,
			 first);
	for (uint16_t i = first; i != e.id; i = s->slot[i].next)
		s->slot[i].overtaken = true;
}

/* IN_ORDER: an element stands for all chains up to the one that it names. Returns how many came back. */
static size_t reap_element(struct split *s, struct element e, uint16_t pending, struct vhu_used *out,
			   size_t max)
{
	uint32_t k = position(s, (uint16_t)e.id);
	size_t n = 0;

	if (k > 1 && (k + s->batch > pending || (s->batch == 0 && one_by_one(s, k)))) {
		overtake(s, e);
		k = 1;
	}
	for (; k > 1 && n < max; k--, s->batch++) {
		uint16_t i = oldest(s);
		uint64_t len = VHU_MIN(s->slot[i].writable, (uint64_t)UINT32_MAX);

		give(s, (struct element){i, (uint32_t)len}, true, 0, &out[n++]);
	}
	if (n == max)
		return n; /* the rest at the next call: the element stays where it is */
	give(s, e, false, (uint16_t)(s->last_used + s->batch + 1), &out[n++]);
	consume(s, s->batch + 1);
	s->batch = 0;
	return n;
}

static size_t reap_in_order(struct split *s, uint16_t idx, struct vhu_used *out, size_t max)
{
	size_t n = 0;

	while (s->last_used != idx && n < max) {
		uint32_t slot = slot_at(s, s->last_used);
		struct element e;

		if (!vhu_split_element(s, slot, &e) && !await_element(s, &e)) {
			consume(s, (uint16_t)(idx - s->last_used));
			break;
		}
		if (in_flight(s, e.id)) {
			n += reap_element(s, e, (uint16_t)(idx - s->last_used), out + n, max - n);
			if (s->batch == 0)
				s->poisoned[slot] = false;
		} else {
			refuse(s, e, (uint16_t)(s->last_used + s->batch + 1));
			s->poisoned[slot] = false;
			consume(s, s->batch + 1);
			s->batch = 0;
		}
	}
	return n;
}

size_t vhu_split_reap(struct vhu_vring *v, struct vhu_used *out, size_t max)
{
	struct split *s = split_of(v);
	size_t n;
	uint16_t idx;

	vhu_split_flags(s);
	s->quiet = false;
	n = reap_late(s, out, max);
	idx = ring_load16_acquire(s->used + VHU_USED_IDX);
	if (idx != s->last_used && n < max) {
		check_index(s, idx);
		n += v->in_order ? reap_in_order(s, idx, out + n, max - n)
				 : reap_any_order(s, idx, out + n, max - n);
	}
	if (!s->armed)
		vhu_split_suppress(s); /* used_event keeps behind the index */
	return n;
}
