/*
 * VIRTIO shared memory regions: their sizes, and what we ask the front-end to map there.
 */
#ifndef BACKEND_SHM_H
#define BACKEND_SHM_H

#include <stdbool.h>

struct ring;
struct session;

enum { SHM_MAPS = 2 };

struct shm {
	struct {
		bool mapped, unmap_due, map_due;
	} map[SHM_MAPS];
	int asked; /* index of the mapping whose request is out */
};

/* Sends one request; false if there is none to send. */
bool shm_tell(struct session *s);
/* The front-end has, or has not, done as the last map request said. */
void shm_answered(struct session *s, bool done);
/* The start of ring 0 makes the mappings, and makes the first one anew where it is there already. */
void shm_ring_started(struct ring *r);
/* A reset, or the end of a connection: the front-end has dropped them all. */
void shm_forget(struct session *s);

#endif
