/* vhu-trace case: a capture becomes a case file. */
#include <errno.h>

#include "trace_command.h"

#include <string.h>

#include "plan/plan.h"

/* To the file that was asked for, or to standard output. */
static int write_case(const struct vhu_trace_opts *o, const struct vhu_buf *text)
{
	struct vhu_err err = {0};
	FILE *out;
	bool ok;

	if (!o->output) {
		fputs(vhu_buf_text(text), stdout);
		return vhu_trace_finish(VHU_EXIT_OK);
	}
	out = fopen(o->output, "we");
	ok = out && fwrite(vhu_buf_text(text), 1, text->len, out) == text->len;
	ok &= out && fclose(out) == 0;
	if (ok)
		return VHU_EXIT_OK;
	vhu_err_errno(&err, -errno, "%s", o->output);
	return vhu_trace_complain(&err);
}

int vhu_command_case(const struct vhu_trace_opts *o)
{
	struct vhu_replay_opts opts = {
		.session = o->session, .spawned = true, .ignore = o->ignore.items, .n_ignore = o->ignore.n};
	const char *path = o->files[0], *slash = strrchr(path, '/');
	struct vhu_buf notes = {0}, text = {0};
	struct vhu_plan *plan = NULL;
	struct vhu_trace *trace;
	struct vhu_err err = {0};
	int code = vhu_trace_take(path, &trace);

	if (code)
		return code;
	opts.device = o->device != VHU_DEV_ANY ? o->device : vhu_trace_guess_device(trace, &opts);
	if (vhu_plan_from_trace(trace, &opts, &plan, &notes, &err) < 0 ||
	    vhu_plan_to_case(plan, slash ? slash + 1 : path, &text, &err) < 0)
		code = vhu_trace_complain(&err);
	else
		code = write_case(o, &text);
	vhu_trace_tell_notes(path, vhu_buf_text(&notes));
	vhu_plan_free(plan);
	vhu_trace_free(trace);
	vhu_buf_done(&notes);
	vhu_buf_done(&text);
	return code;
}
