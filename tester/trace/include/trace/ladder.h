/*
 * A session as a sequence diagram. The front-end stands left, the back-end right of it; its own channel is
 * a lane beyond, so that no arrow crosses another. Messages that come once for each ring are drawn once,
 * as a loop.
 */
#pragma once

#include "trace/trace.h"

enum vhu_ladder_kind {
	VHU_LADDER_MESSAGE,
	VHU_LADDER_NOTE,		/* the connection, rings, memory */
	VHU_LADDER_LOOP,		/* its rows follow, up to VHU_LADDER_END */
	VHU_LADDER_END,
};

struct vhu_ladder_row {
	enum vhu_ladder_kind kind;
	uint64_t t_ns;			/* since the session's first record */
	bool to_backend;		/* MESSAGE: goes to the back-end */
	bool beyond;			/* MESSAGE: on the back-end's channel, or the display's */
	bool reply;
	const char *text;
	size_t times;			/* LOOP: rounds; NOTE: how often, one after the other */
};

struct vhu_ladder {
	struct vhu_ladder_row *rows;
	size_t n;
	bool beyond;			/* the third lane is needed */
};

/* All in the arena. -ENOMEM. */
int vhu_ladder_new(const struct vhu_session_ref *s, enum vhu_device device, struct vhu_arena *arena,
		   struct vhu_ladder *ret, struct vhu_err *err);
/* Both append. `title` heads the picture. */
void vhu_ladder_text(const struct vhu_ladder *l, const char *title, struct vhu_buf *out);
void vhu_ladder_svg(const struct vhu_ladder *l, const char *title, struct vhu_buf *out);
