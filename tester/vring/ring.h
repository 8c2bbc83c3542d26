/* What all ring formats share inside this room. */
#pragma once

#include "vring/vring.h"

enum {
	STALE_MAX = 32,	 /* replaced call descriptors that are watched */
	REPORTS_MAX = 8, /* breaches told in one call: a target can make thousands at once */
};

#define WRITABLE_UNKNOWN UINT64_MAX /* raw chains that the device may read in several ways */

/* A chain's indirect table. gpa 0: it has none. */
struct vhu_table {
	uint64_t gpa, hash;
	uint32_t len;
	bool own; /* it came from vhu_mem_alloc */
};

/* place.c: places by name, for cases that look at a ring or break its rules */
struct vhu_place_row {
	const char *name; /* '#' stands for an index */
	unsigned part;	  /* of the ring; the format's own numbers */
	uint32_t offset, stride;
	uint8_t size;
	bool behind; /* the offset counts from the end of the array */
};

struct vhu_places {
	const struct vhu_place_row *row;
	size_t n;
	const char *all; /* "a split ring: there are …" */
};

struct vhu_place {
	const struct vhu_place_row *row;
	uint64_t index;
	uint32_t offset; /* in its part */
	uint8_t *mem;
};

struct vhu_vring_ops {
	int (*create)(const struct vhu_vring_opts *opts, struct vhu_vring **ret, struct vhu_err *err);
	void (*destroy)(struct vhu_vring *v);
	void (*reset)(struct vhu_vring *v, uint32_t base);
	uint32_t (*first_base)(const struct vhu_vring *v);
	uint32_t (*base)(const struct vhu_vring *v);
	uint32_t (*base_used)(const struct vhu_vring *v);
	uint32_t (*base_cut)(const struct vhu_vring *v, uint64_t base);
	bool (*stands_at)(const struct vhu_vring *v, uint32_t base);
	bool (*base_right)(const struct vhu_vring *v, uint32_t base, char *out, size_t cap);
	void (*features)(struct vhu_vring *v); /* after those in struct vhu_vring have changed */
	int (*add)(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		   uint16_t *ret_head, struct vhu_err *err);
	int (*add_raw)(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		       uint16_t *ret_head, struct vhu_err *err);
	bool (*publish)(struct vhu_vring *v);
	/* Of the ring's own table; as vhu_vring_chain. */
	size_t (*chain)(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
			uint32_t *index);
	bool (*next)(const struct vhu_vring *v, uint16_t *head);
	size_t (*reap)(struct vhu_vring *v, struct vhu_used *out, size_t max);
	bool (*pending)(const struct vhu_vring *v);
	bool (*arm)(struct vhu_vring *v);
	void (*disarm)(struct vhu_vring *v);
	void *(*forget)(struct vhu_vring *v);
	unsigned (*inflight)(const struct vhu_vring *v);
	void (*audit)(struct vhu_vring *v);
	uint16_t (*avail_idx)(const struct vhu_vring *v);
	uint16_t (*seen_idx)(const struct vhu_vring *v);
	uint16_t (*used_idx)(const struct vhu_vring *v);
	/* A place by its name, and where it is in memory. -ENOENT with text. */
	int (*find)(const struct vhu_vring *v, const char *at, struct vhu_place *ret, struct vhu_err *err);
	/* What the driver itself writes there is no fault of the device. */
	void (*acknowledge)(struct vhu_vring *v, const struct vhu_place *p, uint64_t value);
};

struct vhu_flip;

/* Embedded at the start of each format's own struct. */
struct vhu_vring {
	const struct vhu_vring_ops *ops;
	unsigned queue;
	const struct vhu_ring_layout *layout;
	struct vhu_mem *mem;
	bool event_idx, indirect_desc, in_order;
	vhu_breach_cb *breach;
	void *ctx;
	const struct vhu_ring_watch *watch;
	unsigned reports; /* left in this call */
	int fd[VHU_VRING_FD_MAX];
	int stale[STALE_MAX];
	size_t n_stale;
	uint64_t stale_count; /* of those that are no longer watched */
	struct vhu_flip *flip; /* what a thread changes now */
	bool spoilt;	       /* nothing in it is the device's fault until the next reset */
};

extern const struct vhu_vring_ops vhu_split_ops, vhu_packed_ops;

/* A breach without head, id or length; those that have one set it in *event. */
void vhu_vring_report(struct vhu_vring *v, struct vhu_ring_event *event, const char *format, ...)
	VHU_PRINTF(3, 4);

/* For who looks on. */
static inline void vhu_vring_saw(struct vhu_vring *v, uint32_t id, uint32_t len, uint32_t index,
				 bool in_flight)
{
	if (v->watch)
		v->watch->used(v->watch->ctx, v, &(struct vhu_used_seen){id, len, index, in_flight});
}

/* -ENOENT with text. Where it is in memory is left to the format. */
int vhu_place_find(const struct vhu_places *places, uint32_t ring_size, const char *at, struct vhu_place *ret,
		   struct vhu_err *err);
void vhu_place_store(const struct vhu_place *p, uint64_t value);

/* chain.c */
/* -ENOSPC for more descriptors than the ring can ever have, -EINVAL for none. */
int vhu_chain_fits(const struct vhu_vring *v, size_t n, struct vhu_err *err);
/* The same, and whether the chain is one that a driver may make. */
int vhu_chain_check(const struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect,
		    struct vhu_err *err);
uint64_t vhu_chain_writable(const struct vhu_sg *sg, size_t n);
/* WRITABLE_UNKNOWN where that is a matter of opinion. */
uint64_t vhu_raw_writable(const struct vhu_raw_desc *desc, size_t n);
/* The table number `slot` in the layout, or one from guest memory where n entries are too many for that. */
int vhu_table_find(struct vhu_vring *v, uint16_t slot, size_t n, struct vhu_table *ret, struct vhu_err *err);
/* It is written: from now on nobody may change it. */
void vhu_table_seal(const struct vhu_vring *v, struct vhu_table *t);
/* Whether it is as it was sealed; told if not. */
void vhu_table_check(struct vhu_vring *v, uint16_t head, struct vhu_table *t);
void vhu_table_drop(struct vhu_vring *v, uint16_t head, struct vhu_table *t);
/* What stands in the table of an INDIRECT descriptor: how many entries; 0 where that is no guest memory. */
size_t vhu_table_entries(const struct vhu_vring *v, const struct vhu_raw_desc *table,
			 struct vhu_raw_desc *out, size_t max);
/* A descriptor out of memory, be it a table or a shadow. */
struct vhu_raw_desc vhu_desc_read(const uint8_t *p, bool packed);

/* fds.c */
int vhu_vring_fds_open(struct vhu_vring *v, struct vhu_err *err);
void vhu_vring_fds_close(struct vhu_vring *v);
