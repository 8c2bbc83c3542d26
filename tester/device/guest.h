/* One queue of a guest under load, as the files of this room see it. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/rng.h"
#include "device/guest.h"
#include "vring/hot.h"
#include "vring/vring.h"

enum {
	GUEST_EVENTS = 64,
	GUEST_HEADER = 16, /* bytes: type, reserved, sector */
	GUEST_PATIENCE = 2, /* levels of it */
};

#define GUEST_GUARD UINT64_C(0xa5a5a5a5a5a5a5) /* seven bytes behind the status */

enum guest_want { GUEST_RUN, GUEST_DRAIN, GUEST_PAUSE, GUEST_QUIT };
enum guest_state { GUEST_BUSY, GUEST_PAUSED, GUEST_FINISHED };

/* A request's place in memory; the same chain for ever. */
struct guest_slot {
	uint8_t *header; /* and its status, in one line of the cache */
	uint8_t *data;
	uint64_t header_gpa, data_gpa;
	uint64_t sent_ns;
	uint64_t block;
	uint32_t round;	     /* of the dirty log, when it was sent; 0: there was none */
	uint32_t generation; /* that it writes, or that a read must find */
	bool write;
	bool turned;	 /* its data is for the device to read */
	bool recovering; /* it was in flight when the back-end went */
};

/* Counted by the thread alone, read by anybody. */
struct guest_counts {
	_Atomic uint64_t ios, bytes, recovered, recovering, kicks, sleeps;
	_Atomic uint64_t io, lost, duplicated, torn, stale, misplaced, ring, dropped;
	_Atomic unsigned inflight;
};

struct guest_queue {
	struct vhu_guest *g;
	unsigned index;
	struct vhu_vring *v;
	struct vhu_hot *hot;
	pthread_t thread;
	bool started;
	int epoll, wake;

	struct guest_slot *slot;
	uint16_t *free; /* a stack */
	unsigned n_free;
	struct vhu_hot_used *used;
	uint16_t *batch;

	/* its part of the disk, in blocks */
	uint64_t first, blocks;
	uint32_t sectors; /* of a block */
	uint64_t next; /* of a pass in order */
	bool reading;  /* VERIFY: the second half of a round */
	uint64_t left; /* requests to send yet */
	struct vhu_rng rng;
	bool plain;	      /* blocks are alike: nothing depends on what they hold or who uses them */
	uint32_t *generation; /* of each block: what was written last; 0: not known */
	uint8_t *busy;	      /* a request for it is in flight */
	uint64_t quota_ns;    /* with a rate: when the next one may go */
	uint64_t last_ns;     /* of progress */
	bool tells_written;   /* packed, a used descriptor for each: WRITE says that it was written */
	bool call_missing;    /* which was told */
	bool resend, again;
	unsigned await; /* that many are worth a call */
	uint64_t slept_ns; /* since when, and has not seen yet what for; 0: it has */
	_Atomic bool asleep;
	uint64_t sleeps_seen, ios_seen; /* at the last tick: the loop's, not the thread's */
	_Atomic uint64_t still_ticks;	/* ticks since a request came back */
	bool alone;	/* no other queue's thread wants this one's processor */
	/* looking at the ring before a sleep: how often it may fail yet, sleeps since it was given up */
	struct {
		unsigned left, without;
	} hope[GUEST_PATIENCE];
	bool running;	/* requests are to be sent */
	_Atomic bool stuck;
	struct vhu_histogram latency;

	/* what it has to tell: one producer, one consumer */
	struct vhu_ring_event event[GUEST_EVENTS];
	_Atomic unsigned put, taken;
	_Atomic int state;
	struct guest_counts counts;
};

/* The pages of guest memory, each with the last round in which it had to be marked. */
struct guest_log {
	_Atomic uint32_t round; /* 0: nobody asks */
	uint64_t first, n;
	_Atomic uint32_t *page;
};

struct vhu_guest {
	struct vhu_guest_opts opts;
	struct guest_log log;
	uint64_t content_seed;
	int fd;
	_Atomic int want;
	struct guest_queue *queue;
};

/* guest_queue.c */
void *vhu_guest_thread(void *queue);
/* Takes what came back; `refill`: sends more meanwhile where that takes long. */
void vhu_guest_reap(struct guest_queue *q, bool refill);
void vhu_guest_tell(void *queue, const struct vhu_ring_event *event);

/* guest_wait.c */
/* Until something is back, or it is time to look at everything else. */
void vhu_guest_wait(struct guest_queue *q);
/* The first look after a sleep found that many. */
void vhu_guest_awoke(struct guest_queue *q, unsigned back, uint64_t now);

/* guest_log.c */
/* A request goes, or came back, that bears a round; `n` of them in the used entries from `first` on. */
void vhu_guest_log_send(struct guest_queue *q, struct guest_slot *s);
void vhu_guest_log_back(struct guest_queue *q, const struct guest_slot *s);
void vhu_guest_log_used(struct guest_queue *q, uint32_t first, unsigned n);

/* guest_data.c */
/* Chooses what the slot does next. False if there is nothing (now, or at all). */
bool vhu_guest_choose(struct guest_queue *q, struct guest_slot *s);
/* It came back well: what was read is checked, what was written is known. */
void vhu_guest_settle(struct guest_queue *q, struct guest_slot *s, const struct vhu_hot_used *u);
/* It failed: what the block holds is not known. */
void vhu_guest_unsettle(struct guest_queue *q, struct guest_slot *s);

static inline uint64_t vhu_guest_random_block(struct vhu_rng *rng, uint64_t blocks)
{
	return (uint64_t)((unsigned __int128)vhu_rng_u64(rng) * blocks >> 64);
}

static inline void vhu_guest_count(_Atomic uint64_t *counter, uint64_t n)
{
	/* one writer: no need for a locked instruction */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}
