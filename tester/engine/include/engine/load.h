/*
 * A guest under load: one session brought up like that of any case, real I/O by the threads of struct
 * vhu_guest, disturbed as asked for (the back-end killed, the connection made anew, another program taking
 * over), the oracle on all the while.
 */
#pragma once

#include "device/guest.h"
#include "engine/engine.h"

struct vhu_load_progress {
	uint64_t at_ns;			/* since the start of the load */
	struct vhu_guest_stats sum;
	uint64_t crashes;
};

struct vhu_load_opts {
	struct vhu_guest_opts guest;	/* but for the driver */
	bool packed, event_idx, in_order;
	uint16_t ring_size;
	enum vhu_backing backing;
	uint64_t runtime_ns;		/* 0: until the guest has done its part, or a signal */
	uint64_t crash_every_ns, reconnect_every_ns;	/* 0: never */
	struct vhu_target *then;	/* takes over in the middle, or NULL */
	uint64_t progress_ns;		/* 0: never */
	void (*progress)(void *ctx, const struct vhu_load_progress *p);
	void *ctx;
};

struct vhu_load_queue {
	struct vhu_guest_stats stats;
	struct vhu_histogram latency;
};

struct vhu_load_result {
	struct vhu_result result;	/* findings and verdict */
	struct vhu_load_queue *queue;
	unsigned queues;
	struct vhu_guest_stats sum;
	struct vhu_histogram latency, recovery;	/* recovery: from a kill to the last request back */
	uint64_t runtime_ns;
	uint64_t crashes, reconnects, handovers;
	uint64_t idle_kills;		/* of the crashes: nothing was in flight */
	bool logged;			/* the dirty log was judged before a handover */
	uint64_t logged_pages;		/* pages that had to be marked in it */
	size_t state_bytes;		/* of the device's state that moved; 0: none did */
	bool inflight;			/* the back-end keeps the requests in flight over its death */
	const char *memory;		/* "hugetlb", "memfd", "mixed" */
	int signal;			/* that ended it, or 0 */
};

/*
 * 0 and *ret (vhu_load_result_done frees it), whatever the target did; a negative errno with text if the load
 * cannot be (-EINVAL: what is asked for does not fit the target).
 */
int vhu_engine_load(struct vhu_engine *e, const struct vhu_facts *facts, const struct vhu_load_opts *opts,
		    struct vhu_load_result *ret, struct vhu_err *err);
void vhu_load_result_done(struct vhu_load_result *r);
