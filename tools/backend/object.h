/*
 * A shared object, as devices with dma-bufs have them: announced once a ring runs, given to whoever asks.
 */
#ifndef BACKEND_OBJECT_H
#define BACKEND_OBJECT_H

#include <stdbool.h>

struct session;

struct object {
	int fd; /* -1: not announced */
};

/* Sends the announcement if it is due; false if it is not. */
bool object_tell(struct session *s);
void object_close(struct session *s);

#endif
