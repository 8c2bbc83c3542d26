/*
 * One socket that carries frames. Sending never blocks: what the socket does not take waits in
 * a queue, while receiving goes on. A dead peer is an observation, not an error.
 */
#pragma once

#include "base/err.h"
#include "spec/spec.h"

struct vhu_frame;
struct vhu_loop;
struct vhu_chan;

enum { VHU_CHAN_QUEUE_MAX = 64 << 20 };	/* bytes that may wait for a peer that reads nothing */

/* Callbacks may send on the channel, and free it. */
struct vhu_chan_events {
	/*
	 * A frame arrived. What it holds becomes the callee's: it ends with vhu_frame_done(f), or
	 * keeps a copy of *f. The struct itself is the channel's.
	 */
	void (*frame)(void *ctx, struct vhu_frame *f);
	/*
	 * The peer hung up: errno_value 0 for EOF, ECONNRESET, EPIPE … otherwise; ENOMEM: it is
	 * us who cannot go on. Once; what came before was handed out, an unfinished frame too.
	 */
	void (*closed)(void *ctx, int errno_value);
};

/*
 * Takes ownership of fd (also on failure). `peer` is who sends on the other end: VHU_DIR_BE
 * for the main channel of a tester, VHU_DIR_BE for its end of the back-end channel, too.
 */
int vhu_chan_new(struct vhu_loop *loop, int fd, enum vhu_channel channel, enum vhu_dir peer,
		 const struct vhu_chan_events *events, void *ctx, struct vhu_chan **ret, struct vhu_err *err);
void vhu_chan_free(struct vhu_chan *c);

/*
 * Sends header, payload and descriptors (borrowed; the kernel duplicates them) as one sendmsg.
 * With n_pieces > 0 in several, of these lengths, the rest last, descriptors with the first;
 * each further piece goes out when the peer has read the one before (SIOCOUTQ), or after
 * piece_wait_ns. Returns 0 when it was sent or queued, also towards a peer that is gone.
 */
int vhu_chan_send(struct vhu_chan *c, const struct vhu_frame *f, const size_t *pieces, size_t n_pieces,
		  uint64_t piece_wait_ns, struct vhu_err *err);
/* Raw bytes. */
int vhu_chan_send_bytes(struct vhu_chan *c, const void *bytes, size_t len, const int *fds, size_t n_fds,
			struct vhu_err *err);
/*
 * Collects: while held, frames that are sent wait; vhu_chan_release sends them in one sendmsg
 * (coalesced), as far as their descriptors allow (a frame with descriptors starts a new one).
 */
void vhu_chan_hold(struct vhu_chan *c);
int vhu_chan_release(struct vhu_chan *c, struct vhu_err *err);
/*
 * shutdown(SHUT_WR) behind what is queued: the peer sees the end, we still read. A later send
 * is -ESHUTDOWN.
 */
void vhu_chan_half_close(struct vhu_chan *c);
/* Stops or resumes reading (a peer that does not read its answers); the end is not seen either. */
int vhu_chan_pause(struct vhu_chan *c, bool pause, struct vhu_err *err);

/* Hands out what has arrived by now, without going through the loop. */
void vhu_chan_drain(struct vhu_chan *c);

bool vhu_chan_open(const struct vhu_chan *c);
bool vhu_chan_sending(const struct vhu_chan *c);	/* bytes still wait in our queue */
int vhu_chan_fd(const struct vhu_chan *c);
