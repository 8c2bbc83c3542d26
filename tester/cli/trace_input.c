/* What the commands of vhu-trace read, and how they speak. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/arena.h"
#include "trace_command.h"

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
	fflush(stdout);
	while (*notes) {
		size_t len = strcspn(notes, "\n");

		fprintf(stderr, "%s: %s: note: %.*s\n", vhu_trace_options.program, path, (int)len, notes);
		notes += len + (notes[len] == '\n');
	}
}

enum vhu_device vhu_trace_device(const struct vhu_trace_opts *o, const char *meta)
{
	const struct vhu_device_row *row = NULL;
	const char *name;
	json_t *root;

	if (o->device != VHU_DEV_ANY)
		return o->device;
	root = json_loads(meta, 0, NULL);
	name = json_string_value(json_object_get(json_object_get(root, "target"), "device"));
	if (name)
		row = vhu_device_by_name(name);
	json_decref(root);
	return row ? row->device : VHU_DEV_ANY;
}

/* --- record by record ------------------------------------------------------------------------------- */

int vhu_trace_open(const struct vhu_trace_opts *o, struct vhu_trace_input *ret)
{
	struct vhu_trace_input in = {.path = o->files[0]};
	struct vhu_err err = {0};

	if (vhu_trace_reader_new(in.path, &in.reader, &err) < 0)
		return vhu_trace_complain(&err);
	in.arena = vhu_arena_new();
	if (!in.arena) {
		vhu_trace_reader_free(in.reader);
		vhu_err_errno(&err, -ENOMEM, "%s", in.path);
		return vhu_trace_complain(&err);
	}
	vhu_trace_reader_borrow(in.reader);
	in.device = vhu_trace_device(o, vhu_trace_reader_meta(in.reader));
	*ret = in;
	return VHU_EXIT_OK;
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
