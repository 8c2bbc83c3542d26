/*
 * Sessions of a capture under judgement. A session's whole state is large and mostly empty; only those that
 * speak at the moment have it in full, the others are packed.
 */
#pragma once

#include "base/err.h"
#include "oracle/rings.h"

struct vhu_sessions;

struct vhu_one_session {
	uint32_t connection;
	bool partial, closed;
	bool found;			/* something was found in it */
	uint64_t number;		/* among all sessions of the capture, from 1 */
	uint64_t losses;		/* the judge's own, when it looked last */
	uint64_t next[2][2];		/* main or back-end channel, direction: offset of the next message */
	uint32_t back_end;		/* its process; 0: unknown */
	struct vhu_rings *rings;	/* once one was told of; NULL: none */
	/* private */
	int slot;			/* where its state is in full; -1: packed, or gone */
	uint16_t *packed;		/* out of date while it is in full */
	size_t room;			/* there */
};

int vhu_sessions_new(struct vhu_sessions **ret, struct vhu_err *err);
void vhu_sessions_free(struct vhu_sessions *t);
/* NULL if there is none of this number. */
struct vhu_one_session *vhu_sessions_find(struct vhu_sessions *t, uint32_t connection);
/* A new one, in the place of what was there. -ENOMEM. */
int vhu_sessions_begin(struct vhu_sessions *t, uint32_t connection, struct vhu_one_session **ret,
		       struct vhu_err *err);
/* Its state, at first zero; good until the next call for another session. -ENOMEM. */
int vhu_sessions_oracle(struct vhu_sessions *t, struct vhu_one_session *s, struct vhu_oracle **ret,
			struct vhu_err *err);
/* Marks it closed and drops its state. */
void vhu_sessions_close(struct vhu_sessions *t, struct vhu_one_session *s);
