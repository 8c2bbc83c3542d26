/* A whole capture in memory, by sessions. */
#pragma once

#include "trace/file.h"

struct vhu_session_ref {
	uint32_t connection;
	size_t n;			/* records of it, in order */
	const struct vhu_record *const *records;
	const char *path;		/* of its socket; NULL: not told */
	size_t messages;		/* of them, on channels that carry frames */
	bool partial;			/* it began before the capture, or something was lost */
	bool headless;			/* it began before */
	bool closed_by_be;
	uint64_t features, pfeatures;	/* as far as the frames tell */
};

struct vhu_trace {
	struct vhu_arena *arena;
	char *meta;			/* JSON text */
	unsigned level;
	const char *const *mask;
	size_t n_mask;
	const struct vhu_record *const *records;	/* all, in file order */
	size_t n_records;
	const struct vhu_session_ref *sessions;		/* by connection number */
	size_t n_sessions;
	char *notes;			/* what was odd, a line each; "" */
	bool complete;			/* the closing record is there */
	uint64_t lost;			/* that the recorder counted */
};

enum { VHU_TRACE_BYTES_MAX = 1 << 30 };	/* kept in memory; a larger file is an error */

/* Reads all of it. -errno with text as vhu_trace_reader_new; -EFBIG. Free with vhu_trace_free. */
int vhu_trace_load(const char *path, struct vhu_trace **ret, struct vhu_err *err);
int vhu_trace_load_mem(const void *bytes, size_t len, struct vhu_trace **ret, struct vhu_err *err);
void vhu_trace_free(struct vhu_trace *t);
/* By connection number; NULL if there is none. */
const struct vhu_session_ref *vhu_trace_session(const struct vhu_trace *t, uint32_t connection);
