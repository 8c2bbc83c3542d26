/* The split ring's state, shared by its files. */
#pragma once

#include "ring.h"

enum {
	LATE_MAX = 16, /* used elements that are awaited although the index has passed them */
};

/*
 * What a used slot holds until the device writes it: neither is a possible id or length. Only
 * slots that the device cannot be writing get it.
 */
#define POISON_ID  UINT32_C(0xdeadbeef)
#define POISON_LEN UINT32_C(0xfeedface)

enum slot_state {
	SLOT_FREE,
	SLOT_INNER, /* of a chain, not its head */
	SLOT_ADDED, /* head, not yet visible to the device */
	SLOT_OWNED, /* head, the device's */
};

/* One for each descriptor. Our own memory: what the device could change decides nothing. */
struct slot {
	void *cookie;
	uint64_t writable; /* bytes that the device may write */
	struct vhu_table table;
	uint16_t link;	     /* next descriptor of the chain */
	uint16_t count;	     /* descriptors of the chain in the ring's own table */
	uint16_t prev, next; /* in the free list, or of heads in order of submission */
	uint16_t index;	     /* of a head: the available index behind it */
	uint8_t state;
	bool returned;	/* since it was last added: a second return is a double one */
	bool overtaken; /* IN_ORDER: a later one was returned first, which was told */
};

struct element {
	uint32_t id, len;
};

struct split {
	struct vhu_vring v;
	uint32_t size;
	uint8_t *desc, *avail, *used;	     /* shared with the device */
	uint8_t *desc_shadow, *avail_shadow; /* what the driver's parts must hold */
	struct slot *slot;		     /* size of them and two list heads */
	bool *poisoned;			     /* used slots that hold the poison until the device writes */
	bool poison_known;		     /* some do */
	uint32_t n_free, added, owned;
	uint16_t base, avail_idx, last_used;
	uint16_t cursor;   /* IN_ORDER: the next descriptor in table order */
	uint32_t consumed; /* used slots seen since they were poisoned */
	uint32_t batch;	   /* IN_ORDER: chains of the current element given back so far */
	uint16_t late[LATE_MAX];
	size_t n_late;
	bool armed, untouched; /* untouched: nothing was used since the reset */
	bool quiet;	       /* after a jump the elements mean nothing: none is reported */
	uint16_t jump_idx;     /* the jump that was told */
	bool jump_told;
	bool hands_off;	      /* a case wrote what says whether calls are asked for: it stays */
	uint16_t flags_known; /* used.flags that were judged */
	uint16_t avail_event; /* noise there without EVENT_IDX */
};

static inline struct split *split_of(struct vhu_vring *v)
{
	return (struct split *)v; /* v is its first member */
}

static inline const struct split *split_of_const(const struct vhu_vring *v)
{
	return (const struct split *)v;
}

static inline uint32_t avail_event_at(const struct split *s)
{
	return VHU_USED_RING + VHU_USED_ELEMENT * s->size;
}

static inline uint32_t used_event_at(const struct split *s)
{
	return VHU_AVAIL_RING + 2 * s->size;
}

/* The two lists: descriptors that are free, heads in order of submission. */
static inline uint16_t free_list(const struct split *s)
{
	return (uint16_t)s->size;
}

static inline uint16_t order_list(const struct split *s)
{
	return (uint16_t)(s->size + 1);
}

/* split.c */
void vhu_split_desc_put(struct split *s, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
			uint16_t next);
void vhu_split_avail_put(struct split *s, uint32_t at, uint16_t value);
void vhu_split_release(struct split *s, uint16_t head);
void vhu_split_poison(struct split *s, uint32_t slot);
/* Reads used.flags and judges them when they changed. */
uint16_t vhu_split_flags(struct split *s);
/* Asks for calls, or for none, by what `armed` says. */
void vhu_split_suppress(struct split *s);

/* split_add.c */
int vhu_split_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		  uint16_t *ret_head, struct vhu_err *err);
int vhu_split_add_raw(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		      uint16_t *ret_head, struct vhu_err *err);

size_t vhu_split_chain(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
		       uint32_t *index);
bool vhu_split_next(const struct vhu_vring *v, uint16_t *head);

/* split_reap.c */
size_t vhu_split_reap(struct vhu_vring *v, struct vhu_used *out, size_t max);
bool vhu_split_element(const struct split *s, uint32_t slot, struct element *ret);
uint32_t vhu_split_misplaced(const struct split *s);

/* split_audit.c */
void vhu_split_audit(struct vhu_vring *v);

/* split_poke.c */
int vhu_split_find(const struct vhu_vring *v, const char *at, struct vhu_place *ret, struct vhu_err *err);
void vhu_split_acknowledge(struct vhu_vring *v, const struct vhu_place *p, uint64_t value);
