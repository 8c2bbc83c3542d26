/* Where things lie in the fake guest's memory. */
#include "spec/layout.h"

#include <errno.h>
#include <string.h>

#include "spec/spec.h"

/*
 * Three address spaces that never agree. Guest addresses start at 4 GiB, so that 32 bits do not
 * hold them, and stay below 8 GiB for everything a case needs by default, so that a dirty log
 * stays small. User addresses are only page-aligned, as front-ends have them. Files start with
 * some pages that belong to no region.
 */
#define GPA_BASE   UINT64_C(0x100000000)
#define UADDR_BASE UINT64_C(0x710000005000)
#define SIZE_LIMIT (UINT64_C(1) << 40)

enum {
	PAGE = 4096,
	OFF_PAGE = 48, /* where the parts of a tight ring begin: no more than their alignment is kept */
	UNIT = VHU_REGION_ALIGN,
	DATA_MIN = 1 << 20,    /* request buffers in the only region */
	INDIRECT_ENTRIES = 8,  /* in each indirect table of a large ring … */
	INDIRECT_SLOTS = 1024, /* … and in all tables of a small ring together */
};

static uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

uint64_t vhu_ring_desc_len(uint32_t size)
{
	return (uint64_t)VHU_C_DESC_SIZE * size;
}

uint64_t vhu_ring_avail_len(uint32_t size, bool packed)
{
	/* Split: flags, idx, one u16 an entry, used_event. Packed: the event structure. */
	return packed ? 4 : 6 + 2 * (uint64_t)size;
}

uint64_t vhu_ring_used_len(uint32_t size, bool packed)
{
	/* Split: flags, idx, id and len of each entry, avail_event. */
	return packed ? 4 : 6 + 8 * (uint64_t)size;
}

/* No chain may be longer than its ring, so no table needs more entries than that. */
static uint32_t indirect_entries(uint32_t size)
{
	uint32_t entries = VHU_MAX((uint32_t)INDIRECT_ENTRIES, (uint32_t)INDIRECT_SLOTS / size);

	return VHU_MIN(entries, size);
}

/* As place_ring, but with parts at no more than their own alignment, and gaps between them. */
static void squeeze(struct vhu_ring_layout *r)
{
	r->desc += OFF_PAGE;
	r->avail = align_up(r->desc + r->desc_len + OFF_PAGE, PAGE) + OFF_PAGE + VHU_C_AVAIL_ALIGN;
	r->used = align_up(r->avail + r->avail_len + OFF_PAGE, PAGE) + OFF_PAGE + VHU_C_USED_ALIGN;
	r->indirect = align_up(r->used + r->used_len, PAGE);
}

/* Fills in ring `r` from gpa `at`; returns the first page behind it. */
static uint64_t place_ring(struct vhu_ring_layout *r, const struct vhu_layout_opts *o, uint64_t at)
{
	uint16_t size = o->queue_size;
	bool packed = o->packed;

	r->size = size;
	r->packed = packed;
	r->desc = at;
	r->desc_len = vhu_ring_desc_len(size);
	r->avail = r->desc + align_up(r->desc_len, PAGE);
	r->avail_len = vhu_ring_avail_len(size, packed);
	r->used = r->avail + align_up(r->avail_len, PAGE);
	r->used_len = vhu_ring_used_len(size, packed);
	r->indirect = r->used + align_up(r->used_len, PAGE);
	r->indirect_entries = indirect_entries(size);
	if (o->tight)
		squeeze(r);
	return r->indirect + align_up(vhu_ring_desc_len(size) * r->indirect_entries, PAGE);
}

static uint64_t rings_len(const struct vhu_layout_opts *o)
{
	struct vhu_ring_layout r;

	return o->rings ? o->rings * place_ring(&r, o, 0) : 0;
}

static int check_opts(const struct vhu_layout_opts *o, struct vhu_err *err)
{
	if (o->regions < 1 || o->regions > VHU_LAYOUT_REGIONS_MAX)
		return vhu_err_set(err, -EINVAL, "%zu memory regions: must be 1 to %d", o->regions,
				   VHU_LAYOUT_REGIONS_MAX);
	if (o->rings > VHU_LAYOUT_RINGS_MAX)
		return vhu_err_set(err, -EINVAL, "%zu rings: must be 0 to %d", o->rings,
				   VHU_LAYOUT_RINGS_MAX);
	if (o->rings && (o->queue_size < 1 || o->queue_size > VHU_C_VRING_SIZE_MAX))
		return vhu_err_set(err, -EINVAL, "queue size %u: must be 1 to %d", o->queue_size,
				   VHU_C_VRING_SIZE_MAX);
	if (o->rings && !o->packed && (o->queue_size & (o->queue_size - 1)))
		return vhu_err_set(err, -EINVAL, "queue size %u: a split ring needs a power of two",
				   o->queue_size);
	if (o->size % UNIT || o->size > SIZE_LIMIT)
		return vhu_err_set(err, -EINVAL,
				   "guest memory of 0x%llx bytes: must be a multiple of 0x%x, at most 0x%llx",
				   (unsigned long long)o->size, UNIT, (unsigned long long)SIZE_LIMIT);
	switch (o->backing) {
	case VHU_BACKING_AUTO:
	case VHU_BACKING_HUGETLB:
	case VHU_BACKING_MEMFD:
		return 0;
	}
	return vhu_err_set(err, -EINVAL, "unknown backing %d", (int)o->backing);
}

/*
 * Sizes of the regions: even shares in units of 2 MiB. Region 0 gets what is left over, and
 * takes from the others when the rings need more than its share.
 */
static int share_out(const struct vhu_layout_opts *o, uint64_t *ret_first, uint64_t *ret_share,
		     struct vhu_err *err)
{
	uint64_t others = o->regions - 1;
	uint64_t rings = rings_len(o) + (others ? 0 : DATA_MIN);
	uint64_t first_min = VHU_MAX(align_up(rings, UNIT), (uint64_t)UNIT);
	uint64_t needed = first_min + others * UNIT;

	if (o->size < needed)
		return vhu_err_set(err, -EINVAL,
				   "%llu MiB in %zu memory regions: %zu rings of %u need at least %llu MiB",
				   (unsigned long long)(o->size >> 20), o->regions, o->rings, o->queue_size,
				   (unsigned long long)(needed >> 20));

	uint64_t share = o->size / UNIT / o->regions * UNIT;
	if (o->size - others * share < first_min)
		share = (o->size - first_min) / UNIT / others * UNIT;
	*ret_first = o->size - others * share;
	*ret_share = share;
	return 0;
}

static void place_regions(const struct vhu_layout_opts *o, uint64_t first, uint64_t share,
			  struct vhu_layout *l)
{
	uint64_t gpa = GPA_BASE, uaddr = UADDR_BASE;

	l->n_regions = o->regions;
	for (size_t i = 0; i < l->n_regions; i++) {
		struct vhu_region_layout *r = &l->region[i];

		r->gpa = gpa;
		r->uaddr = uaddr;
		r->size = i ? share : first;
		r->offset = (uint64_t)UNIT * (1 + i % 3);
		r->backing = o->backing;
		/* A hole behind every even region; 1 and 2, 3 and 4 … are neighbours, for the guest only. */
		gpa += r->size + (i % 2 ? 0 : UNIT);
		uaddr += r->size + 2 * (uint64_t)UNIT;
	}
}

int vhu_layout_make(const struct vhu_layout_opts *opts, struct vhu_layout *ret, struct vhu_err *err)
{
	uint64_t first = 0, share = 0;
	int r = check_opts(opts, err);

	if (r < 0)
		return r;
	r = share_out(opts, &first, &share, err);
	if (r < 0)
		return r;

	memset(ret, 0, sizeof(*ret));
	place_regions(opts, first, share, ret);

	uint64_t at = ret->region[0].gpa;
	ret->n_rings = opts->rings;
	for (size_t i = 0; i < ret->n_rings; i++)
		at = place_ring(&ret->ring[i], opts, at);

	for (size_t i = 0; i < ret->n_regions; i++) {
		uint64_t start = i ? ret->region[i].gpa : at;
		uint64_t len = ret->region[i].gpa + ret->region[i].size - start;

		if (len) {
			ret->data[ret->n_data].gpa = start;
			ret->data[ret->n_data++].len = len;
		}
	}
	return 0;
}

const struct vhu_region_layout *vhu_layout_region(const struct vhu_layout *l, uint64_t gpa, uint64_t len)
{
	for (size_t i = 0; i < l->n_regions; i++) {
		const struct vhu_region_layout *r = &l->region[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			return r;
	}
	return NULL;
}

uint64_t vhu_layout_uaddr(const struct vhu_layout *l, uint64_t gpa)
{
	const struct vhu_region_layout *r = vhu_layout_region(l, gpa, 1);

	return r ? r->uaddr + (gpa - r->gpa) : 0;
}

uint64_t vhu_layout_log_size(uint64_t top)
{
	return (top / VHU_C_LOG_PAGE / 64 + 2) * sizeof(uint64_t);
}
