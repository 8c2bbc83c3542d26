/*
 * A guest under load: a thread for each queue, which owns the queue's ring, its part of guest memory and its
 * part of the disk. What the threads find goes to the caller by a queue of one producer and one consumer;
 * there is no lock anywhere. Block devices.
 */
#pragma once

#include "device/driver.h"
#include "device/histogram.h"

enum vhu_guest_rw {
	VHU_GUEST_READ, VHU_GUEST_WRITE, VHU_GUEST_RANDREAD, VHU_GUEST_RANDWRITE, VHU_GUEST_RANDRW,
	VHU_GUEST_VERIFY,		/* write all of it, then read all of it, and again */
};

enum vhu_guest_notify { VHU_GUEST_POLL, VHU_GUEST_EVENT };

enum { VHU_GUEST_PARTS = 3, VHU_GUEST_CPUS_MAX = 64, VHU_GUEST_TICK_NS = 10000000 };

struct vhu_guest_opts {
	struct vhu_driver *driver;	/* its rings and memory; nothing is in flight there */
	enum vhu_guest_rw rw;
	unsigned read_percent;		/* RANDRW */
	uint32_t bs;			/* bytes, a multiple of 512 */
	unsigned depth, queues;
	uint64_t size;			/* bytes of the disk that are used, a multiple of bs */
	uint64_t ios;			/* in all; 0: until it is stopped (VERIFY: one pass) */
	bool forever;			/* VERIFY: again and again */
	enum vhu_guest_notify notify;
	bool indirect, in_order, packed, event_idx;	/* as the driver negotiated them */
	bool verify;			/* what is written names itself, and every read is checked */
	uint64_t seed;
	uint64_t rate;			/* I/Os a second in all; 0: as many as there can be */
	uint64_t timeout_ns;		/* without any progress */
	unsigned cpu[VHU_GUEST_CPUS_MAX], n_cpus;	/* where the threads run; 0: anywhere */
};

/* Bytes of guest memory that the requests of one queue need. */
uint64_t vhu_guest_memory(uint32_t bs, unsigned depth);

struct vhu_guest_errors {
	uint64_t io, lost, duplicated, torn, stale, misplaced, ring;
};

struct vhu_guest_stats {
	uint64_t ios, bytes, recovered;
	uint64_t cpu_ns;		/* of the threads */
	uint64_t kicks, sleeps;
	struct vhu_guest_errors errors;
};

struct vhu_guest;

/* Lays out every request and starts the threads, which wait for vhu_guest_go. */
int vhu_guest_new(const struct vhu_guest_opts *opts, struct vhu_guest **ret, struct vhu_err *err);
/* Ends the threads. The rings are ordinary ones again. */
void vhu_guest_free(struct vhu_guest *g);

void vhu_guest_go(struct vhu_guest *g);
/* No more requests; those in flight are waited for. */
void vhu_guest_drain(struct vhu_guest *g);
/* Hands off the rings, whatever is in flight. */
void vhu_guest_pause(struct vhu_guest *g);
/* To be called every VHU_GUEST_TICK_NS while it runs: wakes threads that have slept that long. */
void vhu_guest_tick(struct vhu_guest *g);
/* Whether every thread has come to do what it was told: paused, or has nothing left to do. */
bool vhu_guest_paused(const struct vhu_guest *g);
bool vhu_guest_finished(const struct vhu_guest *g);
/*
 * Paused, and the back-end was replaced: what is in flight comes back by itself, or (`again`) the rings begin
 * anew and it is sent again. vhu_guest_recovering tells how much of it has not come back yet.
 */
void vhu_guest_replaced(struct vhu_guest *g, bool again);
uint64_t vhu_guest_recovering(const struct vhu_guest *g);
/* Paused, and the back-end says that it has stopped: takes what came back till now. */
void vhu_guest_catch_up(struct vhu_guest *g);
/* Whether something came back since then. */
bool vhu_guest_moved(const struct vhu_guest *g, unsigned queue);
/* Requests in flight now; while it runs that is a moment's view. */
unsigned vhu_guest_inflight(const struct vhu_guest *g, unsigned queue);
/* Whether some queue gave up: no progress, or a ring beyond understanding. */
bool vhu_guest_stuck(const struct vhu_guest *g);

/*
 * The dirty log. Requests that are sent from now on bear the number of a round (0: none). Who empties the
 * log raises it behind that, so that a page which was written for a request of round R has to be found marked
 * when round R ends, or later.
 */
int vhu_guest_log_new(struct vhu_guest *g, struct vhu_err *err);
void vhu_guest_log_round(struct vhu_guest *g, uint32_t round);
/* How many pages there are (0: there is no log), and the number of the first. */
uint64_t vhu_guest_log_pages(const struct vhu_guest *g, uint64_t *ret_first);
/* The last round of a request for which the page was written; 0: none. */
uint32_t vhu_guest_log_written(const struct vhu_guest *g, uint64_t page);

/* Readable when a thread has something to tell; the next breach, false if there is none. */
int vhu_guest_fd(const struct vhu_guest *g);
bool vhu_guest_next(struct vhu_guest *g, struct vhu_ring_event *ret);
/* Empties the descriptor. */
void vhu_guest_heard(struct vhu_guest *g);
/* Breaches that there was no room to tell. */
uint64_t vhu_guest_dropped(const struct vhu_guest *g);

/* While it runs these are a moment's view; latencies only of a guest that is paused or finished. */
void vhu_guest_stats(const struct vhu_guest *g, unsigned queue, struct vhu_guest_stats *ret);
const struct vhu_histogram *vhu_guest_latency(const struct vhu_guest *g, unsigned queue);
