/*
 * Two connected stream sockets made one: what one end's peer sends, the other end's peer gets, byte by byte
 * as it comes, descriptors at the very byte they came with, ends of streams as they happen. Reads only as far
 * as the other side takes it, so that back-pressure reaches the sender.
 */
#pragma once

#include "base/err.h"
#include "wire/frame.h"

struct vhu_loop;
struct relay;

/* A stretch of a stream, while its bytes are on their way. */
struct relay_piece {
	const uint8_t *bytes;
	size_t len;
	size_t fds_at;		/* the byte that they came with; len if none did */
	int *fds;		/* n_fds; the callee may take one and put another in its place */
	size_t n_fds;
	bool fds_lost;		/* there were more than could be received */
};

/* `from` is the end whose peer did it. Callbacks must not free the relay, save for `over`. */
struct relay_events {
	/* Before something of `from` is read: what was sent earlier elsewhere may go first. May be NULL. */
	void (*ready)(void *ctx, unsigned from);
	void (*piece)(void *ctx, unsigned from, struct relay_piece *piece);
	/* Nothing more comes from that end. errno_value 0: an orderly end; `half`: it may still read. */
	void (*end)(void *ctx, unsigned from, int errno_value, bool half);
	/* Both sockets are closed; last, once. */
	void (*over)(void *ctx);
};

/* Takes both sockets (also on failure). */
int vhu_relay_new(struct vhu_loop *loop, const int fds[2], const struct relay_events *events, void *ctx,
	      struct relay **ret, struct vhu_err *err);
/* Closes both sockets, whatever still waits. NULL is fine. */
void vhu_relay_free(struct relay *r);
/* Handles what has arrived from an end by now, without the loop; not once it is over. */
void vhu_relay_pump(struct relay *r, unsigned from);
/* Whether fd is a connected stream socket of the unix domain. */
bool vhu_relay_can_take(int fd);
