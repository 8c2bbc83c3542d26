/*
 * The guest's network interface: frames sent on pairs of queues, receive buffers kept posted, and every frame
 * that comes back known again. Ring 2N receives, ring 2N+1 transmits for pair N.
 *
 * A frame is a UDP datagram that names itself: number, pair and length, then bytes that follow from these. So
 * what comes back whole, cut, changed, twice or elsewhere is told apart, and frames of others are left alone.
 * The Ethernet addresses may come back changed: peers exchange them.
 */
#pragma once

#include "device/driver.h"

enum {
	VHU_NET_FRAME_MIN = 60,
	VHU_NET_FRAME_MAX = 65535,
	VHU_NET_HEADER_MAX = 20,
	VHU_NET_CSUM_START = 34,	/* of the frames' UDP header … */
	VHU_NET_CSUM_OFFSET = 6,	/* … and where its checksum is in it */
};

struct vhu_net;

/* A frame that was sent, and what became of it. */
struct vhu_net_frame {
	unsigned pair;
	uint32_t len;
	bool partial;			/* its checksum was left to the device */
	bool loose;			/* it is not compared with what comes */
	unsigned came;			/* how often */
	unsigned pair_came;		/* where, at last */
	uint8_t header[VHU_NET_HEADER_MAX];	/* with which, then */
	char harm[160];			/* "": it came as it was sent */
	bool rewritten;			/* the harm may be some network's doing: its headers are others */
};

/* The interface of this driver; NULL: there is no memory for one. */
struct vhu_net *vhu_driver_net(struct vhu_driver *d);

/* Bytes of the header in front of each frame, by the features. */
size_t vhu_net_header_size(uint64_t features);

/*
 * Puts receive buffers of these segments into the ring of a pair, unpublished, until `bytes` of room are
 * outstanding, the ring is full, or there are `max` of them. Returns how many were added, or a
 * negative errno.
 */
int vhu_net_post(struct vhu_net *n, unsigned pair, const uint32_t *segments, size_t n_segments, unsigned max,
		 struct vhu_err *err);
unsigned vhu_net_posted(const struct vhu_net *n, unsigned pair);
/* Buffers that came back on this pair, with whatever is in them. */
uint64_t vhu_net_received(const struct vhu_net *n, unsigned pair);

/*
 * Puts a frame of `len` bytes into the transmit ring, unpublished. `header` has VHU_NET_HEADER_MAX bytes;
 * `segments` are the sizes of all pieces but the last. Returns its number, or a negative errno (-ENOSPC as
 * vhu_driver_submit).
 */
struct vhu_net_send {
	unsigned pair;
	uint32_t len;
	const uint8_t *header;
	const uint32_t *segments;
	size_t n_segments;
	bool one_piece;			/* header and frame in one descriptor */
	bool indirect;
	bool loose;			/* whatever becomes of it is in order */
	bool partial;			/* the checksum field holds what the device has to complete */
};
int64_t vhu_net_send(struct vhu_net *n, const struct vhu_net_send *spec, struct vhu_err *err);
const struct vhu_net_frame *vhu_net_frame(const struct vhu_net *n, uint32_t number);
/* Transmitted buffers of this pair that have not come back. */
unsigned vhu_net_unsent(const struct vhu_net *n, unsigned pair);
