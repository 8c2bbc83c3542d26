/* Places in case files, and errors that name them. */
#include <stdarg.h>
#include <string.h>

#include "base/json_pos.h"
#include "internal.h"

static void put_token(const char *key, struct vhu_buf *out)
{
	vhu_buf_puts(out, "/");
	for (; *key; key++) {
		if (*key == '~')
			vhu_buf_puts(out, "~0");
		else if (*key == '/')
			vhu_buf_puts(out, "~1");
		else
			vhu_buf_add(out, key, 1);
	}
}

static void put_steps(const struct path *p, bool loops, struct vhu_buf *out)
{
	if (!p->up)
		return;
	put_steps(p->up, loops, out);
	if (p->key)
		put_token(p->key, out);
	else
		vhu_buf_printf(out, "/%zu", p->index);
	if (loops && p->loop)
		vhu_buf_puts(out, p->loop);
}

void vhu_path_pointer(const struct path *p, struct vhu_buf *out)
{
	put_steps(p, false, out);
}

static const struct path *path_root(const struct path *p)
{
	while (p->up)
		p = p->up;
	return p;
}

const struct source *vhu_path_source(const struct path *p)
{
	return path_root(p)->source;
}

void vhu_path_where(const struct path *p, struct vhu_buf *out)
{
	const struct path *root = path_root(p);

	if (!root->via) {
		put_steps(p, true, out);
		return;
	}
	vhu_path_where(root->via, out);
	vhu_buf_printf(out, " (%s ", root->source->file);
	put_steps(p, true, out);
	vhu_buf_puts(out, ")");
}

/* --- errors ------------------------------------------------------------------------------------ */

/* A loop meets the same error in every round: one line is enough. */
static bool said_before(const struct vhu_buf *text, const char *line, size_t len)
{
	const char *at = vhu_buf_text(text);

	while ((at = strstr(at, line))) {
		if ((at == text->data || at[-1] == '\n') && at[len - 1] == '\n')
			return true;
		at += len;
	}
	return false;
}

static void emit(struct report *r, struct vhu_buf *line)
{
	struct vhu_diags *d = r->diags;

	r->errors++;
	if (line->failed || said_before(d->text, vhu_buf_text(line), line->len))
		return;
	if (d->errors++ < LIMIT_ERRORS)
		vhu_buf_add(d->text, line->data, line->len);
}

static void VHU_PRINTF(6, 0) report_at(struct report *r, const struct source *s, const char *pointer,
				       bool key, const char *suffix, const char *format, va_list args)
{
	struct vhu_buf line = {0};
	struct vhu_json_pos pos = {1, 1};
	char what[1024];

	if (s->text)
		vhu_json_find(s->text, s->len, pointer, key, &pos);
	vsnprintf(what, sizeof(what), format, args);
	vhu_buf_printf(&line, "%s:%u:%u: %s: %s%s\n", s->file, pos.line, pos.column, *pointer ? pointer : "/",
		       what, suffix);
	emit(r, &line);
	vhu_buf_done(&line);
}

static void VHU_PRINTF(4, 0)
	report_path(struct report *r, const struct path *at, bool key, const char *format, va_list args)
{
	const struct path *root = path_root(at);
	struct vhu_buf pointer = {0}, suffix = {0};

	if (r->muted)
		return;
	vhu_path_pointer(at, &pointer);
	if (root->via) {
		vhu_buf_printf(&suffix, " (used by %s ", vhu_path_source(root->via)->file);
		vhu_path_pointer(root->via, &suffix);
		vhu_buf_puts(&suffix, ")");
	}
	report_at(r, root->source, vhu_buf_text(&pointer), key, vhu_buf_text(&suffix), format, args);
	vhu_buf_done(&pointer);
	vhu_buf_done(&suffix);
}

void vhu_diag(struct report *r, const struct path *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report_path(r, at, false, format, args);
	va_end(args);
}

void vhu_diag_key(struct report *r, const struct path *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	report_path(r, at, true, format, args);
	va_end(args);
}

void vhu_diag_at(struct report *r, const struct source *source, const char *pointer, const char *format, ...)
{
	va_list args;

	if (r->muted)
		return;
	va_start(args, format);
	report_at(r, source, pointer, false, "", format, args);
	va_end(args);
}

void vhu_diag_line(struct report *r, const struct source *source, unsigned line, unsigned column,
		   const char *format, ...)
{
	struct vhu_buf text = {0};
	char what[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	vhu_buf_printf(&text, "%s:%u:%u: /: %s\n", source->file, line, column, what);
	emit(r, &text);
	vhu_buf_done(&text);
}

bool vhu_told_once(struct told *t, const struct origin *o)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->place[i]->source == o->source && !strcmp(t->place[i]->pointer, o->pointer))
			return false;
	if (t->n < TOLD_MAX)
		t->place[t->n++] = o;
	return true;
}

/* --- hints -------------------------------------------------------------------------------------- */

const char *vhu_hint(char out[HINT_CAP], const char *name, const char *(*next)(void *ctx, size_t i),
		     void *ctx)
{
	const char *near = vhu_nearest_name(name, next, ctx);

	out[0] = '\0';
	if (near)
		snprintf(out, HINT_CAP, "; did you mean '%s'?", near);
	return out;
}

const char *vhu_word_at(void *ctx, size_t i)
{
	return ((const char *const *)ctx)[i];
}

const char *vhu_hint_word(char out[HINT_CAP], const char *name, const char *const *words)
{
	return vhu_hint(out, name, vhu_word_at, (void *)words);
}

int vhu_word_index(const char *const *words, const char *text)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	return -1;
}
