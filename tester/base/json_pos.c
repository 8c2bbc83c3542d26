/*
 * Walks a text that jansson accepted. It is still treated as any text: nothing is read
 * beyond its end, whatever it holds, and nesting costs no stack.
 */
#include "base/json_pos.h"

#include <string.h>

struct scanner {
	const char *text;
	size_t len, at;
};

struct place {
	size_t key; /* offset of the member's key; of the value where there is none */
	size_t value;
};

static bool space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_space(struct scanner *s)
{
	while (s->at < s->len && space(s->text[s->at]))
		s->at++;
}

/* What comes next behind white space; NUL at the end. */
static char peek(struct scanner *s)
{
	skip_space(s);
	return s->at < s->len ? s->text[s->at] : '\0';
}

static bool take(struct scanner *s, char c)
{
	if (peek(s) != c)
		return false;
	s->at++;
	return true;
}

/* Over a string, from its opening quote. */
static void skip_string(struct scanner *s)
{
	for (s->at++; s->at < s->len && s->text[s->at] != '"'; s->at++)
		if (s->text[s->at] == '\\')
			s->at++;
	s->at = VHU_MIN(s->at + 1, s->len);
}

/* Over a value of any kind, from its first character. */
static void skip_value(struct scanner *s)
{
	size_t depth = 0;

	while (s->at < s->len) {
		char c = s->text[s->at];

		if (c == '"') {
			skip_string(s);
			if (!depth)
				return;
			continue;
		}
		if (!depth && (c == ',' || c == '}' || c == ']' || space(c)))
			return;
		s->at++;
		if (c == '{' || c == '[')
			depth++;
		else if ((c == '}' || c == ']') && --depth == 0)
			return;
	}
}

/* --- keys ------------------------------------------------------------------------------------ */

static uint32_t hex4(const struct scanner *s, size_t at)
{
	uint32_t value = 0;

	for (size_t i = at; i < at + 4; i++) {
		char c = i < s->len ? s->text[i] : '0';
		uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : ((uint32_t)c | 0x20) - 'a' + 10;

		value = value << 4 | (digit & 15);
	}
	return value;
}

static size_t utf8(uint32_t code, char out[4])
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3f));
	out[0] = (char)((0xf00 >> n & 0xf0) | code);
	return n;
}

/* One character of a string as the bytes it means; moves over it. */
static size_t next_character(struct scanner *s, char out[4])
{
	static const char names[] = "bfnrt", means[] = "\b\f\n\r\t";
	char c = s->text[s->at++];

	out[0] = c;
	if (c != '\\' || s->at >= s->len)
		return 1;
	c = s->text[s->at++];
	if (c == 'u') {
		uint32_t code = hex4(s, s->at);

		s->at = VHU_MIN(s->at + 4, s->len);
		if (code >= 0xd800 && code < 0xdc00 && s->at + 6 <= s->len) {
			/* The other half of the pair follows as \uXXXX. */
			code = 0x10000 + ((code - 0xd800) << 10) + (hex4(s, s->at + 2) & 0x3ff);
			s->at += 6;
		}
		return utf8(code, out);
	}
	const char *name = memchr(names, c, sizeof(names) - 1);

	out[0] = name ? means[name - names] : c;
	return 1;
}

/* One character of a path's token, ~0 and ~1 resolved. */
static char token_character(const char **token)
{
	char c = *(*token)++;

	if (c != '~' || (**token != '0' && **token != '1'))
		return c;
	return *(*token)++ == '0' ? '~' : '/';
}

/* Whether the string at the scanner is what the token says; moves over the string. */
static bool key_matches(struct scanner *s, const char *token, const char *end)
{
	struct scanner walk = *s;
	bool same = true;

	skip_string(s);
	for (walk.at++; same && walk.at + 1 < s->at;) {
		char bytes[4];
		size_t n = next_character(&walk, bytes);

		for (size_t i = 0; same && i < n; i++)
			same = token < end && token_character(&token) == bytes[i];
	}
	return same && token == end;
}

/* --- steps down ------------------------------------------------------------------------------ */

/* The member that the token names. With a key twice, jansson keeps the last. */
static bool find_member(struct scanner *s, const char *token, const char *end, struct place *ret)
{
	bool found = false;

	s->at++;
	while (peek(s) == '"') {
		size_t key = s->at;
		bool match = key_matches(s, token, end);

		if (!take(s, ':'))
			break;
		skip_space(s);
		if (match) {
			*ret = (struct place){key, s->at};
			found = true;
		}
		skip_value(s);
		if (!take(s, ','))
			break;
	}
	return found;
}

static bool find_element(struct scanner *s, const char *token, const char *end, struct place *ret)
{
	uint64_t index = 0;

	if (token == end || (*token == '0' && end - token > 1))
		return false;
	for (; token < end; token++) {
		if (*token < '0' || *token > '9' || index > UINT32_MAX)
			return false;
		index = index * 10 + (uint64_t)(*token - '0');
	}
	s->at++;
	for (uint64_t i = 0; peek(s) && peek(s) != ']'; i++) {
		if (i == index) {
			*ret = (struct place){s->at, s->at};
			return true;
		}
		skip_value(s);
		if (!take(s, ','))
			break;
	}
	return false;
}

static struct vhu_json_pos position(const char *text, size_t at)
{
	struct vhu_json_pos pos = {.line = 1, .column = 1};

	for (size_t i = 0; i < at; i++) {
		pos.column++;
		if (text[i] == '\n') {
			pos.line++;
			pos.column = 1;
		}
	}
	return pos;
}

bool vhu_json_find(const char *text, size_t len, const char *path, bool key, struct vhu_json_pos *ret)
{
	struct scanner s = {.text = text, .len = len};
	bool found = true;

	skip_space(&s);
	struct place here = {s.at, s.at};

	while (found && *path) {
		const char *token = path + 1, *end;

		if (*path != '/') {
			found = false;
			break;
		}
		end = token + strcspn(token, "/");
		s.at = here.value;
		char kind = peek(&s);

		if (kind == '{')
			found = find_member(&s, token, end, &here);
		else if (kind == '[')
			found = find_element(&s, token, end, &here);
		else
			found = false;
		path = end;
	}
	*ret = position(text, found && key ? here.key : here.value);
	return found;
}
