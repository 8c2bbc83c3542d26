/* What the commands of vhu-trace read, and how they speak. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "plan/plan.h"
#include "trace_command.h"

enum { AHEAD = 20000 }; /* records */

int vhu_trace_complain(const struct vhu_err *err)
{
	vhu_complain(vhu_trace_options.program, err);
	return err->code == -ENOMEM || err->code == -ENOSPC || err->code == -EIO || err->code == -EPIPE
		       ? VHU_EXIT_BROKEN
		       : VHU_EXIT_USAGE;
}

int vhu_trace_finish(int code)
{
	struct vhu_err err = {0};

	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return code;
	vhu_err_errno(&err, errno ? -errno : -EIO, "standard output");
	vhu_complain(vhu_trace_options.program, &err);
	return VHU_EXIT_BROKEN;
}

void vhu_trace_tell_notes(const char *path, const char *notes)
{
	struct vhu_buf before = {0};

	fflush(stdout);
	vhu_buf_printf(&before, "%s: %s: ", vhu_trace_options.program, path);
	vhu_tell_notes(stderr, vhu_buf_text(&before), notes);
	vhu_buf_done(&before);
}

/* --- record by record ------------------------------------------------------------------------------- */

void vhu_trace_tame(struct vhu_buf *line)
{
	for (size_t i = 0; i < line->len; i++)
		if (((unsigned char)line->data[i] < ' ' && line->data[i] != '\n') || line->data[i] == 0x7f)
			line->data[i] = '.';
}

/* A file can be looked at twice: what its sessions are of is known from the start. */
static void look_ahead(struct vhu_trace_input *in)
{
	struct vhu_trace_reader *reader = NULL;
	struct vhu_err err = {0};
	struct vhu_record r;
	struct stat st;

	if (stat(in->path, &st) < 0 || !S_ISREG(st.st_mode) ||
	    vhu_trace_reader_new(in->path, &reader, &err) < 0)
		return;
	vhu_trace_reader_borrow(reader);
	for (size_t i = 0; i < AHEAD && vhu_trace_reader_next(reader, in->arena, &r, &err) > 0; i++) {
		vhu_device_guess_note(in->guess, &r);
		vhu_arena_reset(in->arena);
	}
	vhu_trace_reader_free(reader);
}

int vhu_trace_open(const struct vhu_trace_opts *o, struct vhu_trace_input *ret)
{
	struct vhu_trace_input in = {.path = o->files[0], .device = o->device};
	struct vhu_err err = {0};

	if (vhu_trace_reader_new(in.path, &in.reader, &err) < 0)
		return vhu_trace_complain(&err);
	in.arena = vhu_arena_new();
	in.guess = vhu_device_guess_new(vhu_trace_reader_meta(in.reader));
	if (!in.arena || !in.guess) {
		vhu_trace_reader_free(in.reader);
		vhu_arena_free(in.arena);
		vhu_device_guess_free(in.guess);
		vhu_err_errno(&err, -ENOMEM, "%s", in.path);
		return vhu_trace_complain(&err);
	}
	vhu_trace_reader_borrow(in.reader);
	if (o->device == VHU_DEV_ANY)
		look_ahead(&in);
	*ret = in;
	return VHU_EXIT_OK;
}

enum vhu_device vhu_trace_device_of(struct vhu_trace_input *in, const struct vhu_record *r)
{
	if (in->device != VHU_DEV_ANY)
		return in->device;
	vhu_device_guess_note(in->guess, r);
	return vhu_device_guess_of(in->guess, r->connection);
}

int vhu_trace_next(struct vhu_trace_input *in, struct vhu_record *ret)
{
	int code;

	vhu_arena_reset(in->arena);
	code = vhu_trace_reader_next(in->reader, in->arena, ret, &in->err);
	if (code < 0)
		return -vhu_trace_complain(&in->err);
	in->over = code == 0;
	if (code && !in->started) {
		in->first_ns = ret->t_ns;
		in->started = true;
	}
	if (code && ret->channel == VHU_CAP_META && ret->kind == VHU_CAP_META_END)
		in->ended = true;
	return code;
}

void vhu_trace_close(struct vhu_trace_input *in)
{
	vhu_trace_tell_notes(in->path, vhu_trace_reader_notes(in->reader));
	if (in->over && !in->ended)
		vhu_trace_tell_notes(in->path, "no closing record: the recorder was cut off");
	vhu_trace_reader_free(in->reader);
	vhu_arena_free(in->arena);
	vhu_device_guess_free(in->guess);
}

/* --- a whole capture --------------------------------------------------------------------------------- */

int vhu_trace_take(const char *path, struct vhu_trace **ret)
{
	struct vhu_err err = {0};

	if (vhu_trace_load(path, ret, &err) < 0)
		return vhu_trace_complain(&err);
	vhu_trace_tell_notes(path, (*ret)->notes);
	if (!(*ret)->complete)
		vhu_trace_tell_notes(path, "no closing record: the recorder was cut off");
	return VHU_EXIT_OK;
}

const struct vhu_session_ref *vhu_trace_pick(const struct vhu_trace *t, const char *path, uint32_t session)
{
	enum { TOLD = 16 };
	const struct vhu_session_ref *s;
	struct vhu_buf text = {0};
	struct vhu_err err = {0};

	if (session) {
		s = vhu_trace_session(t, session);
		if (s)
			return s;
	} else if (t->n_sessions == 1) {
		return &t->sessions[0];
	}
	for (size_t i = 0; i < t->n_sessions && i < TOLD; i++)
		vhu_buf_printf(&text, "%s%" PRIu32, i ? ", " : "", t->sessions[i].connection);
	if (t->n_sessions > TOLD)
		vhu_buf_puts(&text, ", …");
	if (!t->n_sessions)
		vhu_err_set(&err, -ENOENT, "%s: there is no session in it", path);
	else if (session)
		vhu_err_set(&err, -ENOENT, "%s: there is no session %" PRIu32 "; there are %s", path, session,
			    vhu_buf_text(&text));
	else
		vhu_err_set(&err, -EINVAL, "%s: which session? --session takes one of %s", path,
			    vhu_buf_text(&text));
	vhu_buf_done(&text);
	vhu_complain(vhu_trace_options.program, &err);
	return NULL;
}
