/* Rings at full speed: what no format differs in. Nothing here is on the way of a request. */
#include "hot.h"

#include <errno.h>

#include "access.h"
#include "mem/mem.h"

static int check(const struct vhu_vring *v, unsigned chains, unsigned descs, bool indirect,
		 struct vhu_err *err)
{
	if (chains == 0 || descs == 0 || descs > HOT_PARTS_MAX)
		return vhu_err_set(err, -EINVAL, "queue %u: %u chains of %u buffers", v->queue, chains,
				   descs);
	if (indirect && !v->indirect_desc)
		return vhu_err_set(err, -EINVAL, "queue %u: indirect descriptors were not negotiated",
				   v->queue);
	if ((uint64_t)chains * (indirect ? 1 : descs) > v->layout->size)
		return vhu_err_set(err, -ENOSPC, "queue %u: %u chains of %u descriptors, the ring has %u",
				   v->queue, chains, indirect ? 1 : descs, v->layout->size);
	if (vhu_vring_inflight(v) > 0)
		return vhu_err_set(err, -EBUSY, "queue %u: chains are in flight", v->queue);
	return 0;
}

int vhu_hot_new(struct vhu_vring *v, unsigned chains, unsigned descs, bool indirect, vhu_breach_cb *breach,
		void *ctx, struct vhu_hot **ret, struct vhu_err *err)
{
	int r = check(v, chains, descs, indirect, err);
	struct vhu_hot *h;

	if (r < 0)
		return r;
	h = calloc(1, sizeof(*h));
	if (!h)
		return vhu_err_set(err, -ENOMEM, "queue %u: out of memory", v->queue);
	*h = (struct vhu_hot){.v = v,
			      .ops = v->layout->packed ? &vhu_hot_packed : &vhu_hot_split,
			      .n = chains,
			      .descs = indirect ? 1 : descs,
			      .indirect = indirect,
			      .old_breach = v->breach,
			      .old_ctx = v->ctx};
	h->state = calloc(chains, sizeof(*h->state));
	h->room = calloc(chains, sizeof(*h->room));
	h->owner = malloc(v->layout->size * sizeof(*h->owner));
	h->head = calloc(chains, sizeof(*h->head));
	h->order = calloc(chains, sizeof(*h->order));
	h->chain = calloc(chains, sizeof(*h->chain));
	if (!h->state || !h->room || !h->owner || !h->head || !h->order || !h->chain) {
		vhu_hot_free(h);
		return vhu_err_set(err, -ENOMEM, "queue %u: out of memory", v->queue);
	}
	for (uint32_t i = 0; i < v->layout->size; i++)
		h->owner[i] = HOT_NONE;
	v->breach = breach;
	v->ctx = ctx;
	*ret = h;
	return 0;
}

void vhu_hot_free(struct vhu_hot *h)
{
	if (!h)
		return;
	if (h->inflight) /* given up, which was told: each may come back at any time */
		vhu_vring_spoil(h->v);
	if (h->chain) {
		h->ops->settle(h);
		for (unsigned i = 0; i < h->n; i++)
			vhu_table_drop(h->v, (uint16_t)i, &h->chain[i].own);
	}
	h->v->breach = h->old_breach;
	h->v->ctx = h->old_ctx;
	free(h->state);
	free(h->room);
	free(h->owner);
	free(h->head);
	free(h->order);
	free(h->chain);
	free(h);
}

/* Split tables are linked, packed ones run from entry to entry. */
static void table_put(struct vhu_hot *h, struct hot_chain *c, unsigned part, const struct vhu_sg *sg,
		      bool more)
{
	uint8_t *p = c->table + (size_t)part * VHU_C_DESC_SIZE;
	bool packed = h->v->layout->packed;
	uint16_t flags = (sg->write ? VHU_C_DESC_F_WRITE : 0) | (more && !packed ? VHU_C_DESC_F_NEXT : 0);

	ring_store64(p, vhu_mem_device_address(h->v->mem, sg->gpa));
	ring_store32(p + 8, sg->len);
	ring_store16(p + (packed ? 14 : 12), flags);
	ring_store16(p + (packed ? 12 : 14), (uint16_t)(more && !packed ? part + 1 : 0));
}

static int make_table(struct vhu_hot *h, unsigned chain, const struct vhu_sg *sg, size_t n,
		      struct vhu_err *err)
{
	struct hot_chain *c = &h->chain[chain];
	int r = vhu_table_find(h->v, (uint16_t)chain, n, &c->own, err);

	if (r < 0)
		return r;
	c->table = vhu_mem_at(h->v->mem, c->own.gpa, c->own.len);
	for (unsigned i = 0; i < n; i++)
		table_put(h, c, i, &sg[i], i + 1 < n);
	c->desc[0] = (struct vhu_raw_desc){.addr = vhu_mem_device_address(h->v->mem, c->own.gpa),
					   .len = c->own.len,
					   .flags = VHU_C_DESC_F_INDIRECT};
	c->n = 1;
	return 0;
}

int vhu_hot_chain(struct vhu_hot *h, unsigned chain, const struct vhu_sg *sg, size_t n, struct vhu_err *err)
{
	struct hot_chain *c = &h->chain[chain];
	int r = vhu_chain_check(h->v, sg, n, h->indirect, err);

	if (r < 0)
		return r;
	if (chain >= h->n || n > HOT_PARTS_MAX || (!h->indirect && n > h->descs))
		return vhu_err_set(err, -EINVAL, "queue %u: chain %u of %zu buffers", h->v->queue, chain, n);
	for (size_t i = 0; i < n; i++)
		c->len[i] = sg[i].len;
	h->room[chain] = (uint32_t)VHU_MIN(vhu_chain_writable(sg, n), (uint64_t)UINT32_MAX);
	if (h->indirect) {
		r = make_table(h, chain, sg, n, err);
		if (r < 0)
			return r;
	} else {
		for (size_t i = 0; i < n; i++)
			c->desc[i] =
				(struct vhu_raw_desc){.addr = vhu_mem_device_address(h->v->mem, sg[i].gpa),
						      .len = sg[i].len,
						      .flags = (sg[i].write ? VHU_C_DESC_F_WRITE : 0) |
							       (i + 1 < n ? VHU_C_DESC_F_NEXT : 0)};
		c->n = (uint16_t)n;
	}
	h->ops->place(h, chain);
	return 0;
}

void vhu_hot_turn(struct vhu_hot *h, unsigned chain, unsigned part, bool write)
{
	struct hot_chain *c = &h->chain[chain];
	uint8_t *p = c->table ? c->table + (size_t)part * VHU_C_DESC_SIZE + (h->v->layout->packed ? 14 : 12)
			      : NULL;
	uint16_t was = p ? ring_load16(p) : c->desc[part].flags;
	uint16_t is = (uint16_t)(was ^ VHU_C_DESC_F_WRITE);

	if (!(was & VHU_C_DESC_F_WRITE) == !write)
		return;
	h->room[chain] += write ? c->len[part] : -c->len[part];
	if (p) {
		ring_store16(p, is);
		return;
	}
	c->desc[part].flags = is;
	h->ops->place(h, chain);
}

bool vhu_hot_send(struct vhu_hot *h, const uint16_t *chains, unsigned n)
{
	return h->ops->send(h, chains, n);
}

unsigned vhu_hot_reap(struct vhu_hot *h, struct vhu_hot_used *out)
{
	return h->broken ? 0 : h->ops->reap(h, out);
}

unsigned vhu_hot_inflight(const struct vhu_hot *h)
{
	return h->inflight;
}

bool vhu_hot_sent(const struct vhu_hot *h, unsigned chain)
{
	return h->state[chain] == HOT_SENT;
}

bool vhu_hot_broken(const struct vhu_hot *h)
{
	return h->broken;
}

bool vhu_hot_ready(const struct vhu_hot *h, unsigned n)
{
	return !h->broken && h->ops->ready(h, n);
}

bool vhu_hot_kicks_off(const struct vhu_hot *h)
{
	return h->ops->kicks_off(h);
}

uint64_t vhu_hot_used_gpa(const struct vhu_hot *h)
{
	return h->v->layout->packed ? h->v->layout->desc : h->v->layout->used;
}

uint32_t vhu_hot_due(const struct vhu_hot *h)
{
	return h->ops->due(h);
}

uint32_t vhu_hot_entry(const struct vhu_hot *h, uint32_t due, unsigned n)
{
	return h->ops->entry(h, due, n);
}

bool vhu_hot_arm(struct vhu_hot *h, unsigned after)
{
	return h->ops->arm(h, after);
}

void vhu_hot_disarm(struct vhu_hot *h)
{
	vhu_vring_disarm(h->v);
}

void vhu_hot_reset(struct vhu_hot *h)
{
	h->ops->settle(h);
	vhu_vring_reset(h->v, vhu_vring_first_base(h->v));
	for (uint32_t i = 0; i < h->v->layout->size; i++)
		h->owner[i] = HOT_NONE;
	memset(h->state, HOT_IDLE, h->n * sizeof(*h->state));
	h->inflight = h->first = 0;
	h->broken = false;
	for (unsigned i = 0; i < h->n; i++)
		if (h->chain[i].n)
			h->ops->place(h, i);
}

/* --- breaches -------------------------------------------------------------------------------------- */

void vhu_hot_break(struct vhu_hot *h)
{
	h->broken = true;
}

void vhu_hot_complain(struct vhu_hot *h, uint32_t id, uint32_t len, uint16_t chain)
{
	struct vhu_ring_event event = {.head = (uint16_t)id, .id = id, .len = len};

	h->v->reports = 1;
	if (id >= h->v->layout->size) {
		event.breach = VHU_BREACH_USED_ID_RANGE;
		vhu_vring_report(h->v, &event, "used id %u (len %u), the ring has %u descriptors", id, len,
				 h->v->layout->size);
	} else if (chain == HOT_NONE) {
		event.breach = VHU_BREACH_USED_ID_IDLE;
		vhu_vring_report(h->v, &event, "used id %u (len %u) is the head of no chain", id, len);
	} else {
		event.breach = h->state[chain] == HOT_BACK ? VHU_BREACH_USED_TWICE : VHU_BREACH_USED_ID_IDLE;
		vhu_vring_report(h->v, &event, "used id %u (len %u) %s", id, len,
				 h->state[chain] == HOT_BACK ? "had been returned already"
							     : "is not in flight");
	}
}

void vhu_hot_too_long(struct vhu_hot *h, uint16_t chain, uint32_t id, uint32_t len)
{
	h->v->reports = 1;
	vhu_vring_report(h->v,
			 &(struct vhu_ring_event){VHU_BREACH_USED_LEN_LONG, .head = (uint16_t)id, .id = id,
						  .len = len},
			 "chain %u: used length %u, only %u bytes are writable", id, len, h->room[chain]);
}

void vhu_hot_overtaken(struct vhu_hot *h, uint16_t chain, uint32_t id)
{
	h->v->reports = 1;
	vhu_vring_report(h->v,
			 &(struct vhu_ring_event){VHU_BREACH_OUT_OF_ORDER, .head = (uint16_t)id, .id = id},
			 "chain %u was returned before one that was made available earlier", id);
}
