/* vhu-trace ladder: a session as a sequence diagram. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/arena.h"
#include "plan/plan.h"
#include "trace/ladder.h"
#include "trace_command.h"

/* "Session 1: blk, 42 messages in 6.054 s". */
static void put_title(struct vhu_buf *out, const struct vhu_session_ref *s, enum vhu_device device)
{
	uint64_t first = s->records[0]->t_ns, ns = VHU_MAX(s->records[s->n - 1]->t_ns, first) - first;

	vhu_buf_printf(out, "Session %" PRIu32 ": %s%s%zu messages in %.3f s%s", s->connection,
		       device == VHU_DEV_ANY ? "" : vhu_device_row(device)->name,
		       device == VHU_DEV_ANY ? "" : ", ", s->messages, (double)ns / 1e9,
		       s->partial ? ", not seen whole" : "");
}

static int draw(const struct vhu_trace_opts *o, const struct vhu_session_ref *s, enum vhu_device device,
		struct vhu_buf *out)
{
	struct vhu_arena *arena = vhu_arena_new();
	struct vhu_ladder ladder;
	struct vhu_buf title = {0};
	struct vhu_err err = {0};
	int code = VHU_EXIT_OK;

	put_title(&title, s, device);
	if (!arena)
		vhu_err_errno(&err, -ENOMEM, "ladder");
	if (!arena || vhu_ladder_new(s, device, arena, &ladder, &err) < 0)
		code = vhu_trace_complain(&err);
	else if (o->svg)
		vhu_ladder_svg(&ladder, vhu_buf_text(&title), out);
	else
		vhu_ladder_text(&ladder, vhu_buf_text(&title), out);
	vhu_buf_done(&title);
	vhu_arena_free(arena);
	return code;
}

static int write_out(const struct vhu_trace_opts *o, const struct vhu_buf *out)
{
	struct vhu_err err = {0};
	FILE *file;
	int code = 0;

	if (out->failed) {
		vhu_err_errno(&err, -ENOMEM, "ladder");
		return vhu_trace_complain(&err);
	}
	if (!o->output || !strcmp(o->output, "-")) {
		fputs(vhu_buf_text(out), stdout);
		return VHU_EXIT_OK;
	}
	file = fopen(o->output, "we");
	if (!file || fputs(vhu_buf_text(out), file) < 0)
		code = -errno;
	if (file && fclose(file) && !code)
		code = -errno;
	if (!code)
		return VHU_EXIT_OK;
	vhu_err_errno(&err, code, "%s", o->output);
	vhu_complain(vhu_trace_options.program, &err);
	return VHU_EXIT_BROKEN;
}

int vhu_command_ladder(const struct vhu_trace_opts *o)
{
	const struct vhu_session_ref *s = NULL;
	struct vhu_device_guess *guess;
	struct vhu_trace *t = NULL;
	struct vhu_buf out = {0};
	int code = vhu_trace_take(o->files[0], &t);
	size_t n = 1;

	if (code != VHU_EXIT_OK)
		return code;
	/* A picture is of one session; text may go on. */
	if (o->session || o->svg || !t->n_sessions) {
		s = vhu_trace_pick(t, o->files[0], o->session);
	} else {
		s = t->sessions;
		n = t->n_sessions;
	}
	if (!s)
		code = VHU_EXIT_USAGE;
	guess = o->device == VHU_DEV_ANY ? vhu_device_guess_over(t) : NULL;
	for (size_t i = 0; i < n && code == VHU_EXIT_OK; i++) {
		vhu_buf_puts(&out, i ? "\n" : "");
		code = draw(o, &s[i], guess ? vhu_device_guess_session(guess, t, &s[i]) : o->device, &out);
	}
	if (code == VHU_EXIT_OK)
		code = write_out(o, &out);
	vhu_device_guess_free(guess);
	vhu_buf_done(&out);
	vhu_trace_free(t);
	return vhu_trace_finish(code);
}
