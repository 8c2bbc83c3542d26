/*
 * A ring at full speed: chains that stand ready in guest memory and go to the device again and again. One
 * thread owns the ring meanwhile; nothing here allocates, locks or makes a system call. The used ring is
 * believed no more than elsewhere: each value is read once, then checked (in flight, once, length).
 */
#pragma once

#include "vring/vring.h"

struct vhu_hot;

/* A chain that came back. */
struct vhu_hot_used {
	uint16_t chain;
	bool len_known;			/* the device gave a length for it */
	uint32_t len;
};

/*
 * Makes a ring with nothing in flight ready for `chains` chains of up to `descs` buffers each. They all fit:
 * -ENOSPC if the ring is too small for that, -EINVAL. Breaches go to `breach` from now on, on whichever
 * thread calls.
 */
int vhu_hot_new(struct vhu_vring *v, unsigned chains, unsigned descs, bool indirect, vhu_breach_cb *breach,
		void *ctx, struct vhu_hot **ret, struct vhu_err *err);
/* The ring is an ordinary one again; what was in flight is forgotten, and no fault if it comes back later.
 * NULL is fine. */
void vhu_hot_free(struct vhu_hot *h);

/* The buffers of a chain, for as long as it is not changed. 0 or a negative errno. */
int vhu_hot_chain(struct vhu_hot *h, unsigned chain, const struct vhu_sg *sg, size_t n, struct vhu_err *err);
/* Buffer `part` of a chain that is not in flight is for the device to write, or to read. */
void vhu_hot_turn(struct vhu_hot *h, unsigned chain, unsigned part, bool write);

/* Makes n chains available, all at once. Returns whether the device asked for a kick. */
bool vhu_hot_send(struct vhu_hot *h, const uint16_t *chains, unsigned n);
/* Takes what came back; `out` has room for every chain. */
unsigned vhu_hot_reap(struct vhu_hot *h, struct vhu_hot_used *out);
/* Whether n more have come back. On a packed ring that is a guess, unless n is 1. */
bool vhu_hot_ready(const struct vhu_hot *h, unsigned n);
/* Whether the device said, when it was asked last, that it needs none: it polls. */
bool vhu_hot_kicks_off(const struct vhu_hot *h);
unsigned vhu_hot_inflight(const struct vhu_hot *h);
bool vhu_hot_sent(const struct vhu_hot *h, unsigned chain);
/* The ring is beyond understanding (an index that jumped): nothing more is taken from it. */
bool vhu_hot_broken(const struct vhu_hot *h);
/*
 * Asks for a call once `after` more chains are used (1: the next one; it counts in EVENT_IDX only) and looks
 * once more. True if it is safe to sleep.
 */
bool vhu_hot_arm(struct vhu_hot *h, unsigned after);
/* Asks for none. */
void vhu_hot_disarm(struct vhu_hot *h);

/*
 * Where used entries lie, for who judges a dirty log: the address that the log's stands for, the number of
 * the entry that is due next, and how far from there the n-th from a due one begins. Not for IN_ORDER, where
 * entries may be left out.
 */
uint64_t vhu_hot_used_gpa(const struct vhu_hot *h);
uint32_t vhu_hot_due(const struct vhu_hot *h);
uint32_t vhu_hot_entry(const struct vhu_hot *h, uint32_t due, unsigned n);

/* The device was reset: nothing is in flight, the ring begins anew. */
void vhu_hot_reset(struct vhu_hot *h);
