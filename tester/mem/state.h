/* What the files of this room share. */
#pragma once

#include "mem/mem.h"

enum block_state { BLOCK_FRESH, BLOCK_FREE, BLOCK_LIVE, BLOCK_STATE_MAX };

/* A piece of a data range. The blocks of a range cover it without gaps. */
struct block {
	uint64_t base, end;	      /* with canaries */
	uint64_t gpa, len;	      /* the buffer, while it is live */
	enum block_state state;	      /* fresh: never given out, so it must be zero */
	struct block *prev, *next;    /* by address */
	struct block *before, *after; /* of the same state (fresh, free) or hash bucket (live) */
};

struct span {
	uint64_t base, end;
};

struct vhu_mem {
	struct vhu_region *region[VHU_LAYOUT_REGIONS_MAX]; /* one by one, so that they never move */
	size_t n_regions;

	struct range {
		uint64_t base, end;
		struct block *first;
	} range[VHU_LAYOUT_REGIONS_MAX]; /* the layout's data ranges */
	size_t n_ranges;
	struct block *list[BLOCK_STATE_MAX]; /* fresh and free blocks */
	struct block **bucket;		     /* live blocks by gpa */
	size_t n_buckets, n_live;

	uint64_t shift; /* from a gpa to the address that the device sees */
	struct span *except; /* sorted, disjoint */
	size_t n_except;
};

/* alloc.c */
int vhu_mem_ranges_init(struct vhu_mem *m, const struct vhu_layout *layout);
void vhu_mem_ranges_done(struct vhu_mem *m);

/* canary.c: of a live block, in front of the buffer and behind it */
void vhu_mem_canary_paint(const struct vhu_mem *m, const struct block *b);
bool vhu_mem_canary_whole(const struct vhu_mem *m, const struct block *b, uint64_t *ret_gpa);

/* sweep.c: the first byte that is not zero among the region's pages that exist */
bool vhu_region_zero(const struct vhu_region *r, uint64_t from, uint64_t to, uint64_t *ret_gpa);
