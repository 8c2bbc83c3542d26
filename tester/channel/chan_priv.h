/* What the two halves of a channel share: chan.c receives, chan_send.c sends. */
#pragma once

#include "base/buf.h"
#include "channel/chan.h"
#include "event/loop.h"
#include "wire/frame.h"

enum { CHAN_READ_MAX = 16 * 1024 }; /* bytes of one read; a longer frame takes several */

/* Bytes that go out together; their descriptors with the first of them. */
struct chan_item {
	struct chan_item *next;
	struct vhu_buf bytes;
	size_t sent;
	int *fds; /* ours: duplicates, closed once they are on their way */
	size_t n_fds;
	bool paced;	  /* waits until the peer has read what went before … */
	uint64_t wait_ns; /* … or this long */
	uint64_t deadline_ns;
};

struct chan_queue {
	struct chan_item *head, *tail;
	size_t bytes;
};

struct vhu_chan {
	struct vhu_loop *loop;
	int fd;
	struct vhu_source *source; /* NULL while nothing is wanted of the socket */
	uint32_t interest;
	struct vhu_source *timer; /* paces pieces: nothing tells when the peer has read */
	struct vhu_chan_events events;
	void *ctx;
	struct vhu_assembler in;
	size_t shortest;	/* payload that a frame can be expected to have at least */
	struct vhu_buf scratch; /* encoding; kept so that a send allocates nothing */
	struct chan_queue queue, held;
	int gone;   /* how a send found out that the peer hung up */
	int broken; /* what kept us from sending later, negative errno */
	bool holding, paused, closed;
	bool half_close, half_closed; /* wanted, done */
	unsigned busy;		      /* inside callbacks: the struct must stay */
	bool freed;
	uint8_t buffer[CHAN_READ_MAX];
};

/* Watches for what the channel waits for now, and nothing else. */
int vhu_chan_watch(struct vhu_chan *c, struct vhu_err *err);
/* Sends of the queue what may go now. */
int vhu_chan_push(struct vhu_chan *c, struct vhu_err *err);
void vhu_chan_queue_drop(struct chan_queue *q);
