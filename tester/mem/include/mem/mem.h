/*
 * Shared guest memory: regions laid out by spec/layout.h, backed by memfd or huge pages, which
 * the target maps too. Everything in it may change under our hands.
 */
#pragma once

#include "base/err.h"
#include "spec/layout.h"

struct vhu_mem;

struct vhu_region {
	struct vhu_region_layout at;	/* gpa, uaddr, size, offset in the file */
	int fd;				/* ours; lent to messages */
	uint8_t *host;			/* our mapping of exactly [gpa, gpa+size) */
	bool hugetlb;			/* what it really is */
};

/*
 * Makes all regions of the layout. VHU_BACKING_AUTO takes huge pages where enough are free,
 * else memfd. Memory starts zeroed. -ENOMEM with text (for HUGETLB: how many pages are free,
 * how many are needed, how to reserve them).
 */
int vhu_mem_new(const struct vhu_layout *layout, struct vhu_mem **ret, struct vhu_err *err);
/*
 * The same over files that are there already, one for each region (duplicated). What they hold outside of the
 * layout's rings has to be zero. -EINVAL if one ends before its region does.
 */
int vhu_mem_adopt(const struct vhu_layout *layout, const int *fds, struct vhu_mem **ret, struct vhu_err *err);
void vhu_mem_free(struct vhu_mem *m);

size_t vhu_mem_regions(const struct vhu_mem *m);
const struct vhu_region *vhu_mem_region(const struct vhu_mem *m, size_t i);
/* One more region, outside the layout (ADD_MEM_REG cases). Returns its index. */
int vhu_mem_add(struct vhu_mem *m, const struct vhu_region_layout *at, struct vhu_err *err);
/* "hugetlb", "memfd" or "mixed": what reports say. */
const char *vhu_mem_kind(const struct vhu_mem *m);
/* 2 MiB pages that are free now; 0 where there is no hugetlb. */
uint64_t vhu_mem_free_hugepages(void);

/* Our pointer to gpa … gpa+len-1, NULL unless it lies whole in one region. */
void *vhu_mem_at(const struct vhu_mem *m, uint64_t gpa, uint64_t len);

/*
 * The address of gpa for the device, which descriptors hold: gpa itself, or what vhu_mem_set_shift
 * said that an IOMMU adds to it.
 */
uint64_t vhu_mem_device_address(const struct vhu_mem *m, uint64_t gpa);
void vhu_mem_set_shift(struct vhu_mem *m, uint64_t shift);

/* --- buffers ------------------------------------------------------------------------------- */

enum { VHU_MEM_GUARD = 64 };	/* bytes of canary before and behind each buffer */

/*
 * A buffer of len bytes (len 0 gives a valid address) aligned to `align` (power of two), with
 * canaries around it. 0 and *ret_gpa, or -ENOSPC when guest memory is used up.
 */
int vhu_mem_alloc(struct vhu_mem *m, uint64_t len, uint64_t align, uint64_t *ret_gpa, struct vhu_err *err);
/*
 * Checks its canaries and gives it back: true if they are whole; else false and *ret_gpa is the
 * first byte that was changed.
 */
bool vhu_mem_release(struct vhu_mem *m, uint64_t gpa, uint64_t *ret_gpa);
/* Checks its canaries only, and restores those that were changed, so that each change is told once. */
bool vhu_mem_check(struct vhu_mem *m, uint64_t gpa, uint64_t *ret_gpa);
/*
 * Every canary of every live buffer, and all memory that was never given out (still zero).
 * False and the first byte that was changed; the canary or page around it is restored, so that
 * the next call finds the next one. Costs what was touched, not what there is.
 */
bool vhu_mem_sweep(struct vhu_mem *m, uint64_t *ret_gpa);
/*
 * Bytes that vhu_mem_sweep leaves alone: those of rings, and those that a case fills itself.
 * Region 0 up to the layout's first data range is excepted by itself. 0 or -ENOMEM.
 */
int vhu_mem_except(struct vhu_mem *m, uint64_t gpa, uint64_t len);
/* Whether these bytes (of one region) are all zero; else *ret_gpa is the first that is not. */
bool vhu_mem_zero(const struct vhu_mem *m, uint64_t gpa, uint64_t len, uint64_t *ret_gpa);
