/*
 * The guest's memory: regions of shared files, found by guest address or by user address.
 */
#ifndef BACKEND_MEMORY_H
#define BACKEND_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

/* A mapping of a descriptor that the peer may shrink behind our back. */
struct mapping {
	uint8_t *at; /* the byte asked for */
	void *base;
	size_t len;
};

/* Maps size bytes from offset on, read and write. Checks the file's length; borrows fd. */
int mapping_open(struct mapping *map, int fd, uint64_t offset, uint64_t size);
void mapping_close(struct mapping *map);

struct region {
	uint64_t gpa, size, uva, offset;
	struct mapping map;
};

struct memory {
	struct region *regions;
	unsigned n, max;
	unsigned hidden; /* of a planted fault: last regions that are not found yet */
};

int memory_init(struct memory *m, unsigned max);
void memory_done(struct memory *m);
void memory_clear(struct memory *m);

/* Maps a region; it is checked for overflow here and for overlaps by memory_fits. */
int region_open(struct region *r, int fd);
void region_close(struct region *r);

/* Whether r overlaps none of the n regions, neither in guest nor in user addresses. */
bool region_fits(const struct region *regions, unsigned n, const struct region *r);

/*
 * Where gpa lies in our memory; *len becomes the bytes that are contiguous from there, at most *len. Here,
 * for each buffer of each request asks.
 */
static inline uint8_t *memory_gpa(const struct memory *m, uint64_t gpa, uint64_t *len)
{
	for (unsigned i = 0; i + m->hidden < m->n; i++) {
		const struct region *r = &m->regions[i];
		uint64_t start = fault(mem_gpa_hva) ? r->uva : fault(mem_gpa_32) ? (uint32_t)r->gpa : r->gpa;
		uint64_t size = fault(mem_last_byte) ? r->size - 1 : r->size;
		uint64_t at = (fault(mem_gpa_32) ? (uint32_t)gpa : gpa) - start;

		if (gpa < start || at >= size || (fault(mem_first_only) && i))
			continue;
		if (size - at < *len)
			*len = size - at;
		return r->map.at + at;
	}
	return NULL;
}

/* The same for a user address; *ret_gpa (may be NULL) becomes its guest address. */
uint8_t *memory_user(const struct memory *m, uint64_t uva, uint64_t *len, uint64_t *ret_gpa);
/* Where the len bytes at user address uva lie, all in one region; NULL if they do not. */
uint8_t *memory_uva(const struct memory *m, uint64_t uva, uint64_t len);

#endif
