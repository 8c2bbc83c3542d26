#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* A cut may have gone through a UTF-8 sequence; reports want whole characters. */
static void trim_partial_character(char *text)
{
	size_t len = strlen(text), start = len;

	while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (!start)
		return;

	unsigned char lead = (unsigned char)text[start - 1];
	size_t want = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;

	if (len - (start - 1) < want)
		text[start - 1] = '\0';
}

/* Built aside, because the arguments may point into err->text. */
static void keep_text(struct vhu_err *err, const char *text, size_t would_be)
{
	strcpy(err->text, text);
	if (would_be >= sizeof(err->text))
		trim_partial_character(err->text);
}

static size_t append(char *text, size_t cap, size_t len, const char *format, va_list args) VHU_PRINTF(4, 0);

static size_t append(char *text, size_t cap, size_t len, const char *format, va_list args)
{
	int n = vsnprintf(len < cap ? text + len : NULL, len < cap ? cap - len : 0, format, args);

	return len + (n > 0 ? (size_t)n : 0);
}

static size_t append_text(char *text, size_t cap, size_t len, const char *more)
{
	size_t n = strlen(more);

	if (len < cap) {
		size_t fits = VHU_MIN(n, cap - 1 - len);

		memcpy(text + len, more, fits);
		text[len + fits] = '\0';
	}
	return len + n;
}

static void set(struct vhu_err *err, int code, const char *more, const char *format, va_list args)
	VHU_PRINTF(4, 0);

/* The formatted text, and behind it what `more` says, if anything. */
static void set(struct vhu_err *err, int code, const char *more, const char *format, va_list args)
{
	char text[sizeof(err->text)] = "";
	size_t len = append(text, sizeof(text), 0, format, args);

	if (more) {
		len = append_text(text, sizeof(text), len, ": ");
		len = append_text(text, sizeof(text), len, more);
	}
	err->code = code;
	keep_text(err, text, len);
}

int vhu_err_set(struct vhu_err *err, int code, const char *format, ...)
{
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	set(err, code, NULL, format, args);
	va_end(args);
	return code;
}

int vhu_err_errno(struct vhu_err *err, int code, const char *format, ...)
{
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	set(err, code, strerror(-code), format, args);
	va_end(args);
	return code;
}

int vhu_err_prefix(struct vhu_err *err, const char *format, ...)
{
	va_list args;

	/* Called on failing paths only: without a place for the code, it is still a failure. */
	if (!err)
		return -EIO;
	va_start(args, format);
	set(err, err->code, err->text[0] ? err->text : NULL, format, args);
	va_end(args);
	return err->code;
}
