/* Chains and their indirect tables, whatever the ring's format. */
#include <errno.h>

#include "mem/mem.h"
#include "ring.h"

int vhu_chain_fits(const struct vhu_vring *v, size_t n, struct vhu_err *err)
{
	if (n == 0)
		return vhu_err_set(err, -EINVAL, "queue %u: a chain of no buffers", v->queue);
	if (n > v->layout->size)
		return vhu_err_set(err, -ENOSPC, "queue %u: a chain of %zu descriptors, the ring has %u",
				   v->queue, n, v->layout->size);
	return 0;
}

int vhu_chain_check(const struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect,
		    struct vhu_err *err)
{
	uint64_t total = 0;
	int r = vhu_chain_fits(v, n, err);

	if (r < 0)
		return r;
	if (indirect && !v->indirect_desc)
		return vhu_err_set(err, -EINVAL, "queue %u: indirect descriptors were not negotiated",
				   v->queue);
	for (size_t i = 0; i < n; i++)
		total += sg[i].len;
	if (total > UINT64_C(1) << 32)
		return vhu_err_set(err, -EINVAL, "queue %u: a chain of more than 4 GiB", v->queue);
	return 0;
}

uint64_t vhu_chain_writable(const struct vhu_sg *sg, size_t n)
{
	uint64_t writable = 0;

	for (size_t i = 0; i < n; i++)
		writable += sg[i].write ? sg[i].len : 0;
	return writable;
}

uint64_t vhu_raw_writable(const struct vhu_raw_desc *desc, size_t n)
{
	uint64_t writable = 0;

	for (size_t i = 0; i < n; i++) {
		if ((desc[i].flags & VHU_C_DESC_F_INDIRECT && !desc[i].table_known) || desc[i].next_set)
			return WRITABLE_UNKNOWN;
		writable += desc[i].writable;
		writable += desc[i].flags & VHU_C_DESC_F_WRITE ? desc[i].len : 0;
	}
	return writable;
}

int vhu_table_find(struct vhu_vring *v, uint16_t slot, size_t n, struct vhu_table *ret, struct vhu_err *err)
{
	const struct vhu_ring_layout *l = v->layout;
	uint64_t stride = (uint64_t)l->indirect_entries * VHU_C_DESC_SIZE;
	int r;

	ret->len = (uint32_t)(n * VHU_C_DESC_SIZE);
	if (l->indirect && n <= l->indirect_entries) {
		ret->gpa = l->indirect + slot * stride;
		if (vhu_mem_at(v->mem, ret->gpa, ret->len))
			return 0;
	}
	r = vhu_mem_alloc(v->mem, ret->len, VHU_C_DESC_ALIGN, &ret->gpa, err);
	ret->own = r == 0;
	return r;
}

static uint64_t hash_of(const struct vhu_vring *v, const struct vhu_table *t)
{
	return vhu_fnv1a64(vhu_mem_at(v->mem, t->gpa, t->len), t->len, VHU_FNV1A64_SEED);
}

void vhu_table_seal(const struct vhu_vring *v, struct vhu_table *t)
{
	t->hash = hash_of(v, t);
}

void vhu_table_check(struct vhu_vring *v, uint16_t head, struct vhu_table *t)
{
	uint64_t hash = t->gpa ? hash_of(v, t) : t->hash;

	if (hash == t->hash)
		return;
	t->hash = hash;
	vhu_vring_report(v, &(struct vhu_ring_event){VHU_BREACH_WROTE_DESC, .head = head, .gpa = t->gpa},
			 "chain %u: its indirect table at 0x%llx was written", head,
			 (unsigned long long)t->gpa);
}

void vhu_table_drop(struct vhu_vring *v, uint16_t head, struct vhu_table *t)
{
	uint64_t gpa;

	if (t->own && !vhu_mem_release(v->mem, t->gpa, &gpa))
		vhu_vring_report(v,
				 &(struct vhu_ring_event){VHU_BREACH_WROTE_OUTSIDE, .head = head, .gpa = gpa},
				 "chain %u: memory beside its indirect table was written at 0x%llx", head,
				 (unsigned long long)gpa);
	*t = (struct vhu_table){0};
}

struct vhu_raw_desc vhu_desc_read(const uint8_t *p, bool packed)
{
	return (struct vhu_raw_desc){
		.addr = vhu_le_get(p, 8),
		.len = (uint32_t)vhu_le_get(p + 8, 4),
		.id = (uint16_t)vhu_le_get(p + 12, 2),
		.flags = (uint16_t)vhu_le_get(p + (packed ? 14 : 12), 2),
	};
}

size_t vhu_table_entries(const struct vhu_vring *v, const struct vhu_raw_desc *table,
			 struct vhu_raw_desc *out, size_t max)
{
	uint64_t gpa = table->addr - vhu_mem_device_address(v->mem, 0);
	const uint8_t *p = vhu_mem_at(v->mem, gpa, table->len);
	size_t n = p ? VHU_MIN(table->len / VHU_C_DESC_SIZE, (uint32_t)VHU_C_VRING_SIZE_MAX) : 0;

	for (size_t i = 0; i < VHU_MIN(n, max); i++) {
		out[i] = vhu_desc_read(p + i * VHU_C_DESC_SIZE, v->layout->packed);
		out[i].id = (uint16_t)i;
	}
	return n;
}
