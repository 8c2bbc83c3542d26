/* What a check sees, and how it says what is wrong. */
#pragma once

#include "oracle/oracle.h"
#include "wire/frame.h"

struct vhu_judgement {
	const struct vhu_session *s; /* before the frame */
	const struct vhu_frame *f;
	const struct vhu_msg_row *row; /* NULL: unknown id */
	const struct vhu_pending *to;  /* the request that it answers, or NULL */
	char accepted[400];
	char actual[400];
};

/* A check returns true when its rule is broken, having said what it accepts and what came. */
typedef bool vhu_check_fn(struct vhu_judgement *j);

struct vhu_rule {
	enum vhu_req req;
	enum vhu_finding_kind kind;
	int msg; /* enum vhu_msg, or -1 for every frame of its list */
	vhu_check_fn *broken;
	const char *summary;
};

/* Fills both texts; returns true, so that a check can end with it. */
bool vhu_differs(struct vhu_judgement *j, const char *accepted, const char *actual, ...) VHU_PRINTF(3, 4);

/* Rules about any frame's form, about replies on the main channel, and about back-end requests. */
extern const struct vhu_rule vhu_rules_form[], vhu_rules_reply[], vhu_rules_backend[];
/* About replies of one message, which may have none; and about those to requests that confuse, too. */
extern const struct vhu_rule *const vhu_rules_of_reply[VHU_MSG_MAX], *const vhu_rules_of_answer[VHU_MSG_MAX];

/* Which requirement says that this request is answered. */
enum vhu_req vhu_answer_req(const struct vhu_pending *p);
