/*
 * The oracle over a capture, record by record: both parties of every session. What was not seen is
 * never held against anybody: a session whose start is missing, or of which something was lost, is
 * judged by what each message shows alone. That something was lost may come out late, so that findings are
 * kept until the end. Memory grows with the sessions that are open at one time, by about a KiB each, and
 * with the findings, up to VHU_JUDGE_KEPT of them.
 */
#pragma once

#include "oracle/oracle.h"
#include "plan/plan.h"
#include "trace/record.h"

enum { VHU_JUDGE_KEPT = 10000 };

struct vhu_judge;

struct vhu_judge_config {
	enum vhu_device device;		/* of all sessions; VHU_DEV_ANY: */
	const struct vhu_device_guess *guess;	/* what is known of each by now; borrowed, or NULL */
	uint32_t only;			/* connection; 0: all */
	struct vhu_judge_opts grade;
};

/* A finding, and the record that showed it. */
struct vhu_judged {
	uint64_t record;		/* its number among the packets */
	long long offset;		/* in the file; -1: unknown */
	uint32_t connection;
	uint64_t t_ns;
	enum vhu_verdict verdict;
	const struct vhu_finding *f;
};

struct vhu_judge_counts {
	uint64_t messages;		/* judged */
	uint64_t unjudged;		/* the display's, cut ones, of another byte order, behind the end */
	uint64_t sessions, partial;	/* partial: of them */
	uint64_t dropped;		/* findings that may come of what was lost */
	uint64_t beyond;		/* findings beyond those that are kept */
};

/* -ENOMEM. */
int vhu_judge_new(const struct vhu_judge_config *config, struct vhu_judge **ret, struct vhu_err *err);
void vhu_judge_free(struct vhu_judge *j);
/* The next record in the order of the file, and where it stands. -ENOMEM. */
int vhu_judge_record(struct vhu_judge *j, const struct vhu_record *r, uint64_t number, long long offset,
		     struct vhu_err *err);
/* At the end: the i-th finding that stands, in the order of their records; false: there are no more. */
bool vhu_judge_finding(struct vhu_judge *j, size_t i, struct vhu_judged *ret);
/* Sorts out what stands; counts are final then. */
void vhu_judge_end(struct vhu_judge *j);
const struct vhu_judge_counts *vhu_judge_counts(const struct vhu_judge *j);
