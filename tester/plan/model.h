/* A target of thought: what each connection's session looks like at a step of the plan. */
#pragma once

#include "internal.h"
#include "oracle/oracle.h"
#include "plan/script.h"
#include "session/session.h"
#include "wire/frame.h"

enum { ILLEGAL_MAX = 16, SCRIPT_MAX = 8192 };

struct model_conn {
	struct vhu_session *s; /* NULL until it is opened */
	bool open;
	bool vague; /* what was negotiated or mapped is known only in the run */
	bool logging;
	uint64_t features;
	size_t added; /* regions beyond the layout's */
};

struct model {
	struct compile *c;
	struct model_conn *conns;
	uint64_t *vals;		  /* saved variables as far as the facts tell them */
	bool *known, *all, *none; /* all true, all false: for vhu_send_build */
	struct vhu_script_item *items;
	uint64_t inflight_size;
	size_t plugged; /* regions that the guest has got */

	const struct vhu_step *step; /* that is being looked at */
	bool judged;		     /* a frame of it was */
	struct vhu_illegal illegal[ILLEGAL_MAX];
	size_t n_illegal;
	struct told told;
	bool failed; /* out of memory */
};

int vhu_model_init(struct model *m, struct compile *c);
void vhu_model_done(struct model *m);
struct vhu_moment vhu_model_moment(struct model *m, struct model_conn *mc);
/* A fresh session brought to a state. */
void vhu_model_open(struct model *m, struct model_conn *mc, enum vhu_state to, const char *profile,
		    bool no_status);
void vhu_model_close_all(struct model *m);
/* Judges a frame as one of the step's. */
void vhu_model_judge(struct model *m, struct model_conn *mc, const struct vhu_frame *f);
void vhu_model_illegal(struct model *m, const struct vhu_illegal *list, size_t n);
/* The frame was sent and answered. */
void vhu_model_apply(struct model *m, struct model_conn *mc, const struct vhu_frame *f);
/* Descriptors that are only counted. */
bool vhu_model_fds(struct model *m, struct vhu_frame *f, size_t n);
/* Sends one message with its legal values, judged as the step's. */
void vhu_model_message(struct model *m, struct model_conn *mc, enum vhu_msg msg,
		       const struct vhu_moment *moment);

/* The same for a message of a persona's phase. */
void vhu_model_item(struct model *m, struct model_conn *mc, const struct vhu_script_item *item,
		    struct vhu_moment *moment);

/* verdict.c: an error of the file, or, on a real target, why it does not fit this one. */
void vhu_model_complain(struct model *m, const char *format, ...) VHU_PRINTF(2, 3);
/* As `breaks` names it. */
enum { VHU_BREAKS_NAME_MAX = 48 };
const char *vhu_breaks_name(enum vhu_req req, unsigned malformed, char out[VHU_BREAKS_NAME_MAX]);
/* After the step's frames were judged. */
void vhu_model_verdict(struct model *m);
