/* Text of others (stderr of a target, names in case files) made fit for a report. */
#include <string.h>

#include <jansson.h>

#include "impl.h"

static const char replacement[] = "\xef\xbf\xbd";	/* U+FFFD */

/* Bytes of the well-formed UTF-8 sequence at p, 0 if there is none; its code point in *ret. */
static size_t utf8_sequence(const uint8_t *p, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 :
		p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
	uint32_t c = n == 1 ? p[0] : n ? p[0] & (0x7fu >> n) : 0;

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (n > 1 && (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)))
		return 0;
	*ret = c;
	return n;
}

/* Terminals act on the control characters, XML refuses them and the two non-characters. */
static bool printable(uint32_t c)
{
	return c >= 0x20 && c != 0x7f && !(c >= 0x80 && c < 0xa0) && c != 0xfffe && c != 0xffff;
}

/* What begins or ends markup anywhere in a line. */
static const char *escaped_markdown(uint32_t c)
{
	switch (c) {
	case '\n':
	case '\t':
		return " ";
	case '<':
		return "&lt;";
	case '&':
		return "&amp;";
	case '|':
		return "\\|";
	case '*':
		return "\\*";
	case '_':
		return "\\_";
	case '`':
		return "\\`";
	case '[':
		return "\\[";
	case ']':
		return "\\]";
	case '#':
		return "\\#";
	case '\\':
		return "\\\\";
	}
	return NULL;
}

static const char *escaped(enum vhu_text_for how, uint32_t c)
{
	switch (how) {
	case VHU_TEXT_PLAIN:
		break;
	case VHU_TEXT_LINE:
		return c == '\n' || c == '\t' ? " " : NULL;
	case VHU_TEXT_XML:
		return c == '&'	  ? "&amp;"
		       : c == '<' ? "&lt;"
		       : c == '>' ? "&gt;"
		       : c == '"' ? "&quot;"
				  : NULL;
	case VHU_TEXT_MARKDOWN:
		return escaped_markdown(c);
	case VHU_TEXT_YAML:
		return c == '"' ? "\\\"" : c == '\\' ? "\\\\" : c == '\n' ? "\\n" : c == '\t' ? "\\t" : NULL;
	}
	return NULL;
}

void vhu_text_add(struct vhu_buf *out, enum vhu_text_for how, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;

	while (p && *p) {
		uint32_t c = 0;
		size_t n = utf8_sequence(p, &c);
		const char *instead;

		if (c == '\r' && p[1] == '\n') {
			p++;
			continue;
		}
		if (c == '\r')
			c = '\n';
		if (n == 0 || (!printable(c) && c != '\n' && c != '\t'))
			instead = replacement;
		else
			instead = escaped(how, c);
		if (instead)
			vhu_buf_puts(out, instead);
		else if (c == '\n')
			vhu_buf_puts(out, "\n");
		else
			vhu_buf_add(out, p, n);
		p += n ? n : 1;
	}
}

json_t *vhu_text_json(const char *text)
{
	struct vhu_buf clean = {0};
	json_t *j;

	vhu_text_add(&clean, VHU_TEXT_PLAIN, text);
	j = clean.failed ? NULL : json_string(vhu_buf_text(&clean));
	vhu_buf_done(&clean);
	return j;
}

void vhu_text_indent(struct vhu_buf *out, const char *indent, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (n)
			vhu_buf_puts(out, indent);
		vhu_buf_add(out, text, n);
		vhu_buf_puts(out, "\n");
		text += n + (text[n] == '\n');
	}
}
