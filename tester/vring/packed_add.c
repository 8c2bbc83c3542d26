/* Packed rings: buffers into the ring, and those that are given up. */
#include <errno.h>

#include "access.h"
#include "mem/mem.h"
#include "packed.h"

/* In all descriptors of a list but the last the id means nothing: here it names no buffer. */
static uint16_t noise_id(uint16_t id)
{
	return (uint16_t)(0x8000 | (id ^ 0x2aa5));
}

static int check_room(const struct packed *p, size_t slots, struct vhu_err *err)
{
	uint32_t free_slots = p->size - place_ahead(p, p->used, p->avail);

	if (slots <= free_slots && p->n_free_ids > 0)
		return 0;
	return vhu_err_set(err, -ENOSPC, "queue %u: %zu descriptors are needed, %u of %u are free",
			   p->v.queue, slots, free_slots, p->size);
}

static uint16_t take(struct packed *p, size_t slots, void *cookie)
{
	uint16_t id = p->free_id[--p->n_free_ids];
	struct buffer *b = &p->buffer[id], *order = &p->buffer[order_list(p)];

	*b = (struct buffer){.cookie = cookie,
			     .slots = (uint16_t)slots,
			     .at = p->avail.at,
			     .wrap = p->avail.wrap,
			     .prev = order->prev,
			     .next = order_list(p),
			     .state = BUFFER_ADDED};
	p->buffer[order->prev].next = id;
	order->prev = id;
	return id;
}

/* Descriptor k of the list that starts at the next free place. Its head is made available last. */
static void put(struct packed *p, size_t k, const struct vhu_raw_desc *d)
{
	struct place at = place_behind(p, p->avail, (uint32_t)k);
	uint16_t flags = d->flags | avail_marks(at.wrap);

	vhu_packed_desc_put(p, at.at, d->addr, d->len, d->id);
	if (k > 0)
		vhu_packed_flags_put(p, at.at, flags);
	else if (p->added == 0)
		p->head_flags = flags; /* until the driver publishes */
}

/* The list stands: its head, and the place behind it. */
static void append(struct packed *p, const struct vhu_raw_desc *head, size_t slots)
{
	if (p->added > 0)
		vhu_packed_flags_put(p, p->avail.at, head->flags | avail_marks(p->avail.wrap));
	p->list[p->avail.at] = (uint16_t)slots;
	p->avail = place_behind(p, p->avail, (uint32_t)slots);
	p->added++;
}

static void put_direct(struct packed *p, uint16_t id, const struct vhu_sg *sg, size_t n)
{
	struct vhu_raw_desc head = {0};

	for (size_t k = 0; k < n; k++) {
		bool more = k + 1 < n;
		struct vhu_raw_desc d = {.addr = vhu_mem_device_address(p->v.mem, sg[k].gpa),
					 .len = sg[k].len,
					 .flags = (sg[k].write ? VHU_C_DESC_F_WRITE : 0) |
						  (more ? VHU_C_DESC_F_NEXT : 0),
					 .id = more ? noise_id(id) : id};

		if (k == 0)
			head = d;
		put(p, k, &d);
	}
	append(p, &head, n);
}

/* Tables run from entry to entry: only WRITE counts there, and ids mean nothing. */
static int put_indirect(struct packed *p, uint16_t id, const struct vhu_sg *sg, size_t n, struct vhu_err *err)
{
	struct vhu_table *t = &p->buffer[id].table;
	int r = vhu_table_find(&p->v, id, n, t, err);
	struct vhu_raw_desc d = {.flags = VHU_C_DESC_F_INDIRECT, .id = id};
	uint8_t *mem;

	if (r < 0)
		return r;
	mem = vhu_mem_at(p->v.mem, t->gpa, t->len);
	for (size_t k = 0; k < n; k++, mem += VHU_C_DESC_SIZE) {
		ring_store64(mem + DESC_ADDR, vhu_mem_device_address(p->v.mem, sg[k].gpa));
		ring_store32(mem + DESC_LEN, sg[k].len);
		ring_store16(mem + DESC_ID, noise_id((uint16_t)(id + k)));
		ring_store16(mem + DESC_FLAGS, sg[k].write ? VHU_C_DESC_F_WRITE : 0);
	}
	vhu_table_seal(&p->v, t);
	d.addr = vhu_mem_device_address(p->v.mem, t->gpa);
	d.len = t->len;
	put(p, 0, &d);
	append(p, &d, 1);
	return 0;
}

/* Takes back what take() took, before anything of it was appended. */
static void give_back(struct packed *p, uint16_t id)
{
	p->added++;
	vhu_packed_release(p, id);
}

int vhu_packed_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		   uint16_t *ret_head, struct vhu_err *err)
{
	struct packed *p = packed_of(v);
	uint16_t id;
	int r = vhu_chain_check(v, sg, n, indirect, err);

	if (r == 0)
		r = check_room(p, indirect ? 1 : n, err);
	if (r < 0)
		return r;
	id = take(p, indirect ? 1 : n, cookie);
	p->buffer[id].writable = vhu_chain_writable(sg, n);
	if (indirect)
		r = put_indirect(p, id, sg, n, err);
	else
		put_direct(p, id, sg, n);
	if (r < 0)
		give_back(p, id);
	else
		*ret_head = id;
	return r;
}

int vhu_packed_add_raw(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		       uint16_t *ret_head, struct vhu_err *err)
{
	struct packed *p = packed_of(v);
	struct vhu_raw_desc head = {0};
	uint16_t id;
	int r = vhu_chain_fits(v, n, err);

	if (r == 0)
		r = check_room(p, n, err);
	if (r < 0)
		return r;
	id = take(p, n, cookie);
	p->buffer[id].writable = vhu_raw_writable(desc, n);
	for (size_t k = 0; k < n; k++) {
		struct vhu_raw_desc d = desc[k];

		if (!d.id_set)
			d.id = k + 1 < n ? noise_id(id) : id;
		if (k == 0)
			head = d;
		put(p, k, &d);
	}
	append(p, &head, n);
	*ret_head = id;
	return 0;
}

/* A list that no device has seen goes; what lies there looks used in the lap before. */
static void withdraw(struct packed *p, uint32_t slots)
{
	struct place from = place_before(p, p->avail, slots);

	for (uint32_t k = 0; k < slots; k++) {
		struct place at = place_behind(p, from, k);

		vhu_packed_flags_put(p, at.at, used_marks(!at.wrap));
	}
	p->avail = from;
}

/* Unpublished buffers from the last one on, so that the places stay in step; then the oldest. */
void *vhu_packed_forget(struct vhu_vring *v)
{
	struct packed *p = packed_of(v);
	const struct buffer *order = &p->buffer[order_list(p)];
	uint16_t id = p->added > 0 ? order->prev : order->next;
	void *cookie;

	if (id == order_list(p))
		return NULL;
	cookie = p->buffer[id].cookie;
	if (p->added > 0)
		withdraw(p, p->buffer[id].slots);
	vhu_packed_release(p, id);
	p->batch = p->batch_slots = 0;
	if (p->owned == 0 && p->added == 0)
		p->used = p->published;
	return cookie;
}

size_t vhu_packed_chain(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
			uint32_t *index)
{
	const struct packed *p = packed_of_const(v);
	const struct buffer *b = &p->buffer[head];
	struct place first = {b->at, b->wrap};

	*index = place_word(place_behind(p, first, b->slots));
	for (uint32_t k = 0; k < VHU_MIN((size_t)b->slots, max); k++) {
		uint16_t at = place_behind(p, first, k).at;

		out[k] = vhu_desc_read(p->shadow + (size_t)at * VHU_C_DESC_SIZE, true);
		/* The first one's flags are withheld until it is published. */
		if (p->added > 0 && at == p->published.at)
			out[k].flags = p->head_flags;
		out[k].flags &= (uint16_t)~DESC_F_MARKS;
	}
	return b->slots;
}

bool vhu_packed_next(const struct vhu_vring *v, uint16_t *head)
{
	const struct packed *p = packed_of_const(v);

	*head = p->buffer[*head == VHU_CHAIN_FIRST ? order_list(p) : *head].next;
	return *head != order_list(p);
}
