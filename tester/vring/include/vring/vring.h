/*
 * The driver's side of one virtqueue. Knows no messages and no device. The used ring is hostile:
 * each value is read once, then checked; a breach is reported and never acted upon.
 */
#pragma once

#include "base/err.h"
#include "spec/layout.h"
#include "spec/spec.h"

struct vhu_mem;
struct vhu_vring;

/* What a device did wrong; `text` says it in words with the values. */
struct vhu_ring_event {
	enum vhu_breach breach;
	unsigned queue;
	uint16_t head;
	uint32_t id, len;		/* of the used element, where it is about one */
	uint64_t gpa;			/* where, for writes out of place */
	char text[200];
};
typedef void vhu_breach_cb(void *ctx, const struct vhu_ring_event *event);

/* One buffer of a chain. */
struct vhu_sg {
	uint64_t gpa;
	uint32_t len;
	bool write;			/* the device writes it */
};

/* A chain that came back. */
struct vhu_used {
	uint16_t head;
	uint32_t len;
	void *cookie;			/* as given to vhu_vring_add */
	bool batch;			/* IN_ORDER: a later one's element covers it, len is a guess */
	bool unwritten;			/* packed: the device says that it wrote nothing; there is no len */
};

/* A used element as it was seen. id VHU_USED_NONE: the index moved, and no element is there. */
#define VHU_USED_NONE UINT32_MAX
struct vhu_used_seen {
	uint32_t id, len;
	uint32_t index;			/* where the device stands behind it, as vhu_vring_chain says it */
	bool in_flight;			/* the chain is; it can be looked at once more */
};

enum vhu_vring_fd { VHU_VRING_KICK, VHU_VRING_CALL, VHU_VRING_ERR, VHU_VRING_FD_MAX };

/* Who wants to know what goes through a ring; of hot rings (vring/hot.h) nobody does. */
struct vhu_ring_watch {
	/* A kick was written; so many calls or errors were read. */
	void (*signal)(void *ctx, struct vhu_vring *v, enum vhu_vring_fd which, uint64_t value);
	void (*added)(void *ctx, struct vhu_vring *v, uint16_t head);
	void (*used)(void *ctx, struct vhu_vring *v, const struct vhu_used_seen *u);
	void *ctx;
};

struct vhu_vring_opts {
	unsigned queue;
	const struct vhu_ring_layout *layout;	/* borrowed for the ring's life */
	struct vhu_mem *mem;			/* borrowed */
	bool event_idx, indirect_desc, in_order;
	const uint32_t *base;			/* where it stands; NULL: where fresh rings start */
	vhu_breach_cb *breach;
	void *ctx;
	const struct vhu_ring_watch *watch;	/* borrowed; NULL: nobody looks on */
};

/*
 * Makes kick, call and err eventfds (non-blocking) and formats the ring memory for a start where
 * fresh rings start. The format is the layout's.
 */
int vhu_vring_new(const struct vhu_vring_opts *opts, struct vhu_vring **ret, struct vhu_err *err);
void vhu_vring_free(struct vhu_vring *v);

/*
 * Where a ring stands, as SET_VRING_BASE says it. Split: the index. Packed: the available position in
 * bits 0 to 14, its wrap counter in bit 15, the used ones in bits 16 to 31.
 */
uint32_t vhu_vring_first_base(const struct vhu_vring *v);	/* of a fresh ring */
uint32_t vhu_vring_base(const struct vhu_vring *v);		/* by what the driver did and has seen */
uint32_t vhu_vring_base_used(const struct vhu_vring *v);	/* as if what is not used was never taken */
/* Whether a base from elsewhere is where the driver stands; bits that only later texts have may be 0. */
bool vhu_vring_stands_at(const struct vhu_vring *v, uint32_t base);
/* The base without the bits that mean nothing. */
uint32_t vhu_vring_base_cut(const struct vhu_vring *v, uint64_t base);
/*
 * Whether a device that has stopped may say so: it took no more than what was made available, and no less
 * than what it used. What would be right in `out`.
 */
bool vhu_vring_base_right(const struct vhu_vring *v, uint32_t base, char *out, size_t cap);

/* Formats ring memory anew and forgets everything in flight: a device reset. */
void vhu_vring_reset(struct vhu_vring *v, uint32_t base);
/* Other features from the next chain on (a new negotiation with kept rings). */
void vhu_vring_features(struct vhu_vring *v, bool event_idx, bool indirect_desc, bool in_order);

/*
 * Puts a chain into the descriptor table (or one indirect table) and into the available ring,
 * not yet visible to the device. -ENOSPC if descriptors are used up, -EINVAL.
 */
int vhu_vring_add(struct vhu_vring *v, const struct vhu_sg *sg, size_t n, bool indirect, void *cookie,
		  uint16_t *ret_head, struct vhu_err *err);
/* Makes added chains visible. Returns whether the device asked for a kick. */
bool vhu_vring_publish(struct vhu_vring *v);
/* Writes the kick descriptor; any value but 0 means the same. */
void vhu_vring_kick(struct vhu_vring *v);
void vhu_vring_kick_value(struct vhu_vring *v, uint64_t value);

/* A chain of raw descriptors, written as they are (cases that break the rules on purpose). */
struct vhu_raw_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next, id;
	bool next_set;			/* split: else the next free slot is linked */
	bool id_set;			/* packed: else the driver chooses one */
	bool table_known;		/* of INDIRECT: its table lets the device write `writable` bytes */
	uint64_t writable;
};
int vhu_vring_add_raw(struct vhu_vring *v, const struct vhu_raw_desc *desc, size_t n, void *cookie,
		      uint16_t *ret_head, struct vhu_err *err);

unsigned vhu_vring_queue(const struct vhu_vring *v);
/*
 * The chain of that head as its descriptors stand in the ring (`id`: their places in the table, or the
 * buffer's id), behind an INDIRECT one those of its table: how many there are, of which `max` are written.
 * *index: where the driver stands behind it; split: the free-running index, packed: the position, with the
 * wrap counter in bit 15.
 */
size_t vhu_vring_chain(const struct vhu_vring *v, uint16_t head, struct vhu_raw_desc *out, size_t max,
		       uint32_t *index);
/* The chain in flight that was added behind this one, from VHU_CHAIN_FIRST on. False: there is none. */
enum { VHU_CHAIN_FIRST = UINT16_MAX };
bool vhu_vring_next(const struct vhu_vring *v, uint16_t *head);

/*
 * Takes up to `max` returned chains. Every new used element is checked (id in range, head of a
 * chain in flight, once, length within its writable bytes); breaches go to the callback and are
 * not returned, but for a chain that has only its length wrong. At most eight are told a call.
 */
size_t vhu_vring_reap(struct vhu_vring *v, struct vhu_used *out, size_t max);
/* Whether something unseen is in the used ring. */
bool vhu_vring_pending(const struct vhu_vring *v);
/*
 * Before sleeping on the call descriptor: asks the device for a call at the next used element
 * and looks once more. True if it is safe to sleep.
 */
bool vhu_vring_arm(struct vhu_vring *v);
/* Asks for no calls (polling). */
void vhu_vring_disarm(struct vhu_vring *v);

/* Forgets chains in flight (a stop dropped them). Returns their cookies one by one, NULL at the end. */
void *vhu_vring_forget(struct vhu_vring *v);
unsigned vhu_vring_inflight(const struct vhu_vring *v);

/* Checks that the device wrote neither descriptor table nor available ring nor flags it may not. */
void vhu_vring_audit(struct vhu_vring *v);

/*
 * Free-running indexes: what the driver made available, what it has seen used, what memory says now.
 * Packed rings have none in memory: chains since the last reset.
 */
uint16_t vhu_vring_avail_idx(const struct vhu_vring *v);
uint16_t vhu_vring_seen_idx(const struct vhu_vring *v);
uint16_t vhu_vring_used_idx(const struct vhu_vring *v);

/*
 * A value anywhere in the ring. Split: desc[I].addr|len|flags|next, avail.flags|idx|ring[I]|used_event,
 * used.flags|idx|ring[I].id|ring[I].len|avail_event. Packed: desc[I].addr|len|id|flags,
 * driver.offset|flags, device.offset|flags. -ENOENT with text for a bad place, -EINVAL for a value that it
 * does not hold.
 */
int vhu_vring_poke(struct vhu_vring *v, const char *at, uint64_t value, struct vhu_err *err);
int vhu_vring_peek(const struct vhu_vring *v, const char *at, uint64_t *ret, struct vhu_err *err);
/*
 * A thread of its own writes `other` and `value` there by turns, from now until vhu_vring_still, a reset,
 * an audit or another flip. Both have been poked there before, `value` last, which is what stays. Until the
 * next reset nothing in the ring is the device's fault.
 */
int vhu_vring_flip(struct vhu_vring *v, const char *at, uint64_t value, uint64_t other, struct vhu_err *err);
void vhu_vring_still(struct vhu_vring *v);
/* Its memory is somebody's buffer: until the next reset nothing in it is the device's fault. */
void vhu_vring_spoil(struct vhu_vring *v);
bool vhu_vring_spoilt(const struct vhu_vring *v);	/* so, or by a flip */

/* --- descriptors ----------------------------------------------------------------------------- */

/* The eventfd in service, borrowed; -1 if the ring polls. */
int vhu_vring_fd(const struct vhu_vring *v, enum vhu_vring_fd which);
/*
 * A fresh eventfd takes its place; the old call descriptor is emptied and kept, and what it gets
 * from now on is "stale".
 */
int vhu_vring_renew_fd(struct vhu_vring *v, enum vhu_vring_fd which, struct vhu_err *err);
/* Puts another descriptor into service, taking it: our end of a pipe, say. */
void vhu_vring_put_fd(struct vhu_vring *v, enum vhu_vring_fd which, int fd);
/* None in service (the no-fd bit). */
void vhu_vring_drop_fd(struct vhu_vring *v, enum vhu_vring_fd which);
/* Reads the counters of call (in service), of replaced call descriptors, and of err. Each read empties it. */
uint64_t vhu_vring_take_calls(struct vhu_vring *v);
uint64_t vhu_vring_take_stale(struct vhu_vring *v);
uint64_t vhu_vring_take_errors(struct vhu_vring *v);
/* Kicks that the target did not read. */
uint64_t vhu_vring_take_kicks(struct vhu_vring *v);
