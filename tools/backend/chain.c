/*
 * Buffers and tables in guest memory.
 */
#include <errno.h>
#include <stdlib.h>

#include "chain.h"
#include "fault.h"
#include "session.h"

/* Pieces of a chain: one a descriptor, more at region borders. */
enum { SEGMENTS_MAX = C_VRING_SIZE_MAX + 1024, FAULT_WINDOW_NS = 100000000 };

static struct {
	struct iovec *out, *in;
	uint64_t *in_gpa;
} scratch;

int chain_init(void)
{
	scratch.out = calloc(SEGMENTS_MAX, sizeof(*scratch.out));
	scratch.in = calloc(SEGMENTS_MAX, sizeof(*scratch.in));
	scratch.in_gpa = calloc(SEGMENTS_MAX, sizeof(*scratch.in_gpa));
	return scratch.out && scratch.in && scratch.in_gpa ? 0 : -ENOMEM;
}

void chain_done(void)
{
	free(scratch.out);
	free(scratch.in);
	free(scratch.in_gpa);
}

void chain_start(struct chain *c, uint16_t head)
{
	*c = (struct chain){
		.head = head, .last = head, .out = scratch.out, .in = scratch.in, .in_gpa = scratch.in_gpa};
}

/* A planted fault: the time between a check and what relies on it. */
static void look_again(const struct table *t, uint32_t i, const uint8_t *bytes)
{
	uint64_t end = now_ns() + FAULT_WINDOW_NS;

	while (t->at && now_ns() < end) {
		if (memcmp(t->at + (size_t)i * C_DESC_SIZE, bytes, C_DESC_SIZE))
			fault_crash();
	}
}

bool table_read(const struct ring *r, const struct table *t, uint32_t i, uint8_t bytes[C_DESC_SIZE])
{
	if (t->at) {
		memcpy(bytes, t->at + (size_t)i * C_DESC_SIZE, C_DESC_SIZE);
	} else {
		for (size_t got = 0; got < C_DESC_SIZE;) {
			uint64_t len = C_DESC_SIZE - got;
			const uint8_t *p = dma_at(r->s, t->gpa + (uint64_t)i * C_DESC_SIZE + got, &len,
						  PERM_READ, NULL);

			if (!p)
				return false;
			memcpy(bytes + got, p, len);
			got += len;
		}
	}
	/* what lies behind cannot change the copy any more */
	__asm__ volatile("" : : : "memory");
	if (fault(desc_read_twice))
		look_again(t, i, bytes);
	return true;
}

/* A planted fault: whatever address it is, the end of the first region will do. */
static uint8_t *somewhere(const struct ring *r, uint64_t *len)
{
	const struct region *first = r->s->mem.regions;

	if (*len > first->size)
		*len = first->size;
	return first->map.at + first->size - *len;
}

/* For a planted fault. */
static bool in_ring(const struct ring *r, const uint8_t *p, uint64_t len)
{
	const uint8_t *parts[] = {r->desc, (const uint8_t *)r->avail, (const uint8_t *)r->used};

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (parts[i] >= p && (uint64_t)(parts[i] - p) < len)
			return true;
	}
	return false;
}

bool chain_add(const struct ring *r, struct chain *c, uint64_t addr, uint32_t all, bool in)
{
	uint64_t left = all;

	if (!in && c->desc_in) {
		if (fault(desc_order_crash))
			fault_crash();
		if (!fault(desc_order_writes))
			return false;
		in = true;
	}
	if (!all && fault(desc_len_0_crash))
		fault_crash();
	if (in) {
		c->desc_in++;
		c->in_len += left;
		c->last_in = all;
	} else {
		if (!c->desc_out++)
			c->first_out = all;
		c->out_len += left;
	}
	if (left && addr + left - 1 < addr) {
		if (fault(desc_wrap_crash))
			fault_crash();
		return false;
	}
	while (left) {
		uint64_t len = left, real = 0;
		uint8_t *p = dma_at(r->s, addr, &len, in ? PERM_WRITE : PERM_READ, &real);
		unsigned *n = in ? &c->n_in : &c->n_out;

		if (!p && !r->s->iotlb.stalled &&
		    (fault(addr_wild) || (fault(vring_desc_huge_crash) && all == UINT32_MAX)))
			fault_crash();
		if (!p && fault(addr_elsewhere))
			p = somewhere(r, &len);
		if (!p || *n == SEGMENTS_MAX)
			return false;
		(in ? c->in : c->out)[*n] = (struct iovec){.iov_base = p, .iov_len = len};
		if (in)
			c->in_gpa[*n] = real;
		if (!in && fault(log_marks_read))
			log_mark(r->s, real, len);
		++*n;
		if (fault(ring_buffer_crash) && in_ring(r, p, len))
			fault_crash();
		addr += len;
		left -= len;
		if (fault(region_cut))
			break;
		if (fault(mem_span_crash) && left)
			fault_crash();
	}
	return true;
}

/* Whether an indirect table may be followed; the faults are other opinions. */
static bool table_ok(const struct ring *r, uint64_t addr, uint32_t len, uint16_t flags, bool first)
{
	if (fault(ind_next_crash) && (flags & C_DESC_F_NEXT))
		fault_crash();
	if (fault(ind_unneg_crash) && !(r->s->features & V(VIRTIO_RING_F_INDIRECT_DESC)))
		fault_crash();
	if (!(r->s->features & V(VIRTIO_RING_F_INDIRECT_DESC)) || (flags & C_DESC_F_NEXT))
		return false;
	if (!len || len % C_DESC_SIZE || len / C_DESC_SIZE > C_VRING_SIZE_MAX) {
		if (fault(ind_len_crash))
			fault_crash();
		return false;
	}
	if ((fault(ind_big_crash) || (fault(packed_table_big_crash) && format_of(r) == &packed_format)) &&
	    len / C_DESC_SIZE > r->num)
		fault_crash();
	if ((fault(ind_align16) && addr % C_DESC_ALIGN) ||
	    (fault(ind_write_reject) && (flags & C_DESC_F_WRITE)) || (fault(ind_after_chain) && !first) ||
	    (fault(ind_ring_size) && len / C_DESC_SIZE >= r->num))
		return false;
	return true;
}

bool table_open(const struct ring *r, uint64_t addr, uint32_t len, uint16_t flags, bool first,
		struct table *t)
{
	uint64_t piece = len;

	if (!table_ok(r, addr, len, flags, first) || addr + len - 1 < addr)
		return false;
	*t = (struct table){.gpa = addr, .n = len / C_DESC_SIZE, .indirect = true};
	t->at = dma_at(r->s, addr, &piece, PERM_READ, NULL);
	if (fault(ind_addr_crash) && !t->at && !r->s->iotlb.stalled)
		fault_crash();
	if (piece < len)
		t->at = NULL;
	return true;
}
