#include "cli/options.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

enum {
	HELP_WIDTH = 100,
	HELP_COLUMN = 30,
	LONG_VALUE = 1000,		/* getopt's value for row i is this plus i */
};

/* --- look-ups -------------------------------------------------------------------------------- */

const struct vhu_option *vhu_option_at(const struct vhu_option_table *t, size_t i)
{
	for (size_t p = 0; p < t->n_parts; p++) {
		if (i < t->parts[p]->n)
			return &t->parts[p]->rows[i];
		i -= t->parts[p]->n;
	}
	return NULL;
}

const struct vhu_option *vhu_option_by_name(const struct vhu_option_table *t, const char *name)
{
	const struct vhu_option *o;

	for (size_t i = 0; (o = vhu_option_at(t, i)); i++)
		if (!strcmp(o->name, name))
			return o;
	return NULL;
}

static const struct vhu_option *by_letter(const struct vhu_option_table *t, int letter)
{
	const struct vhu_option *o;

	for (size_t i = 0; (o = vhu_option_at(t, i)); i++)
		if (o->letter && o->letter == letter)
			return o;
	return NULL;
}

static const char *name_at(void *ctx, size_t i)
{
	const struct vhu_option *o = vhu_option_at(ctx, i);

	return o ? o->name : NULL;
}

static int takes(const struct vhu_option *o)
{
	return !o->arg ? no_argument : o->arg[0] == '[' ? optional_argument : required_argument;
}

/* --- words ----------------------------------------------------------------------------------- */

void vhu_words_done(struct vhu_words *w)
{
	free(w->items);
	*w = (struct vhu_words){0};
}

int vhu_words_add(struct vhu_words *w, const char *item, struct vhu_err *err)
{
	const char **items = reallocarray(w->items, w->n + 1, sizeof(*items));

	if (!items)
		return vhu_err_errno(err, -ENOMEM, "%s", item);
	w->items = items;
	items[w->n++] = item;
	return 0;
}

void vhu_parsed_done(struct vhu_parsed *p)
{
	free(p->given);
	vhu_words_done(&p->rest);
	*p = (struct vhu_parsed){0};
}

bool vhu_parsed_has(const struct vhu_parsed *p, const char *name)
{
	for (size_t i = 0; i < p->n_given; i++)
		if (!strcmp(p->given[i].option->name, name))
			return true;
	return false;
}

static int remember(struct vhu_parsed *p, const struct vhu_option *o, const char *arg, struct vhu_err *err)
{
	struct vhu_given *given = reallocarray(p->given, p->n_given + 1, sizeof(*given));

	if (!given)
		return vhu_err_errno(err, -ENOMEM, "--%s", o->name);
	p->given = given;
	given[p->n_given++] = (struct vhu_given){.option = o, .arg = arg};
	return 0;
}

/* --- values ---------------------------------------------------------------------------------- */

static const char *device_at(void *ctx, size_t i)
{
	return i < VHU_DEV_MAX ? vhu_device_row((enum vhu_device)i)->name : i == VHU_DEV_MAX ? ctx : NULL;
}

int vhu_device_option(const char *arg, const char *other, enum vhu_device *ret, struct vhu_err *err)
{
	const struct vhu_device_row *row = vhu_device_by_name(arg);
	struct vhu_buf names = {0};
	const char *near, *name;

	if (row) {
		*ret = row->device;
		return 0;
	}
	near = vhu_nearest_name(arg, device_at, (void *)other);
	for (size_t i = 0; (name = device_at((void *)other, i)); i++)
		vhu_buf_printf(&names, " %s", name);
	vhu_err_set(err, -EINVAL, "there is no device '%s'\n  %s%s%sknown:%s", arg,
		    near ? "did you mean '" : "", near ? near : "", near ? "'? " : "", vhu_buf_text(&names));
	vhu_buf_done(&names);
	return -EINVAL;
}

int vhu_size_parse(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	char digits[32];
	size_t len = strlen(text);
	unsigned shift = 0;
	uint64_t value;
	int code;

	if (len == 0 || len >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, len + 1);
	for (unsigned i = 0; i < sizeof(units) - 1; i++)
		if ((digits[len - 1] & ~0x20) == units[i])
			shift = 10 * (i + 1);
	if (shift)
		digits[len - 1] = '\0';
	code = vhu_u64_parse(digits, &value);
	if (code < 0)
		return code;
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = value << shift;
	return 0;
}

static int set_number(const struct vhu_option *o, uint64_t *to, const char *arg, struct vhu_err *err)
{
	bool size = o->kind == VHU_OPTION_SIZE;
	uint64_t value;
	int code = size ? vhu_size_parse(arg, &value) : vhu_u64_parse(arg, &value);

	if (code == 0 && value >= o->min && value <= o->max) {
		*to = value;
		return 0;
	}
	return vhu_err_set(err, -EINVAL, "--%s: '%s' is no %s from %llu to %llu", o->name, arg,
			   size ? "size" : "number", (unsigned long long)o->min, (unsigned long long)o->max);
}

static int set_value(const struct vhu_option *o, void *opts, const char *arg, struct vhu_err *err)
{
	void *to = (char *)opts + o->offset;
	int code;

	switch (o->kind) {
	case VHU_OPTION_FLAG:
		*(bool *)to = true;
		return 0;
	case VHU_OPTION_COUNT:
		(*(unsigned *)to)++;
		return 0;
	case VHU_OPTION_TEXT:
		if (!*arg)
			return vhu_err_set(err, -EINVAL, "--%s: %s is empty", o->name, o->arg);
		*(const char **)to = arg;
		return 0;
	case VHU_OPTION_NUMBER:
	case VHU_OPTION_SIZE:
		return set_number(o, to, arg, err);
	case VHU_OPTION_LIST:
		return vhu_words_add(to, arg, err);
	case VHU_OPTION_CALL:
		code = o->set(opts, arg, err);
		return code < 0 ? vhu_err_prefix(err, "--%s", o->name) : 0;
	}
	return 0;
}

/* --- parsing --------------------------------------------------------------------------------- */

static int complain(const struct vhu_option_table *t, int what, int letter, const char *word,
		    struct vhu_err *err)
{
	const struct vhu_option *o = letter >= LONG_VALUE ? vhu_option_at(t, (size_t)(letter - LONG_VALUE)) :
		by_letter(t, letter);
	char name[64];
	const char *near;

	if (o && what == ':')
		return vhu_err_set(err, -EINVAL, "--%s: %s is missing", o->name, o->arg);
	if (o)
		return vhu_err_set(err, -EINVAL, "--%s: takes no argument", o->name);
	if (letter)
		return vhu_err_set(err, -EINVAL, "-%c: there is no such option\n  '%s --help' lists them",
				   letter, t->program);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	near = vhu_nearest_name(name, name_at, (void *)t);
	if (near)
		return vhu_err_set(err, -EINVAL, "--%s: there is no such option\n  did you mean '--%s'?",
				   name, near);
	return vhu_err_set(err, -EINVAL, "--%s: there is no such option, or more than one begins so\n"
			   "  '%s --help' lists them", name, t->program);
}

struct getopt_form {
	struct option *longs;
	char *shorts;
};

static void form_done(struct getopt_form *f)
{
	free(f->longs);
	free(f->shorts);
}

static int make_form(const struct vhu_option_table *t, struct getopt_form *f, struct vhu_err *err)
{
	const struct vhu_option *o;
	size_t n = 0;
	char *s;

	while (vhu_option_at(t, n))
		n++;
	f->longs = calloc(n + 1, sizeof(*f->longs));
	f->shorts = malloc(3 * n + 2);
	if (!f->longs || !f->shorts)
		return vhu_err_errno(err, -ENOMEM, "%s", t->program);
	s = f->shorts;
	*s++ = ':';			/* a missing argument is told apart from an unknown option */
	for (size_t i = 0; (o = vhu_option_at(t, i)); i++) {
		f->longs[i] =
			(struct option){.name = o->name, .has_arg = takes(o), .val = LONG_VALUE + (int)i};
		if (!o->letter)
			continue;
		*s++ = o->letter;
		for (int colons = takes(o); colons > 0; colons--)
			*s++ = ':';
	}
	*s = '\0';
	return 0;
}

static int parse(const struct vhu_option_table *t, const struct getopt_form *f, int argc, char **argv,
		 void *opts, struct vhu_parsed *p, struct vhu_err *err)
{
	int code = 0;

	optind = 0;			/* glibc: start afresh, also after an earlier run */
	opterr = 0;
	while (code == 0) {
		const struct vhu_option *o;
		int c = getopt_long(argc, argv, f->shorts, f->longs, NULL);

		if (c == -1)
			break;
		if (c == '?' || c == ':')
			return complain(t, c, optopt, argv[optind - 1], err);
		o = c >= LONG_VALUE ? vhu_option_at(t, (size_t)(c - LONG_VALUE)) : by_letter(t, c);
		code = set_value(o, opts, optarg, err);
		if (code == 0)
			code = remember(p, o, optarg, err);
	}
	for (int i = optind; i < argc && code == 0; i++)
		code = vhu_words_add(&p->rest, argv[i], err);
	return code;
}

int vhu_options_parse(const struct vhu_option_table *t, int argc, char **argv, void *opts,
		      struct vhu_parsed *ret, struct vhu_err *err)
{
	struct getopt_form f = {0};
	struct vhu_parsed p = {0};
	int code = make_form(t, &f, err);

	if (code == 0)
		code = parse(t, &f, argc, argv, opts, &p, err);
	form_done(&f);
	if (code < 0) {
		vhu_parsed_done(&p);
		return code;
	}
	*ret = p;
	return 0;
}

/* --- help ------------------------------------------------------------------------------------ */

/* Characters, not bytes, as far as our own texts need it. */
static size_t text_width(const char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

/* Words of text, broken before HELP_WIDTH; `column` is where the line stands. */
static void add_wrapped(struct vhu_buf *out, const char *text, size_t column, size_t indent)
{
	bool first = true;

	while (*text) {
		size_t len = strcspn(text, " ");
		size_t width = text_width(text, len);

		if (!first && column + 1 + width > HELP_WIDTH) {
			vhu_buf_printf(out, "\n%*s", (int)indent, "");
			column = indent;
			first = true;
		}
		if (!first) {
			vhu_buf_puts(out, " ");
			column++;
		}
		vhu_buf_add(out, text, len);
		column += width;
		first = false;
		text += len;
		text += strspn(text, " ");
	}
	vhu_buf_puts(out, "\n");
}

static void add_option(struct vhu_buf *out, const struct vhu_option *o)
{
	char left[96];
	size_t width;

	snprintf(left, sizeof(left), "  %c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
		 o->letter ? "," : " ", o->name, o->arg && o->arg[0] != '[' ? " " : "", o->arg ? o->arg : "");
	width = text_width(left, strlen(left));
	vhu_buf_puts(out, left);
	if (width + 2 > HELP_COLUMN)
		vhu_buf_printf(out, "\n%*s", HELP_COLUMN, "");
	else
		vhu_buf_printf(out, "%*s", (int)(HELP_COLUMN - width), "");
	add_wrapped(out, o->help, HELP_COLUMN, HELP_COLUMN);
}

void vhu_options_help(const struct vhu_option_table *t, struct vhu_buf *out)
{
	const struct vhu_option *o;
	const char *group = NULL;

	vhu_buf_printf(out, "Usage: %s %s\n", t->program, t->usage);
	add_wrapped(out, t->intro, 0, 0);
	for (size_t i = 0; (o = vhu_option_at(t, i)); i++) {
		if (!group || strcmp(group, o->group))
			vhu_buf_printf(out, "\n%s:\n", o->group);
		group = o->group;
		add_option(out, o);
	}
	vhu_buf_printf(out, "\n%s", t->outro);
}

/* --- shell words ----------------------------------------------------------------------------- */

void vhu_shell_quote(struct vhu_buf *out, const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";

	/* A `=` in the first word would be an assignment; only arguments come here. */
	if (*word && word[strspn(word, safe)] == '\0') {
		vhu_buf_puts(out, word);
		return;
	}
	vhu_buf_puts(out, "'");
	for (; *word; word++) {
		if (*word == '\'')
			vhu_buf_puts(out, "'\\''");
		else
			vhu_buf_add(out, word, 1);
	}
	vhu_buf_puts(out, "'");
}
