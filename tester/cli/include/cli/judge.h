/*
 * The oracle over a capture, record by record: both parties of every session. What was not seen is
 * never held against anybody: a session whose start is missing, or of which something was lost, is
 * judged by what each message shows alone from there on. Memory grows with the sessions that are open at
 * one time, by about a KiB each.
 */
#pragma once

#include "oracle/oracle.h"
#include "trace/record.h"

struct vhu_judge;

struct vhu_judge_opts_capture {
	enum vhu_device device;		/* VHU_DEV_ANY: unknown */
	uint32_t only;			/* connection; 0: all */
	struct vhu_judge_opts grade;
	/* The record is the one that showed it; all are good for the call only. */
	void (*found)(void *ctx, const struct vhu_record *r, const struct vhu_finding *f,
		      enum vhu_verdict verdict);
	void *ctx;
};

struct vhu_judge_counts {
	uint64_t messages;		/* judged */
	uint64_t unjudged;		/* the display's, cut ones, of another byte order, behind the end */
	uint64_t sessions, partial;	/* partial: of them */
};

/* -ENOMEM. */
int vhu_judge_new(const struct vhu_judge_opts_capture *opts, struct vhu_judge **ret, struct vhu_err *err);
void vhu_judge_free(struct vhu_judge *j);
/* The next record in the order of the file. -ENOMEM. */
int vhu_judge_record(struct vhu_judge *j, const struct vhu_record *r, struct vhu_err *err);
const struct vhu_judge_counts *vhu_judge_counts(const struct vhu_judge *j);
