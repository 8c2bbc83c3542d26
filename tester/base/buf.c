#include "base/buf.h"

#include <stdarg.h>
#include <string.h>

enum { BUF_FIRST_CAP = 64 };

void vhu_buf_done(struct vhu_buf *b)
{
	if (!b)
		return;
	free(b->data);
	*b = (struct vhu_buf){0};
}

void vhu_buf_reset(struct vhu_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

/* Room for `more` bytes and the terminator. */
static bool reserve(struct vhu_buf *b, size_t more)
{
	size_t need, cap = b->cap ? b->cap : BUF_FIRST_CAP;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, more, &need) || __builtin_add_overflow(need, 1, &need) ||
	    need > SIZE_MAX / 4) {
		b->failed = true;
		return false;
	}
	if (need <= b->cap)
		return true;
	while (cap < need)
		cap *= 2;

	char *data = realloc(b->data, cap);

	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

uint8_t *vhu_buf_more(struct vhu_buf *b, size_t len)
{
	char *more;

	if (!reserve(b, len))
		return NULL;
	more = b->data + b->len;
	b->len += len;
	b->data[b->len] = '\0';
	return (uint8_t *)more;
}

void vhu_buf_add(struct vhu_buf *b, const void *bytes, size_t len)
{
	uint8_t *more = len ? vhu_buf_more(b, len) : NULL;

	if (more)
		memcpy(more, bytes, len);
}

void vhu_buf_puts(struct vhu_buf *b, const char *text)
{
	vhu_buf_add(b, text, strlen(text));
}

void vhu_buf_printf(struct vhu_buf *b, const char *format, ...)
{
	va_list args;
	int n;

	if (b->failed)
		return;
	va_start(args, format);
	n = vsnprintf(b->cap ? b->data + b->len : NULL, b->cap - b->len, format, args);
	va_end(args);
	if (n > 0 && (size_t)n >= b->cap - b->len) {
		if (!reserve(b, (size_t)n)) {
			if (b->data)
				b->data[b->len] = '\0';
			return;
		}
		va_start(args, format);
		n = vsnprintf(b->data + b->len, b->cap - b->len, format, args);
		va_end(args);
	}
	if (n < 0)
		b->failed = true;
	else
		b->len += (size_t)n;
}

const char *vhu_buf_text(const struct vhu_buf *b)
{
	return b->data ? b->data : "";
}

char *vhu_buf_steal(struct vhu_buf *b)
{
	char *text = NULL;

	if (b->failed)
		free(b->data);
	else
		text = b->data ? b->data : calloc(1, 1);
	*b = (struct vhu_buf){0};
	return text;
}
