/* System calls as strace writes them. */
#include "strace_parse.h"

#include <ctype.h>
#include <errno.h>

enum { DEPTH_MAX = 16 };

static bool at_one_of(const struct cursor *c, const char *set)
{
	return c->p < c->end && *c->p && strchr(set, *c->p);
}

void vhu_strace_skip_blanks(struct cursor *c)
{
	while (at_one_of(c, " \t") || vhu_strace_at(c, "/*")) {
		if (*c->p++ != '/')
			continue;
		while (c->p < c->end && !vhu_strace_at(c, "*/"))
			c->p++;
		c->p += c->p < c->end ? 2 : 0;
	}
}

/* --- words and strings ------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character behind a backslash. */
static char unescape(struct cursor *c)
{
	static const char names[] = "ntvfr", values[] = "\n\t\v\f\r";
	unsigned value = 0, digits = 0;
	const char *name;

	if (c->end - c->p >= 3 && *c->p == 'x' && hex_digit(c->p[1]) >= 0 && hex_digit(c->p[2]) >= 0) {
		value = (unsigned)(hex_digit(c->p[1]) << 4 | hex_digit(c->p[2]));
		c->p += 3;
		return (char)value;
	}
	for (; digits < 3 && c->p < c->end && *c->p >= '0' && *c->p <= '7'; digits++)
		value = value * 8 + (unsigned)(*c->p++ - '0');
	if (digits)
		return (char)value;
	name = *c->p ? strchr(names, *c->p) : NULL;
	value = (unsigned char)(name ? values[name - names] : *c->p);
	c->p++;
	return (char)value;
}

/* Bytes up to `stop`, which is passed; a copy with a NUL behind it. */
static const char *take_bytes(struct cursor *c, const char *from, const char *to, size_t *ret_len)
{
	struct cursor in = {.p = from, .end = to};
	char *bytes = vhu_arena_alloc(c->arena, (size_t)(to - from) + 1);
	size_t n = 0;

	if (!bytes) {
		c->no_memory = true;
		return NULL;
	}
	while (in.p < in.end) {
		if (*in.p == '\\' && in.p + 1 < in.end) {
			in.p++;
			bytes[n++] = unescape(&in);
		} else {
			bytes[n++] = *in.p++;
		}
	}
	*ret_len = n;
	return bytes;
}

/* To behind the closing quote; what is between them. */
static void pass_string(struct cursor *c, const char **from, const char **to)
{
	*from = ++c->p;
	while (c->p < c->end && *c->p != '"')
		c->p += *c->p == '\\' && c->p + 1 < c->end ? 2 : 1;
	*to = c->p;
	if (c->p < c->end)
		c->p++;
}

/* What stands in <> behind a descriptor: may hold "->", strings, and <> of its own. */
static const char *take_note(struct cursor *c)
{
	const char *from = c->p + 1, *a, *b;
	unsigned depth = 0;
	size_t len;

	while (c->p < c->end) {
		if (*c->p == '"') {
			pass_string(c, &a, &b);
			continue;
		}
		if (*c->p == '<')
			depth++;
		else if (*c->p == '>' && c->p[-1] != '-' && --depth == 0)
			break;
		c->p++;
	}
	if (c->p == c->end)
		return NULL;
	return take_bytes(c, from, c->p++, &len);
}

/* --- values ----------------------------------------------------------------------------------------- */

static struct strace_value *parse_value(struct cursor *c);

static struct strace_value *make(struct cursor *c, enum strace_kind kind)
{
	struct strace_value *v =
		++c->values > STRACE_VALUES_MAX ? NULL : vhu_arena_alloc(c->arena, sizeof(*v));

	if (!v) {
		c->no_memory = true;
		return NULL;
	}
	v->kind = kind;
	v->text = "";
	return v;
}

static struct strace_value *parse_string(struct cursor *c)
{
	struct strace_value *v = make(c, STRACE_STRING);
	const char *from, *to;

	if (!v)
		return NULL;
	pass_string(c, &from, &to);
	v->text = take_bytes(c, from, to, &v->len);
	if (vhu_strace_at(c, "...")) {
		v->cut = true;
		c->p += 3;
	}
	return v->text ? v : NULL;
}

/* "name=" or "name(3)=" before a member; NULL if it has none. */
static const char *parse_name(struct cursor *c)
{
	const char *p = c->p, *end;
	size_t len;

	while (p < c->end && (isalnum((unsigned char)*p) || *p == '_'))
		p++;
	end = p;
	if (p < c->end && *p == '(') {
		while (p < c->end && *p != ')')
			p++;
		p += p < c->end;
	}
	if (end == c->p || p + 1 >= c->end || *p != '=' || p[1] == '>')
		return NULL;

	const char *name = take_bytes(c, c->p, end, &len);

	c->p = p + 1;
	return name;
}

/* Elements up to the closing bracket. */
static struct strace_value *parse_elements(struct cursor *c, enum strace_kind kind, char close)
{
	struct strace_value *v = make(c, kind), **last = v ? &v->first : NULL;

	if (!v || ++c->depth > DEPTH_MAX)
		return NULL;
	for (;;) {
		const char *name = NULL;

		vhu_strace_skip_blanks(c);
		if (c->p == c->end)
			return NULL;
		if (*c->p == close || *c->p == ',') {
			if (*c->p++ == close)
				break;
			continue;
		}
		/* A bracket that closes something else: nothing of this is understood. */
		if (at_one_of(c, ")]}"))
			return NULL;
		if (kind == STRACE_STRUCT || close == ')')
			name = parse_name(c);
		*last = parse_value(c);
		if (!*last)
			return NULL;
		(*last)->name = name;
		if ((*last)->kind == STRACE_WORD && !strcmp((*last)->text, "..."))
			v->cut = true;
		last = &(*last)->next;
	}
	c->depth--;
	return v;
}

static bool ends_word(const struct cursor *c)
{
	return c->p == c->end || at_one_of(c, ",)]} \t[{\"<");
}

static struct strace_value *parse_word(struct cursor *c)
{
	struct strace_value *v = make(c, STRACE_WORD);
	const char *from = c->p;

	if (!v)
		return NULL;
	while (!ends_word(c)) {
		/* makedev(0x8, 0x1) and the like */
		if (*c->p == '(')
			while (c->p + 1 < c->end && *c->p != ')')
				c->p++;
		c->p++;
	}
	v->text = take_bytes(c, from, c->p, &v->len);
	if (c->p < c->end && *c->p == '<' && c->p > from)
		v->note = take_note(c);
	return v->text ? v : NULL;
}

static struct strace_value *parse_one(struct cursor *c)
{
	switch (*c->p) {
	case '"':
		return parse_string(c);
	case '[':
		c->p++;
		return parse_elements(c, STRACE_LIST, ']');
	case '{':
		c->p++;
		return parse_elements(c, STRACE_STRUCT, '}');
	default:
		return parse_word(c);
	}
}

/* A value, and what stands behind it up to the next comma or bracket: "=> VALUE" is what it became. */
static struct strace_value *parse_value(struct cursor *c)
{
	struct strace_value *v = parse_one(c), *more;

	while (v) {
		const char *before = c->p;

		vhu_strace_skip_blanks(c);
		if (c->p == c->end || at_one_of(c, ",)]}"))
			return v;
		if (vhu_strace_at(c, "=>")) {
			c->p += 2;
			vhu_strace_skip_blanks(c);
			if (c->p == c->end || at_one_of(c, ",)]}"))
				return v;
			v = parse_one(c);
			continue;
		}
		more = parse_one(c);
		if (!more)
			return NULL;
		/* @"name": a socket that is in no folder. */
		if (v->kind == STRACE_WORD && !strcmp(v->text, "@") && more->kind == STRACE_STRING)
			v = more;
		if (c->p == before)
			c->p++;
	}
	return NULL;
}

/* --- calls ------------------------------------------------------------------------------------------ */

static int error_by_name(const char *name, size_t len)
{
	for (int i = 1; i < 134; i++) {
		const char *known = strerrorname_np(i);

		if (known && strlen(known) == len && !memcmp(known, name, len))
			return i;
	}
	return 0;
}

/* " = 12<note> ENAME (text) <0.000123>" */
static bool parse_result(struct cursor *c, struct strace_call *ret)
{
	char number[32];
	const char *from;
	char *end;
	size_t n = 0;

	vhu_strace_skip_blanks(c);
	if (!vhu_strace_at(c, "="))
		return false;
	c->p++;
	vhu_strace_skip_blanks(c);
	while (c->p < c->end && n < sizeof(number) - 1 && (isalnum((unsigned char)*c->p) || *c->p == '-'))
		number[n++] = *c->p++;
	number[n] = '\0';
	errno = 0;
	ret->result = strtoll(number, &end, 0);
	if (!n || *end || errno)
		return false;
	if (c->p < c->end && *c->p == '<')
		ret->result_note = take_note(c);
	vhu_strace_skip_blanks(c);
	from = c->p;
	while (c->p < c->end && isupper((unsigned char)*c->p))
		c->p++;
	if (ret->result == -1)
		ret->error = error_by_name(from, (size_t)(c->p - from));
	return true;
}

bool vhu_strace_call(struct cursor *c, struct strace_call *ret)
{
	const char *from = c->p;
	size_t len;

	*ret = (struct strace_call){0};
	while (c->p < c->end && (isalnum((unsigned char)*c->p) || *c->p == '_'))
		c->p++;
	if (c->p == from || c->p == c->end || *c->p != '(')
		return false;
	ret->name = take_bytes(c, from, c->p++, &len);
	ret->args = parse_elements(c, STRACE_LIST, ')');
	return ret->name && ret->args && parse_result(c, ret);
}

const struct strace_value *vhu_strace_arg(const struct strace_call *c, unsigned i)
{
	const struct strace_value *v = c->args ? c->args->first : NULL;

	while (v && i--)
		v = v->next;
	return v;
}

const struct strace_value *vhu_strace_member(const struct strace_value *v, const char *name)
{
	if (!v || v->kind != STRACE_STRUCT)
		return NULL;
	for (v = v->first; v; v = v->next)
		if (v->name && !strcmp(v->name, name))
			return v;
	return NULL;
}

bool vhu_strace_number(const struct strace_value *v, int64_t *ret)
{
	char *end;

	if (!v || v->kind != STRACE_WORD || !v->len)
		return false;
	errno = 0;
	*ret = strtoll(v->text, &end, 0);
	return !*end && !errno;
}

bool vhu_strace_is(const struct strace_value *v, const char *name, int64_t number)
{
	int64_t is;

	return v && v->kind == STRACE_WORD &&
	       (vhu_strace_number(v, &is) ? is == number : !strcmp(v->text, name));
}

bool vhu_strace_has(const struct strace_value *v, const char *flag, int64_t bit)
{
	size_t len = strlen(flag);
	int64_t is;

	if (!v || v->kind != STRACE_WORD)
		return false;
	if (vhu_strace_number(v, &is))
		return is & bit;
	for (const char *p = strstr(v->text, flag); p; p = strstr(p + 1, flag))
		if ((p == v->text || p[-1] == '|') && (!p[len] || p[len] == '|'))
			return true;
	return false;
}
