/* Lines of strace: who, when, and calls that are told in two parts. */
#include <ctype.h>
#include <errno.h>

#include "base/buf.h"
#include "strace_parse.h"

/* A call that was told in two parts: the first, until the second comes. */
struct pending {
	uint32_t tid;
	uint64_t t_ns;
	char *text;
	size_t len;
	bool makes, shares; /* a thread or a process; that has the same descriptors */
};

struct strace_reader {
	struct vhu_arena *arena;
	struct vhu_buf joined;
	struct pending *pending;
	size_t n_pending, cap_pending;
	uint64_t lines;
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
		/* A clock that is set back does not change the order of what happened. */
		*ret = value < 100000000 ? r->last_ns + ns : VHU_MAX(r->last_ns, ns);
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

/* What ends in this character; to behind it. */
static void pass(struct cursor *c, char end)
{
	while (c->p < c->end && *c->p != end)
		c->p++;
	c->p += c->p < c->end;
}

/* "[pid  123] ", "123  ", "123<name> ", times, also "(+ 0.1)", and numbers of calls or addresses in brackets.
 */
static void parse_prefix(struct strace_reader *r, struct cursor *c, struct strace_line *ret)
{
	uint64_t value;

	for (unsigned i = 0; i < 8; i++) {
		const char *from;
		size_t n;

		vhu_strace_skip_blanks(c);
		from = c->p;
		if (vhu_strace_at(c, "[")) {
			bool pid = vhu_strace_at(c, "[pid ");

			c->p += pid ? 5 : 1;
			vhu_strace_skip_blanks(c);
			n = digits(c, c->p, &value);
			if (pid && n)
				ret->tid = (uint32_t)value;
			pass(c, ']');
		} else if (vhu_strace_at(c, "(+")) {
			pass(c, ')');
		} else if (parse_time(r, c, &ret->t_ns)) {
			ret->timed = true;
		} else {
			c->p = from;
			n = digits(c, c->p, &value);
			if (!n)
				return;
			ret->tid = (uint32_t)value;
			c->p += n;
			if (vhu_strace_at(c, "<"))
				pass(c, '>');
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

/* Whether the call makes a thread or a process. */
static bool makes(const char *text, size_t len)
{
	static const char *const calls[] = {"clone(", "clone3(", "fork(", "vfork("};

	for (size_t i = 0; i < VHU_ARRAY_SIZE(calls); i++)
		if (len >= strlen(calls[i]) && !memcmp(text, calls[i], strlen(calls[i])))
			return true;
	return false;
}

static int keep_pending(struct strace_reader *r, const struct strace_line *line, const char *text, size_t len)
{
	static const char same_files[] = "CLONE_FILES";
	struct pending *p = find_pending(r, line->tid);

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
		*p = (struct pending){.tid = line->tid};
	}
	free(p->text);
	p->t_ns = line->t_ns;
	p->makes = makes(text, len);
	p->shares = p->makes && memmem(text, len, same_files, strlen(same_files));
	p->text = malloc(len + 1);
	p->len = p->text ? len : 0;
	if (!p->text)
		return -ENOMEM;
	memcpy(p->text, text, len);
	return 0;
}

/* Who is making whoever appears now. */
static void find_maker(const struct strace_reader *r, struct strace_line *ret)
{
	unsigned n = 0;

	for (size_t i = 0; i < r->n_pending; i++) {
		if (!r->pending[i].makes || r->pending[i].tid == ret->tid)
			continue;
		ret->maker = n++ ? 0 : r->pending[i].tid;
		ret->shares = r->pending[i].shares;
	}
}

/* The first part of the call and this second one, as one text. False if there is no first. */
static bool join(struct strace_reader *r, struct strace_line *line, struct cursor *c)
{
	static const char mark[] = " resumed>";
	struct pending *p = find_pending(r, line->tid);
	const char *rest = memmem(c->p, (size_t)(c->end - c->p), mark, strlen(mark));

	if (!p || !rest)
		return false;
	rest += strlen(mark);
	vhu_buf_reset(&r->joined);
	vhu_buf_add(&r->joined, p->text, p->len);
	vhu_buf_add(&r->joined, rest, (size_t)(c->end - rest));
	line->begun_ns = p->t_ns;
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

	if (vhu_strace_at(c, exited) && digits(c, c->p + strlen(exited), &value)) {
		ret->status = (int)(value & 0xff) << 8;
		return true;
	}
	if (!vhu_strace_at(c, killed))
		return false;
	c->p += strlen(killed);
	for (int i = 1; i < 32; i++) {
		const char *name = sigabbrev_np(i);

		if (name && vhu_strace_at(c, name) && !isalnum((unsigned char)c->p[strlen(name)]))
			ret->status = i;
	}
	return true;
}

/* "<0.000123>" at the end: how long the call took. */
static uint64_t parse_duration(const struct cursor *c)
{
	struct cursor in = {.p = memrchr(c->p, '<', (size_t)(c->end - c->p)), .end = c->end};
	uint64_t seconds;
	size_t n;

	if (!in.p || c->end[-1] != '>')
		return 0;
	n = digits(&in, ++in.p, &seconds);
	in.p += n;
	return n && vhu_strace_at(&in, ".")
		       ? VHU_MIN(seconds, UINT64_C(1) << 33) * UINT64_C(1000000000) + fraction(&in)
		       : 0;
}

/* "name(args) = ?": a call that never returned, and so did nothing that matters. */
static bool never_returned(const struct cursor *c)
{
	static const char mark[] = "= ?";

	return memmem(c->p, (size_t)(c->end - c->p), mark, strlen(mark));
}

/* The rest of a line that is no first part: 1 if it is a call. */
static int take_line(struct strace_reader *r, struct cursor *c, struct strace_line *ret)
{
	const bool second = vhu_strace_at(c, "<... ");
	const char *from;

	if (second && !join(r, ret, c))
		return 0;
	if (!second)
		ret->t_ns += parse_duration(c);
	from = c->p;
	if (vhu_strace_call(c, &ret->call))
		return 1;
	c->p = from;
	ret->broken = ret->call.name && !never_returned(c);
	return 0;
}

int vhu_strace_line(struct strace_reader *r, const char *line, size_t len, struct strace_line *ret,
		    struct vhu_err *err)
{
	static const char unfinished[] = "<unfinished ...>";
	const size_t mark = strlen(unfinished);
	struct cursor c = {.p = line, .end = line + len, .arena = r->arena};
	int is_call;

	vhu_arena_reset(r->arena);
	*ret = (struct strace_line){.t_ns = ++r->lines * 1000};
	while (c.end > c.p && isspace((unsigned char)c.end[-1]))
		c.end--;
	parse_prefix(r, &c, ret);
	ret->begun_ns = ret->t_ns;
	ret->ended = parse_end(&c, ret);
	if (ret->ended)
		return 1;
	if ((size_t)(c.end - c.p) > mark && !memcmp(c.end - mark, unfinished, mark)) {
		if (keep_pending(r, ret, c.p, (size_t)(c.end - c.p) - mark) < 0)
			return vhu_err_errno(err, -ENOMEM, "strace log");
		return 0;
	}
	find_maker(r, ret);
	is_call = take_line(r, &c, ret);
	/* A line of more values than any call has is no call either. */
	return c.no_memory && c.values <= STRACE_VALUES_MAX ? vhu_err_errno(err, -ENOMEM, "strace log")
							    : is_call;
}
