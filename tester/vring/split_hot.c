/* Split rings at full speed. */
#include "access.h"
#include "hot.h"
#include "split.h"

/* Descriptors from `at` on, in table order. */
static void put(struct vhu_hot *h, struct split *s, unsigned chain, uint32_t at)
{
	struct hot_chain *c = &h->chain[chain];

	h->head[chain] = (uint16_t)at;
	h->owner[at] = (uint16_t)chain;
	for (unsigned i = 0; i < c->n; i++) {
		const struct vhu_raw_desc *d = &c->desc[i];
		uint32_t next = (at + 1) & (s->size - 1);

		vhu_split_desc_put(s, (uint16_t)at, d->addr, d->len, d->flags,
				   (uint16_t)(i + 1 < c->n || s->v.in_order ? next : 0));
		at = next;
	}
}

/* IN_ORDER wants descriptors in the order of the table, so that they are written as they are sent. */
static void place(struct vhu_hot *h, unsigned chain)
{
	struct split *s = split_of(h->v);

	if (s->poison_known)
		memset(s->poisoned, 0, s->size * sizeof(*s->poisoned));
	s->poison_known = false;
	s->untouched = false;
	if (!s->v.in_order)
		put(h, s, chain, chain * h->descs);
}

static void place_in_order(struct vhu_hot *h, struct split *s, unsigned chain)
{
	if (h->owner[s->cursor] != HOT_NONE)
		h->owner[s->cursor] = HOT_NONE;
	put(h, s, chain, s->cursor);
	s->cursor = (uint16_t)((s->cursor + h->chain[chain].n) & (s->size - 1));
}

/* Stores to the ring may alias anything: what does not change is loaded once. */
static bool send(struct vhu_hot *h, const uint16_t *chains, unsigned n)
{
	struct split *s = split_of(h->v);
	uint8_t *avail = s->avail + VHU_AVAIL_RING, *shadow = s->avail_shadow + VHU_AVAIL_RING;
	uint8_t *state = h->state;
	const uint16_t *heads = h->head;
	uint32_t mask = s->size - 1, at = s->avail_idx;
	uint16_t flags, event;

	for (unsigned i = 0; s->v.in_order && i < n; i++) {
		place_in_order(h, s, chains[i]);
		hot_order(h, chains[i], i);
	}
	for (unsigned i = 0; i < n; i++, at++) {
		uint16_t head = heads[chains[i]];

		state[chains[i]] = HOT_SENT;
		vhu_le_put(shadow + 2 * (at & mask), 2, head);
		ring_store16(avail + 2 * (at & mask), head);
	}
	h->inflight += n;
	s->owned += n;
	s->avail_idx = (uint16_t)(s->avail_idx + n);
	vhu_split_avail_put(s, VHU_AVAIL_IDX, s->avail_idx);
	ring_fence();
	s->v.reports = 1;
	flags = vhu_split_flags(s);
	if (!s->v.event_idx)
		return !(flags & VHU_C_USED_F_NO_NOTIFY);
	event = ring_load16(s->used + avail_event_at(s));
	return (uint16_t)(s->avail_idx - event - 1) < n;
}

static const uint8_t *element_at(const struct split *s, uint16_t idx)
{
	return s->used + VHU_USED_RING + VHU_USED_ELEMENT * (size_t)(idx & (s->size - 1));
}

static uint16_t owner_at(const struct vhu_hot *h, const struct split *s, uint16_t idx)
{
	uint32_t id = ring_load32(element_at(s, idx));

	return id < s->size ? h->owner[id] : HOT_NONE;
}

/* Whether every chain in flight is among those elements: then what is too much has been returned before. */
static bool elements_tell(struct vhu_hot *h, const struct split *s, uint16_t ahead)
{
	enum { SEEN = HOT_BACK + 1 };
	unsigned seen = 0;

	if (ahead > s->size)
		return false;
	for (uint16_t i = 0; i < ahead; i++) {
		uint16_t chain = owner_at(h, s, (uint16_t)(s->last_used + i));

		if (chain == HOT_NONE || h->state[chain] != HOT_SENT)
			continue;
		h->state[chain] = SEEN;
		seen++;
	}
	for (unsigned i = 0; i < h->n; i++)
		h->state[i] = h->state[i] == SEEN ? HOT_SENT : h->state[i];
	return seen == h->inflight;
}

static bool jumped(struct vhu_hot *h, struct split *s, uint16_t idx)
{
	uint16_t ahead = (uint16_t)(idx - s->last_used);
	struct vhu_ring_event event = {.breach = ahead > INT16_MAX ? VHU_BREACH_USED_IDX_BACK
								   : VHU_BREACH_USED_IDX_JUMP,
				       .gpa = s->v.layout->used + VHU_USED_IDX};

	if (ahead <= h->inflight || elements_tell(h, s, ahead))
		return false;
	s->v.reports = 1;
	vhu_vring_report(&s->v, &event, "used.idx went from %u to %u, %u chains are outstanding",
			 s->last_used, idx, h->inflight);
	vhu_hot_break(h);
	return true;
}

/* IN_ORDER: one element for all chains up to the one that it names. Returns how many. */
static unsigned give_batch(struct vhu_hot *h, uint16_t chain, uint32_t id, unsigned pending,
			   struct vhu_hot_used *out)
{
	unsigned k = hot_position(h, chain);

	if (k == 0 || k > pending) {
		vhu_hot_overtaken(h, chain, id);
		vhu_hot_break(h);
		return 0;
	}
	for (unsigned i = 0; i < k; i++) {
		uint16_t c = hot_oldest(h);

		hot_back(h, c);
		out[i] = (struct vhu_hot_used){.chain = c};
	}
	return k;
}

static unsigned reap_in_order(struct vhu_hot *h, struct split *s, uint16_t idx, struct vhu_hot_used *out)
{
	unsigned n = 0, k;

	while (s->last_used != idx && !h->broken) {
		const uint8_t *p = element_at(s, s->last_used);
		uint32_t id = ring_load32(p), len = ring_load32(p + 4);
		uint16_t chain = id < s->size ? h->owner[id] : HOT_NONE;

		if (chain == HOT_NONE || h->state[chain] != HOT_SENT) {
			vhu_hot_complain(h, id, len, chain);
			s->last_used++;
			continue;
		}
		if (len > h->room[chain])
			vhu_hot_too_long(h, chain, id, len);
		k = give_batch(h, chain, id, (uint16_t)(idx - s->last_used), &out[n]);
		if (k == 0)
			break;
		n += k;
		out[n - 1] = (struct vhu_hot_used){.chain = chain, .len_known = true, .len = len};
		s->last_used = (uint16_t)(s->last_used + k);
	}
	return n;
}

static unsigned reap_any_order(struct vhu_hot *h, struct split *s, uint16_t idx, struct vhu_hot_used *out)
{
	const uint8_t *elements = element_at(s, 0);
	const uint16_t *owner = h->owner;
	const uint32_t *room = h->room;
	uint32_t size = s->size;
	uint8_t *state = h->state;
	unsigned n = 0;

	for (uint16_t at = s->last_used; at != idx; at++) {
		const uint8_t *p = elements + VHU_USED_ELEMENT * (size_t)(at & (size - 1));
		uint32_t id = ring_load32(p), len = ring_load32(p + 4);
		uint16_t chain = id < size ? owner[id] : HOT_NONE;

		if (__builtin_expect(chain == HOT_NONE || state[chain] != HOT_SENT, 0)) {
			vhu_hot_complain(h, id, len, chain);
			continue;
		}
		if (__builtin_expect(len > room[chain], 0))
			vhu_hot_too_long(h, chain, id, len);
		state[chain] = HOT_BACK;
		out[n++] = (struct vhu_hot_used){.chain = chain, .len_known = true, .len = len};
	}
	s->last_used = idx;
	h->inflight -= n;
	return n;
}

/* The device has written those lines, and read those that are written next: they come together. */
static void fetch(const struct split *s, unsigned n)
{
	enum { LINE = 64 };

	for (unsigned i = 0; i < n; i += LINE / VHU_USED_ELEMENT)
		__builtin_prefetch(element_at(s, (uint16_t)(s->last_used + i)));
	__builtin_prefetch(s->avail + VHU_AVAIL_RING + 2 * (size_t)(s->avail_idx & (s->size - 1)), 1);
}

static unsigned reap(struct vhu_hot *h, struct vhu_hot_used *out)
{
	struct split *s = split_of(h->v);
	uint16_t idx = ring_load16_acquire(s->used + VHU_USED_IDX);
	unsigned n;

	if (idx == s->last_used || jumped(h, s, idx))
		return 0;
	fetch(s, (uint16_t)(idx - s->last_used));
	n = s->v.in_order ? reap_in_order(h, s, idx, out) : reap_any_order(h, s, idx, out);
	s->owned = h->inflight;
	return n;
}

static bool ready(const struct vhu_hot *h, unsigned n)
{
	const struct split *s = split_of_const(h->v);

	return (uint16_t)(ring_load16_acquire(s->used + VHU_USED_IDX) - s->last_used) >= n;
}

static bool kicks_off(const struct vhu_hot *h)
{
	return split_of_const(h->v)->flags_known & VHU_C_USED_F_NO_NOTIFY;
}

static uint32_t due(const struct vhu_hot *h)
{
	return split_of_const(h->v)->last_used;
}

static uint32_t entry(const struct vhu_hot *h, uint32_t from, unsigned n)
{
	return VHU_USED_RING + VHU_USED_ELEMENT * ((from + n) & (split_of_const(h->v)->size - 1));
}

static bool arm(struct vhu_hot *h, unsigned after)
{
	struct split *s = split_of(h->v);

	s->armed = true;
	after = s->v.event_idx ? after : 1;
	if (s->v.event_idx)
		vhu_split_avail_put(s, used_event_at(s), (uint16_t)(s->last_used + after - 1));
	else
		vhu_split_suppress(s);
	ring_fence();
	return (uint16_t)(ring_load16_acquire(s->used + VHU_USED_IDX) - s->last_used) < after;
}

/* What the driver owns was written to its shadow all along; nothing is in flight any more. */
static void settle(struct vhu_hot *h)
{
	split_of(h->v)->consumed = 0;
	split_of(h->v)->owned = 0;
}

const struct hot_ops vhu_hot_split = {
	.place = place,
	.send = send,
	.reap = reap,
	.ready = ready,
	.kicks_off = kicks_off,
	.due = due,
	.entry = entry,
	.arm = arm,
	.settle = settle,
};
