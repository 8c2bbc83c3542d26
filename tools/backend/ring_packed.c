/*
 * The packed ring's memory: one ring of descriptors that both sides write, and an event structure for
 * each side. Lists are taken and returned at two places, each with a wrap counter that turns when its place
 * passes the end of the ring.
 */
#include <endian.h>
#include <stdlib.h>

#include "chain.h"
#include "fault.h"
#include "inflight.h"
#include "session.h"

enum {
	EVENT = 4,	     /* bytes of an event structure: place, then flags */
	MALFORMED = 1 << 17, /* more than any ring has room for */
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

struct spot packed_forward(const struct ring *r, struct spot from, uint32_t slots)
{
	from.at += slots;
	if (fault(packed_wrap_mask) && (r->num & (r->num - 1))) {
		from.at &= r->num - 1;
	} else if (from.at >= r->num) {
		from.at -= r->num;
		if (!(fault(packed_wrap_jump) && from.at))
			from.wrap = !from.wrap;
	}
	return from;
}

static struct spot backward(const struct ring *r, struct spot from, uint32_t slots)
{
	if (from.at < slots) {
		from.at += r->num;
		from.wrap = !from.wrap;
	}
	from.at -= slots;
	return from;
}

static uint16_t spot_word(struct spot at)
{
	return (uint16_t)(at.at | (at.wrap ? C_POSITION_WRAP : 0));
}

static struct spot word_spot(uint32_t word)
{
	return (struct spot){.at = word & (C_POSITION_WRAP - 1), .wrap = word & C_POSITION_WRAP};
}

static struct desc *desc_at(const struct ring *r, uint32_t at)
{
	return (struct desc *)(void *)(r->desc + (size_t)at * C_DESC_SIZE);
}

static uint16_t load_flags(const struct ring *r, struct spot at)
{
	return le16toh(__atomic_load_n(&desc_at(r, at.at)->flags, __ATOMIC_ACQUIRE));
}

static bool available(uint16_t flags, bool wrap)
{
	return !(flags & C_DESC_F_AVAIL) == !wrap && !(flags & C_DESC_F_USED) == wrap;
}

bool packed_available(const struct ring *r, uint16_t at, bool wrap)
{
	return available(load_flags(r, (struct spot){.at = at}), wrap);
}

static bool packed_aligned(uint64_t desc, uint64_t avail, uint64_t used)
{
	return !(desc % C_DESC_ALIGN) && !(avail % C_EVENT_ALIGN) && !(used % C_EVENT_ALIGN);
}

static bool packed_map(struct ring *r)
{
	uint64_t gpa;
	void *driver = dma_ring(r->s, r->avail_addr, EVENT, PERM_READ, &gpa);
	void *device = dma_ring(r->s, r->used_addr, EVENT, PERM_READ | PERM_WRITE, &gpa);

	r->desc = dma_ring(r->s, r->desc_addr, C_DESC_SIZE * (uint64_t)r->num, PERM_READ | PERM_WRITE,
			   &r->used_gpa);
	r->avail = driver;
	r->used = device;
	if (fault(packed_overlap_crash) && driver && driver == device)
		fault_crash();
	if (!r->desc || !driver || !device || (uintptr_t)driver % C_EVENT_ALIGN ||
	    (uintptr_t)device % C_EVENT_ALIGN || word_spot(r->base).at >= r->num ||
	    word_spot(r->base >> 16).at >= r->num) {
		r->desc = NULL;
		return false;
	}
	return true;
}

static void packed_set_base(struct ring *r, uint32_t base)
{
	r->base = base;
}

static uint32_t packed_base(const struct ring *r)
{
	return r->base;
}

static void packed_start(struct ring *r)
{
	if (fault(packed_base_fresh))
		r->base |= FIRST_BASE;
	r->take = word_spot(r->base);
	r->put = word_spot(r->base >> 16);
	r->n_taken = r->first_taken = 0;
	free(r->taken);
	r->taken = calloc(r->num, sizeof(*r->taken));
	free(r->given);
	r->given = calloc(r->num, sizeof(*r->given));
	r->n_given = 0;
	r->batch.slots = 0;
	r->first_mark.held = false;
	r->last_avail = r->done = r->used_idx = r->published = 0;
}

/* The lists that were taken lie behind what was used. */
static void packed_recovered(struct ring *r)
{
	r->take = packed_forward(r, r->put, inflight_packed_slots(r));
}

static void packed_unrecover(struct ring *r, unsigned n)
{
	(void)n;
	r->take = r->put;
}

static void packed_stop(struct ring *r)
{
	if (r->taken) /* else it never began */
		r->base = spot_word(r->take) | (uint32_t)spot_word(r->put) << 16;
	if (fault(packed_base_no_wrap))
		r->base &= ~(uint32_t)FIRST_BASE;
	if (fault(state_stop_no_drain))
		return; /* what was taken is still to come */
	free(r->taken);
	free(r->given);
	r->taken = NULL;
	r->given = NULL;
	r->n_taken = 0;
}

/* Gives back what was taken and not executed. */
static void packed_untake(struct ring *r)
{
	if (r->n_taken)
		r->take = r->taken[r->first_taken].from;
	r->n_taken = 0;
	r->last_avail = r->done;
}

/*
 * The slots of the list that starts there: 0 if there is none, MALFORMED if it does not end within `room`
 * or runs into a descriptor that is not available.
 */
static uint32_t list_at(const struct ring *r, struct spot at, uint32_t room)
{
	uint32_t n = 0;
	uint16_t flags;

	do {
		if (n == room && room && fault(packed_endless_crash))
			fault_crash();
		if (n == room)
			return room ? MALFORMED : 0;
		flags = load_flags(r, at);
		if (fault(packed_lap_ignored) ? !(flags & C_DESC_F_AVAIL) == !(flags & C_DESC_F_USED)
					      : !available(flags, at.wrap) && !(fault(packed_list_half) && n))
			return n ? MALFORMED : 0;
		at = packed_forward(r, at, 1);
		n++;
	} while (flags & C_DESC_F_NEXT);
	return n;
}

static uint32_t room_left(const struct ring *r)
{
	uint32_t room = r->num;

	for (unsigned i = 0; i < r->n_taken; i++)
		room -= r->taken[(r->first_taken + i) % r->num].slots;
	return room;
}

static unsigned packed_waiting(const struct ring *r)
{
	uint32_t room = room_left(r), slots;
	struct spot at = r->take;
	unsigned n = 0;

	if (!r->taken || !r->given || r->next_redo < r->n_redo) /* what was lost comes first */
		return 0;
	for (; (slots = list_at(r, at, room)); n++) {
		if (slots == MALFORMED)
			return n ? n : MALFORMED; /* it is told when it is the next */
		at = packed_forward(r, at, slots);
		room -= slots;
	}
	return n;
}

static void packed_take(struct ring *r)
{
	uint32_t slots = list_at(r, r->take, room_left(r));
	struct taken *t = &r->taken[(r->first_taken + r->n_taken) % r->num];

	if (!slots || slots == MALFORMED)
		return; /* the driver took it back: there is one less */
	*t = (struct taken){.from = r->take, .slots = slots};
	inflight_packed_take(r, t);
	if (ring_reorders(r) && r->n_taken % 2) {
		struct taken *before = &r->taken[(r->first_taken + r->n_taken - 1) % r->num], kept = *before;

		*before = *t;
		*t = kept;
	}
	r->n_taken++;
	r->take = packed_forward(r, r->take, slots);
	r->last_avail++;
}

static uint16_t packed_next(const struct ring *r)
{
	return (uint16_t)r->taken[r->first_taken].from.at;
}

static void packed_executed(struct ring *r)
{
	r->first_taken = (r->first_taken + 1) % r->num;
	r->n_taken--;
	r->done++;
}

static void read_desc(const uint8_t bytes[C_DESC_SIZE], struct desc *d)
{
	memcpy(d, bytes, sizeof(*d));
	d->addr = le64toh(d->addr);
	d->len = le32toh(d->len);
	d->id = le16toh(d->id);
	d->flags = le16toh(d->flags);
}

struct packed_copy packed_read(const struct ring *r, struct spot at)
{
	const struct table ring = {.at = r->desc, .n = r->num};
	uint8_t bytes[C_DESC_SIZE];
	struct desc d;

	table_read(r, &ring, at.at, bytes);
	read_desc(bytes, &d);
	return (struct packed_copy){.addr = d.addr, .len = d.len, .id = d.id, .flags = d.flags};
}

/* In a table entries follow each other; of their flags only WRITE counts. */
static bool table_chain(const struct ring *r, struct chain *c, const struct table *t)
{
	uint8_t bytes[C_DESC_SIZE];
	struct desc d;

	for (uint32_t i = 0; i < t->n; i++) {
		if (!table_read(r, t, i, bytes))
			return false;
		read_desc(bytes, &d);
		if (fault(packed_table_nested) && (d.flags & C_DESC_F_INDIRECT))
			fault_hang();
		if (!chain_add(r, c, d.addr, d.len, d.flags & C_DESC_F_WRITE))
			return false;
		if (fault(packed_table_next) && !(d.flags & C_DESC_F_NEXT))
			return true;
	}
	if (fault(packed_table_slots))
		c->slots = t->n;
	return true;
}

/* Descriptor i of a list. */
static bool add_desc(struct ring *r, struct chain *c, const struct desc *d, uint32_t i)
{
	struct table inner;

	if (fault(packed_mixed) && (d->flags & C_DESC_F_INDIRECT) && r->direct)
		return false;
	r->direct |= !(d->flags & C_DESC_F_INDIRECT);
	if (fault(packed_table_write) && (d->flags & C_DESC_F_INDIRECT) && (d->flags & C_DESC_F_WRITE))
		return false;

	if (!i || !fault(packed_id_first))
		c->head = d->id; /* that of the last one counts */
	if (d->flags & C_DESC_F_INDIRECT) {
		if (fault(packed_table_crash) && d->len % C_DESC_SIZE)
			fault_crash();
		return table_open(r, d->addr, d->len, d->flags, !i, &inner) && table_chain(r, c, &inner);
	}
	if (chain_add(r, c, d->addr, d->len, d->flags & C_DESC_F_WRITE))
		return true;
	if (fault(packed_address_crash))
		fault_crash();
	return false;
}

/* The ring may have been written over; the buffer has a copy of each descriptor. */
static bool packed_lost_chain(struct ring *r, uint16_t entry, struct chain *c)
{
	struct packed_copy copy;
	uint16_t at = entry;
	struct desc d;

	chain_start(c, 0);
	c->slots = inflight_packed_count(r, entry);
	c->entry = entry;
	for (uint32_t i = 0; i < c->slots; i++) {
		if (!inflight_packed_copy(r, &at, &copy))
			return false;
		d = (struct desc){.addr = copy.addr, .len = copy.len, .id = copy.id, .flags = copy.flags};
		if (!add_desc(r, c, &d, i))
			return false;
	}
	return c->slots;
}

static bool list_chain(struct ring *r, const struct taken *taken, struct chain *c)
{
	const struct table ring = {.at = r->desc, .n = r->num};
	struct spot at = taken->from;
	uint8_t bytes[C_DESC_SIZE];
	struct desc d;

	chain_start(c, (uint16_t)at.at);
	c->slots = taken->slots;
	c->entry = taken->entry;
	for (uint32_t i = 0; i < taken->slots; i++, at = packed_forward(r, at, 1)) {
		if (!table_read(r, &ring, at.at, bytes))
			return false;
		read_desc(bytes, &d);
		if (!add_desc(r, c, &d, i))
			return false;
	}
	return true;
}

static bool packed_chain(struct ring *r, uint16_t head, struct chain *c)
{
	const struct taken *taken = &r->taken[r->first_taken];

	(void)head;
	if (ring_reorders(r) && inflight_tracks(r))
		return packed_lost_chain(r, taken->entry, c);
	return list_chain(r, taken, c);
}

static bool packed_peek(struct ring *r, unsigned i, struct chain *c)
{
	uint32_t room = room_left(r);
	struct taken list = {.from = r->take};

	for (;; i--) {
		list.slots = list_at(r, list.from, room);
		if (!list.slots || list.slots == MALFORMED)
			return false;
		if (!i)
			return list_chain(r, &list, c);
		list.from = packed_forward(r, list.from, list.slots);
		room -= list.slots;
	}
}

static void log_used(const struct ring *r, struct spot at)
{
	uint64_t log = iotlb_on(r->s) ? r->used_gpa : r->log_addr, offset = (uint64_t)at.at * C_DESC_SIZE;

	if (r->log_used && log + offset >= log && !fault(packed_log_none))
		log_mark(r->s, log + offset, C_DESC_SIZE);
}

static void write_used(struct ring *r, struct spot at, uint16_t id, uint32_t len, bool write)
{
	struct desc *d = desc_at(r, at.at);
	uint16_t flags = (at.wrap ? C_DESC_F_AVAIL | C_DESC_F_USED : 0) | (write ? C_DESC_F_WRITE : 0);

	if (fault(packed_write_flag))
		flags &= (uint16_t)~C_DESC_F_WRITE;
	if (fault(packed_wrong_marks))
		flags ^= C_DESC_F_AVAIL | C_DESC_F_USED;
	if (fault(packed_used_again)) /* the one before, which the driver has seen */
		desc_at(r, (at.at + r->num - 3) % r->num)->addr ^= 1;
	if (fault(packed_stray))
		desc_at(r, (at.at + r->num / 2) % r->num)->addr ^= 1;
	/* the log must never be behind: whoever sees the mark may look at it */
	log_used(r, at);
	d->id = htole16(id);
	d->len = htole32(len);
	__atomic_store_n(&d->flags, htole16(flags), __ATOMIC_RELEASE);
}

static void packed_push(struct ring *r, const struct chain *c, uint32_t len)
{
	bool in_order = (r->s->features & V(VIRTIO_F_IN_ORDER)) && !fault(in_order_swap);

	if (fault(packed_len_sum))
		len = r->last_len += len;
	if (fault(packed_used_every)) {
		for (uint32_t i = 1; i < c->slots; i++)
			write_used(r, packed_forward(r, r->put, i), c->head, len, len);
	}
	/* In order one mark stands for all that was executed in a row: it is set by packed_publish. */
	inflight_packed_give(r, c);
	if (in_order)
		r->batch = (struct batch){.id = fault(packed_batch_first) && r->batch.slots ? r->batch.id
											    : c->head,
					  .len = len,
					  .slots = r->batch.slots + c->slots};
	else {
		if (r->s->dev->wants && !r->first_mark.held && !fault(net_merge_split))
			r->first_mark = (struct first_mark){r->put, len, c->head, true};
		else
			write_used(r, r->put, c->head, len, len);
		r->put = packed_forward(r, r->put, c->slots);
		inflight_packed_commit(r);
		if (fault(packed_twice) && r->n_taken > 1) {
			write_used(r, r->put, c->head, len, len);
			r->put = packed_forward(r, r->put, c->slots);
		}
	}
	r->used_idx = (uint16_t)(r->used_idx + c->slots);
	r->completions++;
}

static void packed_publish(struct ring *r)
{
	if (r->batch.slots) {
		write_used(r,
			   fault(packed_batch_slot) ? packed_forward(r, r->put, r->batch.slots - 1) : r->put,
			   r->batch.id, r->batch.len, r->batch.len);
		r->put = packed_forward(r, r->put, r->batch.slots);
		r->batch.slots = 0;
		inflight_packed_commit(r);
	}
	if (r->first_mark.held)
		write_used(r, r->first_mark.at, r->first_mark.id, r->first_mark.len, r->first_mark.len);
	r->first_mark.held = false;
	r->published = r->used_idx;
}

static uint32_t load_event(const void *at)
{
	return le32toh(__atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE));
}

/* How far it is from one place to another, which lies less than two laps ahead. */
static uint32_t distance(const struct ring *r, struct spot from, struct spot to)
{
	if (from.wrap == to.wrap)
		return to.at >= from.at ? to.at - from.at : to.at + 2 * r->num - from.at;
	return to.at + r->num - from.at;
}

static bool packed_wants_call(const struct ring *r, uint16_t old)
{
	uint16_t slots = (uint16_t)(r->published - old);
	uint32_t event;

	if (!slots)
		return false;
	/* the marks must be out before we look at what the driver wants */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = load_event(r->avail);
	if (fault(packed_event_write))
		*(uint16_t *)r->avail ^= 1;
	if ((fault(packed_place_off) && event >> 16 == C_EVENT_DESC) ||
	    (fault(packed_enable_off) && event >> 16 == C_EVENT_ENABLE))
		return false;
	if (event >> 16 == C_EVENT_DESC && (r->s->features & V(VIRTIO_RING_F_EVENT_IDX)))
		return distance(r, backward(r, r->put, slots), word_spot(event)) < slots;
	return event >> 16 != C_EVENT_DISABLE || fault(packed_disable_ignored);
}

static void store_event(struct ring *r, struct spot at, uint16_t flags)
{
	uint32_t event = spot_word(at) | (uint32_t)(fault(packed_event_garbage) ? 3 : flags) << 16;

	if (load_event(r->used) != event)
		__atomic_store_n((uint32_t *)(void *)r->used, htole32(event), __ATOMIC_RELEASE);
}

static void packed_kicks_off(struct ring *r)
{
	store_event(r, (struct spot){.at = 0}, C_EVENT_DISABLE);
}

static bool packed_kicks_on(struct ring *r)
{
	if (fault(packed_kicks_stay_off))
		return false;
	if (r->s->features & V(VIRTIO_RING_F_EVENT_IDX))
		store_event(r, r->take, C_EVENT_DESC);
	else
		store_event(r, (struct spot){.at = 0}, C_EVENT_ENABLE);
	/* the driver must see that before we look for what came meanwhile */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return packed_waiting(r) > 0;
}

const struct ring_format packed_format = {
	.aligned = packed_aligned,
	.map = packed_map,
	.set_base = packed_set_base,
	.base = packed_base,
	.start = packed_start,
	.stop = packed_stop,
	.untake = packed_untake,
	.recovered = packed_recovered,
	.unrecover = packed_unrecover,
	.waiting = packed_waiting,
	.take = packed_take,
	.next = packed_next,
	.executed = packed_executed,
	.chain = packed_chain,
	.peek = packed_peek,
	.lost_chain = packed_lost_chain,
	.push = packed_push,
	.publish = packed_publish,
	.wants_call = packed_wants_call,
	.kicks_off = packed_kicks_off,
	.kicks_on = packed_kicks_on,
};
