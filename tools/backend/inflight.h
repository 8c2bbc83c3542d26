/*
 * The buffer of requests in flight. It outlives us: the front-end gives it to whoever comes after a
 * crash, who finds in it what was taken from the rings and not returned.
 */
#ifndef BACKEND_INFLIGHT_H
#define BACKEND_INFLIGHT_H

#include "memory.h"
#include "ring.h"

struct inflight {
	struct mapping map;
	unsigned queues;
	uint32_t queue_size;
	uint64_t size;	  /* bytes that are mapped */
	uint64_t counter; /* of the next request, higher than all in the buffer */
};

/* Bytes of a buffer for so many queues; 0 if we give none of that size. */
uint64_t inflight_size(const struct session *s, unsigned queues, uint32_t queue_size);
/* A new buffer, as a descriptor; negative errno. */
int inflight_make(uint64_t size, uint32_t queue_size);
int inflight_open(struct session *s, int fd, uint64_t offset, uint64_t size, unsigned queues,
		  uint32_t queue_size);
void inflight_close(struct session *s);

/*
 * A ring starts. Fills redo (room for r->num heads) with the requests that the buffer says were lost, in
 * the order in which they were taken, and returns how many there are.
 */
unsigned inflight_recover(struct ring *r, uint16_t *redo);
/* Whether the buffer records this ring. */
bool inflight_tracks(const struct ring *r);
/* A request was taken, is about to be returned, or n of them have been. */
void inflight_take(struct ring *r, uint16_t head);
void inflight_link(struct ring *r, uint16_t head);
void inflight_commit(struct ring *r, uint16_t n);

/*
 * Packed rings: a list is copied as it is taken. Entries in redo are named by their place in the buffer;
 * c->entry and t->entry are such.
 */
void inflight_packed_take(struct ring *r, struct taken *t);
/* The chain is about to be marked as used; then all of those are. */
void inflight_packed_give(struct ring *r, const struct chain *c);
void inflight_packed_commit(struct ring *r);
/* Slots of all lists in r->redo; of one of them, and its descriptors one by one. */
uint32_t inflight_packed_slots(const struct ring *r);
uint16_t inflight_packed_count(const struct ring *r, uint16_t entry);
bool inflight_packed_copy(const struct ring *r, uint16_t *entry, struct packed_copy *ret);

/* inflight.c and inflight_packed.c only */
void *inflight_area(const struct ring *r, bool packed);
uint64_t inflight_packed_size(uint32_t queue_size);
unsigned inflight_packed_recover(struct ring *r, uint16_t *redo);

/* Marks as they were when we looked: the buffer may change while we sort. */
struct inflight_mark {
	uint64_t counter;
	uint16_t entry;
};
struct inflight_marks {
	struct inflight_mark *of; /* room for r->num, from calloc; freed by inflight_in_order() */
	unsigned n;
};
void inflight_mark(struct ring *r, struct inflight_marks *marks, uint16_t entry, const uint64_t *counter);
/* Fills redo by the counters; returns how many. */
unsigned inflight_in_order(struct inflight_marks *marks, uint16_t *redo);

#endif
