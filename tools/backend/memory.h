/*
 * The guest's memory: regions of shared files, found by guest address or by user address.
 */
#ifndef BACKEND_MEMORY_H
#define BACKEND_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Where gpa lies in our memory; *len becomes the bytes that are contiguous from there, at most *len. */
uint8_t *memory_gpa(const struct memory *m, uint64_t gpa, uint64_t *len);
/* The same for a user address; *ret_gpa (may be NULL) becomes its guest address. */
uint8_t *memory_user(const struct memory *m, uint64_t uva, uint64_t *len, uint64_t *ret_gpa);
/* Where the len bytes at user address uva lie, all in one region; NULL if they do not. */
uint8_t *memory_uva(const struct memory *m, uint64_t uva, uint64_t len);

#endif
