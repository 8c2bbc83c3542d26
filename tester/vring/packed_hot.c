/* Packed rings at full speed. A chain's number is its buffer id. */
#include "access.h"
#include "hot.h"
#include "packed.h"

/* Descriptors are written where the ring stands, as they are sent. */
static void place(struct vhu_hot *h, unsigned chain)
{
	packed_of(h->v)->buffer[chain].slots = h->chain[chain].n;
	h->owner[chain] = (uint16_t)chain;
}

/* All of a list; the flags of its head are the caller's to write where they make the whole batch visible. */
static uint16_t put(struct packed *p, const struct hot_chain *c, uint16_t id, bool first)
{
	uint16_t head = c->desc[0].flags | avail_marks(p->avail.wrap);
	struct place at = p->avail;

	for (unsigned i = 0; i < c->n; i++) {
		uint8_t *mem = p->desc + (size_t)at.at * VHU_C_DESC_SIZE;

		ring_store64(mem + DESC_ADDR, c->desc[i].addr);
		ring_store32(mem + DESC_LEN, c->desc[i].len);
		ring_store16(mem + DESC_ID, id);
		if (i || !first)
			ring_store16(mem + DESC_FLAGS, c->desc[i].flags | avail_marks(at.wrap));
		at = place_behind(p, at, 1);
	}
	p->list[p->avail.at] = c->n;
	p->avail = at;
	return head;
}

/* Only IN_ORDER asks for the order of submission. */
static void order_append(struct packed *p, uint16_t id)
{
	struct buffer *order = &p->buffer[order_list(p)], *b = &p->buffer[id];

	b->prev = order->prev;
	b->next = order_list(p);
	p->buffer[order->prev].next = id;
	order->prev = id;
}

static void order_remove(struct packed *p, uint16_t id)
{
	p->buffer[p->buffer[id].prev].next = p->buffer[id].next;
	p->buffer[p->buffer[id].next].prev = p->buffer[id].prev;
}

static bool send(struct vhu_hot *h, const uint16_t *chains, unsigned n)
{
	struct packed *p = packed_of(h->v);
	struct place start = p->avail;
	uint32_t event, slots = 0;
	uint16_t head = 0;

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = put(p, &h->chain[chains[i]], chains[i], i == 0);

		if (i == 0)
			head = flags;
		slots += h->chain[chains[i]].n;
		p->buffer[chains[i]].state = BUFFER_OWNED;
		if (p->v.in_order)
			order_append(p, chains[i]);
		hot_sent(h, chains[i]);
	}
	if (n == 0)
		return false;
	p->owned += n;
	p->n_avail = (uint16_t)(p->n_avail + n);
	p->published = p->avail;
	ring_store16_release(p->desc + (size_t)start.at * VHU_C_DESC_SIZE + DESC_FLAGS, head);
	ring_fence();
	p->v.reports = 1;
	event = vhu_packed_device_event(p);
	return vhu_packed_kick_wanted(p, event, slots);
}

/* The chains that one used descriptor stands for. Returns how many, with their slots. */
static unsigned give(struct vhu_hot *h, struct packed *p, uint16_t chain, struct vhu_hot_used *out,
		     uint32_t *ret_slots)
{
	unsigned k = 1;

	*ret_slots = 0;
	if (h->v->in_order) {
		k = hot_position(h, chain);
		if (k == 0) {
			vhu_hot_overtaken(h, chain, chain);
			vhu_hot_break(h);
			return 0;
		}
	}
	for (unsigned i = 0; i < k; i++) {
		uint16_t c = h->v->in_order ? hot_oldest(h) : chain;

		hot_back(h, c);
		p->buffer[c].state = BUFFER_FREE;
		if (h->v->in_order)
			order_remove(p, c);
		*ret_slots += h->chain[c].n;
		out[i] = (struct vhu_hot_used){.chain = c};
	}
	return k;
}

/* A wrong id: the device is believed to be at least in step with the lists. */
static void step_over(struct packed *p)
{
	uint16_t slots = p->list[p->used.at] ? p->list[p->used.at] : 1;

	p->used = place_behind(p, p->used, VHU_MIN((uint32_t)slots, slots_owned(p)));
}

static unsigned reap(struct vhu_hot *h, struct vhu_hot_used *out)
{
	struct packed *p = packed_of(h->v);
	unsigned n = 0;

	while (h->inflight > 0 && slots_owned(p) > 0 && !h->broken) {
		const uint8_t *mem = p->desc + (size_t)p->used.at * VHU_C_DESC_SIZE;
		uint16_t flags = ring_load16_acquire(mem + DESC_FLAGS), id;
		uint32_t len, slots;
		unsigned k;

		if ((flags & DESC_F_MARKS) != used_marks(p->used.wrap))
			break;
		id = ring_load16(mem + DESC_ID);
		len = ring_load32(mem + DESC_LEN);
		if (__builtin_expect(id >= h->n || h->state[id] != HOT_SENT, 0)) {
			vhu_hot_complain(h, id, len, id < h->n ? id : HOT_NONE);
			step_over(p);
			continue;
		}
		if (__builtin_expect((flags & VHU_C_DESC_F_WRITE) && len > h->room[id], 0))
			vhu_hot_too_long(h, id, id, len);
		k = give(h, p, id, &out[n], &slots);
		if (k == 0)
			break;
		n += k;
		out[n - 1].len_known = flags & VHU_C_DESC_F_WRITE;
		out[n - 1].len = len;
		p->used = place_behind(p, p->used, slots);
		p->n_used = (uint16_t)(p->n_used + k);
	}
	p->owned = h->inflight;
	return n;
}

/* The place of the n-th: who uses in order may leave it out, and is not waited for. */
static bool ready(const struct vhu_hot *h, unsigned n)
{
	const struct packed *p = packed_of_const(h->v);
	uint32_t owned = slots_owned(p), slots = h->v->in_order ? 0 : (n - 1) * h->descs;
	struct place at = place_behind(p, p->used, slots);

	return slots < owned && vhu_packed_marks(p, at.at) == used_marks(at.wrap);
}

static bool kicks_off(const struct vhu_hot *h)
{
	return packed_of_const(h->v)->device_known >> 16 == VHU_C_EVENT_DISABLE;
}

static uint32_t due(const struct vhu_hot *h)
{
	return packed_of_const(h->v)->used.at;
}

static uint32_t entry(const struct vhu_hot *h, uint32_t from, unsigned n)
{
	return (from + n * h->descs) % packed_of_const(h->v)->size * VHU_C_DESC_SIZE;
}

static bool arm(struct vhu_hot *h, unsigned after)
{
	struct packed *p = packed_of(h->v);
	struct place used = p->used;
	uint16_t marks;

	p->armed = true;
	if (p->v.event_idx && after > 1) {
		p->used = place_behind(p, used, VHU_MIN((after - 1) * h->descs, slots_owned(p) - 1));
		vhu_packed_suppress(p);
		p->used = used;
	} else {
		vhu_packed_suppress(p);
	}
	ring_fence();
	marks = vhu_packed_marks(p, used.at);
	return slots_owned(p) == 0 || marks != used_marks(used.wrap);
}

/* What lies there now is how it is to stay, and nothing is in flight. */
static void settle(struct vhu_hot *h)
{
	struct packed *p = packed_of(h->v);

	p->buffer[order_list(p)].prev = p->buffer[order_list(p)].next = order_list(p);
	for (unsigned i = 0; i < h->n; i++)
		p->buffer[i].state = BUFFER_FREE;
	p->owned = 0;
	p->used = p->published;

	memcpy(p->shadow, p->desc, (size_t)p->size * VHU_C_DESC_SIZE);
	memset(p->kind, SLOT_DRIVER, p->size * sizeof(*p->kind));
}

const struct hot_ops vhu_hot_packed = {
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
