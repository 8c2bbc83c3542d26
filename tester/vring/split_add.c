/* Split rings: chains into the descriptor table. */
#include "split.h"

#include <errno.h>

#include "access.h"
#include "mem/mem.h"

static void list_take(struct split *s, uint16_t i)
{
	s->slot[s->slot[i].prev].next = s->slot[i].next;
	s->slot[s->slot[i].next].prev = s->slot[i].prev;
	s->n_free--;
}

/* IN_ORDER asks for descriptors in table order: the next n have to be free. */
static bool run_is_free(const struct split *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (s->slot[(s->cursor + i) & (s->size - 1)].state != SLOT_FREE)
			return false;
	}
	return true;
}

static uint16_t take_one(struct split *s)
{
	uint16_t i = s->slot[free_list(s)].next;

	if (s->v.in_order) {
		i = s->cursor;
		s->cursor = (uint16_t)((i + 1u) & (s->size - 1));
	}
	list_take(s, i);
	return i;
}

/* Takes n descriptors, links them and puts their head last in the order. */
static int take(struct split *s, size_t n, void *cookie, uint16_t *ret_head, struct vhu_err *err)
{
	uint16_t head, i;

	if (n > s->n_free || (s->v.in_order && !run_is_free(s, n)))
		return vhu_err_set(err, -ENOSPC, "queue %u: %zu descriptors are needed, %u of %u are free",
				   s->v.queue, n, s->n_free, s->size);
	head = i = take_one(s);
	s->slot[head] = (struct slot){.cookie = cookie, .count = (uint16_t)n, .state = SLOT_ADDED};
	while (--n > 0) {
		uint16_t next = take_one(s);

		s->slot[i].link = next;
		s->slot[next] = (struct slot){.state = SLOT_INNER};
		i = next;
	}
	*ret_head = head;
	return 0;
}

/* The chain stands in the table: now its head, into the order and behind those that are not published yet. */
static void append(struct split *s, uint16_t head)
{
	struct slot *order = &s->slot[order_list(s)], *h = &s->slot[head];

	h->prev = order->prev;
	h->next = order_list(s);
	s->slot[order->prev].next = head;
	order->prev = head;
	vhu_split_avail_put(s, VHU_AVAIL_RING + 2 * ((s->avail_idx + s->added) & (s->size - 1)), head);
	s->added++;
	h->index = (uint16_t)(s->avail_idx + s->added);
}

/* `next` of a descriptor without the NEXT flag: IN_ORDER wants the following one, else it means nothing. */
static uint16_t end_link(const struct split *s, uint16_t i)
{
	return s->v.in_order ? (uint16_t)((i + 1u) & (s->size - 1)) : 0;
}

static void put_direct(struct split *s, uint16_t head, const struct vhu_sg *sg, size_t n)
{
	uint16_t i = head;

	for (size_t k = 0; k < n; k++) {
		bool more = k + 1 < n;
		uint16_t flags = (sg[k].write ? VHU_C_DESC_F_WRITE : 0) | (more ? VHU_C_DESC_F_NEXT : 0);

		vhu_split_desc_put(s, i, vhu_mem_device_address(s->v.mem, sg[k].gpa), sg[k].len, flags,
				   more ? s->slot[i].link : end_link(s, i));
		i = s->slot[i].link;
	}
}

static int put_indirect(struct split *s, uint16_t head, const struct vhu_sg *sg, size_t n,
			struct vhu_err *err)
{
	struct vhu_table *t = &s->slot[head].table;
	int r = vhu_table_find(&s->v, head, n, t, err);
	uint8_t *p;

	if (r < 0)
		return r;
	p = vhu_mem_at(s->v.mem, t->gpa, t->len);
	for (size_t k = 0; k < n; k++, p += VHU_C_DESC_SIZE) {
		bool more = k + 1 < n;

		ring_store64(p, vhu_mem_device_address(s->v.mem, sg[k].gpa));
		ring_store32(p + 8, sg[k].len);
		ring_store16(p + 12, (sg[k].write ? VHU_C_DESC_F_WRITE : 0) | (more ? VHU_C_DESC_F_NEXT : 0));
		ring_store16(p + 14, (uint16_t)(more ? k + 1 : 0));
	}
	vhu_table_seal(&s->v, t);
	vhu_split_desc_put(s, head, vhu_mem_device_address(s->v.mem, t->gpa), t->len, VHU_C_DESC_F_INDIRECT,
			   end_link(s, head));
	return 0;
}

/* Takes back what take() took, before the head was put into the order. */
static void give_back(struct split *s, uint16_t head)
{
	append(s, head);
	vhu_split_release(s, head);
	if (s->v.in_order)
		s->cursor = head;
}

int vhu_split_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		  uint16_t *ret_head, struct vhu_err *err)
{
	struct split *s = split_of(v);
	uint16_t head;
	int r = vhu_chain_check(v, sg, n, indirect, err);

	if (r == 0)
		r = take(s, indirect ? 1 : n, cookie, &head, err);
	if (r < 0)
		return r;
	s->slot[head].writable = vhu_chain_writable(sg, n);
	if (indirect) {
		r = put_indirect(s, head, sg, n, err);
		if (r < 0) {
			give_back(s, head);
			return r;
		}
	} else {
		put_direct(s, head, sg, n);
	}
	append(s, head);
	*ret_head = head;
	return 0;
}

int vhu_split_add_raw(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		      uint16_t *ret_head, struct vhu_err *err)
{
	struct split *s = split_of(v);
	uint16_t head, i;
	int r = vhu_chain_fits(v, n, err);

	if (r == 0)
		r = take(s, n, cookie, &head, err);
	if (r < 0)
		return r;
	i = head;
	for (size_t k = 0; k < n; k++) {
		uint16_t link = k + 1 < n ? s->slot[i].link : end_link(s, i);

		vhu_split_desc_put(s, i, desc[k].addr, desc[k].len, desc[k].flags,
				   desc[k].next_set ? desc[k].next : link);
		i = s->slot[i].link;
	}
	s->slot[head].writable = vhu_raw_writable(desc, n);
	append(s, head);
	*ret_head = head;
	return 0;
}

size_t vhu_split_chain(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
		       uint32_t *index)
{
	const struct split *s = split_of_const(v);
	const struct slot *h = &s->slot[head];
	uint16_t i = head;

	*index = h->index;
	for (size_t k = 0; k < VHU_MIN((size_t)h->count, max); k++, i = s->slot[i].link) {
		out[k] = vhu_desc_read(s->desc_shadow + (size_t)i * VHU_C_DESC_SIZE, false);
		out[k].id = i;
	}
	return h->count;
}

bool vhu_split_next(const struct vhu_vring *v, uint16_t *head)
{
	const struct split *s = split_of_const(v);

	*head = s->slot[*head == VHU_CHAIN_FIRST ? order_list(s) : *head].next;
	return *head != order_list(s);
}
