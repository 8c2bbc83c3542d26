/* What a record of the RING channel says, and its bytes. All of them come from strangers. */
#pragma once

#include "trace/record.h"

/* A descriptor as it stands in the ring. Behind an INDIRECT one come those of its table. */
struct vhu_ring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t id;			/* split: its place in the table; packed: its buffer id */
};

/* By `kind`; all others are 0. */
struct vhu_ring_record {
	enum vhu_cap_ring kind;
	uint32_t queue;
	uint64_t value;			/* KICK, CALL, ERR: what was written, or read */
	uint16_t head, n_desc;		/* AVAIL */
	const uint8_t *desc;		/* its table: vhu_ring_record_desc */
	uint32_t id, len;		/* USED; id VHU_CAP_NO_ID: the index moved without an element */
	uint32_t index;			/* AVAIL, USED: where the ring stands behind it */
	uint64_t hash;			/* USED: of the bytes in the device's buffers; 0: not taken */
	const uint8_t *data;		/* AVAIL: what the device reads; USED: what stands in its buffers */
	size_t n_data;
	uint16_t size;			/* LAYOUT */
	bool packed;
	uint64_t part[3];		/* descriptors, driver, device: guest addresses */
	uint32_t base;
};

/* False: it makes no sense, or the recorder cut it. Pointers are the record's. */
bool vhu_ring_record_parse(const struct vhu_record *r, struct vhu_ring_record *ret);
struct vhu_ring_desc vhu_ring_record_desc(const struct vhu_ring_record *r, size_t i);
/* Appends a descriptor as `desc` has them. */
void vhu_ring_desc_put(struct vhu_buf *out, const struct vhu_ring_desc *d);
/* Appends the payload. What does not fit into a record of `data` is left out. */
void vhu_ring_record_put(const struct vhu_ring_record *r, struct vhu_buf *out);
/* Who does this: the driver or the device. */
enum vhu_cap_direction vhu_ring_record_dir(enum vhu_cap_ring kind);
