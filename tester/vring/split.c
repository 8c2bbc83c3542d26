/* Split rings: life, indexes and notifications. */
#include "split.h"

#include <errno.h>
#include <string.h>

#include "access.h"
#include "mem/mem.h"

static void list_init(struct split *s, uint16_t list)
{
	s->slot[list].prev = list;
	s->slot[list].next = list;
}

static void list_insert(struct split *s, uint16_t before, uint16_t i)
{
	uint16_t prev = s->slot[before].prev;

	s->slot[i].prev = prev;
	s->slot[i].next = before;
	s->slot[prev].next = i;
	s->slot[before].prev = i;
}

static void list_remove(struct split *s, uint16_t i)
{
	s->slot[s->slot[i].prev].next = s->slot[i].next;
	s->slot[s->slot[i].next].prev = s->slot[i].prev;
}

void vhu_split_desc_put(struct split *s, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
			uint16_t next)
{
	uint8_t *p = s->desc + (size_t)i * VHU_C_DESC_SIZE, *q = s->desc_shadow + (size_t)i * VHU_C_DESC_SIZE;

	ring_store64(p, addr);
	ring_store32(p + 8, len);
	ring_store16(p + 12, flags);
	ring_store16(p + 14, next);
	vhu_le_put(q, 8, addr);
	vhu_le_put(q + 8, 4, len);
	vhu_le_put(q + 12, 2, flags);
	vhu_le_put(q + 14, 2, next);
}

void vhu_split_avail_put(struct split *s, uint32_t at, uint16_t value)
{
	vhu_le_put(s->avail_shadow + at, 2, value);
	ring_store16_release(s->avail + at, value);
}

void vhu_split_poison(struct split *s, uint32_t slot)
{
	uint8_t *p = s->used + VHU_USED_RING + VHU_USED_ELEMENT * (size_t)slot;

	ring_store32(p, POISON_ID);
	ring_store32(p + 4, POISON_LEN);
	s->poisoned[slot] = true;
	s->poison_known = true;
}

/*
 * The chain's descriptors are free again. The last one comes first in the list, so that the next
 * chain runs through the table backwards: no device may expect otherwise.
 */
void vhu_split_release(struct split *s, uint16_t head)
{
	struct slot *h = &s->slot[head];
	uint16_t n = h->count, i = head;

	vhu_table_drop(&s->v, head, &h->table);
	list_remove(s, head);
	if (h->state == SLOT_OWNED)
		s->owned--;
	else
		s->added--;
	while (n-- > 0) {
		s->slot[i].state = SLOT_FREE;
		list_insert(s, s->slot[free_list(s)].next, i);
		s->n_free++;
		i = s->slot[i].link;
	}
}

static void forget_all(struct split *s)
{
	while (s->slot[order_list(s)].next != order_list(s))
		vhu_split_release(s, s->slot[order_list(s)].next);
}

static void split_destroy(struct vhu_vring *v)
{
	struct split *s = split_of(v);

	if (s->slot)
		forget_all(s); /* gives indirect tables back */
	free(s->desc_shadow);
	free(s->avail_shadow);
	free(s->slot);
	free(s->poisoned);
	free(s);
}

static int map_parts(struct split *s, const struct vhu_vring_opts *o, struct vhu_err *err)
{
	const struct vhu_ring_layout *l = o->layout;

	s->desc = vhu_mem_at(o->mem, l->desc, vhu_ring_desc_len(s->size));
	s->avail = vhu_mem_at(o->mem, l->avail, vhu_ring_avail_len(s->size, false));
	s->used = vhu_mem_at(o->mem, l->used, vhu_ring_used_len(s->size, false));
	if (!s->desc || !s->avail || !s->used)
		return vhu_err_set(err, -EINVAL, "queue %u: its ring is not in guest memory", o->queue);
	if ((uintptr_t)s->desc % VHU_C_DESC_ALIGN || (uintptr_t)s->avail % VHU_C_AVAIL_ALIGN ||
	    (uintptr_t)s->used % VHU_C_USED_ALIGN)
		return vhu_err_set(err, -EINVAL, "queue %u: its ring is not aligned", o->queue);
	return 0;
}

static int split_create(const struct vhu_vring_opts *o, struct vhu_vring **ret, struct vhu_err *err)
{
	uint32_t size = o->layout->size;
	struct split *s;
	int r;

	if (size == 0 || size > VHU_C_VRING_SIZE_MAX || (size & (size - 1)))
		return vhu_err_set(err, -EINVAL, "queue %u: %u is no size of a split ring", o->queue, size);
	s = calloc(1, sizeof(*s));
	if (!s)
		return vhu_err_set(err, -ENOMEM, "queue %u: out of memory", o->queue);
	s->size = size;
	s->desc_shadow = calloc(size, VHU_C_DESC_SIZE);
	s->avail_shadow = calloc(1, vhu_ring_avail_len(size, false));
	s->slot = calloc(size + 2, sizeof(struct slot));
	s->poisoned = calloc(size, sizeof(bool));
	if (s->slot) {
		list_init(s, free_list(s));
		list_init(s, order_list(s));
	}
	r = s->desc_shadow && s->avail_shadow && s->slot && s->poisoned
		    ? map_parts(s, o, err)
		    : vhu_err_set(err, -ENOMEM, "queue %u: out of memory", o->queue);
	if (r < 0) {
		split_destroy(&s->v);
		return r;
	}
	*ret = &s->v;
	return 0;
}

/*
 * Without EVENT_IDX the trailing words mean nothing: noise, far ahead for a device that heeds
 * used_event all the same.
 */
static void fill_events(struct split *s)
{
	s->avail_event = s->v.event_idx ? s->avail_idx : (uint16_t)(s->avail_idx ^ 0xa55a);
	ring_store16(s->used + avail_event_at(s), s->avail_event);
	vhu_split_avail_put(s, used_event_at(s),
			    s->v.event_idx ? s->last_used : (uint16_t)(s->last_used + 0x8000));
}

void vhu_split_suppress(struct split *s)
{
	if (s->hands_off)
		return;
	if (!s->v.event_idx)
		vhu_split_avail_put(s, VHU_AVAIL_FLAGS, s->armed ? 0 : VHU_C_AVAIL_F_NO_INTERRUPT);
	else /* "just passed" is the farthest that there is */
		vhu_split_avail_put(s, used_event_at(s), (uint16_t)(s->last_used - (s->armed ? 0 : 1)));
}

static void split_reset(struct vhu_vring *v, uint32_t start)
{
	struct split *s = split_of(v);
	uint16_t base = (uint16_t)start;

	forget_all(s);
	list_init(s, free_list(s));
	for (uint32_t i = 0; i < s->size; i++) {
		s->slot[i] = (struct slot){.state = SLOT_FREE};
		list_insert(s, free_list(s), (uint16_t)i);
		vhu_split_desc_put(s, (uint16_t)i, 0, 0, 0, 0);
		vhu_split_avail_put(s, VHU_AVAIL_RING + 2 * i, 0);
		vhu_split_poison(s, i);
	}
	s->n_free = s->size;
	s->base = s->avail_idx = s->last_used = base;
	s->cursor = 0;
	s->consumed = s->batch = 0;
	s->n_late = 0;
	s->armed = s->untouched = true;
	s->hands_off = false;
	s->quiet = s->jump_told = false;
	s->flags_known = 0;
	ring_store16(s->used + VHU_USED_FLAGS, 0);
	vhu_split_avail_put(s, VHU_AVAIL_FLAGS, 0);
	fill_events(s);
	vhu_split_avail_put(s, VHU_AVAIL_IDX, base);
	ring_store16_release(s->used + VHU_USED_IDX, base);
}

static void split_features(struct vhu_vring *v)
{
	struct split *s = split_of(v);

	/* What the device left there under the old features is no fault under the new ones. */
	s->flags_known = ring_load16(s->used + VHU_USED_FLAGS);
	vhu_split_avail_put(s, VHU_AVAIL_FLAGS, 0);
	fill_events(s);
	vhu_split_suppress(s);
	if (s->n_free == s->size)
		s->cursor = 0;
}

uint16_t vhu_split_flags(struct split *s)
{
	uint16_t flags = ring_load16(s->used + VHU_USED_FLAGS);
	uint16_t legal = s->v.event_idx ? 0 : VHU_C_USED_F_NO_NOTIFY;

	if (flags == s->flags_known)
		return flags;
	s->flags_known = flags;
	if (flags & ~legal)
		vhu_vring_report(&s->v,
				 &(struct vhu_ring_event){s->v.event_idx ? VHU_BREACH_USED_FLAGS_EVENT_IDX
									 : VHU_BREACH_USED_FLAGS,
							  .gpa = s->v.layout->used},
				 "used.flags is 0x%x, must be %s", flags, s->v.event_idx ? "0" : "0 or 1");
	return flags;
}

/* The slots seen since the last time: none is outstanding, so the device writes none of them. */
static void poison_consumed(struct split *s)
{
	for (uint32_t i = 1; i <= s->consumed; i++)
		vhu_split_poison(s, (uint16_t)(s->last_used - i) & (s->size - 1));
	s->consumed = 0;
	s->n_late = 0;
}

static bool split_publish(struct vhu_vring *v)
{
	struct split *s = split_of(v);
	uint16_t i = order_list(s), old = s->avail_idx, flags;
	uint32_t n = s->added;

	if (n == 0) {
		vhu_split_flags(s);
		return false;
	}
	if (s->owned == 0)
		poison_consumed(s);
	while (s->added > 0) { /* the last ones in the order */
		i = s->slot[i].prev;
		s->slot[i].state = SLOT_OWNED;
		s->added--;
		s->owned++;
	}
	s->avail_idx = (uint16_t)(old + n);
	vhu_split_avail_put(s, VHU_AVAIL_IDX, s->avail_idx);
	ring_fence();
	flags = vhu_split_flags(s);
	if (s->v.event_idx) {
		uint16_t event = ring_load16(s->used + avail_event_at(s));

		return (uint16_t)(s->avail_idx - event - 1) < n;
	}
	return !(flags & VHU_C_USED_F_NO_NOTIFY);
}

static bool split_pending(const struct vhu_vring *v)
{
	const struct split *s = split_of_const(v);

	return ring_load16_acquire(s->used + VHU_USED_IDX) != s->last_used;
}

static bool split_arm(struct vhu_vring *v)
{
	struct split *s = split_of(v);

	s->armed = true;
	vhu_split_suppress(s);
	ring_fence();
	return !split_pending(v);
}

static void split_disarm(struct vhu_vring *v)
{
	struct split *s = split_of(v);

	s->armed = false;
	vhu_split_suppress(s);
}

/* Unpublished chains from the last one on, so that the available ring stays in step; then the oldest. */
static void *split_forget(struct vhu_vring *v)
{
	struct split *s = split_of(v);
	const struct slot *order = &s->slot[order_list(s)];
	uint16_t i = s->added > 0 ? order->prev : order->next;
	void *cookie;

	if (i == order_list(s))
		return NULL;
	cookie = s->slot[i].cookie;
	vhu_split_release(s, i);
	s->batch = 0;
	/* The device may return them yet, in any slot: these are no longer known. */
	if (s->poison_known)
		memset(s->poisoned, 0, s->size * sizeof(bool));
	s->poison_known = false;
	s->n_late = 0;
	return cookie;
}

static unsigned split_inflight(const struct vhu_vring *v)
{
	return split_of_const(v)->owned + split_of_const(v)->added;
}

static uint16_t split_avail_idx(const struct vhu_vring *v)
{
	return split_of_const(v)->avail_idx;
}

static uint16_t split_seen_idx(const struct vhu_vring *v)
{
	return split_of_const(v)->last_used;
}

static uint16_t split_used_idx(const struct vhu_vring *v)
{
	return ring_load16_acquire(split_of_const(v)->used + VHU_USED_IDX);
}

static uint32_t split_first_base(const struct vhu_vring *v)
{
	return 0;
}

static uint32_t split_base(const struct vhu_vring *v)
{
	return split_avail_idx(v);
}

static uint32_t split_base_used(const struct vhu_vring *v)
{
	return split_used_idx(v);
}

static uint32_t split_base_cut(const struct vhu_vring *v, uint64_t base)
{
	return (uint16_t)base;
}

static bool split_stands_at(const struct vhu_vring *v, uint32_t base)
{
	return (uint16_t)base == split_avail_idx(v);
}

static bool split_base_right(const struct vhu_vring *v, uint32_t base, char *out, size_t cap)
{
	uint16_t used = split_used_idx(v), avail = split_avail_idx(v);

	snprintf(out, cap, "%u (used) to %u (available)", used, avail);
	return (uint16_t)(base - used) <= (uint16_t)(avail - used);
}

const struct vhu_vring_ops vhu_split_ops = {
	.create = split_create,
	.destroy = split_destroy,
	.reset = split_reset,
	.first_base = split_first_base,
	.base = split_base,
	.base_used = split_base_used,
	.base_cut = split_base_cut,
	.stands_at = split_stands_at,
	.base_right = split_base_right,
	.features = split_features,
	.add = vhu_split_add,
	.add_raw = vhu_split_add_raw,
	.publish = split_publish,
	.chain = vhu_split_chain,
	.next = vhu_split_next,
	.reap = vhu_split_reap,
	.pending = split_pending,
	.arm = split_arm,
	.disarm = split_disarm,
	.forget = split_forget,
	.inflight = split_inflight,
	.audit = vhu_split_audit,
	.avail_idx = split_avail_idx,
	.seen_idx = split_seen_idx,
	.used_idx = split_used_idx,
	.find = vhu_split_find,
	.acknowledge = vhu_split_acknowledge,
};
