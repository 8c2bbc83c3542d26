/*
 * Messages on a stream socket: put together on the way in, queued on the way out.
 */
#ifndef BACKEND_WIRE_H
#define BACKEND_WIRE_H

#include "loop.h"
#include "proto.h"

enum {
	WIRE_FDS_MAX = 253, /* as many as the kernel passes in one go */
	WIRE_OUT_MAX = 4,   /* answers that may wait; receiving stops while one does */
};

struct msg {
	uint32_t request, flags, size;
	unsigned n_fds;
	bool fds_lost; /* some did not fit, here or in the kernel */
	int fds[WIRE_FDS_MAX];
	uint8_t payload[PAYLOAD_MAX];
};

struct out_frame {
	uint8_t bytes[C_HEADER_SIZE + PAYLOAD_MAX];
	size_t len, sent;
	int fd; /* goes with the first byte; owned by the frame */
};

struct wire {
	struct source src;
	bool (*header_ok)(const struct msg *m); /* judges a header before its payload is read */
	uint8_t head[C_HEADER_SIZE];
	bool late;  /* only a planted fault looks at it: another message waited behind the last */
	size_t got; /* bytes of the message so far, header included */
	struct msg msg;
	struct out_frame out[WIRE_OUT_MAX];
	unsigned out_first, out_n;
	bool blocked; /* waits for room in the socket, and reads nothing meanwhile */
};

enum wire_event {
	WIRE_NOTHING, /* not yet a whole message */
	WIRE_MESSAGE, /* in w->msg; its descriptors belong to the caller */
	WIRE_END,     /* hang-up, error, or a header that nobody can go on from */
};

/* Takes the descriptor; it is non-blocking from here on by flags of each call, not by its own. */
int wire_open(struct wire *w, int fd);
void wire_close(struct wire *w);
enum wire_event wire_receive(struct wire *w);
/* Queues one message and sends what it can; takes fd (-1: none). Negative errno once the peer is gone. */
int wire_send(struct wire *w, uint32_t request, uint32_t flags, const uint8_t *payload, size_t size, int fd);
int wire_flush(struct wire *w);

/* The first descriptor of a message, which then is the caller's; -1 if there is none. */
int msg_take_fd(struct msg *m);
void msg_close_fds(struct msg *m);

#endif
