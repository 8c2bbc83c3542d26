/* The capture that a run is told to, as the files see it that tell it. */
#pragma once

#include "internal.h"
#include "trace/record.h"

struct recorded_conn {
	uint32_t connection;
	uint64_t off[VHU_CHAN_MAX][2]; /* bytes so far, by channel and direction */
};

/* What goes through a ring belongs to the connection that it was started on last. */
struct recorded_ring {
	uint32_t connection; /* 0: it was not started yet */
	bool started;
};

struct vhu_recording {
	struct vhu_trace_writer *writer;
	unsigned level;
	uint32_t connections;	     /* opened so far */
	struct recorded_conn *conns; /* by the case's connection index: the one that is open */
	size_t n_conns;
	struct recorded_ring rings[VHU_SESSION_RINGS];
	struct vhu_ring_watch watch;
	size_t told; /* findings that stand in a record by now */
};

bool vhu_recording_on(const struct vhu_run *r);
/* The number that the open connection has in the file; 0: none. */
uint32_t vhu_recording_number(const struct vhu_conn *c);
/* Writes one, with the step that runs and the findings that no record has yet. */
void vhu_recording_put(struct vhu_run *r, struct vhu_record *record);

/* record_ring.c: a message was seen, and has its record; a connection is over. */
void vhu_record_ring_states(struct vhu_conn *c, const struct vhu_frame *f);
void vhu_record_ring_over(struct vhu_conn *c);
