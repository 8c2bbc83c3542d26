/*
 * Addresses of the device. Without VIRTIO_F_ACCESS_PLATFORM they are guest addresses (rings: user
 * addresses); with it they are I/O virtual addresses, and the front-end tells what they stand for, before
 * we ask or because we do. Nothing here ever waits: who needs a translation that is missing stalls, and is
 * looked at again when an update comes.
 */
#ifndef BACKEND_IOTLB_H
#define BACKEND_IOTLB_H

#include <stdbool.h>
#include <stdint.h>

struct session;

enum {
	PERM_READ = 1,
	PERM_WRITE = 2,
	IOTLB_ENTRIES = 4096,
	IOTLB_MISSES = 32, /* questions that may be open */
};

struct translation {
	uint64_t first, last; /* IOVAs */
	uint64_t addr;	      /* of first: a user address, with GPA_ADDRESSES a guest address */
	unsigned perm;
};

struct miss {
	uint64_t page;
	unsigned perm;
	bool denied; /* an update came and did not allow it */
};

struct iotlb {
	struct translation entries[IOTLB_ENTRIES];
	unsigned n, victim;
	struct miss misses[IOTLB_MISSES];
	unsigned n_misses;
	bool stalled; /* the last look-up lacked a translation */
};

bool iotlb_on(const struct session *s);
/* Forgets everything. */
void iotlb_clear(struct session *s);
/* The driver insists: what was asked for in vain is asked for again. */
void iotlb_ask_again(struct session *s);

/*
 * Where the device's address lies in our memory; *len becomes the bytes that are contiguous from there, at
 * most *len. *ret_gpa (may be NULL): its guest address. NULL: it lies nowhere, or s->iotlb.stalled says
 * that its translation has been asked for.
 */
uint8_t *dma_at(struct session *s, uint64_t addr, uint64_t *len, unsigned perm, uint64_t *ret_gpa);
/* The same for len bytes of a ring, which have to lie in one piece. */
uint8_t *dma_ring(struct session *s, uint64_t addr, uint64_t len, unsigned perm, uint64_t *ret_gpa);

#endif
