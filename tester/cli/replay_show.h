/* How vhu-replay tells what differs. */
#pragma once

#include "base/buf.h"
#include "engine/engine.h"
#include "plan/plan.h"
#include "trace/trace.h"

struct vhu_divergence_view {
	const struct vhu_trace *trace;
	enum vhu_device device;
	const uint32_t *used; /* the length with which a request came back */
};

/* "the answer differs" … */
const char *vhu_divergence_name(enum vhu_divergence kind);
/* Both sides beside each other, the fields that differ, and what went before. */
void vhu_divergence_show(const struct vhu_divergence_view *v, enum vhu_divergence kind,
			 const struct vhu_step *s, const struct vhu_frame *got, struct vhu_buf *out);
/* The record with that number, or NULL. */
const struct vhu_record *vhu_divergence_record(const struct vhu_trace *t, uint32_t seq);
