/*
 * The judge. Sees every observation of a session, in every mode, and holds it against the
 * requirement rows. Pure: no I/O, no clock, bounded memory. A rule is a row here (check_*.c)
 * that names its requirement, what it looks at and a predicate.
 */
#pragma once

#include "base/util.h"
#include "session/session.h"
#include "spec/spec.h"

struct vhu_frame;

/* Ways in which a front-end's message can be wrong without a requirement row that says so. */
enum vhu_malformed {
#define VHU_MALFORMED(name, ...) VHU_MALFORMED_##name,
#include <vhu/malformed.def>
	VHU_MALFORMED_MAX
};
const char *vhu_malformed_name(enum vhu_malformed kind);	/* "ring-size" */
enum vhu_malformed vhu_malformed_by_name(const char *name);	/* VHU_MALFORMED_MAX if unknown */

/* --- findings -------------------------------------------------------------------------------- */

enum vhu_verdict { VHU_PASS, VHU_WARN, VHU_FAIL, VHU_SKIP, VHU_BROKEN, VHU_VERDICT_MAX };
const char *vhu_verdict_name(enum vhu_verdict v);	/* "PASS" … */

enum vhu_finding_kind {
	VHU_FINDING_RULE,	/* a rule was broken */
	VHU_FINDING_ROBUST,	/* and the target died, hung, leaked, corrupted or stopped serving */
	VHU_FINDING_QUIRK,	/* legal or tolerated, but surprises front-ends in the field */
};

struct vhu_finding {
	enum vhu_req req;
	enum vhu_finding_kind kind;
	bool front;		/* the front-end did it */
	char summary[240];	/* what is wrong, in a sentence */
	char accepted[400];	/* what would have been right, one a line */
	char actual[400];	/* what came */
	char message[400];	/* the frame it is about, described; may be empty */
	char hex[800];		/* and its bytes */
	char where[240];	/* the step, as a path into the case file (engine) */
};

struct vhu_judge_opts {
	bool strict;
	enum vhu_since spec;	/* judge by this version of the specification */
};
/* PASS is never returned: WARN or FAIL by level, kind, strictness and age. */
enum vhu_verdict vhu_finding_grade(const struct vhu_finding *f, const struct vhu_judge_opts *opts);

/* Who is known to break this true rule, of back-ends or of front-ends: then it is a WARN. NULL: nobody. */
const char *vhu_known_gap(enum vhu_req req, bool front);

/* Whether a message breaks this rule by itself, whatever was negotiated or sent before it. */
bool vhu_finding_stands_alone(enum vhu_req req);

/* Fills in what the row says; the rest by printf. */
void VHU_PRINTF(4, 5) vhu_finding_init(struct vhu_finding *f, enum vhu_req req, enum vhu_finding_kind kind,
				       const char *format, ...);
/* Describes and dumps a frame into message and hex. */
void vhu_finding_frame(struct vhu_finding *f, const struct vhu_frame *frame, enum vhu_device device);

/* --- observations ---------------------------------------------------------------------------- */

enum vhu_obs_kind {
	VHU_OBS_FRAME,		/* a frame of either party on either channel */
	VHU_OBS_EOF,		/* the back-end ended a channel */
	VHU_OBS_EXIT,		/* the target process ended, unexpectedly */
	VHU_OBS_BREACH,		/* rings or memory: see breaches.def */
	VHU_OBS_DEADLINE,	/* an answer that had to come did not */
};

struct vhu_obs {
	enum vhu_obs_kind kind;
	const struct vhu_frame *frame;	/* FRAME */
	bool intended;	/* FRAME of ours that breaks a rule on purpose; BREACH: of a ring that we spoilt */
	enum vhu_channel channel;	/* EOF */
	bool expected;			/* EOF: the case accepts it here */
	const char *text;		/* EXIT, BREACH: in words */
	enum vhu_breach breach;		/* BREACH */
};

struct vhu_oracle {
	struct vhu_session session;
	/* Something before was not seen: only what a message shows alone is judged. */
	bool partial;
	void (*found)(void *ctx, const struct vhu_finding *f);
	void *ctx;
};

void vhu_oracle_init(struct vhu_oracle *o, enum vhu_device device, unsigned queues,
		     void (*found)(void *ctx, const struct vhu_finding *f), void *ctx);
/* The same for one whose session was begun otherwise. */
void vhu_oracle_tell(struct vhu_oracle *o, void (*found)(void *ctx, const struct vhu_finding *f), void *ctx);
/*
 * Judges, then applies to the session. Findings about the back-end and about the front-end go
 * to `found` alike; the row's party tells them apart. For a frame of ours that the tester
 * sends, ask vhu_oracle_illegal first. Returns the serial of a front-end request, else 0.
 */
uint64_t vhu_oracle_observe(struct vhu_oracle *o, const struct vhu_obs *obs);

/* What a frame of the front-end would break. */
struct vhu_illegal {
	enum vhu_req req;		/* VHU_REQ_MAX: see malformed */
	enum vhu_malformed malformed;
	enum vhu_req broken;		/* what a stranger is told: req, or what a malformation breaks */
	char text[200];
};
/* Up to max of them; 0: it is legal in this state. */
size_t vhu_oracle_illegal(const struct vhu_session *s, const struct vhu_frame *f, struct vhu_illegal *out,
			  size_t max);
