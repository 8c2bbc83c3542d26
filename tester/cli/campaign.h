/* All cases of one run: what came of them, in which order it is told, and why the run ends. */
#pragma once

#include "bundle.h"
#include "cli/baseline.h"
#include "cli/conform.h"
#include "plan/plan.h"
#include "report/report.h"

enum { VHU_CAMPAIGN_REPORTS = 10 };

struct vhu_campaign {
	const struct vhu_conform_opts *o;
	size_t n;			/* cases, in the order of the run */
	struct vhu_plan **plans;
	char **words;			/* how the command line names each of them alone */
	char **filters;			/* and a filter where the word names more, or NULL */
	struct vhu_outcome *outcomes;
	bool *done;
	size_t next;			/* first that was not reported yet */
	struct vhu_report *reports[VHU_CAMPAIGN_REPORTS];
	size_t n_reports;
	struct vhu_baseline *baseline;	/* or NULL */
	struct vhu_bundle bundle;	/* zeroed: none */
	struct vhu_summary summary;
	bool found[VHU_REQ_MAX];	/* by a case that failed or warned */
	char *stop;			/* why what is left is skipped, or NULL */
	bool target_lost;		/* exit code 4 */
	bool tester_fault;		/* exit code 3 */
	int signal;			/* that ended the run */
	char interrupted[80];		/* and how to say it */
	uint64_t start_ns;
};

/* Deadlines missed in a row by one target. */
struct vhu_streak {
	unsigned n;
	size_t first;			/* case */
};

/* What is left becomes SKIP with this reason; the first reason stays. */
void vhu_campaign_stop(struct vhu_campaign *c, const char *format, ...) VHU_PRINTF(2, 3);
/* The signal that ended the run; SIGALRM stands for the end of its time. */
void vhu_campaign_interrupt(struct vhu_campaign *c, int signal);
/* Whether another case may begin. */
bool vhu_campaign_goes_on(const struct vhu_campaign *c);

/*
 * vhu_runner_run of case i; after one that the baseline knows to be deadly the target is stopped, whether it
 * shows or not: a process with damaged memory dies in whatever comes next.
 */
struct vhu_runner;
int vhu_campaign_run(struct vhu_campaign *c, struct vhu_runner *r, size_t i, struct vhu_outcome *ret,
		     struct vhu_err *err);
/*
 * Takes the outcome of case i over and reports whatever is next in order. Negative: it cannot
 * be reported.
 */
int vhu_campaign_deliver(struct vhu_campaign *c, size_t i, struct vhu_outcome *take,
			 struct vhu_streak *streak, struct vhu_err *err);
/* Skips what did not run (after a signal it is left out) and ends the reports. */
int vhu_campaign_finish(struct vhu_campaign *c, struct vhu_err *err);
int vhu_campaign_exit_code(const struct vhu_campaign *c);

/* jobs.c: the cases in c->o->jobs processes. `loop` brings the signals. */
struct vhu_loop;
int vhu_jobs_run(struct vhu_campaign *c, struct vhu_loop *loop, enum vhu_device device, struct vhu_err *err);
