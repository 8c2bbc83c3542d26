/* Captures of our own runs: --record. */
#pragma once

#include "plan/plan.h"
#include "trace/file.h"

/* DIR/ID.pcap, the caller's; NULL when out of memory. */
char *vhu_recording_path(const char *dir, const char *id);
/* Makes the file, and the folders above it, for the case `id` on the target that `facts` tell of. -errno. */
int vhu_recording_open(const char *dir, const char *id, unsigned level, const struct vhu_facts *facts,
		       struct vhu_trace_writer **ret, struct vhu_err *err);
