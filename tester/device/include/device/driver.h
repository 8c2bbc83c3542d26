/*
 * The guest's driver without a guest: requests of a device type laid out in shared memory,
 * sent through vrings, and every byte that comes back verified.
 */
#pragma once

#include "base/err.h"
#include "spec/layout.h"
#include "spec/spec.h"

struct vhu_mem;
struct vhu_raw_desc;		/* vring/vring.h */
struct vhu_ring_event;		/* vring/vring.h */
struct vhu_ring_watch;		/* vring/vring.h */
struct vhu_vring;

struct vhu_driver;
struct vhu_net_send;		/* device/net.h */
struct vhu_io;			/* one request, from submission until it is freed */

struct vhu_driver_opts {
	enum vhu_device device;
	const struct vhu_layout *layout;	/* borrowed */
	const int *fds;				/* files of its regions; NULL: made. Not kept */
	const uint32_t *bases;			/* where rings stand; NULL: fresh ones. Not kept */
	uint64_t features;			/* as negotiated */
	uint64_t capacity;			/* sectors (blk); 0: unknown */
	uint64_t seed;
	void (*breach)(void *ctx, const struct vhu_ring_event *event);	/* rings, memory and data alike */
	void *ctx;
	const struct vhu_ring_watch *watch;	/* borrowed; NULL: nobody looks on at the rings */
};

int vhu_driver_new(const struct vhu_driver_opts *opts, struct vhu_driver **ret, struct vhu_err *err);
void vhu_driver_free(struct vhu_driver *d);
/*
 * Another guest on the same disk: fresh memory and rings, while what was written stays known. A
 * device that is slow to let go of the old memory harms nothing. Every request has to be freed.
 */
int vhu_driver_renew(struct vhu_driver *d, struct vhu_err *err);

/*
 * The same guest with other memory or rings: what was written to the disk stays known. Every request has to
 * be freed. After a failure the driver can only be freed.
 */
int vhu_driver_replace(struct vhu_driver *d, const struct vhu_layout *layout, const int *fds,
		       const uint32_t *bases, struct vhu_err *err);

/* The guest goes, with memory and rings; what was written stays known for vhu_driver_replace. */
void vhu_driver_retire(struct vhu_driver *d);

struct vhu_mem *vhu_driver_mem(struct vhu_driver *d);
size_t vhu_driver_rings(const struct vhu_driver *d);
struct vhu_vring *vhu_driver_ring(struct vhu_driver *d, unsigned queue);
/* Features of a new negotiation, for everything submitted from now on. */
void vhu_driver_features(struct vhu_driver *d, uint64_t features);
/*
 * What was written stays known over reconnects; this forgets it (another medium: a target that
 * was restarted on a fresh image).
 */
void vhu_driver_forget_data(struct vhu_driver *d);

/* --- requests ---------------------------------------------------------------------------------- */

enum vhu_io_op {
	VHU_IO_READ, VHU_IO_WRITE, VHU_IO_FLUSH, VHU_IO_DISCARD, VHU_IO_WRITE_ZEROES, VHU_IO_GET_ID,
	VHU_IO_RAW,			/* any type number */
	VHU_IO_CHAIN,			/* segments of a case's own (vhu_chain_part) */
	VHU_IO_SEND, VHU_IO_RECEIVE,	/* by device/net.h only */
	VHU_IO_OP_MAX
};

/* What is written: sector number, generation and seed in every 512 bytes; one byte; random; zeroes. */
enum vhu_pattern { VHU_PATTERN_STAMP, VHU_PATTERN_FILL, VHU_PATTERN_SEED, VHU_PATTERN_ZERO };

enum { VHU_IO_SEGMENTS_MAX = 1024 };

/* A part of a free chain: bytes for the device to read, or room for it to write. */
struct vhu_chain_part {
	bool in;			/* the device writes it */
	const uint8_t *bytes;		/* out: what it holds; NULL: pattern */
	uint32_t len;
	const struct vhu_raw_desc *raw;	/* a descriptor as it stands, in place of the above */
};

struct vhu_io_spec {
	enum vhu_io_op op;
	uint64_t sector;
	uint32_t count;			/* sectors */
	enum vhu_pattern pattern;
	uint64_t pattern_arg;		/* the byte, or the seed */
	bool verify;			/* reads must equal what was last written by this run */
	const uint32_t *segments;	/* sizes of the data descriptors, or NULL for one */
	size_t n_segments;
	bool indirect;
	uint32_t type;			/* VHU_IO_RAW: the request's type number */
	uint32_t statuses;		/* accepted status bytes, as bits (1 << VHU_C_BLK_S_OK); 0: any */
	const struct vhu_chain_part *parts;
	size_t n_parts;
	const struct vhu_net_send *send;	/* VHU_IO_SEND */
};

/*
 * Lays out one request and puts it into the ring, unpublished. 0 and *ret (owned by the driver
 * until vhu_io_free), -ENOSPC if ring or memory is full.
 */
int vhu_driver_submit(struct vhu_driver *d, unsigned queue, const struct vhu_io_spec *spec,
		      struct vhu_io **ret, struct vhu_err *err);
/*
 * Reaps every ring and completes requests: verifies data, status, canaries and lengths. Each
 * breach goes to the callback. Returns the number of requests that completed.
 */
size_t vhu_driver_poll(struct vhu_driver *d);
/*
 * vhu_vring_poke. Memory that a descriptor names as writable from now on is the device's, be it a ring's own,
 * and is no longer judged; so is that of raw descriptors.
 */
int vhu_driver_poke(struct vhu_driver *d, unsigned queue, const char *at, uint64_t value,
		    struct vhu_err *err);
/* vhu_vring_flip, with the same to be said of both values. */
int vhu_driver_flip(struct vhu_driver *d, unsigned queue, const char *at, uint64_t value, uint64_t other,
		    struct vhu_err *err);
/* All of the rings' memory may be written: a case has put their parts where others lie. */
void vhu_driver_give_rings(struct vhu_driver *d);
/* Rings audited, canaries and untouched memory swept; once before the memory goes. */
void vhu_driver_audit(struct vhu_driver *d);
/* Requests that were in flight when the target went are no longer waited for. */
void vhu_driver_abandon(struct vhu_driver *d, unsigned queue);

bool vhu_io_done(const struct vhu_io *io);
bool vhu_io_abandoned(const struct vhu_io *io);
unsigned vhu_io_queue(const struct vhu_io *io);
uint64_t vhu_io_seq(const struct vhu_io *io);		/* order of submission, over all rings */
uint64_t vhu_io_done_seq(const struct vhu_io *io);	/* order of completion */
/*
 * Once done: the status byte (0xff if the device wrote none; of a free chain to a block device its
 * last writable byte), the used length, whether the status was accepted.
 */
uint8_t vhu_io_status(const struct vhu_io *io);
uint32_t vhu_io_used_len(const struct vhu_io *io);
/* Whether the device gave a used length: one for a whole batch, or a packed one without WRITE, is none. */
bool vhu_io_len_known(const struct vhu_io *io);
/* Writable bytes of the chain, and what the used length should be by the standard for its status. */
uint32_t vhu_io_writable(const struct vhu_io *io);
uint32_t vhu_io_expected_len(const struct vhu_io *io);
bool vhu_io_accepted(const struct vhu_io *io);
/* Part i of a free chain as it came back (in parts), for matchers. */
const uint8_t *vhu_io_part(const struct vhu_io *io, size_t i, size_t *ret_len);
/* The writable ranges, for dirty log checks: the i-th, false at the end. */
bool vhu_io_written(const struct vhu_io *io, size_t i, uint64_t *ret_gpa, uint32_t *ret_len);
/* "read sector 8, 8 sectors, queue 1, head 3": in out, cut at cap. */
char *vhu_io_describe(const struct vhu_io *io, char *out, size_t cap);
void vhu_io_free(struct vhu_io *io);
