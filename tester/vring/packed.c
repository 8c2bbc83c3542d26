/* Packed rings: life, positions and notifications. */
#include "packed.h"

#include <errno.h>
#include <string.h>

#include "access.h"
#include "mem/mem.h"

static uint8_t *slot_at(const struct packed *p, uint16_t at)
{
	return p->desc + (size_t)at * VHU_C_DESC_SIZE;
}

void vhu_packed_desc_put(struct packed *p, uint16_t at, uint64_t addr, uint32_t len, uint16_t id)
{
	uint8_t *mem = slot_at(p, at), *shadow = p->shadow + (size_t)at * VHU_C_DESC_SIZE;

	ring_store64(mem + DESC_ADDR, addr);
	ring_store32(mem + DESC_LEN, len);
	ring_store16(mem + DESC_ID, id);
	vhu_le_put(shadow + DESC_ADDR, 8, addr);
	vhu_le_put(shadow + DESC_LEN, 4, len);
	vhu_le_put(shadow + DESC_ID, 2, id);
	p->kind[at] = SLOT_DRIVER;
}

void vhu_packed_flags_put(struct packed *p, uint16_t at, uint16_t flags)
{
	vhu_le_put(p->shadow + (size_t)at * VHU_C_DESC_SIZE + DESC_FLAGS, 2, flags);
	ring_store16_release(slot_at(p, at) + DESC_FLAGS, flags);
}

uint16_t vhu_packed_marks(const struct packed *p, uint16_t at)
{
	return ring_load16_acquire(slot_at(p, at) + DESC_FLAGS) & DESC_F_MARKS;
}

void vhu_packed_release(struct packed *p, uint16_t id)
{
	struct buffer *b = &p->buffer[id];

	vhu_table_drop(&p->v, id, &b->table);
	p->buffer[b->prev].next = b->next;
	p->buffer[b->next].prev = b->prev;
	if (b->state == BUFFER_OWNED)
		p->owned--;
	else
		p->added--;
	b->state = BUFFER_FREE;
	p->free_id[p->n_free_ids++] = id;
}

static void packed_destroy(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);

	while (p->buffer && p->buffer[order_list(p)].next != order_list(p))
		vhu_packed_release(p, p->buffer[order_list(p)].next); /* gives indirect tables back */
	free(p->shadow);
	free(p->kind);
	free(p->list);
	free(p->buffer);
	free(p->free_id);
	free(p);
}

static int map_parts(struct packed *p, const struct vhu_vring_opts *o, struct vhu_err *err)
{
	const struct vhu_ring_layout *l = o->layout;

	p->desc = vhu_mem_at(o->mem, l->desc, vhu_ring_desc_len(p->size));
	p->driver = vhu_mem_at(o->mem, l->avail, EVENT_SIZE);
	p->device = vhu_mem_at(o->mem, l->used, EVENT_SIZE);
	if (!p->desc || !p->driver || !p->device)
		return vhu_err_set(err, -EINVAL, "queue %u: its ring is not in guest memory", o->queue);
	if ((uintptr_t)p->desc % VHU_C_DESC_ALIGN || (uintptr_t)p->driver % VHU_C_EVENT_ALIGN ||
	    (uintptr_t)p->device % VHU_C_EVENT_ALIGN)
		return vhu_err_set(err, -EINVAL, "queue %u: its ring is not aligned", o->queue);
	return 0;
}

static int packed_create(const struct vhu_vring_opts *o, struct vhu_vring **ret, struct vhu_err *err)
{
	uint32_t size = o->layout->size;
	struct packed *p;
	int r;

	if (size == 0 || size > VHU_C_VRING_SIZE_MAX)
		return vhu_err_set(err, -EINVAL, "queue %u: %u is no size of a packed ring", o->queue, size);
	p = calloc(1, sizeof(*p));
	if (!p)
		return vhu_err_set(err, -ENOMEM, "queue %u: out of memory", o->queue);
	p->size = size;
	p->shadow = calloc(size, VHU_C_DESC_SIZE);
	p->kind = calloc(size, sizeof(*p->kind));
	p->list = calloc(size, sizeof(*p->list));
	p->buffer = calloc(size + 1, sizeof(*p->buffer));
	p->free_id = calloc(size, sizeof(*p->free_id));
	if (p->buffer)
		p->buffer[order_list(p)].prev = p->buffer[order_list(p)].next = order_list(p);
	r = p->shadow && p->kind && p->list && p->buffer && p->free_id
		    ? map_parts(p, o, err)
		    : vhu_err_set(err, -ENOMEM, "queue %u: out of memory", o->queue);
	if (r < 0) {
		packed_destroy(&p->v);
		return r;
	}
	*ret = &p->v;
	return 0;
}

static void driver_event_put(struct packed *p, uint16_t place, uint16_t flags)
{
	uint32_t both = place | (uint32_t)flags << 16;

	vhu_le_put(p->driver_shadow, EVENT_SIZE, both);
	ring_store32_release(p->driver, both);
}

void vhu_packed_suppress(struct packed *p)
{
	if (p->hands_off)
		return;
	if (!p->armed)
		driver_event_put(p, 0, VHU_C_EVENT_DISABLE);
	else if (!p->v.event_idx)
		driver_event_put(p, 0, VHU_C_EVENT_ENABLE);
	else
		driver_event_put(p, place_word(p->used), VHU_C_EVENT_DESC);
}

/* Slots that the device has not come to yet look used in the lap before. */
static void format_slots(struct packed *p)
{
	for (uint32_t at = 0; at < p->size; at++) {
		bool wrap = at < p->avail.at ? !p->avail.wrap : p->avail.wrap;

		vhu_packed_desc_put(p, (uint16_t)at, 0, 0, 0);
		vhu_packed_flags_put(p, (uint16_t)at, used_marks(!wrap));
	}
}

/* Ids that have nothing to do with places: they start in the middle and go down. */
static void free_all_ids(struct packed *p)
{
	for (uint32_t i = 0; i < p->size; i++) {
		p->buffer[i] = (struct buffer){.state = BUFFER_FREE};
		p->free_id[i] = (uint16_t)((i + p->size / 2 + 1) % p->size);
	}
	p->n_free_ids = p->size;
}

static void packed_reset(struct vhu_vring *v, uint32_t base)
{
	struct packed *p = packed_of(v);
	uint16_t at = base & (VHU_C_POSITION_WRAP - 1);

	while (p->buffer[order_list(p)].next != order_list(p))
		vhu_packed_release(p, p->buffer[order_list(p)].next);
	free_all_ids(p);
	p->avail = (struct place){(uint16_t)(at % p->size), base & VHU_C_POSITION_WRAP};
	p->published = p->used = p->avail;
	format_slots(p);
	p->n_avail = p->n_used = 0;
	p->batch = p->batch_slots = 0;
	p->armed = true;
	p->hands_off = false;
	p->device_known = 0;
	ring_store32_release(p->device, 0);
	vhu_packed_suppress(p);
}

static void packed_features(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);

	/* What the device left there under the old features is no fault under the new ones. */
	p->device_known = ring_load32(p->device);
	vhu_packed_suppress(p);
}

static bool event_is_legal(const struct packed *p, uint32_t event)
{
	uint32_t flags = event >> 16, at = event & (VHU_C_POSITION_WRAP - 1);

	if (flags == VHU_C_EVENT_DESC)
		return p->v.event_idx && at < p->size;
	return flags == VHU_C_EVENT_ENABLE || flags == VHU_C_EVENT_DISABLE;
}

uint32_t vhu_packed_device_event(struct packed *p)
{
	uint32_t event = ring_load32(p->device);

	if (event == p->device_known)
		return event;
	p->device_known = event;
	if (!event_is_legal(p, event))
		vhu_vring_report(&p->v,
				 &(struct vhu_ring_event){VHU_BREACH_PACKED_DEVICE_EVENT,
							  .gpa = p->v.layout->used},
				 "the device event structure has position %u, flags 0x%x; the ring has %u "
				 "entries, EVENT_IDX is %s",
				 event & (VHU_C_POSITION_WRAP - 1), event >> 16, p->size,
				 p->v.event_idx ? "on" : "off");
	return event;
}

/* Whether the place of the event lies among the `slots` that were filled last. */
static bool event_passed(const struct packed *p, uint16_t event, uint32_t slots)
{
	uint16_t now = p->avail.at, old = (uint16_t)(now - slots), at = event & (VHU_C_POSITION_WRAP - 1);

	if (!!(event & VHU_C_POSITION_WRAP) != p->avail.wrap)
		at = (uint16_t)(at - p->size);
	return (uint16_t)(now - at - 1) < (uint16_t)(now - old);
}

bool vhu_packed_kick_wanted(const struct packed *p, uint32_t event, uint32_t slots)
{
	switch (event >> 16) {
	case VHU_C_EVENT_DISABLE:
		return false;
	case VHU_C_EVENT_DESC:
		return !p->v.event_idx || event_passed(p, (uint16_t)event, slots);
	default:
		return true;
	}
}

static bool packed_publish(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);
	uint16_t id = order_list(p);
	uint32_t event, slots = place_ahead(p, p->published, p->avail);

	if (p->added == 0) {
		vhu_packed_device_event(p);
		return false;
	}
	while (p->added > 0) { /* the last ones in the order */
		id = p->buffer[id].prev;
		p->buffer[id].state = BUFFER_OWNED;
		p->added--;
		p->owned++;
		p->n_avail++;
	}
	vhu_packed_flags_put(p, p->published.at, p->head_flags);
	p->published = p->avail;
	ring_fence();
	event = vhu_packed_device_event(p);
	return vhu_packed_kick_wanted(p, event, slots);
}

static bool packed_pending(const struct vhu_vring *v)
{
	const struct packed *p = packed_of_const(v);
	uint16_t marks = slots_owned(p) ? vhu_packed_marks(p, p->used.at) : avail_marks(p->used.wrap);

	return marks == 0 || marks == DESC_F_MARKS;
}

static bool packed_arm(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);

	p->armed = true;
	vhu_packed_suppress(p);
	ring_fence();
	return !packed_pending(v);
}

static void packed_disarm(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);

	p->armed = false;
	vhu_packed_suppress(p);
}

static unsigned packed_inflight(const struct vhu_vring *v)
{
	return packed_of_const(v)->owned + packed_of_const(v)->added;
}

static uint16_t packed_avail_idx(const struct vhu_vring *v)
{
	return packed_of_const(v)->n_avail;
}

static uint16_t packed_seen_idx(const struct vhu_vring *v)
{
	return packed_of_const(v)->n_used;
}

static uint16_t packed_used_idx(const struct vhu_vring *v)
{
	const struct packed *p = packed_of_const(v);
	struct place behind;

	return (uint16_t)(p->n_used + vhu_packed_unseen(p, &behind));
}

/* --- the base -------------------------------------------------------------------------------------- */

static uint32_t both(struct place avail, struct place used)
{
	return place_word(avail) | (uint32_t)place_word(used) << 16;
}

static uint32_t packed_first_base(const struct vhu_vring *v)
{
	struct place first = {0, true};

	return both(first, first);
}

static uint32_t packed_base(const struct vhu_vring *v)
{
	const struct packed *p = packed_of_const(v);

	return both(p->published, p->used);
}

static uint32_t packed_base_used(const struct vhu_vring *v)
{
	struct place behind;

	vhu_packed_unseen(packed_of_const(v), &behind);
	return both(behind, behind);
}

static uint32_t packed_base_cut(const struct vhu_vring *v, uint64_t base)
{
	return (uint32_t)base;
}

/* Back-ends of before the text had both halves give the available one only. */
static bool packed_stands_at(const struct vhu_vring *v, uint32_t base)
{
	const struct packed *p = packed_of_const(v);

	return (uint16_t)base == place_word(p->published) &&
	       (base >> 16 == place_word(p->used) || base >> 16 == 0);
}

static bool packed_base_right(const struct vhu_vring *v, uint32_t base, char *out, size_t cap)
{
	const struct packed *p = packed_of_const(v);
	struct place used, said = {base & (VHU_C_POSITION_WRAP - 1), base & VHU_C_POSITION_WRAP};
	uint32_t ahead;

	vhu_packed_unseen(p, &used);
	ahead = place_ahead(p, used, p->published);
	snprintf(out, cap, "available 0x%04x%s, used 0x%04x (position, wrap counter in bit 15)",
		 place_word(p->published), ahead ? " or before" : "", place_word(used));
	if (base >> 16 != place_word(used) && base >> 16 != 0)
		return false;
	if (said.at >= p->size || (said.wrap == used.wrap && said.at < used.at))
		return false;
	return place_ahead(p, used, said) <= ahead;
}

const struct vhu_vring_ops vhu_packed_ops = {
	.create = packed_create,
	.destroy = packed_destroy,
	.reset = packed_reset,
	.first_base = packed_first_base,
	.base = packed_base,
	.base_used = packed_base_used,
	.base_cut = packed_base_cut,
	.stands_at = packed_stands_at,
	.base_right = packed_base_right,
	.features = packed_features,
	.add = vhu_packed_add,
	.add_raw = vhu_packed_add_raw,
	.publish = packed_publish,
	.chain = vhu_packed_chain,
	.next = vhu_packed_next,
	.reap = vhu_packed_reap,
	.pending = packed_pending,
	.arm = packed_arm,
	.disarm = packed_disarm,
	.forget = vhu_packed_forget,
	.inflight = packed_inflight,
	.audit = vhu_packed_audit,
	.avail_idx = packed_avail_idx,
	.seen_idx = packed_seen_idx,
	.used_idx = packed_used_idx,
	.find = vhu_packed_find,
	.acknowledge = vhu_packed_acknowledge,
};
