/* What the two formats of a ring at full speed share. */
#pragma once

#include "ring.h"
#include "vring/hot.h"

enum { HOT_PARTS_MAX = 16, HOT_NONE = 0xffff };

enum hot_state { HOT_IDLE, HOT_SENT, HOT_BACK };

/* A chain as it goes into the ring. */
struct hot_chain {
	struct vhu_raw_desc desc[HOT_PARTS_MAX]; /* direct ones, or the one that names the table */
	uint16_t n;				 /* of them */
	uint8_t *table;				 /* our view of the indirect table, or NULL */
	struct vhu_table own;
	uint32_t len[HOT_PARTS_MAX];
};

struct vhu_hot {
	struct vhu_vring *v;
	const struct hot_ops *ops;
	unsigned n, descs; /* chains, and slots of the ring that each takes */
	bool indirect;
	bool broken;
	uint8_t *state;	 /* of each chain */
	uint32_t *room;	 /* bytes that the device may write */
	uint16_t *owner; /* split: the chain of a head */
	uint16_t *head;	 /* split: of a chain */
	uint16_t *order; /* IN_ORDER: chains as they were sent, in a ring of `n` */
	uint32_t first;	 /* of them */
	unsigned inflight;
	struct hot_chain *chain;
	vhu_breach_cb *old_breach;
	void *old_ctx;
};

struct hot_ops {
	void (*place)(struct vhu_hot *h, unsigned chain); /* writes it where it stays */
	bool (*send)(struct vhu_hot *h, const uint16_t *chains, unsigned n);
	unsigned (*reap)(struct vhu_hot *h, struct vhu_hot_used *out);
	bool (*ready)(const struct vhu_hot *h, unsigned n);
	bool (*kicks_off)(const struct vhu_hot *h);
	uint32_t (*due)(const struct vhu_hot *h);
	uint32_t (*entry)(const struct vhu_hot *h, uint32_t due, unsigned n);
	bool (*arm)(struct vhu_hot *h, unsigned after);
	void (*settle)(struct vhu_hot *h);
};

extern const struct hot_ops vhu_hot_split, vhu_hot_packed;

/* The ring is beyond understanding. */
void vhu_hot_break(struct vhu_hot *h);
/* A used id that names no chain in flight: told. */
void vhu_hot_complain(struct vhu_hot *h, uint32_t id, uint32_t len, uint16_t chain);
/* The length of a chain that came back is more than it has room for: told. */
void vhu_hot_too_long(struct vhu_hot *h, uint16_t chain, uint32_t id, uint32_t len);
/* IN_ORDER: a used entry that stands for chains which were not sent before it: told. */
void vhu_hot_overtaken(struct vhu_hot *h, uint16_t chain, uint32_t id);

/* IN_ORDER: how many of those in flight it is the last of, in order of submission. */
static inline unsigned hot_position(const struct vhu_hot *h, uint16_t chain)
{
	unsigned k = 0;

	for (uint32_t at = h->first; k < h->inflight; k++) {
		if (h->order[at] == chain)
			return k + 1;
		at = at + 1 == h->n ? 0 : at + 1;
	}
	return 0;
}

static inline uint16_t hot_oldest(struct vhu_hot *h)
{
	uint16_t chain = h->order[h->first];

	h->first = h->first + 1 == h->n ? 0 : h->first + 1;
	return chain;
}

/* IN_ORDER: the i-th of those that are being sent. */
static inline void hot_order(struct vhu_hot *h, uint16_t chain, unsigned i)
{
	h->order[(h->first + h->inflight + i) % h->n] = chain;
}

static inline void hot_sent(struct vhu_hot *h, uint16_t chain)
{
	if (h->v->in_order)
		hot_order(h, chain, 0);
	h->state[chain] = HOT_SENT;
	h->inflight++;
}

static inline void hot_back(struct vhu_hot *h, uint16_t chain)
{
	h->state[chain] = HOT_BACK;
	h->inflight--;
}
