/* Counts over a capture, record by record, in memory that grows with the number of sessions only. */
#pragma once

#include "trace/record.h"

struct vhu_trace_stats;

struct vhu_kind_count {
	const struct vhu_msg_row *row;	/* NULL: ids that are unknown on the channel */
	enum vhu_channel channel;
	bool reply;
	uint64_t messages, bytes, largest, fds;
};

struct vhu_session_count {
	uint32_t connection;
	uint64_t first_ns, last_ns;
	uint64_t messages, bytes;
	uint64_t gaps;			/* places where bytes of the stream are missing */
	uint64_t lost;			/* that the recorder counted on it */
	const char *path;		/* of its socket, as long as the counts live; NULL: not told */
	char front_end[17], back_end[17];	/* names of the processes; "" */
	bool opened, closed, closed_by_be, marked;	/* marked: something was lost before a message */
};

struct vhu_stats_total {
	uint64_t records, messages, bytes, fds;
	uint64_t missing;		/* by the records' own numbers */
	uint64_t lost;			/* that the recorder counted */
	uint64_t truncated, malformed, scrubbed, intended;
	uint64_t first_ns, last_ns;
	uint64_t other[VHU_CAP_CHANNEL_MAX];	/* records of channels that carry no messages */
	uint64_t rings[VHU_CAP_RING_MAX];	/* of RING, by kind; 0: unknown ones */
	size_t sessions;
};

/* -ENOMEM. `only`: of this connection; 0: of all. */
int vhu_trace_stats_new(uint32_t only, struct vhu_trace_stats **ret, struct vhu_err *err);
void vhu_trace_stats_free(struct vhu_trace_stats *s);
int vhu_trace_stats_add(struct vhu_trace_stats *s, const struct vhu_record *r, struct vhu_err *err);

const struct vhu_stats_total *vhu_trace_stats_total(struct vhu_trace_stats *s);
/* The i-th kind that came at all, in order of the message table; false: there are no more. */
bool vhu_trace_stats_kind(const struct vhu_trace_stats *s, size_t i, struct vhu_kind_count *ret);
/* The session with the next higher number (after 0: the first); NULL: there is none. */
const struct vhu_session_count *vhu_trace_stats_session(const struct vhu_trace_stats *s, uint32_t after);
