/* The packed ring's state, shared by its files. */
#pragma once

#include "ring.h"

enum {
	DESC_ADDR = 0,
	DESC_LEN = 8,
	DESC_ID = 12,
	DESC_FLAGS = 14,
	EVENT_PLACE = 0, /* position and wrap counter */
	EVENT_FLAGS = 2,
	EVENT_SIZE = 4,
};

#define DESC_F_MARKS (VHU_C_DESC_F_AVAIL | VHU_C_DESC_F_USED)

/* A position and the wrap counter that belongs to it. */
struct place {
	uint16_t at;
	bool wrap;
};

enum buffer_state {
	BUFFER_FREE,
	BUFFER_ADDED, /* not yet visible to the device */
	BUFFER_OWNED, /* the device's */
};

/* One for each buffer id. Our own memory: what the device could change decides nothing. */
struct buffer {
	void *cookie;
	uint64_t writable; /* bytes that the device may write */
	struct vhu_table table;
	uint16_t slots;	     /* that its list takes in the ring */
	uint16_t at;	     /* the first of them */
	uint16_t prev, next; /* of those added or owned, in order of submission */
	uint8_t state;
	bool wrap;	/* the wrap counter there */
	bool returned;	/* since it was last added: a second return is a double one */
	bool overtaken; /* IN_ORDER: a later one was returned first, which was told */
};

enum slot_kind {
	SLOT_DRIVER,  /* as the driver wrote it */
	SLOT_USED,    /* a used descriptor that was seen */
	SLOT_COVERED, /* IN_ORDER: of a buffer that a later one's used descriptor covered */
};

struct packed {
	struct vhu_vring v;
	uint32_t size;
	uint8_t *desc, *driver, *device; /* shared with the device */
	uint8_t *shadow;		 /* what the slots hold as far as we know */
	uint8_t driver_shadow[EVENT_SIZE];
	uint8_t *kind;		/* enum slot_kind of each slot */
	uint16_t *list;		/* at the first slot of a list: how many it has */
	struct buffer *buffer;	/* size of them and a list head */
	uint16_t *free_id;	/* a stack */
	uint32_t n_free_ids;
	uint32_t added, owned;	/* buffers */
	struct place avail;	/* where the next list goes */
	struct place published; /* and where the first goes that is not visible yet */
	struct place used;	/* where the next used descriptor is due */
	uint16_t head_flags;	/* of that first one, withheld until all behind it stands */
	uint16_t n_avail, n_used;
	uint32_t batch;	      /* IN_ORDER: buffers of the current used descriptor given back so far */
	uint32_t batch_slots; /* and their slots */
	bool armed;
	bool hands_off;	       /* a case wrote what says whether calls are asked for: it stays */
	uint32_t device_known; /* the device event structure that was judged */
};

static inline struct packed *packed_of(struct vhu_vring *v)
{
	return (struct packed *)v; /* v is its first member */
}

static inline const struct packed *packed_of_const(const struct vhu_vring *v)
{
	return (const struct packed *)v;
}

static inline uint16_t order_list(const struct packed *p)
{
	return (uint16_t)p->size;
}

static inline struct place place_behind(const struct packed *p, struct place from, uint32_t slots)
{
	uint32_t at = from.at + slots;

	return at < p->size ? (struct place){(uint16_t)at, from.wrap}
			    : (struct place){(uint16_t)(at - p->size), !from.wrap};
}

static inline struct place place_before(const struct packed *p, struct place from, uint32_t slots)
{
	return from.at >= slots ? (struct place){(uint16_t)(from.at - slots), from.wrap}
				: (struct place){(uint16_t)(from.at + p->size - slots), !from.wrap};
}

/* How far b lies ahead of a, which is at most a lap behind. */
static inline uint32_t place_ahead(const struct packed *p, struct place a, struct place b)
{
	return a.wrap == b.wrap ? (uint32_t)b.at - a.at : p->size - a.at + b.at;
}

/* Slots that are the device's. */
static inline uint32_t slots_owned(const struct packed *p)
{
	return place_ahead(p, p->used, p->published);
}

static inline uint16_t place_word(struct place at)
{
	return (uint16_t)(at.at | (at.wrap ? VHU_C_POSITION_WRAP : 0));
}

/* The marks of an available descriptor there, and of a used one. */
static inline uint16_t avail_marks(bool wrap)
{
	return wrap ? VHU_C_DESC_F_AVAIL : VHU_C_DESC_F_USED;
}

static inline uint16_t used_marks(bool wrap)
{
	return wrap ? DESC_F_MARKS : 0;
}

/* packed.c */
void vhu_packed_desc_put(struct packed *p, uint16_t at, uint64_t addr, uint32_t len, uint16_t id);
/* Marks and all: whoever sees them sees what was put before. */
void vhu_packed_flags_put(struct packed *p, uint16_t at, uint16_t flags);
/* The buffer is free again; its slots are the caller's affair. */
void vhu_packed_release(struct packed *p, uint16_t id);
void vhu_packed_suppress(struct packed *p);
/* Reads the device event structure and judges it when it changed. */
uint32_t vhu_packed_device_event(struct packed *p);
/* Whether that structure asks for a kick for the `slots` that were filled last. */
bool vhu_packed_kick_wanted(const struct packed *p, uint32_t event, uint32_t slots);
/* What the slot's marks are, in memory. */
uint16_t vhu_packed_marks(const struct packed *p, uint16_t at);

/* packed_add.c */
int vhu_packed_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		   uint16_t *ret_head, struct vhu_err *err);
int vhu_packed_add_raw(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		       uint16_t *ret_head, struct vhu_err *err);
void *vhu_packed_forget(struct vhu_vring *v);
size_t vhu_packed_chain(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
			uint32_t *index);
bool vhu_packed_next(const struct vhu_vring *v, uint16_t *head);

/* packed_reap.c */
size_t vhu_packed_reap(struct vhu_vring *v, struct vhu_used *out, size_t max);
/* Used descriptors in memory that were not reaped: how many buffers, and the place behind them. */
uint32_t vhu_packed_unseen(const struct packed *p, struct place *ret);

/* packed_audit.c */
void vhu_packed_audit(struct vhu_vring *v);
/* Of a list that came back: the slots behind its first, which the device had no business in. */
void vhu_packed_check_skipped(struct packed *p, struct place from, uint32_t slots);
/* Places by name. */
int vhu_packed_find(const struct vhu_vring *v, const char *at, struct vhu_place *ret, struct vhu_err *err);
void vhu_packed_acknowledge(struct vhu_vring *v, const struct vhu_place *place, uint64_t value);
