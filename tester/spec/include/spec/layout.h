/*
 * Where things lie in the fake guest's memory: pure arithmetic, no pointers. The plan uses it
 * to know every address before anything runs, the rings use it to find themselves.
 *
 * A guest physical address (gpa), a user address (uaddr, the name that the front-end gives it)
 * and an offset in the file never agree, so that a back-end which mixes them up is found out. With
 * VIRTIO_F_ACCESS_PLATFORM the device sees the guest at a fourth kind of address, the IOVA.
 */
#pragma once

#include "base/err.h"

enum vhu_backing { VHU_BACKING_AUTO, VHU_BACKING_HUGETLB, VHU_BACKING_MEMFD };

enum {
	VHU_LAYOUT_REGIONS_MAX = 520,
	VHU_LAYOUT_RINGS_MAX = 256,
	VHU_REGION_ALIGN = 2 << 20,	/* sizes, offsets and gpas are multiples of 2 MiB */
};

/* What the fake guest's IOMMU adds to a gpa to make the IOVA of it, unless a case maps it elsewhere. */
#define VHU_IOVA_SHIFT UINT64_C(0x640000000)

struct vhu_region_layout {
	uint64_t gpa, uaddr, size, offset;
	enum vhu_backing backing;
};

struct vhu_ring_layout {
	uint16_t size;			/* entries */
	bool packed;
	uint64_t desc, avail, used;	/* gpa; packed: ring, driver event area, device event area */
	uint64_t desc_len, avail_len, used_len;
	uint64_t indirect;		/* gpa of `size` indirect tables of indirect_entries each */
	uint32_t indirect_entries;
};

struct vhu_layout {
	size_t n_regions;
	struct vhu_region_layout region[VHU_LAYOUT_REGIONS_MAX];
	size_t n_rings;
	struct vhu_ring_layout ring[VHU_LAYOUT_RINGS_MAX];
	/* Request buffers come from these ranges of gpa (region by region, behind the rings). */
	size_t n_data;
	struct { uint64_t gpa, len; } data[VHU_LAYOUT_REGIONS_MAX];
};

struct vhu_layout_opts {
	uint64_t size;			/* bytes of guest memory, split evenly over the regions */
	size_t regions;
	enum vhu_backing backing;
	size_t rings;
	uint16_t queue_size;
	bool packed;
	bool tight;			/* ring parts keep no more than their own alignment */
};

/*
 * Lays out memory and rings; the rings lie in region 0, each part on a page of its own. -EINVAL
 * with text if the rings do not fit or a number is out of range.
 */
int vhu_layout_make(const struct vhu_layout_opts *opts, struct vhu_layout *ret, struct vhu_err *err);

/* The region that holds gpa … gpa+len-1 whole, or NULL. */
const struct vhu_region_layout *vhu_layout_region(const struct vhu_layout *l, uint64_t gpa, uint64_t len);
/* The user address of a gpa inside a region; 0 if it is in none. */
uint64_t vhu_layout_uaddr(const struct vhu_layout *l, uint64_t gpa);

/* Bytes of a dirty log of guest memory that ends at `top`: in words of 64 bits, and one to spare. */
uint64_t vhu_layout_log_size(uint64_t top);

/* Where things stand in a split ring's available and used parts, and the bytes of a used element. */
enum {
	VHU_AVAIL_FLAGS = 0, VHU_AVAIL_IDX = 2, VHU_AVAIL_RING = 4,
	VHU_USED_FLAGS = 0, VHU_USED_IDX = 2, VHU_USED_RING = 4,
	VHU_USED_ELEMENT = 8,
};

/* Bytes of the parts of a ring. */
uint64_t vhu_ring_desc_len(uint32_t size);
uint64_t vhu_ring_avail_len(uint32_t size, bool packed);
uint64_t vhu_ring_used_len(uint32_t size, bool packed);
