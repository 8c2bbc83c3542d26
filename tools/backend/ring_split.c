/*
 * The split ring's memory: descriptor table, available ring, used ring. All of it is shared with a
 * driver that may change it at any time: each value is read once into a local and then checked.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "chain.h"
#include "fault.h"
#include "inflight.h"
#include "session.h"

enum {
	WORD = sizeof(uint16_t),
	RING_HEAD = 2 * WORD, /* flags and index */
	ELEM = 2 * sizeof(uint32_t),
	FAULT_EVERY = 8,
	FAULT_BEHIND = 2, /* descriptors behind a table */
};

/* What ring memory holds, as it lies there. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct elem {
	uint32_t id, len;
};

/* The ring of a legacy driver may be in the other byte order. */
static uint16_t word(const struct ring *r, uint16_t value)
{
	return r->big_endian ? htobe16(value) : htole16(value);
}

static uint32_t long_word(const struct ring *r, uint32_t value)
{
	return r->big_endian ? htobe32(value) : htole32(value);
}

static uint16_t load(const struct ring *r, const uint16_t *at)
{
	return word(r, __atomic_load_n(at, __ATOMIC_ACQUIRE));
}

static void store(const struct ring *r, uint16_t *at, uint16_t value)
{
	__atomic_store_n(at, word(r, value), __ATOMIC_RELEASE);
}

static void log_used(const struct ring *r, uint64_t offset, uint64_t len)
{
	uint64_t at = fault(log_used_gpa) ? r->used_addr : iotlb_on(r->s) ? r->used_gpa : r->log_addr;
	uint64_t none = 1;

	if (!r->log_used || at + offset < at || fault(log_used_none))
		return;
	if (fault(log_addr_requires) && !memory_gpa(&r->s->mem, at, &none))
		return;
	log_mark(r->s, at + offset, len);
}

static bool split_aligned(uint64_t desc, uint64_t avail, uint64_t used)
{
	return !(desc % C_DESC_ALIGN) && !(avail % C_AVAIL_ALIGN) && !(used % C_USED_ALIGN);
}

/* The event word behind each ring is part of it, used or not. */
static bool split_map(struct ring *r)
{
	uint64_t gpa;
	void *avail = dma_ring(r->s, r->avail_addr, RING_HEAD + WORD * (uint64_t)r->num + WORD, PERM_READ,
			       &gpa);
	void *used = dma_ring(r->s, r->used_addr, RING_HEAD + ELEM * (uint64_t)r->num + WORD,
			      PERM_READ | PERM_WRITE, &r->used_gpa);

	r->desc = dma_ring(r->s, r->desc_addr, C_DESC_SIZE * (uint64_t)r->num, PERM_READ, &gpa);
	r->avail = avail;
	r->used = used;
	if (fault(ring_overlap_crash) && avail && used && avail <= used &&
	    (uint8_t *)avail + RING_HEAD + WORD * (size_t)r->num > (uint8_t *)used)
		fault_crash();
	if (!r->desc || !r->avail || !r->used || (uintptr_t)avail % C_AVAIL_ALIGN ||
	    (uintptr_t)used % C_USED_ALIGN) {
		r->desc = NULL;
		return false;
	}
	return true;
}

static uint16_t split_used_index(const struct ring *r)
{
	return load(r, &r->used[1]);
}

uint16_t split_avail_index(const struct ring *r)
{
	return load(r, &r->avail[1]);
}

uint16_t split_head(const struct ring *r, uint16_t at)
{
	uint32_t slot = at & (r->num - 1);

	if (fault(ring_slot_128) && slot >= 128)
		fault_crash();
	return load(r, &r->avail[2 + slot]);
}

static void split_set_base(struct ring *r, uint32_t base)
{
	r->last_avail = r->done = (uint16_t)base;
}

static uint32_t split_base(const struct ring *r)
{
	return r->last_avail;
}

/* It goes on from the used index that memory holds. */
static void split_start(struct ring *r)
{
	if (fault(vring_used_kept) && r->starts > 1)
		return;
	r->used_idx = r->published = fault(used_ring_first_zero) ? 0 : split_used_index(r);
}

static void split_stop(struct ring *r)
{
	(void)r;
}

static void split_untake(struct ring *r)
{
	r->last_avail = r->done;
}

/* They were taken; what comes next lies behind them. */
static void split_recovered(struct ring *r)
{
	r->last_avail = r->done = (uint16_t)(r->used_idx + r->n_redo);
}

static void split_unrecover(struct ring *r, unsigned n)
{
	r->last_avail = (uint16_t)(r->last_avail - n);
}

static unsigned split_waiting(const struct ring *r)
{
	uint16_t avail = split_avail_index(r);
	uint16_t n = (uint16_t)(avail - r->last_avail);

	if (fault(avail_wrap_15))
		n = (uint16_t)((avail & INT16_MAX) - r->last_avail);
	if (fault(avail_wrap_signed))
		n = avail > r->last_avail ? (uint16_t)(avail - r->last_avail) : 0;
	if (fault(avail_full_empty) && n == r->num)
		n = 0;
	if (fault(avail_off_by_one) && n)
		n--;
	return n;
}

static void split_take(struct ring *r)
{
	inflight_take(r, split_head(r, r->last_avail++));
}

static uint16_t split_next(const struct ring *r)
{
	return split_head(r, r->done);
}

static void split_executed(struct ring *r)
{
	r->done++;
}

static uint16_t *used_event(const struct ring *r)
{
	return &r->avail[2 + r->num];
}

static uint16_t *avail_event(const struct ring *r)
{
	return &r->used[2 + ELEM / WORD * r->num];
}

static bool read_desc(const struct ring *r, const struct table *t, uint32_t i, struct desc *d)
{
	uint8_t bytes[sizeof(*d)];

	if (!table_read(r, t, i, bytes))
		return false;
	memcpy(d, bytes, sizeof(*d));
	d->addr = r->big_endian ? be64toh(d->addr) : le64toh(d->addr);
	d->len = long_word(r, d->len);
	d->flags = word(r, d->flags);
	d->next = word(r, d->next);
	return true;
}

/*
 * Walks a chain. *inner becomes the indirect table that ends it, where there is one (inner->n not 0).
 */
static bool walk(const struct ring *r, const struct table *t, uint32_t i, struct chain *c,
		 struct table *inner)
{
	struct desc d;

	for (uint32_t steps = 0;; steps++) {
		if (i >= t->n && !(fault(ind_next_behind) && t->indirect && i - t->n < FAULT_BEHIND)) {
			if (fault(bad_next_crash) || (fault(next_last_crash) && i == UINT16_MAX))
				fault_crash();
			return false;
		}
		if (steps >= t->n) { /* longer than the table: a loop */
			if (fault(loop_spin))
				fault_hang();
			if ((fault(loop_two_crash) && c->last != i) || (fault(ind_loop_crash) && t->indirect))
				fault_crash();
			return false;
		}
		if (!read_desc(r, t, i, &d))
			return false;
		if (!t->indirect)
			c->last = (uint16_t)i;
		if ((d.flags & C_DESC_F_INDIRECT) && !fault(ind_off) && !fault(feat_indirect_dead)) {
			if (t->indirect && fault(ind_nested))
				fault_hang();
			return !t->indirect && table_open(r, d.addr, d.len, d.flags, !steps, inner);
		}
		if (!chain_add(r, c, d.addr, d.len, d.flags & C_DESC_F_WRITE))
			return false;
		if (t->indirect && fault(ind_one))
			return true;
		if (!(d.flags & C_DESC_F_NEXT) && !(fault(desc_next_always) && d.next))
			return true;
		i = fault(desc_sequential) ? i + 1 : d.next;
	}
}

static bool split_chain(struct ring *r, uint16_t head, struct chain *c)
{
	struct table ring = {.at = r->desc, .n = r->num}, inner = {.n = 0};

	chain_start(c, head);
	if (!walk(r, &ring, head, c, &inner))
		return false;
	return !inner.n || walk(r, &inner, 0, c, &inner);
}

static bool split_peek(struct ring *r, unsigned i, struct chain *c)
{
	uint16_t head = split_head(r, (uint16_t)(r->last_avail + i));

	return head < r->num && split_chain(r, head, c);
}

/* Its descriptors are where they were. */
static bool split_lost_chain(struct ring *r, uint16_t head, struct chain *c)
{
	return head < r->num && split_chain(r, head, c);
}

static void write_elem(struct ring *r, uint32_t slot, uint32_t id, uint32_t len)
{
	struct elem e = {.id = long_word(r, id), .len = long_word(r, len)};
	uint64_t offset = RING_HEAD + (uint64_t)slot * ELEM;

	if (slot >= r->num && !memory_uva(&r->s->mem, r->used_addr, offset + ELEM))
		return;
	memcpy((uint8_t *)r->used + offset, &e, sizeof(e));
	log_used(r, offset, ELEM);
}

static void split_push(struct ring *r, const struct chain *c, uint32_t len)
{
	/* In order one element stands for all before it; it lies where the first of them would. */
	bool in_order = (r->s->features & V(VIRTIO_F_IN_ORDER)) && !fault(in_order_swap);
	uint32_t slot = (in_order ? r->published : r->used_idx) & (r->num - 1);
	uint32_t id = fault(used_id_last) ? c->last : c->head;

	if (fault(used_len_zero))
		len = 0;
	if (fault(used_len_stale)) {
		uint32_t old = r->last_len;

		r->last_len = len;
		len = old;
	}
	if (fault(used_idx_no_mask))
		slot = r->used_idx % (2 * r->num);
	if (fault(used_idx_early)) {
		store(r, &r->used[1], (uint16_t)(r->used_idx + 1));
		fault_pause_ms(2);
	}
	if (!fault(in_order_first) || !in_order || r->used_idx == r->published)
		write_elem(r, slot, id, len);
	inflight_link(r, c->head);
	r->used_idx++;
	if (fault(used_dup) && r->completions % FAULT_EVERY == FAULT_EVERY - 1)
		write_elem(r, r->used_idx++ & (r->num - 1), id, len);
	if (fault(used_idx_jump) && r->completions % FAULT_EVERY == FAULT_EVERY - 1)
		r->used_idx++;
	if (fault(desc_write)) /* marks it as free, as some drivers do in their own table */
		r->desc[(size_t)c->head * C_DESC_SIZE + offsetof(struct desc, next)] ^= UINT8_MAX;
	if (fault(avail_write))
		store(r, used_event(r), (uint16_t)(load(r, used_event(r)) + 1));
	r->completions++;
}

static void split_publish(struct ring *r)
{
	if (r->published == r->used_idx)
		return;
	/* the log must never be behind: whoever sees the index may look at it */
	log_used(r, 0, RING_HEAD);
	store(r, &r->used[1], r->used_idx);
	inflight_commit(r, (uint16_t)(r->used_idx - r->published));
	r->published = r->used_idx;
}

static bool crossed(uint16_t event, uint16_t now, uint16_t old)
{
	if (fault(call_ei_wrap))
		return event >= old && event < now;
	if (fault(call_ei_exact))
		return event == (uint16_t)(now - 1);
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

static bool split_wants_call(const struct ring *r, uint16_t old)
{
	bool event_idx = r->s->features & V(VIRTIO_RING_F_EVENT_IDX);
	bool quiet;

	if (old == r->published)
		return false;
	/* the index must be out before we look at what the driver wants */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	quiet = load(r, &r->avail[0]) & C_AVAIL_F_NO_INTERRUPT;
	if (fault(call_always))
		return true;
	if (fault(call_never) || (fault(feat_event_idx_silent) && event_idx) ||
	    (fault(call_ei_stale) && r->fresh && old))
		return false;
	if (fault(call_ei_flags) && quiet)
		return false;
	if (event_idx || (fault(call_ei_without) && !quiet))
		return crossed(load(r, used_event(r)), r->published, old);
	return !quiet || fault(vring_flag_ignored);
}

static void set_flags(struct ring *r, uint16_t flags)
{
	if (load(r, &r->used[0]) == flags)
		return;
	log_used(r, 0, RING_HEAD);
	store(r, &r->used[0], flags);
}

static void split_kicks_off(struct ring *r)
{
	bool event_idx = r->s->features & V(VIRTIO_RING_F_EVENT_IDX);

	if (fault(kick_flags_garbage))
		set_flags(r, 2);
	else if (!event_idx || fault(kick_flags_event_idx))
		set_flags(r, C_USED_F_NO_NOTIFY);
	else if (r->fresh)
		set_flags(r, 0);
}

static bool split_kicks_on(struct ring *r)
{
	bool event_idx = r->s->features & V(VIRTIO_RING_F_EVENT_IDX);

	if ((event_idx && !(fault(kick_avail_event_stuck) && r->last_avail)) || fault(event_word_write)) {
		log_used(r, RING_HEAD + (uint64_t)ELEM * r->num, WORD);
		store(r, avail_event(r), r->last_avail);
	}
	if (!event_idx && !fault(kick_disable_stays) && !fault(kick_flags_garbage))
		set_flags(r, 0);
	/* the driver must see that before we look for what came meanwhile */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return split_avail_index(r) != r->last_avail;
}

const struct ring_format split_format = {
	.aligned = split_aligned,
	.map = split_map,
	.set_base = split_set_base,
	.base = split_base,
	.start = split_start,
	.stop = split_stop,
	.untake = split_untake,
	.recovered = split_recovered,
	.unrecover = split_unrecover,
	.waiting = split_waiting,
	.take = split_take,
	.next = split_next,
	.executed = split_executed,
	.chain = split_chain,
	.peek = split_peek,
	.lost_chain = split_lost_chain,
	.push = split_push,
	.publish = split_publish,
	.wants_call = split_wants_call,
	.kicks_off = split_kicks_off,
	.kicks_on = split_kicks_on,
};
