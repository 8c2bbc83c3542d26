/* Bytes or text that grows. A zeroed struct is an empty buffer. */
#pragma once

#include "base/util.h"

struct vhu_buf {
	char *data;		/* terminated by a NUL that `len` does not count; NULL while empty */
	size_t len;
	size_t cap;
	bool failed;		/* an allocation failed; later appends do nothing */
};

void vhu_buf_done(struct vhu_buf *b);
void vhu_buf_reset(struct vhu_buf *b);	/* empties it, keeps the allocation */
void vhu_buf_add(struct vhu_buf *b, const void *bytes, size_t len);
/* Appends `len` bytes that the caller fills in at once; NULL if an allocation failed. */
uint8_t *vhu_buf_more(struct vhu_buf *b, size_t len);
void vhu_buf_puts(struct vhu_buf *b, const char *text);
void vhu_buf_printf(struct vhu_buf *b, const char *format, ...) VHU_PRINTF(2, 3);
/* The text, "" while empty. Valid until the next change. */
const char *vhu_buf_text(const struct vhu_buf *b);
/* Hands the text over to the caller (free()), and empties the buffer. NULL if an allocation failed. */
char *vhu_buf_steal(struct vhu_buf *b);
