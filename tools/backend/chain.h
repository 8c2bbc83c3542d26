/*
 * Collecting a request's buffers out of descriptors, whatever the ring's format. The driver may change
 * descriptors at any time: each is copied once, and the copy is checked.
 */
#ifndef BACKEND_CHAIN_H
#define BACKEND_CHAIN_H

#include "proto.h"
#include "ring.h"

/* A table of descriptors: the ring's own, or an indirect one that may lie across regions. */
struct table {
	const uint8_t *at; /* NULL: not in one piece, read by guest address */
	uint64_t gpa;
	uint32_t n;
	bool indirect;
};

int chain_init(void);
void chain_done(void);

/* An empty chain; there is room for one at a time. */
void chain_start(struct chain *c, uint16_t head);
/* False for a buffer that lies nowhere, is too much, or is readable behind a writable one. */
bool chain_add(const struct ring *r, struct chain *c, uint64_t addr, uint32_t len, bool in);

/* The indirect table of a descriptor, the first of its chain or not; false if it is illegal. */
bool table_open(const struct ring *r, uint64_t addr, uint32_t len, uint16_t flags, bool first,
		struct table *t);
/* Copies entry i; false if it lies nowhere. */
bool table_read(const struct ring *r, const struct table *t, uint32_t i, uint8_t bytes[C_DESC_SIZE]);

#endif
