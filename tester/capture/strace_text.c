#include "strace_text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"

enum {
	DEPTH_MAX = 16,
	VALUES_MAX = 100000, /* of one line */
};

/* A walk over one call. */
struct cursor {
	const char *p, *end;
	struct vhu_arena *arena;
	unsigned depth, values;
	bool no_memory;
};

static bool at(const struct cursor *c, const char *text)
{
	size_t len = strlen(text);

	return (size_t)(c->end - c->p) >= len && !memcmp(c->p, text, len);
}

static bool at_one_of(const struct cursor *c, const char *set)
{
	return c->p < c->end && *c->p && strchr(set, *c->p);
}

static void skip_blanks(struct cursor *c)
{
	while (at_one_of(c, " \t") || at(c, "/*")) {
		if (*c->p++ != '/')
			continue;
		while (c->p < c->end && !at(c, "*/"))
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
	struct strace_value *v = ++c->values > VALUES_MAX ? NULL : vhu_arena_alloc(c->arena, sizeof(*v));

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
	if (at(c, "...")) {
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

		skip_blanks(c);
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
		if (kind == STRACE_STRUCT)
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

		skip_blanks(c);
		if (c->p == c->end || at_one_of(c, ",)]}"))
			return v;
		if (at(c, "=>")) {
			c->p += 2;
			skip_blanks(c);
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

	skip_blanks(c);
	if (!at(c, "="))
		return false;
	c->p++;
	skip_blanks(c);
	while (c->p < c->end && n < sizeof(number) - 1 && (isalnum((unsigned char)*c->p) || *c->p == '-'))
		number[n++] = *c->p++;
	number[n] = '\0';
	errno = 0;
	ret->result = strtoll(number, &end, 0);
	if (!n || *end || errno)
		return false;
	if (c->p < c->end && *c->p == '<')
		ret->result_note = take_note(c);
	skip_blanks(c);
	from = c->p;
	while (c->p < c->end && isupper((unsigned char)*c->p))
		c->p++;
	if (ret->result == -1)
		ret->error = error_by_name(from, (size_t)(c->p - from));
	return true;
}

/* "name(args) = result": false if it is not. */
static bool parse_call(struct cursor *c, struct strace_call *ret)
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

bool vhu_strace_has(const struct strace_value *v, const char *flag)
{
	size_t len = strlen(flag);

	if (!v || v->kind != STRACE_WORD)
		return false;
	for (const char *p = strstr(v->text, flag); p; p = strstr(p + 1, flag))
		if ((p == v->text || p[-1] == '|') && (!p[len] || p[len] == '|'))
			return true;
	return false;
}

/* --- lines ------------------------------------------------------------------------------------------ */

/* A call that was told in two parts: the first, until the second comes. */
struct pending {
	uint32_t tid;
	char *text;
	size_t len;
};

struct strace_reader {
	struct vhu_arena *arena;
	struct vhu_buf joined;
	struct pending *pending;
	size_t n_pending, cap_pending;
	uint64_t last_ns; /* for times that are told as differences, and days that end */
};

int vhu_strace_new(struct strace_reader **ret, struct vhu_err *err)
{
	struct strace_reader *r = calloc(1, sizeof(*r));

	if (r)
		r->arena = vhu_arena_new();
	if (!r || !r->arena) {
		free(r);
		return vhu_err_errno(err, -ENOMEM, "strace log");
	}
	*ret = r;
	return 0;
}

void vhu_strace_free(struct strace_reader *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n_pending; i++)
		free(r->pending[i].text);
	free(r->pending);
	vhu_buf_done(&r->joined);
	vhu_arena_free(r->arena);
	free(r);
}

/* Digits: how many there are, their value (as far as it fits). */
static size_t digits(const struct cursor *c, const char *p, uint64_t *ret)
{
	size_t n = 0;

	for (*ret = 0; p + n < c->end && isdigit((unsigned char)p[n]); n++)
		*ret = *ret > UINT64_MAX / 20 ? *ret : *ret * 10 + (uint64_t)(p[n] - '0');
	return n;
}

/* ".123456" as nanoseconds. */
static uint64_t fraction(struct cursor *c)
{
	uint64_t ns = 0, unit = 100000000;

	if (c->p == c->end || *c->p != '.')
		return 0;
	for (c->p++; c->p < c->end && isdigit((unsigned char)*c->p); c->p++, unit /= 10)
		ns += (uint64_t)(*c->p - '0') * unit;
	return ns;
}

/* "16:33:51.1", "1795278830.3", or "0.000021" since the line before. False if there is no time. */
static bool parse_time(struct strace_reader *r, struct cursor *c, uint64_t *ret)
{
	const uint64_t second = UINT64_C(1000000000), day = 86400 * second;
	uint64_t value, part, ns;
	size_t n = digits(c, c->p, &value);

	if (!n || c->p + n == c->end)
		return false;
	if (c->p[n] == '.') {
		c->p += n;
		ns = VHU_MIN(value, UINT64_C(1) << 33) * second + fraction(c);
		*ret = value < 100000000 ? r->last_ns + ns : ns;
	} else if (c->p[n] == ':') {
		for (unsigned i = 0; i < 2; i++) {
			c->p += n + 1;
			n = digits(c, c->p, &part);
			if (!n || (c->p + n < c->end && i == 0 && c->p[n] != ':'))
				return false;
			value = VHU_MIN(value, (uint64_t)1000000) * 60 + VHU_MIN(part, (uint64_t)60);
		}
		c->p += n;
		ns = value * second + fraction(c);
		ns += r->last_ns / day * day;
		*ret = ns + day / 2 < r->last_ns ? ns + day : ns;
	} else {
		return false;
	}
	r->last_ns = *ret;
	return true;
}

/* "[pid  123] ", "123  ", times, and numbers of calls or addresses in brackets. */
static void parse_prefix(struct strace_reader *r, struct cursor *c, struct strace_line *ret)
{
	uint64_t value;

	for (unsigned i = 0; i < 6; i++) {
		const char *from;
		size_t n;

		skip_blanks(c);
		from = c->p;
		if (at(c, "[")) {
			bool pid = at(c, "[pid ");

			c->p += pid ? 5 : 1;
			skip_blanks(c);
			n = digits(c, c->p, &value);
			if (pid && n)
				ret->tid = (uint32_t)value;
			while (c->p < c->end && *c->p != ']')
				c->p++;
			c->p += c->p < c->end;
		} else if (parse_time(r, c, &ret->t_ns)) {
			continue;
		} else {
			c->p = from;
			n = digits(c, c->p, &value);
			if (!n)
				return;
			ret->tid = (uint32_t)value;
			c->p += n;
		}
	}
}

static struct pending *find_pending(struct strace_reader *r, uint32_t tid)
{
	for (size_t i = 0; i < r->n_pending; i++)
		if (r->pending[i].tid == tid)
			return &r->pending[i];
	return NULL;
}

static int keep_pending(struct strace_reader *r, uint32_t tid, const char *text, size_t len)
{
	struct pending *p = find_pending(r, tid);

	if (!p && r->n_pending == STRACE_TIDS_MAX)
		return 0;
	if (!p && r->n_pending == r->cap_pending) {
		size_t cap = r->cap_pending ? r->cap_pending * 2 : 16;
		struct pending *grown = reallocarray(r->pending, cap, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->pending = grown;
		r->cap_pending = cap;
	}
	if (!p) {
		p = &r->pending[r->n_pending++];
		*p = (struct pending){.tid = tid};
	}
	free(p->text);
	p->text = malloc(len + 1);
	p->len = p->text ? len : 0;
	if (!p->text)
		return -ENOMEM;
	memcpy(p->text, text, len);
	return 0;
}

/* The first part of the call and this second one, as one text. False if there is no first. */
static bool join(struct strace_reader *r, uint32_t tid, struct cursor *c)
{
	static const char mark[] = " resumed>";
	struct pending *p = find_pending(r, tid);
	const char *rest = memmem(c->p, (size_t)(c->end - c->p), mark, strlen(mark));

	if (!p || !rest)
		return false;
	rest += strlen(mark);
	vhu_buf_reset(&r->joined);
	vhu_buf_add(&r->joined, p->text, p->len);
	vhu_buf_add(&r->joined, rest, (size_t)(c->end - rest));
	free(p->text);
	*p = r->pending[--r->n_pending];
	if (r->joined.failed) {
		c->no_memory = true;
		return false;
	}
	c->p = vhu_buf_text(&r->joined);
	c->end = c->p + r->joined.len;
	return true;
}

/* "+++ exited with 0 +++", "+++ killed by SIGKILL +++" */
static bool parse_end(struct cursor *c, struct strace_line *ret)
{
	static const char exited[] = "+++ exited with ", killed[] = "+++ killed by SIG";
	uint64_t value;

	if (at(c, exited) && digits(c, c->p + strlen(exited), &value)) {
		ret->status = (int)(value & 0xff) << 8;
		return true;
	}
	if (!at(c, killed))
		return false;
	c->p += strlen(killed);
	for (int i = 1; i < 32; i++) {
		const char *name = sigabbrev_np(i);

		if (name && at(c, name) && !isalnum((unsigned char)c->p[strlen(name)]))
			ret->status = i;
	}
	return true;
}

int vhu_strace_line(struct strace_reader *r, const char *line, size_t len, struct strace_line *ret,
		    struct vhu_err *err)
{
	static const char unfinished[] = "<unfinished ...>";
	const size_t mark = strlen(unfinished);
	struct cursor c = {.p = line, .end = line + len, .arena = r->arena};
	bool is_call;

	vhu_arena_reset(r->arena);
	*ret = (struct strace_line){0};
	while (c.end > c.p && isspace((unsigned char)c.end[-1]))
		c.end--;
	parse_prefix(r, &c, ret);
	ret->ended = parse_end(&c, ret);
	if (ret->ended)
		return 1;
	if ((size_t)(c.end - c.p) > mark && !memcmp(c.end - mark, unfinished, mark)) {
		if (keep_pending(r, ret->tid, c.p, (size_t)(c.end - c.p) - mark) < 0)
			return vhu_err_errno(err, -ENOMEM, "strace log");
		return 0;
	}
	if (at(&c, "<... ") && !join(r, ret->tid, &c))
		return c.no_memory ? vhu_err_errno(err, -ENOMEM, "strace log") : 0;
	is_call = parse_call(&c, &ret->call);
	/* A line of more values than any call has is no call either. */
	return c.no_memory && c.values <= VALUES_MAX ? vhu_err_errno(err, -ENOMEM, "strace log") : is_call;
}
