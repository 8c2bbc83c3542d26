/* The formats, and what every report does whatever its format. */
#include <errno.h>
#include <string.h>

#include "impl.h"

static const struct vhu_report_ops *const formats[] = {
	&vhu_report_tty, &vhu_report_tap, &vhu_report_junit, &vhu_report_json,
	&vhu_report_html, &vhu_report_markdown, &vhu_report_sarif,
};

int vhu_report_open(const char *format, const struct vhu_report_opts *opts, struct vhu_report **ret,
		    struct vhu_err *err)
{
	const struct vhu_report_ops *ops = NULL;
	struct vhu_report *r;

	for (size_t i = 0; i < VHU_ARRAY_SIZE(formats); i++)
		if (!strcmp(formats[i]->name, format))
			ops = formats[i];
	if (!ops)
		return vhu_err_set(err, -ENOENT, "%s: there is no such report format", format);
	r = calloc(1, sizeof(*r));
	if (r)
		r->path = strdup(opts->path);
	if (!r || !r->path) {
		free(r);
		return vhu_err_errno(err, -ENOMEM, "%s report", format);
	}
	r->ops = ops;
	r->opts = *opts;
	r->opts.path = r->path;
	r->is_stdout = !strcmp(r->path, "-");
	r->out = r->is_stdout ? stdout : fopen(r->path, "we");
	if (!r->out) {
		int code = -errno;

		vhu_err_errno(err, code, "%s", r->path);
		vhu_report_free(r);
		return code;
	}
	*ret = r;
	return 0;
}

void vhu_report_free(struct vhu_report *r)
{
	if (!r)
		return;
	if (r->state)
		r->ops->free(r);
	if (r->out && !r->is_stdout)
		fclose(r->out);
	free(r->path);
	free(r);
}

static const char *shown_path(const struct vhu_report *r)
{
	return r->is_stdout ? "standard output" : r->path;
}

int vhu_report_write(struct vhu_report *r, struct vhu_buf *b, struct vhu_err *err)
{
	int code = 0;

	if (b->failed)
		code = vhu_err_errno(err, -ENOMEM, "%s report", r->ops->name);
	else if (b->len && fwrite(b->data, 1, b->len, r->out) != b->len)
		code = vhu_err_errno(err, errno ? -errno : -EIO, "%s", shown_path(r));
	vhu_buf_reset(b);
	return code;
}

/* Flushed after each step: a report that is watched or cut off shows what happened so far. */
static int flush(struct vhu_report *r, struct vhu_err *err)
{
	if (fflush(r->out))
		return vhu_err_errno(err, errno ? -errno : -EIO, "%s", shown_path(r));
	return 0;
}

int vhu_report_begin(struct vhu_report *r, const struct vhu_report_run *run, size_t planned,
		     struct vhu_err *err)
{
	int code;

	r->run = *run;
	r->planned = planned;
	code = r->ops->begin(r, err);
	return code < 0 ? code : flush(r, err);
}

int vhu_report_case(struct vhu_report *r, const struct vhu_outcome *o, struct vhu_err *err)
{
	int code = r->ops->case_done(r, o, err);

	return code < 0 ? code : flush(r, err);
}

int vhu_report_end(struct vhu_report *r, const struct vhu_summary *summary, struct vhu_err *err)
{
	int code = r->ops->end(r, summary, err);

	if (code < 0)
		return code;
	code = flush(r, err);
	if (code < 0 || r->is_stdout)
		return code;
	if (fclose(r->out))
		code = vhu_err_errno(err, errno ? -errno : -EIO, "%s", r->path);
	r->out = NULL;
	return code;
}
