/* What the parts share that read a log of strace. */
#pragma once

#include <string.h>

#include "strace_text.h"

/* A walk over one line. */
struct cursor {
	const char *p, *end;
	struct vhu_arena *arena;
	unsigned depth, values;
	bool no_memory;
};

enum { STRACE_VALUES_MAX = 100000 }; /* of one line */

/* Whether this stands here. */
static inline bool vhu_strace_at(const struct cursor *c, const char *text)
{
	size_t len = strlen(text);

	return (size_t)(c->end - c->p) >= len && !memcmp(c->p, text, len);
}

/* Past blanks and comments. */
void vhu_strace_skip_blanks(struct cursor *c);

/* "name(args) = result": false if it is not; the name is there if that much is right. */
bool vhu_strace_call(struct cursor *c, struct strace_call *ret);
