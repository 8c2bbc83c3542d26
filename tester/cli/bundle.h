/* --bundle: what somebody needs to see why cases failed, in one file. */
#pragma once

#include "cli/conform.h"
#include "report/report.h"

struct vhu_bundle {
	const char *path;	/* of the bundle */
	const char *sessions;	/* the folder that the sessions are recorded in */
	char *dir;		/* of our own, for what goes into it; NULL: no bundle is wanted */
	char *report;		/* where the JSON report has to be written */
	char **failed;		/* ids of the n_failed cases whose sessions are kept */
	size_t n_failed;
};

/* Makes the folder; sessions are recorded into it unless --record says where. -errno. */
int vhu_bundle_begin(struct vhu_conform_opts *o, struct vhu_bundle *ret, struct vhu_err *err);
/* What came of a case: its session is kept, or is of no use. -ENOMEM. */
int vhu_bundle_case(struct vhu_bundle *b, const struct vhu_outcome *o, struct vhu_err *err);
/* Writes the bundle: the report, which has to be complete, and the sessions. -errno. */
int vhu_bundle_write(const struct vhu_bundle *b, struct vhu_err *err);
void vhu_bundle_done(struct vhu_bundle *b); /* removes the folder; a zeroed one is fine */
