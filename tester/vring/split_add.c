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
	vhu_split_avail_put(s, AVAIL_RING + 2 * ((s->avail_idx + s->added) & (s->size - 1)), head);
	s->added++;
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

/* The head's table in the layout, or one from guest memory where the chain is longer than that. */
static int find_table(struct split *s, uint16_t head, size_t n, struct vhu_err *err)
{
	const struct vhu_ring_layout *l = s->v.layout;
	struct slot *h = &s->slot[head];
	uint64_t stride = (uint64_t)l->indirect_entries * VHU_C_DESC_SIZE;
	int r;

	h->table_len = (uint32_t)(n * VHU_C_DESC_SIZE);
	if (l->indirect && n <= l->indirect_entries) {
		h->table = l->indirect + head * stride;
		if (vhu_mem_at(s->v.mem, h->table, h->table_len))
			return 0;
	}
	r = vhu_mem_alloc(s->v.mem, h->table_len, VHU_C_DESC_ALIGN, &h->table, err);
	h->own_table = r == 0;
	return r;
}

static int put_indirect(struct split *s, uint16_t head, const struct vhu_sg *sg, size_t n,
			struct vhu_err *err)
{
	struct slot *h = &s->slot[head];
	int r = find_table(s, head, n, err);
	uint8_t *table, *p;

	if (r < 0)
		return r;
	table = p = vhu_mem_at(s->v.mem, h->table, h->table_len);
	for (size_t k = 0; k < n; k++, p += VHU_C_DESC_SIZE) {
		bool more = k + 1 < n;

		ring_store64(p, vhu_mem_device_address(s->v.mem, sg[k].gpa));
		ring_store32(p + 8, sg[k].len);
		ring_store16(p + 12, (sg[k].write ? VHU_C_DESC_F_WRITE : 0) | (more ? VHU_C_DESC_F_NEXT : 0));
		ring_store16(p + 14, (uint16_t)(more ? k + 1 : 0));
	}
	h->table_hash = vhu_fnv1a64(table, h->table_len, VHU_FNV1A64_SEED);
	vhu_split_desc_put(s, head, vhu_mem_device_address(s->v.mem, h->table), h->table_len,
			   VHU_C_DESC_F_INDIRECT, end_link(s, head));
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

static int check_chain(const struct split *s, const struct vhu_sg *sg, size_t n, bool indirect,
		       struct vhu_err *err)
{
	uint64_t total = 0;

	if (n == 0)
		return vhu_err_set(err, -EINVAL, "queue %u: a chain of no buffers", s->v.queue);
	if (indirect && !s->v.indirect_desc)
		return vhu_err_set(err, -EINVAL, "queue %u: indirect descriptors were not negotiated",
				   s->v.queue);
	if (n > s->size)
		return vhu_err_set(err, -ENOSPC, "queue %u: a chain of %zu descriptors, the ring has %u",
				   s->v.queue, n, s->size);
	for (size_t i = 0; i < n; i++)
		total += sg[i].len;
	if (total > UINT64_C(1) << 32)
		return vhu_err_set(err, -EINVAL, "queue %u: a chain of more than 4 GiB", s->v.queue);
	return 0;
}

int vhu_split_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		  uint16_t *ret_head, struct vhu_err *err)
{
	struct split *s = split_of(v);
	uint64_t writable = 0;
	uint16_t head;
	int r = check_chain(s, sg, n, indirect, err);

	if (r == 0)
		r = take(s, indirect ? 1 : n, cookie, &head, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		writable += sg[i].write ? sg[i].len : 0;
	s->slot[head].writable = writable;
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
	uint64_t writable = 0;
	uint16_t head, i;
	int r;

	if (n == 0)
		return vhu_err_set(err, -EINVAL, "queue %u: a chain of no buffers", v->queue);
	if (n > s->size)
		return vhu_err_set(err, -ENOSPC, "queue %u: a chain of %zu descriptors, the ring has %u",
				   v->queue, n, s->size);
	r = take(s, n, cookie, &head, err);
	if (r < 0)
		return r;
	i = head;
	for (size_t k = 0; k < n; k++) {
		uint16_t link = k + 1 < n ? s->slot[i].link : end_link(s, i);

		vhu_split_desc_put(s, i, desc[k].addr, desc[k].len, desc[k].flags,
				   desc[k].next_set ? desc[k].next : link);
		if ((desc[k].flags & VHU_C_DESC_F_INDIRECT) || desc[k].next_set)
			writable = WRITABLE_UNKNOWN;
		else if ((desc[k].flags & VHU_C_DESC_F_WRITE) && writable != WRITABLE_UNKNOWN)
			writable += desc[k].len;
		i = s->slot[i].link;
	}
	s->slot[head].writable = writable;
	append(s, head);
	*ret_head = head;
	return 0;
}
