/*
 * A virtqueue as the device sees it: its life cycle (ring.c) and its memory layout
 * (ring_split.c, ring_packed.c).
 *
 * started    SET_VRING_KICK came, GET_VRING_BASE did not
 * enabled    SET_VRING_ENABLE, or SET_FEATURES without bit 30
 * mapped     size and addresses are known and lie in guest memory (desc is not NULL)
 * broken     the driver broke its rules; nothing is touched until the ring is stopped
 * A ring is processed while it is started, enabled, mapped and not broken, and the device is not held
 * by its status. Everything else waits in the available ring.
 */
#ifndef BACKEND_RING_H
#define BACKEND_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "loop.h"

struct session;

/* A place in a packed ring, with its wrap counter. */
struct spot {
	uint32_t at;
	bool wrap;
};

/* A list that was taken from a packed ring. */
struct taken {
	struct spot from;
	uint32_t slots;
	uint16_t entry; /* of the inflight buffer, where it is recorded */
};

/* Packed: the first mark of requests that are published together, which is written last. */
struct first_mark {
	struct spot at;
	uint32_t len;
	uint16_t id;
	bool held;
};

/* Packed and in order: requests that were executed and are returned by one mark. */
struct batch {
	uint16_t id;
	uint32_t len, slots;
};

enum { FIRST_BASE = 0x80008000 }; /* of a fresh packed ring */

struct ring {
	struct session *s;
	unsigned index;

	uint32_t num;
	uint64_t desc_addr, avail_addr, used_addr, log_addr;
	bool addr_set, log_used;
	bool big_endian; /* SET_VRING_ENDIAN said so; its driver is a legacy one */

	uint8_t *desc;
	uint16_t *avail, *used; /* flags, index, entries, event index */
	uint64_t used_gpa;	/* with an IOMMU: the guest address behind used_addr */

	uint16_t last_avail; /* next entry of the available ring to take */
	uint16_t done;	     /* next one to execute: behind last_avail while requests take time */
	uint16_t used_idx;   /* next entry of the used ring to write */
	uint16_t published;  /* what the driver has been told of that */

	/* packed */
	uint32_t base;	       /* where it starts, as SET_VRING_BASE says it */
	struct spot take, put; /* the next list to take; where the next used descriptor goes */
	struct taken *taken;   /* a ring of num, first_taken … : taken and not executed */
	uint32_t first_taken, n_taken;
	uint16_t *given; /* entries of the inflight buffer that go back to its free list with the next mark */
	unsigned n_given;
	struct batch batch;
	struct first_mark first_mark;

	uint16_t *redo; /* heads (packed: entries of the inflight buffer) that a crash left in flight */
	unsigned n_redo, next_redo;

	bool started, enabled, broken;
	bool polled; /* no kick descriptor: look by ourselves */
	bool again;  /* work was left, to be fair to the others */
	bool fresh;  /* nothing processed since the start */
	bool call_due;
	bool stalled; /* the next request waits for a translation */
	bool tell_notifier, tell_call, tell_err; /* on the channel, when it is free */
	uint64_t due_ns; /* when the requests in flight end; 0: none */
	unsigned starts;

	struct source kick;
	int kick_fd, call_fd, err_fd;

	/* only planted faults look at these */
	unsigned completions, deaf, calls;
	uint64_t idle_kicks; /* of a planted fault: those that found nothing */
	unsigned enables;
	bool lazy, enable_named, lost, direct, off_at_stop;
	int old_call_fd;
	uint32_t last_len;
};

/* A request's buffers. The vectors are the ring code's and may be changed by whoever executes it. */
struct chain {
	uint16_t head, last; /* first and last descriptor in the ring; packed: head is the buffer id */
	uint32_t slots;	     /* packed: that it takes in the ring */
	uint16_t entry;	     /* packed: of the inflight buffer */
	struct iovec *out, *in;
	uint64_t *in_gpa; /* guest address of each piece of in */
	unsigned n_out, n_in;
	unsigned desc_out, desc_in; /* descriptors that they came from */
	uint64_t out_len, in_len;
	uint32_t first_out, last_in; /* length of the first readable and of the last writable descriptor */
};

int rings_init(struct session *s, unsigned n);
void rings_done(struct session *s);

/* Life cycle. */
void ring_reset(struct ring *r); /* as at the start of a connection; closes everything */
int ring_set_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used, uint64_t log, bool log_used);
int ring_set_kick(struct ring *r, int fd);  /* takes fd unless it fails; -1: poll. Starts the ring */
int ring_kick(struct ring *r);		    /* a kick by message. Starts the ring */
void ring_set_call(struct ring *r, int fd); /* takes fd; -1: none */
void ring_set_err(struct ring *r, int fd);
void ring_enable(struct ring *r, bool on);
void ring_wake(struct ring *r); /* there is something to do now */
void ring_stop(struct ring *r); /* completes what was taken; last_avail is then the base */
/* Takes what is available and leaves it in flight, in the inflight buffer; then as ring_stop. */
void ring_suspend(struct ring *r);
bool ring_running(const struct ring *r);
/* Whether requests are executed in another order than they came. */
bool ring_reorders(const struct ring *r);
/* Guest memory changed: finds the ring again. */
void ring_remap(struct ring *r);

/* Looks for requests and executes them. */
void ring_run(struct ring *r);
/* The same for --null, where nothing else is asked for; false if this ring needs the ordinary way. */
bool ring_null(struct ring *r);
/* The time of requests in flight is over. */
void ring_ripe(struct ring *r, uint64_t now);
void ring_call(struct ring *r);
/* Planted faults: requests in flight are lost, of a ring and of all. */
void ring_forget(struct ring *r);
void rings_forget(struct session *s);

/* What differs between split and packed rings: ring_split.c, ring_packed.c. */
struct ring_format {
	bool (*aligned)(uint64_t desc, uint64_t avail, uint64_t used);
	bool (*map)(struct ring *r);
	void (*set_base)(struct ring *r, uint32_t base);
	uint32_t (*base)(const struct ring *r);
	void (*start)(struct ring *r); /* it became both started and mapped */
	void (*stop)(struct ring *r);
	void (*untake)(struct ring *r); /* what was taken and not executed is the driver's again */
	void (*recovered)(struct ring *r); /* it goes on behind what is to be executed again */
	void (*unrecover)(struct ring *r, unsigned n); /* n of which were not */
	/* Requests that the driver has made available; more than num if it broke the rules. */
	unsigned (*waiting)(const struct ring *r);
	void (*take)(struct ring *r);	       /* one of them */
	uint16_t (*next)(const struct ring *r); /* head of the first that was taken … */
	void (*executed)(struct ring *r);      /* … which is over */
	/* Collects the buffers of a chain; false if the driver broke the rules of the ring. */
	bool (*chain)(struct ring *r, uint16_t head, struct chain *c);
	/* The same of the i-th that waits, before it is taken. */
	bool (*peek)(struct ring *r, unsigned i, struct chain *c);
	/* The same of one that a crash left in flight. */
	bool (*lost_chain)(struct ring *r, uint16_t head, struct chain *c);
	void (*push)(struct ring *r, const struct chain *c, uint32_t len);
	void (*publish)(struct ring *r);
	/* Whether the driver wants to hear of what was published since `published` was old. */
	bool (*wants_call)(const struct ring *r, uint16_t old);
	void (*kicks_off)(struct ring *r);
	/* Asks for kicks; true if requests came meanwhile. */
	bool (*kicks_on)(struct ring *r);
};

extern const struct ring_format split_format, packed_format;
/* By the features of the session. */
const struct ring_format *format_of(const struct ring *r);

/* A packed ring's memory, for the inflight buffer. */
struct packed_copy {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};
struct packed_copy packed_read(const struct ring *r, struct spot at);
struct spot packed_forward(const struct ring *r, struct spot from, uint32_t slots);
/* Whether the descriptor there is available in a lap of that wrap counter. */
bool packed_available(const struct ring *r, uint16_t at, bool wrap);

/* For planted faults. */
uint16_t split_avail_index(const struct ring *r);
uint16_t split_head(const struct ring *r, uint16_t at);

#endif
