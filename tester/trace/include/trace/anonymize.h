/*
 * A capture without what is private in it. Kept: which messages came, sizes and times, numbers and kinds of
 * descriptors, addresses, features, which objects are the same. Gone: contents of buffers, memory, device
 * state and pictures, keys, MAC addresses, names of processes, paths, remarks, what the target is besides its
 * device type. Numbers of processes, sockets and inodes are counted afresh.
 */
#pragma once

#include "trace/file.h"

struct vhu_arena;
struct vhu_scrubber;

int vhu_scrubber_new(struct vhu_scrubber **ret, struct vhu_err *err);
void vhu_scrubber_free(struct vhu_scrubber *s);
/*
 * What may be said of a record; parts in the arena or still those of `r`. `device` says which bytes of config
 * space are private; of an unknown device all are.
 */
int vhu_scrubber_record(struct vhu_scrubber *s, enum vhu_device device, const struct vhu_record *r,
			struct vhu_arena *arena, struct vhu_record *ret, struct vhu_err *err);
/* What may be said of the capture, made of its META text; in the arena. */
int vhu_scrubber_meta(const char *meta, struct vhu_arena *arena, struct vhu_trace_meta *ret,
		      struct vhu_err *err);
