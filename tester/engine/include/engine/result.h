/* What came of one case: plain data that reports read and that travels between processes. */
#pragma once

#include "base/util.h"
#include "oracle/oracle.h"

enum { VHU_RESULT_FINDINGS_MAX = 32 };

struct vhu_result {
	char *id, *title, *file;
	enum vhu_req *requirements;	/* the case's */
	size_t n_requirements;
	enum vhu_verdict verdict;
	struct vhu_finding *findings;	/* each graded: grades[i] */
	enum vhu_verdict *grades;
	size_t n_findings;
	size_t dropped_findings;	/* beyond VHU_RESULT_FINDINGS_MAX */
	char *reason;			/* SKIP: why; BROKEN: what went wrong on our side */
	char *trace;			/* decoded messages (as many as asked for), or NULL */
	char *target_stderr;		/* last lines of a spawned target that died, or NULL */
	char *rerun;			/* the one command that runs this case alone again (cli) */
	uint64_t duration_ns;
	uint64_t settle_ns;		/* of it, time spent to see that nothing happens */
	uint64_t frames;		/* messages in both directions */
	uint64_t ios;
	bool target_gone;		/* a target that we can't restart is no longer there */
	bool target_died;		/* died, hung or could not be reached in this case */
	bool deadline;			/* an answer did not come in time */
};

void vhu_result_done(struct vhu_result *r);
