/*
 * Runs one plan against one target: step, act, observe, settle. The only place where control
 * plane and data plane meet.
 */
#pragma once

#include "base/err.h"
#include "engine/result.h"
#include "oracle/oracle.h"
#include "spec/layout.h"

struct vhu_engine;
struct vhu_facts;
struct vhu_frame;
struct vhu_loop;
struct vhu_plan;
struct vhu_step;
struct vhu_target;
struct vhu_trace_writer;

/* In what a target's part of a session differs from the recorded one. */
enum vhu_divergence {
	VHU_DIVERGENCE_DIFFERS,		/* the message, in what it says */
	VHU_DIVERGENCE_MISSING,		/* it did not come */
	VHU_DIVERGENCE_OTHER,		/* another came in its place */
	VHU_DIVERGENCE_EXTRA,		/* one came that the recording does not have */
	VHU_DIVERGENCE_CLOSED,		/* the connection ended */
	VHU_DIVERGENCE_OPEN,		/* the connection did not end */
	VHU_DIVERGENCE_USED,		/* a request came back with another length: `used` */
};

/* How a plan made of a capture runs, and what came of it. */
struct vhu_replay {
	bool paced;			/* each step at its recorded time, not as soon as possible */
	bool keep_going;		/* beyond the first divergence */
	unsigned ios;			/* requests that go through each live ring after a message; 0: none */
	bool writes;			/* of them, half write */
	/* Called for each; `got` is the frame that came, or NULL. The step's record is the recorded one. */
	void (*diverged)(void *ctx, enum vhu_divergence kind, const struct vhu_step *s,
			 const struct vhu_frame *got);
	void *ctx;
	uint32_t used;			/* of USED: the length that came */
	size_t sent, compared, divergences;
	size_t unplaced;		/* records of memory that lie in none that the target has */
	char no_io[200];		/* why requests could not go through some rings; "" */
};

struct vhu_engine_opts {
	uint64_t timeout_ns;		/* a reply's deadline */
	uint64_t settle_ns;		/* 0: 20 ms or 50 × the first round trip, whichever is more */
	struct vhu_judge_opts judge;
	uint64_t seed;
	enum vhu_device device;		/* VHU_DEV_ANY: unknown */
	bool identify;			/* the probe finds it out; `device` is what the cases are about */
	unsigned queues;		/* --queues; 0: found out */
	bool listen;
	size_t trace_entries;		/* kept for failure blocks */
	bool trace_all;			/* decoded messages of every case (-v), not only of failing ones */
	bool trace_hex;
	struct vhu_replay *replay;	/* for plans made of captures; borrowed */
};

int vhu_engine_new(struct vhu_loop *loop, struct vhu_target *target, const struct vhu_engine_opts *opts,
		   struct vhu_engine **ret, struct vhu_err *err);
void vhu_engine_free(struct vhu_engine *e);

/* From now on this one is talked to; both are the caller's. */
void vhu_engine_use_target(struct vhu_engine *e, struct vhu_target *target);

/*
 * Tells the next run to a capture (trace/file.h), at that level, and no other: neither the probe, nor what is
 * repeated to look for leaks. The writer stays the caller's, and is not used after that run; NULL: none after
 * all. -ENOMEM.
 */
int vhu_engine_record(struct vhu_engine *e, struct vhu_trace_writer *w, unsigned level, struct vhu_err *err);

/*
 * One session that collects what the target offers. -ECONNREFUSED … with text if it cannot be
 * reached (exit code 4), -EPROTO with text if it does not speak the protocol at all.
 */
int vhu_engine_probe(struct vhu_engine *e, struct vhu_facts *ret, struct vhu_err *err);

/*
 * Runs the plan and fills *ret (vhu_result_done frees it). 0; a negative errno only for what
 * makes any further case senseless (-EINTR on a signal). Our own failures inside a case are its
 * verdict BROKEN.
 */
int vhu_engine_run(struct vhu_engine *e, const struct vhu_plan *plan, struct vhu_result *ret,
		   struct vhu_err *err);
