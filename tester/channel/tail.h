/* The last lines of a process's output, and what a sanitizer said anywhere in it. */
#pragma once

#include "base/util.h"

enum { TAIL_BYTES = 8 * 1024, TAIL_LINES = 40 };

struct tail {
	char text[2 * TAIL_BYTES];
	size_t len;
	char line[512]; /* the one that is being written, as far as it is looked at */
	size_t line_len;
	char report[100]; /* "ASan: heap-use-after-free"; the first one counts */
};

void vhu_tail_add(struct tail *t, const char *bytes, size_t len);
/* The last lines, to be freed; NULL when out of memory. */
char *vhu_tail_text(const struct tail *t);
/* The last line that says something, in out. Returns out. */
char *vhu_tail_last_line(const struct tail *t, char *out, size_t cap);
