/* What our own process holds: nothing may be left over when a case has ended. */
#pragma once

#include "base/buf.h"

struct vhu_resources {
	bool known;			/* false where /proc is not there */
	char **kinds;			/* what each open descriptor is, sorted */
	size_t n;
	size_t mappings;		/* shared ones: guest memory, logs, inflight regions */
};

/* -ENOMEM. */
int vhu_resources_take(struct vhu_resources *ret);
void vhu_resources_done(struct vhu_resources *r);

/*
 * Appends what `after` has more than `before`; nothing if all is well. With `idle` (taken before
 * a spawned target was started) what belongs to the target's process is allowed for, since it
 * may have come or gone in between: its pidfd, its output, its sockets.
 */
void vhu_resources_compare(const struct vhu_resources *before, const struct vhu_resources *after,
			   const struct vhu_resources *idle, struct vhu_buf *out);
