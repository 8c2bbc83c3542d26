/*
 * Two sessions held against each other by meaning: their messages are aligned by what they are and which
 * ring they speak of, each answer beside its request, then compared field by field. What differs between two
 * honest runs does not count: numbers of descriptors, addresses, times, capacities, bases (vhu_diff_masks),
 * and messages that come by chance (vhu_msg_by_chance).
 */
#pragma once

#include "trace/trace.h"

enum vhu_diff_kind { VHU_DIFF_ONLY_A, VHU_DIFF_ONLY_B, VHU_DIFF_FIELD };

struct vhu_difference {
	enum vhu_diff_kind kind;
	const struct vhu_record *a, *b;	/* NULL: not there */
	/* Of FIELD: its name ("num", "region[0].memory_size", "flags", "size", "fds") and both values. */
	const char *field, *text_a, *text_b;
};

struct vhu_diff_opts {
	const char *const *ignore;	/* globs over MESSAGE.field, beside the masks */
	size_t n_ignore;
	bool all;			/* all of that counts */
	bool front_end;			/* only what front-ends sent */
};

struct vhu_diff {
	const struct vhu_difference *items;	/* in order; of a message's fields in order of offset */
	size_t n;
	size_t messages_a, messages_b;	/* that were compared */
	size_t chance_a, chance_b;	/* that were not: vhu_msg_by_chance */
	size_t alike;			/* pairs without a difference */
	bool too_different;		/* the alignment was given up behind some point */
};

/* All in the arena. -ENOMEM. */
int vhu_trace_diff(const struct vhu_session_ref *a, const struct vhu_session_ref *b,
		   const struct vhu_diff_opts *opts, struct vhu_arena *arena, struct vhu_diff *ret,
		   struct vhu_err *err);
/* What is not compared, as globs over MESSAGE.field: the i-th, or NULL. */
const char *vhu_diff_masks(size_t i);
