/*
 * The last things that happened in a case, for failure blocks and -v: a bounded log of frames
 * and remarks, kept as they were and described only when somebody asks.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "spec/spec.h"

struct vhu_frame;
struct vhu_trace_log;

/* Keeps the last `cap` entries. */
int vhu_trace_log_new(size_t cap, struct vhu_trace_log **ret, struct vhu_err *err);
void vhu_trace_log_free(struct vhu_trace_log *l);
void vhu_trace_log_clear(struct vhu_trace_log *l);

/* Up to 512 payload bytes and the kinds of 16 descriptors are kept. `conn` counts from 1; 0: of none. */
void vhu_trace_log_frame(struct vhu_trace_log *l, uint64_t t_ns, unsigned conn, const struct vhu_frame *f);
void vhu_trace_log_note(struct vhu_trace_log *l, uint64_t t_ns, unsigned conn, const char *format, ...)
	VHU_PRINTF(4, 5);

size_t vhu_trace_log_count(const struct vhu_trace_log *l);	/* entries kept */
size_t vhu_trace_log_dropped(const struct vhu_trace_log *l);	/* older ones that are gone */
/*
 * The last n entries as text, a line each: "  0.123 ms  > SET_OWNER" (time since the first
 * entry, "[2]" for connections beyond the first); with hex, the bytes on the lines below.
 */
void vhu_trace_log_print(const struct vhu_trace_log *l, size_t n, enum vhu_device device, bool hex,
			 struct vhu_buf *out);
