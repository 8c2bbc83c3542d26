/*
 * Where captures come from: each source turns what it sees into records (capture/stream.h puts the messages
 * together) and hands them to a sink. A new source is one file and a row in table.c.
 */
#pragma once

#include "capture/stream.h"

enum { VHU_SOURCE_TARGETS_MAX = 16 }; /* processes or sockets that can be named */

/* What shall be recorded. Texts are borrowed until the source is closed. */
struct vhu_source_opts {
	uint32_t pids[VHU_SOURCE_TARGETS_MAX];
	size_t n_pids;
	const char *sockets[VHU_SOURCE_TARGETS_MAX];
	size_t n_sockets;
	bool all;
	const char *listen, *target; /* of a proxy */
	bool memory;		     /* of a proxy: also what stands in rings when they start */
	const char *file;	     /* of an import */
};

struct vhu_source_stats {
	uint64_t connections; /* sessions seen so far */
	uint64_t open;	      /* of them, at this moment */
	uint64_t messages;
	uint64_t lost; /* pieces that the tap could not keep */
};

/* All texts of errors are "WHAT: WHY", with a hint on a line of its own where there is one. */
struct vhu_source_ops {
	const char *name;
	enum vhu_cap_tap tap;
	/* -EPERM, -EOPNOTSUPP: this machine does not allow it. */
	int (*open)(const struct vhu_source_opts *o, vhu_record_sink *sink, void *ctx, void **ret,
		    struct vhu_err *err);
	/* Becomes readable when there is something to drain; -1: there is nothing to wait for. */
	int (*poll_fd)(const void *source);
	/*
	 * Handles what there is without waiting; is called when poll_fd is readable, and each period_ms in
	 * any case. 1: the source has come to its end, 0, -errno.
	 */
	int (*drain)(void *source, struct vhu_err *err);
	unsigned period_ms;
	void (*stats)(const void *source, struct vhu_source_stats *ret);
	/* Hands out what is left (unfinished messages, LIFE STOP), and frees in any case. */
	int (*close)(void *source, struct vhu_err *err);
};
