/* Reports: one file a format behind struct vhu_report_ops; summary.c counts once for all of them. */
#pragma once

#include "base/err.h"
#include "engine/result.h"

/* --- what is reported ------------------------------------------------------------------------ */

/* How a case compares with the baseline, where there is one. */
enum vhu_known {
	VHU_KNOWN_NOT,			/* the baseline says nothing of it, or it is as it says */
	VHU_KNOWN_SAME,			/* a known failure: counts as a warning */
	VHU_KNOWN_WORSE,		/* fails in another way than the known one */
	VHU_KNOWN_FIXED,		/* no longer fails */
};

/* A case's result, with what only the whole run can say about it: repeats and baseline. */
struct vhu_outcome {
	struct vhu_result result;
	enum vhu_verdict verdict;	/* the result's, unless the baseline has lowered it */
	bool flaky;			/* passed and failed over the repeats: fails, counted apart */
	unsigned runs, passed;		/* --repeat; runs is 0 if it was skipped */
	enum vhu_known known;
	char *note;			/* what the baseline says, or NULL */
};

void vhu_outcome_done(struct vhu_outcome *o);
/* "PASS" … as vhu_verdict_name, and "FLAKY". */
const char *vhu_outcome_name(const struct vhu_outcome *o);
/* A finding's grade as this outcome counts it: what is known only warns. */
enum vhu_verdict vhu_outcome_grade(const struct vhu_outcome *o, size_t finding);

struct vhu_summary {
	size_t pass, fail, warn, skip, broken, flaky;	/* add up to the number of cases */
	size_t known, fixed;		/* of them, by the baseline */
	uint64_t wall_ns, settle_ns, frames, ios;
	const char *stopped;		/* why not all cases ran, or NULL; borrowed */
};

void vhu_summary_add(struct vhu_summary *s, const struct vhu_outcome *o);
/* Cases that really ran: all but the skipped. */
size_t vhu_summary_ran(const struct vhu_summary *s);

/* What the run was made against; borrowed while reporting. */
struct vhu_report_target {
	const char *name;
	bool probed;			/* the rest is known */
	enum vhu_device device;
	uint64_t features, pfeatures;	/* offered */
	unsigned queues;
	size_t config_size;
	const char *memory;		/* "hugetlb", "memfd" */
};

struct vhu_report_run {
	struct vhu_report_target target;
	uint64_t seed;
	bool strict;
	enum vhu_since spec;
	const char *profile;
};

/* --- one open report ------------------------------------------------------------------------- */

struct vhu_report;

struct vhu_report_ops {
	const char *name;		/* "tty", "tap", "junit", "json", "html", "markdown", "sarif" */
	int (*begin)(struct vhu_report *r, struct vhu_err *err);
	int (*case_done)(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err);
	int (*end)(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err);
	void (*free)(struct vhu_report *r);
};

struct vhu_report_opts {
	const char *path;		/* "-" is stdout */
	bool color;
	bool live;			/* a live counter (terminals) */
	int verbosity;			/* -1 only the summary, 0, 1, 2 */
};

/* -ENOENT for an unknown format. A report that cannot be written is exit code 3. */
int vhu_report_open(const char *format, const struct vhu_report_opts *opts, struct vhu_report **ret,
		    struct vhu_err *err);
int vhu_report_begin(struct vhu_report *r, const struct vhu_report_run *run, size_t planned,
		     struct vhu_err *err);
int vhu_report_case(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err);
/* Writes the rest and closes the file. */
int vhu_report_end(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err);
void vhu_report_free(struct vhu_report *r);	/* NULL is fine */

/* --- results between processes (--jobs) ------------------------------------------------------ */

/* One JSON text on one line. malloc'ed; NULL when out of memory. */
char *vhu_result_to_json(const struct vhu_result *r);
/* *ret is to be freed with vhu_result_done. -EINVAL with text for anything that to_json does not write. */
int vhu_result_from_json(const char *text, size_t len, struct vhu_result *ret, struct vhu_err *err);
