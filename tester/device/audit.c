/* At the end: everything that no single request shows. */
#include "io.h"

#include "mem/mem.h"

enum { FINDINGS_MAX = 4, SPANS_PER_RING = 4 };

struct span {
	uint64_t base, end;
	unsigned queue;
	const char *name;
};

static int order(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->base < y->base ? -1 : x->base > y->base;
}

static size_t ring_spans(const struct vhu_layout *l, struct span *out)
{
	size_t n = 0;

	for (unsigned q = 0; q < l->n_rings; q++) {
		const struct vhu_ring_layout *r = &l->ring[q];
		uint64_t tables = (uint64_t)r->indirect_entries * r->size * VHU_C_DESC_SIZE;

		out[n++] = (struct span){r->desc, r->desc + r->desc_len, q, "descriptor table"};
		out[n++] = (struct span){r->avail, r->avail + r->avail_len, q, "available ring"};
		out[n++] = (struct span){r->used, r->used + r->used_len, q, "used ring"};
		out[n++] = (struct span){r->indirect, r->indirect + (r->indirect ? tables : 0), q,
					 "indirect tables"};
	}
	qsort(out, n, sizeof(*out), order);
	return n;
}

static void check_gap(struct vhu_driver *d, uint64_t from, uint64_t to, const struct span *before)
{
	char text[100];
	uint64_t gpa;

	if (from >= to || vhu_mem_zero(d->mem, from, to - from, &gpa))
		return;
	if (before)
		snprintf(text, sizeof(text), "%llu bytes behind the %s of queue %u",
			 (unsigned long long)(gpa - before->end), before->name, before->queue);
	else
		snprintf(text, sizeof(text), "in front of the rings");
	vhu_driver_report_memory(d, VHU_BREACH_WROTE_OUTSIDE, gpa, text);
}

uint64_t vhu_driver_rings_end(const struct vhu_driver *d)
{
	const struct vhu_layout *l = d->opts.layout;
	uint64_t from = l->region[0].gpa, end = from + l->region[0].size;

	for (size_t i = 0; i < l->n_data; i++) {
		if (l->data[i].gpa >= from)
			end = VHU_MIN(end, l->data[i].gpa);
	}
	return end;
}

/* Between the rings' parts all is zero. */
static void check_gaps(struct vhu_driver *d)
{
	const struct vhu_layout *l = d->opts.layout;
	_cleanup_(vhu_freep) struct span *span = calloc(l->n_rings * SPANS_PER_RING + 1, sizeof(*span));
	uint64_t from = l->region[0].gpa, end = vhu_driver_rings_end(d);
	const struct span *before = NULL;
	size_t n;

	if (!span)
		return;
	n = ring_spans(l, span);
	for (size_t i = 0; i < n; i++) {
		if (span[i].base < l->region[0].gpa || span[i].end > end || span[i].base == span[i].end)
			continue;
		check_gap(d, from, span[i].base, before);
		if (span[i].end > from) {
			from = span[i].end;
			before = &span[i];
		}
	}
	check_gap(d, from, end, before);
}

static void check_buffers(struct vhu_driver *d)
{
	struct vhu_io *io;

	for (io = d->ios.first; io; io = io->next) {
		if (io->done)
			vhu_io_check_refill(io);
		else if (!io->abandoned)
			vhu_io_check_readable(io);
	}
	for (io = d->kept.first; io; io = io->next)
		vhu_io_check_refill(io);
}

void vhu_driver_audit(struct vhu_driver *d)
{
	uint64_t gpa;

	if (!d->mem)
		return;
	for (size_t i = 0; i < d->n_rings && !d->rings_given; i++)
		vhu_vring_audit(d->ring[i]);
	check_buffers(d);
	if (!d->rings_given)
		check_gaps(d);
	for (int i = 0; i < FINDINGS_MAX && !vhu_mem_sweep(d->mem, &gpa); i++)
		vhu_driver_report_memory(d, VHU_BREACH_WROTE_OUTSIDE, gpa, "no request has a buffer there");
}
