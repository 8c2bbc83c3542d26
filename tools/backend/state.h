/*
 * The device's own state on its way to or from another back-end, through a channel that is one of ours
 * or the front-end's. It moves beside all else: the loop reads or writes as much as the channel takes.
 */
#ifndef BACKEND_STATE_H
#define BACKEND_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"

/* Room for what a device saves. */
enum { STATE_DEVICE_MAX = 256 };

enum outcome { OUTCOME_NONE, OUTCOME_PENDING, OUTCOME_OK, OUTCOME_FAILED };

struct transfer {
	struct source src; /* our end while it runs */
	bool load;
	uint8_t *bytes;
	size_t len, done, room;
	enum outcome outcome;
	bool asked;  /* CHECK_DEVICE_STATE waits for the outcome */
	bool loaded; /* on this connection, with success */
};

struct session;

/* Ends a transfer that runs, and forgets its outcome. */
void state_close(struct session *s);

#endif
